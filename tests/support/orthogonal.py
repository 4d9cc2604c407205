"""Muon's iteration, written as its authors write it."""

import numpy as np

A, B, C = 3.4445, -4.7750, 2.0315  # K. Jordan et al., 2024


def newton_schulz(matrix):
    """Set the singular values of a matrix near 1, by five steps on the matrix."""
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x
