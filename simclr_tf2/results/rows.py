"""Names of the rows of the results table, and of the features they rest on."""

from __future__ import annotations

from simclr_tf2.config import SVM_FEATURES

PIXELS_ROW = "PCA-256 of pixels"


NAMES = SVM_FEATURES  # h and the other features that have rows


# Rows of networks that nothing was learned with, and of no network.
BASELINE_ROWS = (*(f"Random encoder {name}" for name in NAMES), PIXELS_ROW)


FINETUNED_ROW = "Fine-tuned network"


ONLINE_ROW = "Online linear head"
