"""Data sets and input pipelines; importing registers the TFDS data set simclr_shapes."""

from simclr_tf2.data import shapes_builder as _shapes_builder  # noqa: F401
