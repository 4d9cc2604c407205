"""Settings of ``--mode=plan``."""

from __future__ import annotations

from dataclasses import dataclass

from simclr_tf2.config.checks import require, require_not_negative
from simclr_tf2.config.modes import PLAN
from simclr_tf2.config.settings import OUTPUT, setting

LARGEST_SCALING = 1_000_000


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Settings of ``--mode=plan``: for which hardware, and how many images."""

    # Names of files in recipes/hardware, or paths
    hardware: tuple[str, ...] = setting(
        ("tpu_v3_32", "tpu_v4_128", "8xh100", "1xa100", "2_cpu_cores"),
        changes=OUTPUT,
        modes=PLAN,
        ours=True,
    )
    # 0: those of the hardware file
    plan_devices: int = setting(0, changes=OUTPUT, modes=PLAN, ours=True)
    # 0: known for the data set, or counted
    plan_examples: int = setting(0, changes=OUTPUT, modes=PLAN, ours=True)
    # 0: no table of scaling
    plan_scaling: int = setting(0, changes=OUTPUT, modes=PLAN, ours=True)

    def __post_init__(self) -> None:
        require(
            bool(self.hardware),
            "hardware",
            "a name from recipes/hardware or a .json file",
            self.hardware,
        )
        require_not_negative(self, "plan_devices", "plan_examples")
        require(
            0 <= self.plan_scaling <= LARGEST_SCALING,
            "plan_scaling",
            f"from 0 (no table) to {LARGEST_SCALING:,} devices",
            self.plan_scaling,
        )
