"""Classifiers of protocols give the scores of scikit-learn on raw features."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from simclr_tf2.evaluation.features.extraction import Features
from simclr_tf2.evaluation.linear_classifier import of_scikit_learn


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("scaler", ["", "of pixels"])
def test_logits_differ_from_scikit_learns_by_a_constant_an_image(classes, scaler):
    random = np.random.default_rng(classes)
    x = random.normal(3, [1, 5, 0.1], (60, 3)).astype(np.float32)
    y = random.permutation(np.arange(60) % classes) * 2 + 1  # labels with gaps
    train = Features(x, y, name="train", scaler=scaler)
    read = x if scaler else StandardScaler().fit_transform(x)
    fitted = LogisticRegression().fit(read, y)
    found = of_scikit_learn(fitted, train)
    logits = x @ found.kernel + found.bias
    assert found.labels.tolist() == sorted(set(y.tolist()))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, fitted.predict_proba(read), atol=1e-5)
