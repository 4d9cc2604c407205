"""Tiny runs of the workflows in this process: settings, training, measuring."""

import json

import flags
from simclr_tf2 import config as config_lib
from simclr_tf2 import workflows
from tests.command_line import TINY
from tests.support.program_flags import parsed

# Two steps of a small batch, and nothing after them.
QUICK = {
    "train_steps": 2,
    "train_batch_size": 16,
    "log_steps": 1,
    "checkpoint_steps": 2,
    "strategy": "one_device",
    "progress": "none",
    "protocols": "",
    "export_formats": "",
    "report": False,
}
QUIET = ["--mode=eval", "--nobaselines", "--noreport", "--strategy=one_device"]


def tiny_config(**changes):
    flat = {}
    for argument in TINY:
        name, _, value = argument.removeprefix("--").partition("=")
        flat[name] = value
    flat.pop("nouse_blur")
    defaults = config_lib.field_defaults()
    flat = {
        k: v if defaults[k] is None or k == "image_size" else type(defaults[k])(v)
        for k, v in flat.items()
    }
    return config_lib.from_flat({**flat, "use_blur": False, **changes})


def run(folder, data_dir, **changes):
    """Results and the lines of metrics.jsonl."""
    settings = {**QUICK, **changes}
    for name in ("protocols", "export_formats"):
        settings[name] = tuple(x for x in settings[name].split(",") if x)
    results = workflows.run(
        tiny_config(model_dir=str(folder), data_dir=str(data_dir), **settings)
    )
    return results, [json.loads(x) for x in (folder / "metrics.jsonl").open()]


def measure(folder, *arguments):
    """What the program does with these flags, in this process."""
    values = parsed(*QUIET, f"--model_dir={folder}", "--eval_name=bad", *arguments)
    return workflows.run(flags.config_from_flags(values))
