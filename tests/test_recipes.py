"""Every recipe parses, says where it is from, and means the numbers it stands for."""

import math
import re
from fractions import Fraction
from pathlib import Path

import pytest
from absl import flags as absl_flags

import flags
from simclr_tf2 import optimizers
from simclr_tf2.protocols import published
from tests.support.program_flags import parsed

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.flags"))
# Tuned on the machine at hand, result in the README: no published source, no table.
TUNED = {"quickstart"}
PUBLISHED = [name for name in RECIPES if name not in TUNED]

# Images of (data set, split): TFDS's catalogue; ImageNet-100 by its users (CMC list).
EXAMPLES = {
    ("cifar10", "train"): 50_000,
    ("cifar100", "train"): 50_000,
    ("fashion_mnist", "train"): 60_000,
    ("fashion_mnist", "train[:20000]"): 20_000,
    ("imagenet100", "train"): 126_689,
    ("imagenet2012", "train"): 1_281_167,
    ("imagenet2012_subset/1pct", "train"): 12_811,
    ("imagenet2012_subset/10pct", "train"): 128_116,
    ("stl10", "unlabelled"): 100_000,
}

# By hand: steps = N * epochs // B + 1, warm-up = warm-up epochs * N // B (reference
# code), peak = base * B / 256, base * sqrt(B) or base (SimCLR, section 2.2 and B.1).
DERIVED = {
    # 50,000 images, B 512: 97.66 batches per epoch; 1.0 * 2
    "cifar10_r18": (97_657, 976, 2.0),
    "cifar100_r18": (97_657, 976, 2.0),
    "linear_eval_cifar10": (9_766, 0, 0.2),
    # B 1024: 48.83 per epoch; 1.0 * 4
    "cifar10_r50": (48_829, 488, 4.0),
    # B 256: 195.31 per epoch; 0.2 * 16
    "small_gpu": (78_126, 1_953, 3.2),
    # 100,000 images, B 512: 195.31 per epoch
    "stl10_r18": (19_532, 1_953, 0.0003),
    "stl10_r50": (15_626, 1_953, 0.0003),
    # 126,689 images, B 512: 247.44 per epoch; 0.075 * 22.627
    "imagenet100_r50": (98_976, 2_474, 1.6970562748),
    # 60,000 and 20,000 images, B 64: 937.5 and 312.5 per epoch
    "fashion_mnist": (9_376, 468, 0.02),
    "fashion_mnist_fast": (1_563, 78, 0.02),
    # 50,000 images, B 256 and 128: 195.31 and 390.63 per epoch
    "cifar10_r18_fast": (19_532, 390, 0.02),
    "small_gpu_fast": (39_063, 781, 0.02),
    # 100,000 images, B 256: 390.63 per epoch
    "stl10_r18_fast": (7_813, 390, 0.02),
    # 1,281,167 images, B 4096: 312.785 per epoch; 0.3 * 16, 0.1 * 64, 0.1 * 16
    "imagenet_r50_100ep": (31_279, 3_127, 4.8),
    "imagenet_r50_200ep": (62_557, 3_127, 4.8),
    "imagenet_r50_200ep_b256": (1_000_912, 50_045, 0.3),
    "imagenet_r50_400ep": (125_114, 3_127, 4.8),
    "imagenet_r50_800ep": (250_228, 3_127, 4.8),
    "imagenet_r50_1000ep": (312_785, 3_127, 4.8),
    "imagenet_r50x2_1000ep": (312_785, 3_127, 4.8),
    "imagenet_r50x4_1000ep": (312_785, 3_127, 4.8),
    "v2_r50_1x": (250_228, 12_511, 6.4),
    "v2_r50_1x_sk": (250_228, 12_511, 6.4),
    "v2_r101_2x_sk": (250_228, 12_511, 6.4),
    "v2_r152_3x_sk": (250_228, 12_511, 6.4),
    "linear_eval_imagenet": (28_151, 0, 1.6),
    "v2_linear_eval": (28_151, 0, 1.6),
    # 12,811, 128,116 and 1,281,167 images, B 4096; 0.05 * 16
    "finetune_1pct": (188, 0, 0.8),
    "finetune_10pct": (939, 0, 0.8),
    "finetune_100pct": (9_384, 0, 0.8),
    # the same with B 1024; 0.005 * 32
    "v2_finetune_1pct": (751, 0, 0.16),
    "v2_finetune_10pct": (3_754, 0, 0.16),
    "v2_finetune_100pct": (37_535, 0, 0.16),
}


def read(name):
    return (FOLDER / f"{name}.flags").read_text()


def settings(name):
    """Flags of a recipe as text, read without absl."""
    return dict(re.findall(r"^--(\w+)=(.*)$", read(name), flags=re.MULTILINE))


def config_of(name):
    return flags.config_from_flags(parsed(f"--flagfile={FOLDER / f'{name}.flags'}"))


def header(name):
    """The comment before the first flag, one string, line breaks gone."""
    lines = read(name).split("\n--")[0].splitlines()
    assert all(line.startswith("# ") for line in lines), name
    return " ".join(line[2:] for line in lines)


