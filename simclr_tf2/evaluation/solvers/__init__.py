"""Solvers of linear classifiers and of nearest neighbours: arrays in, arrays out."""
