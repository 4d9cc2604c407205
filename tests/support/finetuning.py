"""Fine-tuning a tiny run by the command line, and which parts of it moved."""

import numpy as np

from tests.command_line import TINY

NETWORK = [
    argument
    for argument in TINY
    if argument.split("=")[0]
    in (
        "--dataset",
        "--image_size",
        "--resnet_depth",
        "--width_multiplier",
        "--stem",
        "--num_proj_layers",
        "--proj_out_dim",
        "--eval_split",
    )
]
FINETUNE = [
    *NETWORK,
    "--mode=train_then_eval",
    "--train_mode=finetune",
    "--train_split=train",
    "--optimizer=momentum",
    "--learning_rate=0.1",
    "--weight_decay=0",
    "--warmup_epochs=0",
    "--train_batch_size=50",
    "--train_steps=6",
    "--log_steps=2",
    "--monitor_epochs=0",
    "--noreport",
]


def moved(first, second):
    """Parts of the network whose variables differ: stem, group1.., head."""
    shared = set(first) & set(second)
    assert len(shared) > 50
    return {
        "stem" if n.startswith("stem") else n.split("_")[0]
        for n in shared
        if not np.array_equal(first[n], second[n])
    }
