"""Hardware files: the figures of devices and networks, each with its source."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simclr_tf2 import places, suggestions
from simclr_tf2.errors import ConfigError

SUFFIX = ".json"
PRECISIONS = ("float32", "bfloat16", "float16")
# switch: all devices reach each other directly, as on NVSwitch.
# torus2, torus3: neighbours in two or three dimensions, as in a TPU pod.
TOPOLOGIES = ("switch", "torus2", "torus3")
# vendor: a data sheet or the vendor's page. published: measured by others. measured:
# measured by this program. derived: computed from one of these. assumed: none of these.
KINDS = ("vendor", "published", "measured", "derived", "assumed")
REQUIRED = (
    "float32_tflops",
    "float32_achieved",
    "memory_gib",
    "memory_gb_per_s",
    "system_devices",
    "link_gb_per_s",
    "link_latency_us",
    "call_latency_us",
    "network_gb_per_s",
    "network_latency_us",
    "host_cores",
    "device_hours_between_failures",
)
OPTIONAL = tuple(
    f"{precision}_{what}"
    for precision in PRECISIONS[1:]
    for what in ("tflops", "achieved")
)


@dataclass(frozen=True)
class Figure:
    """One number of a hardware file, with the kind and the place of its source."""

    value: float
    kind: str
    source: str


@dataclass(frozen=True)
class Hardware:
    """Devices that train one model together, each with one replica.

    Attributes:
        name: Name of the file, without its ending.
        title: What it is, for people.
        device: What one device is: a core, a chip, a GPU.
        devices: Number of devices.
        devices_per_host: Devices of one host.
        topology: One of ``TOPOLOGIES``.
        figures: Name -> number with its source; see docs/plan.md.
        compiled: Whether XLA compiles the step, as it always does for a TPU.
        shares_host: Whether input and training use the same cores.
    """

    name: str
    title: str
    device: str
    devices: int
    devices_per_host: int
    topology: str
    figures: Mapping[str, Figure]
    compiled: bool = False
    shares_host: bool = False

    @property
    def kind(self) -> str:
        """Kind of the devices: ``cpu``, ``gpu`` or ``tpu``."""
        if self.shares_host:
            return "cpu"
        return "tpu" if self.compiled else "gpu"

    def value(self, name: str) -> float:
        """Return the number of a figure."""
        return self.figures[name].value

    def precision(self, wanted: str) -> str:
        """Return the precision that the file has figures of: ``wanted``, or float32."""
        names = (f"{wanted}_tflops", f"{wanted}_achieved")
        return wanted if all(n in self.figures for n in names) else "float32"

    def flops(self, precision: str) -> float:
        """Return the operations per second of a device that a step reaches."""
        name = self.precision(precision)
        peak = self.value(f"{name}_tflops") * 1e12
        return peak * self.value(f"{name}_achieved")

    def with_devices(self, devices: int) -> Hardware:
        """Return the same with another number of devices."""
        return replace(self, devices=devices)

    @property
    def hosts(self) -> int:
        """Number of hosts."""
        return math.ceil(self.devices / self.devices_per_host)


def folder() -> Path:
    """Return the folder of the hardware files that come with the program."""
    return places.home() / "recipes" / "hardware"


def names() -> list[str]:
    """List the hardware files that come with the program."""
    return sorted(path.stem for path in folder().glob(f"*{SUFFIX}"))


def find(text: str) -> Hardware:
    """Read the hardware of ``--hardware=text``: a name, or a path that ends in .json.

    Raises:
        ConfigError: There is no such file, or it is not one of hardware.
    """
    path = Path(text).expanduser()
    if text.endswith(SUFFIX) and path.is_file():
        return read(path)
    name = path.name.removesuffix(SUFFIX)
    packaged = folder() / f"{name}{SUFFIX}"
    if str(path.parent) in (".", "recipes/hardware") and packaged.is_file():
        return read(packaged)
    near = suggestions.nearest(name, names())
    hint = f"; did you mean {near}?" if near else "."
    raise ConfigError(
        f"--hardware must be one of {', '.join(names())}, or a {SUFFIX} file. "
        f"Received: {text}{hint}"
    )


def read(path: Path) -> Hardware:
    """Read a hardware file.

    Raises:
        ConfigError: It is no JSON, or a figure is missing, unknown or not possible.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return _parse(path.stem, found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(
            f"--hardware={path} cannot be read: {text}; the files in {folder()} are "
            "examples"
        ) from error


def _parse(name: str, found: Mapping[str, Any]) -> Hardware:
    figures = {key: _figure(key, entry) for key, entry in found["figures"].items()}
    missing = [key for key in REQUIRED if key not in figures]
    unknown = [key for key in figures if key not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown:
        wrong = [f"no figure {key}" for key in missing]
        wrong += [f"unknown figure {key}" for key in unknown]
        raise ValueError(", ".join(wrong))
    topology = found["topology"]
    if topology not in TOPOLOGIES:
        raise ValueError(f"topology must be one of {', '.join(TOPOLOGIES)}")
    devices, per_host = int(found["devices"]), int(found["devices_per_host"])
    if min(devices, per_host) < 1:
        raise ValueError("devices and devices_per_host must be 1 or more")
    return Hardware(
        name=name,
        title=str(found["title"]),
        device=str(found["device"]),
        devices=devices,
        devices_per_host=per_host,
        topology=topology,
        figures=figures,
        compiled=bool(found.get("compiled", False)),
        shares_host=bool(found.get("shares_host", False)),
    )


def _figure(name: str, entry: Mapping[str, Any]) -> Figure:
    value, kind, source = entry["value"], entry["kind"], entry["source"]
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
    if name.endswith("_achieved") and value > 1:
        raise ValueError(f"{name} is a part of the peak, at most 1, not {value!r}")
    if kind not in KINDS:
        raise ValueError(f"kind of {name} must be one of {', '.join(KINDS)}")
    if not source:
        raise ValueError(f"{name} needs a source")
    return Figure(float(value), str(kind), str(source))
