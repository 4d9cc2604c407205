"""Convolutions of small feature maps whose filter gradient is one more convolution.

oneDNN's own filter gradient is slow where a map has few positions and the kernel many
numbers: the last stage of ResNet-18 at 32 pixels (4 x 4 positions, 512 channels)
reached a third of the speed of the way forward on AVX2 and half of it on AVX-512. But
the gradient

    dk[u, v, c, f] = sum over n, i, j of x[n, i + u, j + v, c] dy[n, i, j, f]

is a convolution itself, of c "images" with n "channels" by the kernel dy, and so runs
at the speed of the way forward. ``python -m benchmarks.filter_gradient`` compares.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from simclr_tf2 import startup

# Measured on AVX2 and AVX-512 (benchmarks/filter_gradient.py). Positions of a map from
# where on the stock gradient wins on one of them; positions of all images that one such
# convolution takes at once, so that its kernel stays in the cache.
LARGEST_MAP = 49
POSITIONS = 2048


@keras.saving.register_keras_serializable(package="simclr_tf2")
class Conv2D(keras.layers.Conv2D):
    """Keras's ``Conv2D`` with a faster filter gradient for small maps on a CPU.

    Values are those of the stock layer, and gradients too up to rounding.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolve ``[n, h, w, c]`` by ``[k, k, c, filters]``."""
        x, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
        if not self._pays(x):
            return super().convolution_op(inputs, kernel)
        return _same_convolution(x, kernel)

    def _pays(self, x: tf.Tensor) -> bool:
        size = self.kernel_size[0]
        plain = (
            self.kernel_size == (size, size)
            and size > 1
            and size % 2 == 1
            and self.strides == (1, 1)
            and self.dilation_rate == (1, 1)
            and self.padding == "same"
            and self.groups == 1
            and self.data_format == "channels_last"
        )
        known = x.shape.rank == 4 and x.shape.is_fully_defined()
        return (
            plain
            and known
            and x.dtype == tf.float32
            and x.shape[1] * x.shape[2] <= LARGEST_MAP
            and _computes_with_onednn()
        )


def _computes_with_onednn() -> bool:
    accelerators = (tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
    return startup.onednn_is_on() and not any(accelerators)


@tf.custom_gradient
def _same_convolution(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        dx = tf.nn.conv2d_transpose(dy, kernel, x.shape, 1, "SAME")
        return dx, filter_gradient(x, dy, size=kernel.shape[0])

    return tf.nn.conv2d(x, kernel, 1, "SAME"), gradient


def filter_gradient(x: tf.Tensor, dy: tf.Tensor, *, size: int) -> tf.Tensor:
    """Return the gradient of a 'same' convolution with stride 1 by its kernel.

    Args:
        x: [n, h, w, c], what was convolved; a static shape.
        dy: [n, h, w, f], gradient by the result.
        size: Height and width of the kernel, odd.

    Returns:
        [size, size, c, f].
    """
    count, height, width, _ = x.shape
    pad = [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]]
    parts = min(count, -(-count * height * width // POSITIONS))
    sizes = [(count + i) // parts for i in range(parts)]  # as even as can be
    found = [
        tf.nn.conv2d(
            tf.transpose(some, [3, 1, 2, 0]), tf.transpose(by, [1, 2, 0, 3]), 1, pad
        )
        for some, by in zip(tf.split(x, sizes), tf.split(dy, sizes), strict=True)
    ]
    return tf.transpose(tf.add_n(found), [1, 2, 0, 3])
