"""Fine-tuning by the command line: what trains, what stays, what it starts from."""

import json

import numpy as np
import pytest

from simclr_tf2.runs.checkpoints import weights
from tests import command_line
from tests.support.finetuning import FINETUNE, moved


def finetune(folder, data_dir, pretrained, *extra):
    done = command_line.run(
        *FINETUNE,
        f"--model_dir={folder}",
        f"--data_dir={data_dir}",
        f"--checkpoint={pretrained}",
        *extra,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_linear_evaluation_moves_only_the_classifier(finished, data_dir, tmp_path):
    folder = tmp_path / "linear"
    done = finetune(
        folder,
        data_dir,
        finished[0],
        "--fine_tune_after_block=4",
        "--zero_init_logits_layer",
        "--checkpoint_steps=2",
    )
    before, after = weights(f"{finished[0]}/ckpt-12"), weights(f"{folder}/ckpt-6")
    assert moved(before, after) == set()  # batch-norm statistics included
    assert moved(weights(f"{folder}/ckpt-2"), after) == {"head"}
    record = json.loads((folder / "results.json").read_text())["results"][
        "Fine-tuned network/supervised"
    ]
    assert record["test_examples"] == 500 and 0 < record["value"] <= 1
    assert record["value"] <= record["top5"] <= 1
    assert "Fine-tuned network" in done.stdout and (folder / "encoder.keras").exists()


@pytest.mark.parametrize("block", [-1, 0, 2])
def test_the_cut_decides_which_block_groups_move(finished, data_dir, tmp_path, block):
    folder = tmp_path / "run"
    finetune(
        folder,
        data_dir,
        finished[0],
        f"--fine_tune_after_block={block}",
        "--export_formats=",
    )
    found = moved(weights(f"{finished[0]}/ckpt-12"), weights(f"{folder}/ckpt-6"))
    assert found == {"stem" if g == 0 else f"group{g}" for g in range(5) if g > block}


def test_a_classifier_on_the_middle_of_the_head_trains_that_layer(
    finished, data_dir, tmp_path
):
    folder = tmp_path / "selector"
    finetune(folder, data_dir, finished[0], "--ft_proj_selector=1", "--export_formats=")
    first, second = weights(f"{finished[0]}/ckpt-12"), weights(f"{folder}/ckpt-6")
    changed = {n for n in first if not np.array_equal(first[n], second[n])}
    assert any(n.startswith("projection_head_nl_0") for n in changed)
    assert not any(n.startswith("projection_head_nl_1") for n in changed)


def test_without_checkpoint_it_says_that_weights_are_random(data_dir, tmp_path):
    done = command_line.run(
        *FINETUNE,
        f"--model_dir={tmp_path / 'run'}",
        f"--data_dir={data_dir}",
        "--export_formats=",
    )
    assert done.returncode == 0 and "starts from random weights" in done.stderr


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--checkpoint=/no/such/place"], "no checkpoint there"),
        (["--train_split=unlabeled"], "labels"),
        (["--width_multiplier=0.25"], "--width_multiplier=0.25 (there 0.125)"),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(
    finished, data_dir, tmp_path, extra, message
):
    code, stderr = command_line.main(
        *FINETUNE,
        f"--model_dir={tmp_path / 'run'}",
        f"--data_dir={data_dir}",
        f"--checkpoint={finished[0]}",
        *extra,
    )
    assert code == 2, stderr[-2000:]
    assert message in stderr.strip().splitlines()[-1]


def test_a_tenth_of_the_labels_is_drawn_per_class_kept_and_used(
    finished, data_dir, tmp_path
):
    pretrained, _ = finished
    folder = tmp_path / "semi"
    arguments = (folder, data_dir, pretrained, "--label_fraction=0.1")
    finetune(*arguments)
    kept = json.loads((folder / "labelled_subset.json").read_text())
    assert len(kept["indices"]) == 50 and kept["fraction"] == 0.1
    record = json.loads((folder / "results.json").read_text())["results"]
    (record,) = record.values()
    assert record["test_examples"] == 500
    (folder / "results.json").unlink()
    finetune(*arguments)  # goes on with the same labels
    assert json.loads((folder / "labelled_subset.json").read_text()) == kept
