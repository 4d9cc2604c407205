"""What is written for others to load, and what the reference code wrote."""

from simclr_tf2.exports.hub import save_hub_module
from simclr_tf2.exports.keras_file import load_encoder, save_encoder
from simclr_tf2.exports.uint8_encoder import with_preprocessing
from simclr_tf2.reference.files import is_reference
from simclr_tf2.reference.names import assign_reference_weights
from simclr_tf2.reference.network import describe_network
from simclr_tf2.reference.reading import read_reference
from simclr_tf2.reference.weights import build_reference_model, load_reference_weights
from simclr_tf2.saved_model.endpoints import load_endpoint

__all__ = [
    "assign_reference_weights",
    "build_reference_model",
    "describe_network",
    "is_reference",
    "load_encoder",
    "load_endpoint",
    "load_reference_weights",
    "read_reference",
    "save_encoder",
    "save_hub_module",
    "with_preprocessing",
]
