"""The contrastive losses as loops over their definitions, in float64."""

import itertools
import math

import numpy as np


def rows_of(z, normalize):
    z = np.asarray(z, np.float64)
    if normalize:
        z = np.stack([row / np.linalg.norm(row) for row in z])
    return z


def nt_xent_loops(z, temperature, normalize=True):
    """Algorithm 1 of arXiv 2002.05709; views as halves of ``z``."""
    z = rows_of(z, normalize)
    rows, n = len(z), len(z) // 2

    def pair_loss(i, j):
        others = [z[i] @ z[k] / temperature for k in range(rows) if k != i]
        largest = max(others)  # so that exp does not overflow
        log_sum = largest + math.log(sum(math.exp(s - largest) for s in others))
        return log_sum - z[i] @ z[j] / temperature

    pairs = [pair_loss(k, n + k) + pair_loss(n + k, k) for k in range(n)]
    return sum(pairs) / rows


def similarities(z, normalize):
    """Per row: similarity to its positive, and to the negatives of that view."""
    z = rows_of(z, normalize)
    n = len(z) // 2
    for row in range(2 * n):
        other = range(n, 2 * n) if row < n else range(n)
        own = (row + n) % (2 * n)
        yield z[row] @ z[own], [z[row] @ z[k] for k in other if k != own]


def nt_logistic_loops(z, temperature, normalize=True, semi_hard=False):
    def minus_log_sigmoid(x):
        return -math.log(1 / (1 + math.exp(-x)))

    rows = []
    for positive, negatives in similarities(z, normalize):
        loss = minus_log_sigmoid(positive / temperature)
        if semi_hard:
            negatives = sorted(s for s in negatives if s < positive)[-1:]
        terms = [minus_log_sigmoid(-s / temperature) for s in negatives]
        rows.append(loss + (sum(terms) / len(terms) if terms else 0))
    return sum(rows) / len(rows)


def margin_loops(z, margin, normalize=True, semi_hard=False):
    rows = []
    for positive, negatives in similarities(z, normalize):
        if semi_hard:
            inside = [s for s in negatives if positive - margin < s < positive]
            negatives = sorted(inside)[-1:]
        terms = [max(s - positive + margin, 0) for s in negatives]
        rows.append(sum(terms) / len(terms) if terms else 0)
    return sum(rows) / len(rows)


def loss_of_config(z, config, *, views):
    """The loss that a ``LossConfig`` names, over all pairs of views in ``z``."""
    options = {"normalize": config.hidden_norm}
    if config.loss == "margin":
        options |= {"margin": config.margin, "semi_hard": config.semi_hard}
    else:
        options["temperature"] = config.temperature
    if config.loss == "nt_logistic":
        options["semi_hard"] = config.semi_hard
    pairs = itertools.combinations(np.split(np.asarray(z), views), 2)
    loops = LOOPS[config.loss]
    return np.mean([loops(np.concatenate(pair), **options) for pair in pairs])


LOOPS = {
    "nt_xent": nt_xent_loops,
    "nt_logistic": nt_logistic_loops,
    "margin": margin_loops,
}
