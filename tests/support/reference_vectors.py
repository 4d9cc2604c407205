"""The reduced reference outputs in tests/golden and the weights they belong to."""

import gzip
import json
import pathlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def load(name):
    return dict(np.load(GOLDEN / f"resnet_{name}.npz"))


def variables():
    """Entry name -> the reference's parameter counts and variable list."""
    return json.loads(
        gzip.decompress((GOLDEN / "resnet_variables.json.gz").read_bytes())
    )


def images(vectors):
    rng = np.random.default_rng([int(vectors["seed"]), 10**6])
    return rng.random(tuple(vectors["input_shape"])).astype(np.float32)


def weight(seed, index, name, shape):
    """Weight number ``index`` of the recipe the reference was run with."""
    z = np.random.default_rng([int(seed), index]).standard_normal(shape)
    kind = name.split("/")[-1].split(":")[0]
    if kind == "kernel":
        z = z / np.sqrt(np.prod(shape[:-1]))
    elif kind == "gamma":
        z = 1 + 0.1 * z
    elif kind == "moving_variance":
        z = 0.5 + np.abs(z)
    else:
        assert kind in ("beta", "bias", "moving_mean"), kind
        z = 0.1 * z
    return z.astype(np.float32)


def weights(vectors, shapes):
    """Reference name -> array, for ``shapes``: reference name -> shape."""
    names = [str(name) for name in vectors["weight_names"]]
    return {
        name: weight(vectors["seed"], index, name, shapes[name])
        for index, name in enumerate(names)
    }
