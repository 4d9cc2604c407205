"""SimCLR for TensorFlow 2 and Keras 3: pretrain image encoders without labels."""

__version__ = "0.1.0"
