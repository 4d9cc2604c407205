"""Projection head g and the supervised head, in float32 unless float64 is asked for."""

from __future__ import annotations

import keras

from simclr_tf2.config import PROJ_HEAD_MODES
from simclr_tf2.errors import ConfigError
from simclr_tf2.models.layers import LayerSettings, batch_norm

INITIAL_STDDEV = 0.01  # of every dense kernel; reference code


def build_projection_head(
    input_dim: int,
    *,
    mode: str = "nonlinear",
    out_dim: int = 128,
    num_layers: int = 3,
    batch_norm_momentum: float = 0.9,
    synchronized_batch_norm: bool = False,
    fused_batch_norm: bool = False,
    dtype: str = "float32",
) -> keras.Model:
    """Build g, which maps h to z (SimCLR, section 4.2; layers as the reference code).

    Args:
        input_dim: Width of h.
        mode: "none": z is h. "linear": one dense layer and batch norm. "nonlinear":
            ``num_layers`` dense layers with batch norm; the middle ones are as wide as
            h and end in ReLU. No layer has a bias; the last batch norm has no beta.
        out_dim: Width of z.
        num_layers: Layers of the nonlinear head; SimCLR 2, SimCLRv2 3.
        batch_norm_momentum: Share of the old moving statistics kept per step.
        synchronized_batch_norm: Batch statistics over all replicas.
        fused_batch_norm: As of the backbone; here for its moving statistics.
        dtype: Of all layers; float32, or float64 in tests of exactness.

    Returns:
        ``keras.Model``: ``[n, input_dim]`` -> list of the input of every layer and the
        last output, ``[h, hidden_1, .., z]``. With mode "none" Keras unpacks the list
        of one and h itself comes back; ``SimCLR.hiddens`` is always a list.
    """
    if mode not in PROJ_HEAD_MODES:
        choices = ", ".join(PROJ_HEAD_MODES)
        raise ConfigError(
            f"proj_head_mode must be one of {choices}. Received: {mode!r}."
        )
    count = {"none": 0, "linear": 1, "nonlinear": num_layers}[mode]
    settings = LayerSettings(
        batch_norm_momentum=batch_norm_momentum,
        synchronized_batch_norm=synchronized_batch_norm,
        fused_batch_norm=fused_batch_norm,
        dtype=dtype,
    )
    hiddens = [keras.Input((input_dim,), name="representation", dtype=dtype)]
    for number in range(count):
        last = number == count - 1
        name = f"projection_head_{'l' if mode == 'linear' else 'nl'}_{number}"
        x = _dense(
            out_dim if last else input_dim,
            use_bias=False,
            zero_init=False,
            name=f"{name}_dense",
            dtype=dtype,
        )(hiddens[-1])
        x = batch_norm(
            x,
            relu=not last,
            center=not last,
            settings=settings,
            name=f"{name}_batch_normalization",
        )
        hiddens.append(x)
    if count == 0:  # Keras before 3.13 refuses a model whose output is its input
        same = keras.layers.Identity(name="projection_head_none", dtype=dtype)
        return keras.Model(hiddens[0], [same(hiddens[0])], name="projection_head")
    return keras.Model(hiddens[0], hiddens, name="projection_head")


def build_supervised_head(
    input_dim: int, num_classes: int, *, zero_init: bool = False, dtype: str = "float32"
) -> keras.Model:
    """Build the classifier ``[n, input_dim]`` -> logits ``[n, num_classes]``.

    ``zero_init`` starts the kernel at 0, as the paper's linear evaluation does
    (``--zero_init_logits_layer``), else N(0, 0.01); the bias starts at 0.
    """
    features = keras.Input((input_dim,), name="features", dtype=dtype)
    # The name is one of the reference's exclusion patterns: it shows in variable.path.
    logits = _dense(
        num_classes,
        use_bias=True,
        zero_init=zero_init,
        name="head_supervised",
        dtype=dtype,
    )(features)
    return keras.Model(features, logits, name="supervised_head")


def _dense(
    units: int, *, use_bias: bool, zero_init: bool, name: str, dtype: str
) -> keras.layers.Dense:
    kernel = (
        keras.initializers.Zeros()
        if zero_init
        else keras.initializers.RandomNormal(stddev=INITIAL_STDDEV)
    )
    return keras.layers.Dense(
        units, use_bias=use_bias, kernel_initializer=kernel, name=name, dtype=dtype
    )
