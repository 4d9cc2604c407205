"""Four whole networks against outputs of the reference code.

Tolerances come from the vectors themselves: ``sens_*`` is how far an output moves,
relative to its largest value, when the input moves by 1e-6. Deep training-mode
networks amplify rounding; a fixed tolerance would be too tight or mean nothing.
"""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.config import ModelConfig
from simclr_tf2.models import build_simclr
from simclr_tf2.reference.names import assign_reference_weights, reference_variables
from tests.support import reference_vectors

pytestmark = pytest.mark.golden
NETWORKS = [  # vectors, whether in stock layers (else with fused batch norm)
    ("d18_sk0_cifar32", True),
    ("d18_sk0_cifar32", False),
    ("d18_sk0_se0.25_cifar32", True),
    pytest.param(("d50_sk0_img64", True), marks=pytest.mark.slow),
    pytest.param(("d50_sk0.0625_img64", True), marks=pytest.mark.slow),
]


class Case:
    """A network with the recipe's weights, and what the reference made of it."""

    def __init__(self, name, *, export):
        self.vectors = reference_vectors.load(name)
        config = ModelConfig(
            resnet_depth=int(self.vectors["depth"]),
            sk_ratio=float(self.vectors["sk_ratio"]),
            se_ratio=float(self.vectors["se_ratio"]),
        )
        size = int(self.vectors["image_size"])
        self.model = build_simclr(
            config, image_size=size, num_classes=10, export=export
        )
        self.images = reference_vectors.images(self.vectors)
        self.named = reference_variables(self.model)
        shapes = {name: tuple(variable.shape) for name, variable in self.named}
        self.weights = reference_vectors.weights(self.vectors, shapes)
        self.reset()

    def reset(self):
        assert assign_reference_weights(self.model, self.weights) == []

    def outputs(self, *, training):
        endpoints = self.model.backbone(self.images, training=training)
        hiddens = self.model.projection_head(
            endpoints["final_avg_pool"], training=training
        )
        logits = self.model.supervised_head(hiddens[0], training=training)
        return {
            **endpoints,
            "proj_head_input": hiddens[0],
            "proj_head_output": hiddens[-1],
            "logits_sup": logits,
        }

    def worst_excess(self, outputs, phase, *, factor, floor):
        """{name: (error, allowed)} of the outputs that differ by more than allowed."""
        bad = {}
        for key, expected in self.vectors.items():
            if not key.startswith(f"{phase}_"):
                continue
            name, _, pooled = key.removeprefix(f"{phase}_").partition(":")
            value = outputs[name].numpy()
            if pooled:
                value = value.mean((1, 2) if pooled == "space" else 3, dtype=np.float64)
            assert value[: len(expected)].shape == expected.shape, key
            gap = np.abs(value[: len(expected)] - expected).max()
            error = gap / np.abs(expected).max()
            allowed = factor * float(self.vectors[f"sens_{phase}_{name}"]) + floor
            if not error <= allowed:
                bad[key] = (error, allowed)
        return bad


@pytest.fixture(scope="module", params=NETWORKS, ids=str)
def case(request):
    name, export = request.param
    return Case(name, export=export)


def test_weights_are_the_ones_the_reference_had(case):
    names = [name for name, _ in case.named]
    assert names == [str(name) for name in case.vectors["weight_names"]]
    norms = [np.linalg.norm(case.weights[name].astype(np.float64)) for name in names]
    np.testing.assert_allclose(norms, case.vectors["weight_l2"], rtol=1e-6)


def test_inference_outputs_equal_the_references(case):
    case.reset()  # training moves the statistics
    outputs = case.outputs(training=False)
    assert not case.worst_excess(outputs, "infer", factor=2, floor=1e-6)


def test_training_outputs_statistics_and_gradients_equal_the_references(case):
    case.reset()
    with tf.GradientTape() as tape:
        outputs = case.outputs(training=True)
        projection = outputs["proj_head_output"]
        loss = tf.reduce_sum(projection * case.vectors["grad_probe"])
    assert not case.worst_excess(outputs, "train", factor=5, floor=1e-5)
    check_moving_statistics(case)
    by_name = dict(case.named)
    variables = [by_name[str(name)] for name in case.vectors["grad_names"]]
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    check_gradients(case, loss, gradients)


def check_moving_statistics(case):
    by_name = dict(case.named)
    moving = [by_name[str(name)] for name in case.vectors["moving_names"]]
    start = 0
    for name, variable in zip(case.vectors["moving_names"], moving, strict=True):
        value = variable.numpy()
        expected = case.vectors["moving_after_one_train_call"][
            start : start + value.size
        ]
        start += value.size
        gap = np.abs(value - expected).max() / np.abs(expected).max()
        # A moving statistic holds a tenth of the batch's; pooled over the batch it
        # moves less than the feature map does.
        sens = float(case.vectors["sens_train_proj_head_output"])
        assert gap <= sens + 1e-5, (name, gap)
    assert start == case.vectors["moving_after_one_train_call"].size


def check_gradients(case, loss, gradients):
    vectors = case.vectors
    norms = np.array([np.linalg.norm(g.numpy().astype(np.float64)) for g in gradients])
    sums = np.array([g.numpy().sum(dtype=np.float64) for g in gradients])
    sizes = np.array([g.numpy().size for g in gradients])
    # One perturbation is one sample of each variable's sensitivity, and may be small by
    # luck: no variable is held to less than the median one.
    sens = np.maximum(
        vectors["sens_grad_l2_rel"], np.median(vectors["sens_grad_l2_rel"])
    )
    allowed = 5 * sens + 1e-4
    errors = np.abs(norms - vectors["grad_l2"]) / vectors["grad_l2"]
    worst = np.argmax(errors / allowed)
    assert errors[worst] <= allowed[worst], vectors["grad_names"][worst]
    # |sum of a difference| <= sqrt(size) * its norm
    sum_errors = np.abs(sums - vectors["grad_sum"]) / (
        vectors["grad_l2"] * np.sqrt(sizes)
    )
    worst = np.argmax(sum_errors / allowed)
    assert sum_errors[worst] <= allowed[worst], vectors["grad_names"][worst]
    first, expected = gradients[0].numpy(), vectors["grad_first_kernel"]
    error = np.linalg.norm(first - expected) / np.linalg.norm(expected)
    assert error <= 5 * sens.max() + 1e-4
    scale = np.abs(vectors["grad_probe"]).sum()
    sens_output = float(vectors["sens_train_proj_head_output"])
    assert abs(float(loss) - vectors["grad_loss"]) <= (5 * sens_output + 1e-5) * scale
