"""Names of the rows of the results table, and of the features they rest on."""

from __future__ import annotations

PIXELS_ROW = "PCA-256 of pixels"


NAMES = ("h", "feature5")


# Rows of networks that nothing was learned with, and of no network.
BASELINE_ROWS = (*(f"Random encoder {name}" for name in NAMES), PIXELS_ROW)


FINETUNED_ROW = "Fine-tuned network"


ONLINE_ROW = "Online linear head"
