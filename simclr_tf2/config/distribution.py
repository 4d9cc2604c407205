"""Settings of the devices that the program runs on."""

from __future__ import annotations

from dataclasses import dataclass

from simclr_tf2.config.checks import (
    is_address,
    require,
    require_choice,
    require_not_negative,
    require_positive,
)
from simclr_tf2.config.modes import EVERY_MODE, TRAINING
from simclr_tf2.config.settings import PLACE, SPEED, setting

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
COMMUNICATION = ("auto", "ring", "nccl")


@dataclass(frozen=True, kw_only=True)
class DistributionConfig:
    """Settings of the devices that the program runs on; the last four are for TPUs."""

    strategy: str = setting("auto", changes=PLACE, modes=EVERY_MODE, ours=True)
    # Logical CPUs, to try replicas anywhere
    num_virtual_devices: int = setting(0, changes=PLACE, modes=EVERY_MODE, ours=True)
    # Addresses of all workers, host:port; empty: those of TF_CONFIG
    cluster: tuple[str, ...] = setting((), changes=PLACE, modes=TRAINING, ours=True)
    # Number of this process in ``cluster``
    task_index: int | None = setting(None, changes=PLACE, modes=TRAINING, ours=True)
    # How workers sum gradients; auto: TensorFlow decides
    communication: str = setting("auto", changes=SPEED, modes=TRAINING, ours=True)
    # Seconds to wait for the other workers at the start
    worker_timeout: int = setting(300, changes=PLACE, modes=TRAINING, ours=True)
    # Numbers of the GPUs to use; empty: all
    visible_devices: tuple[str, ...] = setting(
        (), changes=PLACE, modes=EVERY_MODE, ours=True
    )
    # Take GPU memory as it is needed, not all at the start
    memory_growth: bool = setting(False, changes=PLACE, modes=EVERY_MODE, ours=True)
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
        require_choice("communication", self.communication, COMMUNICATION)
        require_positive(self, "worker_timeout")
        require(
            all(number.isdigit() for number in self.visible_devices),
            "visible_devices",
            "numbers of GPUs with commas between them (0,1)",
            self.visible_devices,
        )
        self._check_cluster()

    def _check_cluster(self) -> None:
        """Refuse a cluster without a place in it, and the reverse."""
        count = len(self.cluster)
        require(
            all(map(is_address, self.cluster)),
            "cluster",
            "host:port of each worker, with commas between them",
            self.cluster,
        )
        require(
            len(set(self.cluster)) == count,
            "cluster",
            "a list in which each host:port stands once",
            self.cluster,
        )
        if count:
            require(
                self.task_index is not None and 0 <= self.task_index < count,
                "task_index",
                f"the place of this process in --cluster, 0 to {count - 1}",
                self.task_index,
            )
            require(
                self.strategy in ("auto", "multi_worker"),
                "strategy",
                "auto or multi_worker with --cluster",
                self.strategy,
            )
            tpu = self.use_tpu or bool(self.tpu_name or self.master)
            require(not tpu, "cluster", "left out with a TPU", self.cluster)
        else:
            require(
                self.task_index is None,
                "task_index",
                "left out without --cluster",
                self.task_index,
            )
