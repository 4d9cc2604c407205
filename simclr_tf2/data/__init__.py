"""Data sets and input pipelines; importing registers simclr_shapes with TFDS."""

from simclr_tf2.data import shapes_builder as _shapes_builder  # noqa: F401
