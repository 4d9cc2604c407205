"""Make loss_curve.json: 20 steps on simclr_shapes/tiny, and what may differ.

    python -m tests.golden.make_loss_curve

Run it after a change that is meant to change numbers, and say so in the commit. The
tolerance comes from runs that differ from the first one in nothing but rounding: other
kernels of TensorFlow, and settings that are moved by one or two units of float32. The
largest relative distance from the first run up to a step, times SAFETY, is the
tolerance of that step. A run with a learning rate 1 % higher shows that a real change
is far outside of it.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from tests import command_line

PATH = Path(__file__).parent / "loss_curve.json"
STEPS, SAFETY, FLOOR = 20, 10, 2e-6  # the floor: 16 units of float32
# LARS, because its updates do not amplify rounding as those of Adam do
ARGUMENTS = [
    *command_line.TINY,
    "--optimizer=lars",
    "--learning_rate=0.05",
    "--weight_decay=1e-4",
    "--temperature=0.5",
    f"--train_steps={STEPS}",
    "--log_steps=1",
    f"--checkpoint_steps={STEPS}",
    "--protocols=",
    "--export_formats=",
    "--noreport",
]
ROUNDING = {
    "other_kernels": ([], {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "color_jitter_strength": (["--color_jitter_strength=0.5000001"], {}),
    "temperature": (["--temperature=0.5000001"], {}),
}
CHANGE = ["--learning_rate=0.0505"]


def curve(folder, data_dir, *extra, **environment):
    """The loss of every step, and versions, of one run by the command line."""
    done = command_line.run(
        *ARGUMENTS,
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        *extra,
        **environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(x) for x in (Path(folder) / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [*range(1, STEPS + 1)]
    versions = json.loads((Path(folder) / "results.json").read_text())["environment"]
    return np.array([line["loss"] for line in lines]), versions


def distance(losses, reference):
    return abs(losses / reference - 1)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loss, versions = curve(folder / "run", folder / "data")
        spread = {
            what: distance(
                curve(folder / what, folder / "data", *extra, **env)[0], loss
            )
            for what, (extra, env) in ROUNDING.items()
        }
        changed = curve(folder / "changed", folder / "data", *CHANGE)[0]
    largest = np.maximum.accumulate(np.max([*spread.values()], axis=0))
    document = {
        "arguments": ARGUMENTS,
        "versions": versions,
        "loss": loss.tolist(),
        "tolerance": np.maximum(FLOOR, SAFETY * largest).tolist(),
        "rounding": {what: values.tolist() for what, values in spread.items()},
        "changed": {"arguments": CHANGE, "distance": distance(changed, loss).tolist()},
    }
    PATH.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