def count(name):
    given = settings(name)
    return EXAMPLES[given["dataset"], given["train_split"]]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_parses_into_a_config_of_its_own_folder(name):
    config = config_of(name)
    assert config.model_dir == f"runs/{name}"
    assert config.mode in ("pretrain", "finetune")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_says_its_source_hardware_and_expected_result(name):
    text = header(name)
    for label in ("Source: ", "Hardware: ", "Expected: "):
        assert label in text, label
    expected = text.split("Expected: ")[1]
    assert expected.startswith(("published, not ours", "ours")), expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_derived_numbers_equal_the_table(name):
    config = config_of(name)
    batch, examples = config.training.train_batch_size, count(name)
    steps = optimizers.total_steps(
        num_examples=examples,
        global_batch_size=batch,
        train_epochs=config.training.train_epochs,
        train_steps=config.training.train_steps,
    )
    warmup = optimizers.warmup_steps(
        num_examples=examples,
        global_batch_size=batch,
        warmup_epochs=config.optimizer.warmup_epochs,
    )
    peak = optimizers.scaled_learning_rate(
        config.optimizer.learning_rate,
        scaling=config.optimizer.learning_rate_scaling,
        global_batch_size=batch,
    )
    assert (steps, warmup) == DERIVED[name][:2]
    assert peak == pytest.approx(DERIVED[name][2], rel=1e-9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_is_arithmetic_of_the_text(name):
    given = {
        k: Fraction(v)
        for k, v in settings(name).items()
        if re.fullmatch(r"[\d.e+-]+", v)
    }
    examples, batch = count(name), int(given["train_batch_size"])
    steps = math.floor(examples * given["train_epochs"] / batch) + 1
    warmup = math.floor(examples * given["warmup_epochs"] / batch)
    factor = {
        "linear": batch / 256,
        "sqrt": batch**0.5,
        "none": 1,
    }[settings(name)["learning_rate_scaling"]]
    assert DERIVED[name][:2] == (steps, warmup)
    assert DERIVED[name][2] == pytest.approx(given["learning_rate"] * factor, rel=1e-9)


@pytest.mark.parametrize("name", [n for n in RECIPES if "checkpoint" in settings(n)])
def test_a_finetuning_recipe_builds_the_network_that_its_checkpoint_holds(name):
    folder, source = settings(name)["checkpoint"].split("/")
    assert folder == "runs" and source in RECIPES
    mine, theirs = config_of(name), config_of(source)
    assert mine.mode == "finetune" and theirs.mode == "pretrain"
    for field in (
        "resnet_depth width_multiplier sk_ratio se_ratio stem proj_head_mode "
        "num_proj_layers proj_out_dim"
    ).split():
        assert getattr(mine.model, field) == getattr(theirs.model, field), field
    assert mine.data.image_size == theirs.data.image_size


@pytest.mark.parametrize("name", [n for n in RECIPES if n.startswith("linear_eval")])
def test_linear_evaluation_trains_the_classifier_alone_on_h(name):
    config = config_of(name)
    assert config.model.fine_tune_after_block == 4
    assert config.model.ft_proj_selector == 0
    assert config.model.zero_init_logits_layer
    assert config.optimizer.weight_decay == 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_no_flag_that_its_mode_does_not_read(name):
    mode = config_of(name).workflow
    assert flags.of_other_modes(absl_flags.FLAGS, mode) == []
    assert flags.measured_later(absl_flags.FLAGS, mode) == []


def test_the_table_of_the_folder_names_every_recipe():
    rows = re.findall(r"^\| `(\w+)` \|", (FOLDER / "README.md").read_text(), re.M)
    assert len(rows) == len(set(rows))
    assert set(rows) == set(RECIPES)
    assert set(DERIVED) == set(PUBLISHED)


def test_the_benchmark_network_has_the_settings_of_its_page():
    """Those of the published values in its header, by hand."""
    config = config_of("imagenet_r50_200ep_b256")
    model, optimizer = config.model, config.optimizer
    assert (model.resnet_depth, model.width_multiplier, model.sk_ratio) == (50, 1, 0)
    assert (model.proj_head_mode, model.num_proj_layers) == ("nonlinear", 2)
    assert model.proj_out_dim == 128
    assert (optimizer.optimizer, optimizer.momentum) == ("lars", 0.9)
    assert (optimizer.weight_decay, optimizer.warmup_epochs) == (1e-6, 10)
    training, strength = config.training, config.augmentation.color_jitter_strength
    assert (training.train_batch_size, training.train_epochs) == (256, 200)
    assert (config.loss.temperature, strength) == (0.1, 1)
    # 0.8, 0.8, 0.8, 0.2 times the strength
    assert config.augmentation.use_blur and config.data.image_size == 224


@pytest.mark.parametrize("name", RECIPES)
def test_probes_of_published_protocols_learn_from_all_images(name):
    config = config_of(name)
    of_papers = published(config.evaluation.protocols)
    if of_papers:
        assert config.evaluation.probe_examples >= count(name), of_papers
