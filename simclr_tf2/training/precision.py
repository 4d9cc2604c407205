"""``--mixed_precision=auto``: three steps of each show whether bfloat16 is faster."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import keras
import tensorflow as tf

from simclr_tf2 import models
from simclr_tf2.config import Config, TrainingConfig
from simclr_tf2.runs import folder as run_folder

logger = logging.getLogger(__name__)

# Keras dtype policy of the backbone's layers.
POLICIES = {
    "off": None,
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
    "auto": None,  # of what does not train
}
# Of Linux's /proc/cpuinfo: instructions that multiply bfloat16 matrices.
CPU_FLAGS = {"amx_bf16", "avx512_bf16"}
GPU_CAPABILITY = (8, 0)  # Ampere, the first with bfloat16 (CUDA programming guide)
STEPS = 3
# Pixels of the views of a timed step, which are enough for a steady time, and few
# enough for a short start: 32 views of 224 pixels.
PIXELS = 32 * 224 * 224


def resolve(config: Config, strategy: tf.distribute.Strategy) -> Config:
    """Replace auto in ``config`` by the precision of a resumed run, or the faster one.

    Of several workers, worker 0 decides for all.

    Args:
        config: Whole config, checked.
        strategy: Where the run will be; a TPU multiplies in bfloat16 anyway.
    """
    if config.training.mixed_precision != "auto":
        return config
    folder = run_folder.of(config)
    if folder.config.exists():
        return run_folder.with_earlier_choices(config, run_folder.read_config(folder))
    if isinstance(strategy, tf.distribute.TPUStrategy):
        chosen, why = "bfloat16", "a TPU"
    elif not has_bfloat16():
        chosen, why = "off", "no bfloat16 instructions found"
    else:
        chosen, why = _faster(config, strategy.num_replicas_in_sync)
    logger.info("--mixed_precision=auto: %s (%s)", chosen, why)
    return run_folder.with_precision(config, chosen)


def has_bfloat16() -> bool:
    """Return whether the first GPU, or the CPU without one, computes in bfloat16."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability: tuple[int, int] = details.get("compute_capability", (0, 0))
        return capability >= GPU_CAPABILITY
    return bool(CPU_FLAGS & _cpu_flags())


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return set()
    return set(next((x.split() for x in lines if x.startswith("flags")), []))


def _faster(config: Config, replicas: int) -> tuple[str, str]:
    """Choose the faster precision; return it with the measured times."""
    views = views_of_step(config, replicas)
    seconds = {
        name: seconds_per_step(config, POLICIES[name], views)
        for name in ("off", "bfloat16")
    }
    chosen = min(seconds, key=lambda name: seconds[name])  # off when equal
    return chosen, (
        f"a step of {views} views takes {1e3 * seconds['off']:.0f} ms in float32, "
        f"{1e3 * seconds['bfloat16']:.0f} ms in bfloat16"
    )


def views_of_step(config: Config, replicas: int) -> int:
    """Return the views of a timed step: those of the run, up to ``PIXELS``, 2 or more.

    A step of a few small views says little: the time goes to starting operations.
    """
    height, width = config.data.height_width
    share = config.training.train_batch_size // replicas
    views = 1 if config.workflow == "finetune" else config.augmentation.num_views
    return max(2, min(share * views, PIXELS // (height * width)))


def seconds_per_step(config: Config, policy: str | None, views: int) -> float:
    """Time the fastest of three forward and backward passes, after one more."""
    height, width = config.data.height_width
    model = models.build_simclr(
        config.model,
        image_size=config.data.image_size,
        channels=config.data.image_channels,
        dtype=policy,
    )
    images = tf.random.stateless_uniform(
        [views, height, width, config.data.image_channels], (0, 1)
    )

    @tf.function(autograph=False)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(images, training=True)["projection"] ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        return tf.add_n([tf.reduce_sum(g) for g in gradients])

    times = []
    for _ in range(1 + STEPS):
        begun = time.perf_counter()
        keras.ops.convert_to_numpy(step())
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def layer_dtype(training: TrainingConfig) -> str | None:
    """Keras dtype policy of the backbone's layers."""
    return POLICIES[training.mixed_precision]
