"""What a TPU asks of a step and of an evaluation, shown without a TPU.

All shapes are known when a graph is compiled, every operation has a kernel in XLA, no
number is of a type that a TPU lacks, and bfloat16 gives what it gives uncompiled. That
is necessary, not sufficient: nothing here has run on a TPU.
"""

import functools
import re

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2 import losses, models, optimizers
from simclr_tf2.augmentations import sampling
from simclr_tf2.config import DataConfig, LossConfig, OptimizerConfig
from simclr_tf2.data import array_files, opening, pipeline
from simclr_tf2.data.views import ViewSpec
from simclr_tf2.evaluation.features import depths
from simclr_tf2.training import cached_gradients, steps, weight_average
from tests.support import equal_trainings, small_networks
from tests.support.xla_graphs import refused

SIZE, IMAGES, CLASSES = 20, 4, 3  # 20 pixels: the least that are blurred
ALL_LAYERS = {"sk_ratio": 0.0625, "se_ratio": 0.25}
PRETRAIN = {
    "lars": {"optimizer": "lars", "network": ALL_LAYERS},
    "blocks, adamw": {"optimizer": "adamw", "loss": {"loss_block_size": 3}},
    "logistic, momentum": {"optimizer": "momentum", "loss": {"loss": "nt_logistic"}},
    "semi-hard logistic, adam": {
        "optimizer": "adam",
        "loss": {"loss": "nt_logistic", "semi_hard": True},
    },
    "margin, lamb": {"optimizer": "lamb", "loss": {"loss": "margin"}},
    "semi-hard margin": {"loss": {"loss": "margin", "semi_hard": True}},
    "views of the device": {"on_device": True},
    "micro-batches": {"micro": 2, "network": ALL_LAYERS},
    "frozen micro-batches": {"micro": 2, "micro_norm": "frozen"},
    "multi-crop": {"local": 12},
    "recomputed blocks": {"remat": "blocks"},
    "all at once": {
        "loss": {"loss_block_size": 3},
        "on_device": True,
        "micro": 2,
        "network": ALL_LAYERS,
    },
}
FINETUNE = {
    "lars": {"optimizer": "lars", "network": ALL_LAYERS},
    "momentum, frozen stem": {"optimizer": "momentum", "frozen": 0},
}
RUN = {"lars": PRETRAIN["lars"], "all at once": PRETRAIN["all at once"]}


@pytest.fixture(autouse=True)
def short_network(monkeypatch):
    small_networks.one_bottleneck(monkeypatch)


def network(settings=None, *, any_size=False, export=False, replicas=1):
    """A network in bfloat16, or in export form; always the same weights."""
    return small_networks.narrow_network(
        SIZE,
        settings,
        num_replicas=replicas,
        dtype="mixed_bfloat16",
        any_size=any_size,
        export=export,
    )


def optimizer_of(name, model, variables):
    roles = optimizers.variable_roles(model, supervised_head=model.supervised_head)
    optimizer = optimizers.build_optimizer(
        OptimizerConfig(optimizer=name, weight_decay=0.01),
        learning_rate=optimizers.WarmupCosine(0.05, 9, 2),
        exclude=optimizers.exclusions(name, roles),
    )
    optimizer.build(variables)
    decayed = optimizers.decayed_in_loss(variables, roles, optimizer=name)
    return optimizer, {"decayed_variables": decayed, "weight_decay": 0.01}


def pretraining(case):
    model = network(
        case.get("network"),
        any_size="local" in case,
        replicas=tf.distribute.get_strategy().num_replicas_in_sync,
    )
    models.recompute(model, case.get("remat", "off"))
    optimizer, decay = optimizer_of(
        case.get("optimizer", "lars"), model, model.trainable_variables
    )
    loss = losses.build_loss(LossConfig(temperature=0.5, **case.get("loss", {})))
    make = steps.pretrain_step
    if "micro" in case:
        make = functools.partial(
            cached_gradients.cached_gradient_step,
            micro_batch_size=case["micro"],
            batch_norm=case.get("micro_norm", "micro"),
        )
    views = 3 if "local" in case else 2
    step = make(
        model,
        optimizer,
        losses.over_view_pairs(loss, num_views=views),
        supervised=True,
        **decay,
    )
    if case.get("on_device"):
        step = steps.with_views_finished(step, use_blur=True)
    return weight_average.averaging(step, weight_average.WeightAverage(model, 0.99))


def finetuning(case):
    model = network(case.get("network"))
    models.freeze_up_to_block(model.backbone, case.get("frozen", -1))
    variables = model.finetune_trainable_variables
    optimizer, decay = optimizer_of(case["optimizer"], model, variables)
    return steps.finetune_step(model, optimizer, variables, **decay)


def batch_of(case=None):
    """A batch of one replica, as the pipelines make it."""
    case, rng = case or {}, np.random.default_rng(0)

    def images(side):
        return tf.constant(rng.random((IMAGES, side, side, 3), np.float32))

    views = images(SIZE), images(SIZE)
    labels = tf.constant([0, 1, 2, 0], tf.int64)
    batch = {"views": views, "image": views[0], "label": labels}
    if "local" in case:
        batch["local_views"] = (images(case["local"]),)
    if case.get("on_device"):
        low, high = sampling.ranges(1.0)
        batch["draws"] = tuple(
            tf.constant(rng.uniform(low, high, (IMAGES, len(low))), tf.float32)
            for _ in views
        )
    return batch


def specs(batch):
    return tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), batch)


@pytest.mark.parametrize("name", PRETRAIN)
def test_a_pretraining_step_is_static_and_all_of_it_compiles(name):
    case = PRETRAIN[name]
    step = tf.function(pretraining(case), autograph=False)
    assert refused(step, specs(batch_of(case))) == []


