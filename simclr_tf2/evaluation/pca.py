"""The pixel baseline: principal components of the pixels, without learning."""

from __future__ import annotations

import logging

import numpy as np

from simclr_tf2.evaluation.classifiable import require_classifiable
from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.solvers.blas_threads import blas_threads

logger = logging.getLogger(__name__)

COMPONENTS = 256
ROWS = 1024  # projected at once, to limit memory in addition to the pixels
SCALER = "StandardScaler on pixels, before PCA"


def pca256(
    train_images: Features, test_images: Features, seed: int
) -> tuple[Features, Features]:
    """Standardise the pixels and project them on their first 256 components.

    Scaler and components come from the train split only. With fewer than 256 images
    or pixels there are as many components as the smaller number.

    Args:
        train_images: Raw pixels ``[n, d]`` (``features.raw_pixels``).
        test_images: Raw pixels ``[m, d]``.
        seed: Seed of the randomised SVD.

    Returns:
        Train and test features ``[., min(256, n, d)]``, marked as scaled already.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    if train_images.labels.ndim == test_images.labels.ndim == 1:
        require_classifiable(train_images, test_images)  # several labels: svm checks
    scaler = StandardScaler().fit(train_images.features)
    count = min(COMPONENTS, *train_images.features.shape)
    # copy=False: nothing else uses the standardised pixels, so PCA may change them.
    pca = PCA(count, svd_solver="randomized", random_state=seed, copy=False)

    def project(split: Features) -> Features:
        parts = [
            pca.transform(scaler.transform(split.features[i : i + ROWS]))
            for i in range(0, len(split), ROWS)
        ]
        return Features(np.concatenate(parts), split.labels, split.name, SCALER)

    with blas_threads(train_images.features.size * count):
        pca.fit(scaler.transform(train_images.features))
        return project(train_images), project(test_images)
