"""What is written for others to load: encoder.keras and the TF Hub SavedModel."""

from simclr_tf2.saved_model.encoder import load_encoder, save_encoder
from simclr_tf2.saved_model.hub import save_hub_module

__all__ = ["load_encoder", "save_encoder", "save_hub_module"]
