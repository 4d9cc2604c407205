"""The workflows of the program: one function per mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simclr_tf2.config import Config
from simclr_tf2.runs import remote
from simclr_tf2.runs.eval_settings import warn_of_unread_dataset
from simclr_tf2.workflows.embed import embed
from simclr_tf2.workflows.evaluate import evaluate
from simclr_tf2.workflows.export import export
from simclr_tf2.workflows.finetune import finetune
from simclr_tf2.workflows.plan import plan
from simclr_tf2.workflows.predict import predict
from simclr_tf2.workflows.pretrain import pretrain
from simclr_tf2.workflows.scan import scan

Workflow = Callable[[Config], dict[str, Any]]
WORKFLOWS: dict[str, Workflow] = {
    "pretrain": pretrain,
    "finetune": finetune,
    "eval": evaluate,
    "predict": predict,
    "export": export,
    "embed": embed,
    "scan": scan,
    "plan": plan,
}


def run(config: Config) -> dict[str, Any]:
    """Run the workflow of ``config.mode`` and return its results.

    Args:
        config: Everything that was asked for.

    Remote folders (gs://bucket/run) have local copies meanwhile (``runs/remote.py``).

    Raises:
        ConfigError: The mode cannot run as configured.
    """
    if config.workflow in ("pretrain", "finetune", "scan"):  # eval says it itself
        warn_of_unread_dataset(config)
    with remote.folders(config):
        return WORKFLOWS[config.workflow](config)
