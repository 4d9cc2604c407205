"""Checkpoints and SavedModels of the reference code (google-research/simclr)."""
