"""Evaluation protocols: features or a network in, a record out."""