@pytest.mark.parametrize("name", ["lars", "all at once"])
def test_a_step_of_several_replicas_is_static_too(two_replicas, monkeypatch, name):
    """The gather of a TPU keeps shapes; that of a CPU, replaced here, forgets them."""

    def gather(context, tensor, axis):
        assert axis == 0
        return tf.concat([tensor] * context.num_replicas_in_sync, 0)

    monkeypatch.setattr(tf.distribute.ReplicaContext, "all_gather", gather)
    case = PRETRAIN[name]
    batch = batch_of(case)
    with two_replicas.scope():
        step = pretraining(case)
    batches = two_replicas.experimental_distribute_values_from_function(lambda _: batch)
    run = tf.function(lambda x: two_replicas.run(step, args=(x,)), autograph=False)
    assert refused(run, batches) == []


@pytest.mark.parametrize("name", FINETUNE)
def test_a_finetuning_step_is_static_and_all_of_it_compiles(name):
    step = tf.function(finetuning(FINETUNE[name]), autograph=False)
    assert refused(step, specs(batch_of())) == []


def test_the_networks_of_evaluations_are_static_and_compile():
    model = network(ALL_LAYERS, export=True)
    half = network(ALL_LAYERS)  # as online evaluations find it during training
    encoder = models.build_encoder(model.backbone)
    calls = {
        "h": lambda x: encoder(x, training=False),
        "h and z": lambda x: model(x, training=False),
        "classifier": lambda x: model.finetune_logits(x, training=False),
        "feature5": lambda x: depths.pool_to(
            model.backbone(x, training=False)["block_group1"], (3, 3)
        ),
        "h and z in bfloat16": lambda x: half(x, training=False),
    }
    images = tf.TensorSpec([IMAGES, SIZE, SIZE, 3], tf.float32)
    for name, call in calls.items():
        function = tf.function(call, autograph=False)
        assert refused(function, images) == [], name


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda x: tf.numpy_function(np.sum, [x], tf.float32), "PyFunc is not comp"),
        (lambda x: tf.boolean_mask(x, x[:, 0, 0, 0] > 0.5), "Where is not compiled"),
        (lambda x: tf.cast(x, tf.float64), "Cast is float64"),
        (lambda x: tf.print(x), "PrintV2 is not compiled"),
        (
            lambda x: tf.map_fn(
                lambda image: tf.image.resize(image, (9, 9), "bicubic"), x
            ),
            "ResizeBicubic is not compiled",
        ),
        (lambda x: x[: tf.cast(x[0, 0, 0, 0], tf.int32)], r"has shape \(None, 20"),
    ],
)
def test_what_a_tpu_refuses_is_found(wrong, why):
    def among_others(x):
        for _ in range(9):
            x = tf.nn.relu(x)
        wrong(x)
        return x

    function = tf.function(among_others, autograph=False)
    found = refused(function, tf.TensorSpec([IMAGES, SIZE, SIZE, 3], tf.float32))
    assert any(re.search(why, line) for line in found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RUN, "finetuning"])
def test_a_compiled_step_in_bfloat16_gives_the_losses_of_an_uncompiled_one(name):
    case = RUN.get(name, FINETUNE["lars"])
    batch, found = batch_of(case), []
    for jit_compile in (False, True):
        step = (pretraining if name in RUN else finetuning)(case)
        run = tf.function(step, autograph=False, jit_compile=jit_compile)
        scalars = [{k: float(v) for k, v in run(batch).items()} for _ in range(3)]
        found.append(scalars)
    # 8 bits of precision, rounded between other operations
    for plain, compiled in zip(*found, strict=True):
        for key in ("loss", "total_loss"):
            np.testing.assert_allclose(compiled[key], plain[key], rtol=0.02)
    assert found[0][0]["loss"] != found[0][2]["loss"]


def test_a_compiled_evaluation_gives_the_features_of_an_uncompiled_one():
    model = network(ALL_LAYERS, export=True)
    images = batch_of()["image"]
    plain, compiled = (
        tf.function(model, autograph=False, jit_compile=jit)(images, training=False)
        for jit in (False, True)
    )
    for name, value in plain.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("streamed", [False, True])
def test_each_host_gets_its_own_batches_and_their_shapes_are_static(
    tmp_path, two_replicas, streamed
):
    split = array_files.from_arrays(*equal_trainings.images())
    if streamed:
        equal_trainings.write_records(tmp_path)
        data = DataConfig(
            tfrecords=f"{tmp_path}/{{split}}-*.tfrecord", data_dir=str(tmp_path)
        )
        split = opening.open_split(data, "train")
    cache, asked = "off" if streamed else "auto", []
    views = ViewSpec(image_size=SIZE, strength=0.5, use_blur=True, on_device=True)

    def of_host(context):
        asked.append(context.num_input_pipelines)
        plan = pipeline.plan_batches(split, 8, context)
        pairs = pipeline.make_pretrain_dataset(split, plan, views, seed=0, cache=cache)
        labelled = pipeline.make_supervised_dataset(
            split, plan, image_size=SIZE, seed=0, cache=cache
        )
        return tf.data.Dataset.zip(pairs, labelled)

    dataset = two_replicas.distribute_datasets_from_function(of_host)
    assert asked == [1]  # once for each host, not for each replica
    for spec in tf.nest.flatten(dataset.element_spec, expand_composites=True):
        assert spec.shape.is_fully_defined(), dataset.element_spec
        assert spec.shape[0] == 4
    evaluated = pipeline.make_eval_dataset(split, batch_size=16, image_size=SIZE)
    for spec in tf.nest.flatten(evaluated.element_spec):
        assert spec.shape.is_fully_defined(), evaluated.element_spec
