import numpy as np
import pytest
import tensorflow as tf

from simclr_tf2.errors import ConfigError
from simclr_tf2.models import build_projection_head, build_supervised_head


@pytest.mark.parametrize(
    ("mode", "layers", "widths"),
    [
        ("linear", 3, [7, 5]),
        ("nonlinear", 1, [7, 5]),
        ("nonlinear", 2, [7, 7, 5]),
        ("nonlinear", 3, [7, 7, 7, 5]),
    ],
)
def test_head_returns_every_layer_input_and_the_projection(mode, layers, widths):
    head = build_projection_head(7, mode=mode, out_dim=5, num_layers=layers)
    h = np.random.default_rng(0).random((3, 7)).astype(np.float32)
    hiddens = head(h, training=True)
    assert [tuple(t.shape) for t in hiddens] == [(3, width) for width in widths]
    np.testing.assert_array_equal(hiddens[0], h)
    assert len(head.trainable_variables) == 3 * (len(widths) - 1) - 1


def test_without_a_head_z_is_h():
    head = build_projection_head(7, mode="none")
    h = np.random.default_rng(0).random((3, 7)).astype(np.float32)
    np.testing.assert_array_equal(head(h), h)
    assert head.variables == []


def test_head_equals_the_formula_without_biases_or_a_last_beta():
    head = build_projection_head(7, out_dim=5, num_layers=2)
    rng = np.random.default_rng(0)
    head.set_weights([0.1 + rng.random(w.shape) for w in head.weights])
    values = {v.path: v.numpy().astype(np.float64) for v in head.variables}
    assert not any("bias" in path for path in values)
    assert "projection_head_nl_1_batch_normalization/beta" not in values
    x = h = rng.random((3, 7))
    for number in range(2):
        name = f"projection_head_nl_{number}"
        x = x @ values[f"{name}_dense/kernel"]
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        x = x * values[f"{name}_batch_normalization/gamma"]
        if number == 0:
            x = np.maximum(x + values[f"{name}_batch_normalization/beta"], 0)
    got = head(h.astype(np.float32), training=True)[-1]
    np.testing.assert_allclose(got, x, rtol=1e-4, atol=1e-4)


def test_dense_kernels_start_with_standard_deviation_one_hundredth():
    head = build_projection_head(256, out_dim=128)
    kernels = [v.numpy() for v in head.trainable_variables if v.name == "kernel"]
    kernels.append(build_supervised_head(256, 100).trainable_variables[0].numpy())
    for kernel in kernels:
        assert kernel.std() == pytest.approx(0.01, rel=0.02)
        assert abs(kernel.mean()) < 3e-4


@pytest.mark.parametrize("zero_init", [True, False])
def test_supervised_head_is_affine_and_may_start_at_zero(zero_init):
    head = build_supervised_head(7, 3, zero_init=zero_init)
    x = tf.random.stateless_uniform((5, 7), (0, 1))
    kernel, bias = head.get_weights()
    assert not bias.any()
    assert kernel.any() != zero_init
    np.testing.assert_allclose(head(x), x @ kernel, atol=1e-6)


def test_paths_match_the_patterns_that_exclude_from_decay_and_adaptation():
    head = build_projection_head(7)
    paths = [v.path for v in head.trainable_variables]
    excluded = [path for path in paths if "batch_normalization" in path]
    assert len(paths) == 8 and len(excluded) == 5
    assert all(path.endswith(("gamma", "beta")) for path in excluded)
    classifier = build_supervised_head(7, 3)
    assert all("head_supervised" in v.path for v in classifier.variables)


def test_unknown_mode_is_named():
    with pytest.raises(ConfigError, match="proj_head_mode.*Received: 'deep'"):
        build_projection_head(7, mode="deep")
