"""Formats written for others: Keras files, a TF Hub SavedModel, embeddings."""
