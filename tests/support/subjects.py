"""Subjects of evaluations, made from the settings of a test."""

from simclr_tf2.evaluation.inputs import Splits
from simclr_tf2.evaluation.subject import Conditions


def conditions_of(config, *, train=None, probe=None, test=None, **facts):
    """Make conditions from a config, with the splits that a test reads."""
    return Conditions.of(config, Splits(train, probe, test, **facts))
