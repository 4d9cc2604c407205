"""Settings of the devices that the program runs on."""

from __future__ import annotations

from dataclasses import dataclass

from simclr_tf2.config.checks import require, require_choice, require_not_negative
from simclr_tf2.config.modes import EVERY_MODE
from simclr_tf2.config.settings import PLACE, SPEED, setting

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")


@dataclass(frozen=True, kw_only=True)
class DistributionConfig:
    """Settings of the devices that the program runs on; the last four are for TPUs."""

    strategy: str = setting("auto", changes=PLACE, modes=EVERY_MODE, ours=True)
    # Logical CPUs, to try replicas anywhere
    num_virtual_devices: int = setting(0, changes=PLACE, modes=EVERY_MODE, ours=True)
    # Of multi_worker; 0: TensorFlow decides
    gradient_pack_mib: int = setting(0, changes=SPEED, modes=EVERY_MODE, ours=True)
    # The reference's default is True; ours detects a TPU
    use_tpu: bool | None = setting(None, changes=PLACE, modes=EVERY_MODE, ours=True)
    tpu_name: str | None = setting(None, changes=PLACE, modes=EVERY_MODE)
    tpu_zone: str | None = setting(None, changes=PLACE, modes=EVERY_MODE)
    gcp_project: str | None = setting(None, changes=PLACE, modes=EVERY_MODE)
    master: str | None = setting(None, changes=PLACE, modes=EVERY_MODE)

    def __post_init__(self) -> None:
        require_choice("strategy", self.strategy, STRATEGIES)
        require(
            0 <= self.num_virtual_devices <= 64,
            "num_virtual_devices",
            "from 0 (off) to 64",
            self.num_virtual_devices,
        )
        require_not_negative(self, "gradient_pack_mib")
