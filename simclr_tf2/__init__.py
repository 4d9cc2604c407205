"""SimCLR for TensorFlow 2 and Keras 3: pretrain image encoders without labels."""

from simclr_tf2 import startup as _startup

__version__ = "0.1.0"

_startup.choose_kernels()  # before TensorFlow is loaded; TensorFlow is not imported
