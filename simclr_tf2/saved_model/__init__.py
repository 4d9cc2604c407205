"""What is written for others to load, and what the reference code wrote."""

from simclr_tf2.models.reference_names import assign_reference_weights
from simclr_tf2.saved_model.encoder import load_encoder, save_encoder
from simclr_tf2.saved_model.hub import save_hub_module
from simclr_tf2.saved_model.reference import read_reference
from simclr_tf2.saved_model.reference_config import describe_network
from simclr_tf2.saved_model.reference_files import is_reference
from simclr_tf2.saved_model.reference_weights import (
    build_reference_model,
    load_reference_weights,
)
from simclr_tf2.saved_model.uint8_encoder import with_preprocessing

__all__ = [
    "assign_reference_weights",
    "build_reference_model",
    "describe_network",
    "is_reference",
    "load_encoder",
    "load_reference_weights",
    "read_reference",
    "save_encoder",
    "save_hub_module",
    "with_preprocessing",
]
