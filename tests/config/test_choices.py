"""What a part of the library offers by name is what its setting takes, and no more."""

import pytest

from simclr_tf2 import augmentations
from simclr_tf2 import config as config_lib
from simclr_tf2.evaluation import finetuning
from simclr_tf2.evaluation.protocols import knn
from simclr_tf2.evaluation.transfer import grid
from simclr_tf2.exports import formats
from simclr_tf2.models import residual_blocks
from simclr_tf2.training import precision

# Losses, optimizers, protocols and modes have such tests beside their own.
OFFERED = {
    "augment_backend": (config_lib.AUGMENT_BACKENDS, {"auto", *augmentations.BACKENDS}),
    "export_formats": (config_lib.EXPORT_FORMATS, formats.FORMATS),
    "finetune_baselines": (config_lib.FINETUNE_BASELINES, finetuning.BASELINE_ROWS),
    "knn_metric": (config_lib.KNN_METRICS, knn.SIMILARITY),
    "knn_weighting": (config_lib.KNN_WEIGHTINGS, knn.VOTES_IN_WORDS),
    "mixed_precision": (config_lib.MIXED_PRECISION, precision.POLICIES),
    "resnet_depth": (config_lib.RESNET_DEPTHS, residual_blocks.DEPTHS),
    "transfer_methods": (config_lib.TRANSFER_METHODS, {"linear", *grid.RANGES}),
}


@pytest.mark.parametrize("name", OFFERED)
def test_choices_of_a_setting_are_what_is_offered(name):
    choices, offered = OFFERED[name]
    assert set(choices) == set(offered)
