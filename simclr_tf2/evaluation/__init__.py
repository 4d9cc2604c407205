"""Measure an encoder: features, protocols, baselines, and online evaluation.

To add a protocol, write a file in ``protocols/``, an entry in ``simclr_tf2.protocols``
and a test (CONTRIBUTING.md).
"""

from simclr_tf2.evaluation.features.extraction import Features, extract, raw_pixels
from simclr_tf2.evaluation.features.frozen import assert_unchanged
from simclr_tf2.evaluation.held_out_loss import batch_sizes as held_out_batch_sizes
from simclr_tf2.evaluation.held_out_loss import make_held_out_loss
from simclr_tf2.evaluation.once import LOGGERS, logged_once
from simclr_tf2.evaluation.online import make_monitor, monitor
from simclr_tf2.evaluation.pca import pca256
from simclr_tf2.evaluation.protocols.knn import (
    standardized_knn,
    weighted_knn,
    weighted_knn_top1,
)
from simclr_tf2.evaluation.protocols.logistic import logistic_regression
from simclr_tf2.evaluation.rows import evaluate_rows
from simclr_tf2.evaluation.scoring import classifier_accuracy
from simclr_tf2.exports.embeddings_file import write_embeddings
from simclr_tf2.results.table import render, title

__all__ = [
    "LOGGERS",
    "Features",
    "assert_unchanged",
    "classifier_accuracy",
    "evaluate_rows",
    "extract",
    "held_out_batch_sizes",
    "logged_once",
    "logistic_regression",
    "make_held_out_loss",
    "make_monitor",
    "monitor",
    "pca256",
    "raw_pixels",
    "render",
    "standardized_knn",
    "title",
    "weighted_knn",
    "weighted_knn_top1",
    "write_embeddings",
]
