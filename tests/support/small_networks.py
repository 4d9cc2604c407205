"""Small networks whose weights are always the same, and in which every part counts."""

import keras
import numpy as np

from simclr_tf2 import models
from simclr_tf2.config import ModelConfig
from simclr_tf2.models import residual_blocks

CLASSES = 3


def one_bottleneck(patch):
    """Make ResNet-50 of one bottleneck block: selective kernels are in those only."""
    short = (residual_blocks.bottleneck_block, (1,))
    patch.setitem(residual_blocks.DEPTHS, 50, short)
    patch.setattr("simclr_tf2.models.resnet.GROUP_FILTERS", (64,))


def disturb(model):
    """Add the same noise to all weights; gammas of zero would hide the residuals."""
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        noise = rng.standard_normal(variable.shape)
        variable.assign(variable.numpy() + 0.1 * noise)


def narrow_network(size, settings=None, **options):
    """Build a network of 1/16 of the width; ``options`` are those of build_simclr."""
    keras.utils.set_random_seed(1)
    config = ModelConfig(
        width_multiplier=0.0625,
        stem="stride2",
        num_proj_layers=2,
        proj_out_dim=4,
        **settings or {},
    )
    model = models.build_simclr(config, image_size=size, num_classes=CLASSES, **options)
    disturb(model)
    return model
