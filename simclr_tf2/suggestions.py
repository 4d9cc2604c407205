"""Guess what a mistyped name or value was meant to be; text in, text out."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence

# Words that users of other programs type -> what they are called here; only those that
# spelling does not find.
FLAG_SYNONYMS = {
    "amp": "mixed_precision",
    "arch": "resnet_depth",
    "backbone": "resnet_depth",
    "blur": "use_blur",
    "bs": "train_batch_size",
    "ckpt": "checkpoint",
    "crop_size": "image_size",
    "data": "image_dir",
    "data_path": "image_dir",
    "depth": "resnet_depth",
    "epochs": "train_epochs",
    "folder": "image_dir",
    "fp16": "mixed_precision",
    "gpus": "strategy",
    "images": "image_dir",
    "img_size": "image_size",
    "jitter": "color_jitter_strength",
    "logdir": "model_dir",
    "lr": "learning_rate",
    "keep_bits": "pixel_range",
    "max_steps": "train_steps",
    "num_epochs": "train_epochs",
    "num_gpus": "strategy",
    "num_steps": "train_steps",
    "opt": "optimizer",
    "out": "output",
    "out_dir": "model_dir",
    "output_dir": "model_dir",
    "precision": "mixed_precision",
    "pretrained": "checkpoint",
    "resolution": "image_size",
    "resume": "model_dir",
    "save_dir": "model_dir",
    "tau": "temperature",
    "wd": "weight_decay",
    "work_dir": "model_dir",
    "workdir": "model_dir",
}
VALUE_SYNONYMS = {
    "amp": "float16",
    "bf16": "bfloat16",
    "fp16": "float16",
    "half": "float16",
    "infonce": "nt_xent",
    "sgd": "momentum",
    "simclr": "pretrain",
    "test": "eval",
    "triplet": "margin",
}
_NEGATIVE = ("off", "none", "no", "false", "0", "never", "disabled")
_POSITIVE = ("true", "yes", "on", "1", "t", "y", "enabled")


def nearest(word: str, choices: Sequence[str]) -> str | None:
    """Find the choice that ``word`` most likely stands for; None if none is near.

    Other case, other separators, words of the same meaning (off and none) and slips of
    the keyboard are found.
    """
    plain = _plain(word)
    by_plain = {_plain(choice): choice for choice in reversed(choices)}
    if plain in by_plain:
        return by_plain[plain]
    synonym = VALUE_SYNONYMS.get(plain)
    if synonym is not None and synonym in choices:
        return synonym
    if plain in _NEGATIVE:
        return next((choice for choice in choices if choice in _NEGATIVE), None)
    close = difflib.get_close_matches(plain, by_plain, n=1, cutoff=0.6)
    return by_plain[close[0]] if close else None


def alike(name: str, names: Sequence[str]) -> str | None:
    """Find the one of ``names`` that is spelled most like ``name``; None if none is."""
    close = difflib.get_close_matches(name, names, n=1)
    return close[0] if close else None


def flags_like(name: str, names: Sequence[str]) -> list[str]:
    """Find at most three ``names`` that an unknown flag may stand for, likeliest first.

    A name whose words all stand in a longer one (batch_size) comes before one that is
    spelled alike.
    """
    wanted = name.lower().replace("-", "_")
    synonym = FLAG_SYNONYMS.get(wanted)
    found = [synonym] if synonym is not None and synonym in names else []
    words = set(wanted.split("_"))
    found += [known for known in names if words <= set(known.split("_"))]
    by_plain = {_plain(known): known for known in names}
    close = difflib.get_close_matches(_plain(name), by_plain, n=2, cutoff=0.75)
    spelled = [by_plain[match] for match in close]
    # All but the same letters: a slip, likelier than a longer name.
    if spelled and _plain(spelled[0]) == _plain(name):
        found = spelled[:1]
    return list(dict.fromkeys(found + spelled))[:3]


def whole_numbers(text: str) -> list[str]:
    """Find the integers that ``text`` may stand for: 64.5 -> 64 and 65; 1e3 -> 1000."""
    value = _number(text)
    if value is None:
        return []
    return [str(n) for n in sorted({math.floor(value), math.ceil(value)})]


def number(text: str) -> str | None:
    """Find the number that ``text`` may stand for: 0,1 -> 0.1 and 10% -> 0.1."""
    value = _number(text)
    return None if value is None else f"{value:g}"


def truth(text: str) -> str | None:
    """Find which of true and false ``text`` may stand for; None if neither."""
    plain = _plain(text)
    if plain in _NEGATIVE:
        return "false"
    if plain in _POSITIVE:
        return "true"
    return nearest(text, ("true", "false"))


def _number(text: str) -> float | None:
    plain = text.strip().replace(" ", "")
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", plain):  # 4,096
        plain = plain.replace(",", "")
    plain = plain.replace(",", ".")
    scale = 0.01 if plain.endswith("%") else 1.0
    try:
        value = float(plain.removesuffix("%")) * scale
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _plain(word: str) -> str:
    """Reduce a word to its letters and digits, in lower case."""
    return re.sub(r"[^a-z0-9]", "", word.lower())
