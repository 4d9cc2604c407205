"""What a checkpoint or SavedModel of the reference code holds.

google-research/simclr, tf2: its tf.train checkpoints, and the variables folders of its
SavedModels, which are the form of its published models. The network is found from
shapes and structure alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from simclr_tf2.config import ModelConfig
from simclr_tf2.errors import ConfigError
from simclr_tf2.reference import files as reference_files
from simclr_tf2.reference.files import ReferenceFile
from simclr_tf2.reference.network import describe, model_config
from simclr_tf2.reference.structure import has_resnet_d, our_names


@dataclass(frozen=True)
class Reference:
    """Facts about a checkpoint of the reference code.

    Attributes:
        file: Where the values are.
        keys: Our ``layer/variable``, spelled as by ``head_free`` -> key in the file.
        others: Keys of what is no part of the network: optimizer slots, counters.
        config: The network.
        num_classes: Classes of the supervised head; None: it has none.
        channels: Channels of the images.
        step: Training step, 0 where the file does not tell.
    """

    file: ReferenceFile
    keys: dict[str, str]
    others: tuple[str, ...]
    config: ModelConfig
    num_classes: int | None
    channels: int
    step: int

    def __str__(self) -> str:
        return f"{self.file.prefix}: {describe(self.config, self.num_classes)}"


def read_reference(path: str | os.PathLike, *, ft_proj_selector: int = 0) -> Reference:
    """Find out what a checkpoint of the reference code holds; no weights are read.

    Args:
        path: A checkpoint's prefix or folder, a SavedModel or its variables folder, or
            a ``model_dir`` of the reference code. Of several the newest counts.
        ft_proj_selector: What the classifier reads; see ``model_config``.

    Raises:
        ConfigError: Not there, damaged, of another program, or of a network that this
            library does not have. It names what does not fit.
    """
    file = reference_files.open_file(path)
    names = our_names(file.variables)
    keys = {name: file.variables[path] for path, name in names.items() if name}
    read = set(keys.values())
    others = [key for key in file.shapes if key not in read]
    foreign = [path for path, name in names.items() if not name]
    foreign += [key for key in others if _is_of_the_network(key)]
    if foreign:
        raise ConfigError(
            f"{file.prefix} has values of a network that differs from the reference "
            f"code's: {', '.join(sorted(foreign))}"
        )
    shapes = {name: file.shapes[key] for name, key in keys.items()}
    try:
        config = model_config(
            shapes,
            resnet_d=has_resnet_d(file.variables),
            ft_proj_selector=ft_proj_selector,
        )
    except ConfigError as error:
        raise ConfigError(f"{file.prefix} cannot be used: {error}") from error
    classifier = shapes.get("head_supervised/kernel")
    return Reference(
        file=file,
        keys=keys,
        others=tuple(sorted(others)),
        config=config,
        num_classes=classifier[-1] if classifier else None,
        channels=shapes["stem_conv_1/kernel"][2],
        step=_step(file),
    )


def _is_of_the_network(key: str) -> bool:
    return ".OPTIMIZER_SLOT" not in key and key.startswith(
        ("model/", "trainable_variables_list/")
    )


def _step(file: ReferenceFile) -> int:
    """Return ``global_step``, else the number in the path, else 0.

    The number is that of ckpt-8 or 8/variables/variables.
    """
    key = "global_step/.ATTRIBUTES/VARIABLE_VALUE"
    if key in file.shapes:
        return int(file.read([key])[key])
    prefix = Path(file.prefix)
    name = prefix.parent.parent.name if prefix.name == "variables" else prefix.name
    match = re.fullmatch(r"(?:.+-)?(\d+)", name)
    return int(match[1]) if match else 0
