"""Write addons.npz: what tensorflow-addons makes of inputs that our tests repeat.

An oracle that shares no code with us or with the reference code. It is end-of-life and
runs on TensorFlow 2.15 only, so it has an environment of its own, and only its results
are kept:

    python3.11 -m venv addons_venv
    addons_venv/bin/pip install -r requirements-addons.txt
    addons_venv/bin/python tests/golden/make_addons_vectors.py
"""

import itertools
import pathlib

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

FILE = pathlib.Path(__file__).parent / "addons.npz"
Vectors = dict[str, np.ndarray]


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng([2002, *seed])


def blur() -> Vectors:
    """blur_HxW_kK_sS: filter of K x K taps, sigma S, zeros outside."""
    cases = [((21, 15), k, s) for k in (1, 3, 5, 11) for s in (0.1, 0.5, 1.0, 2.0)]
    cases += [((8, 8), 23, 2.0), ((40, 33), 7, 1.3)]  # wider than the image; blocks
    vectors = {}
    for size, taps, sigma in cases:
        name = "x".join(map(str, size))
        image = rng(1, *size).random([*size, 3]).astype(np.float32)
        vectors[f"image_{name}"] = image
        vectors[f"blur_{name}_k{taps}_s{sigma}"] = tfa.image.gaussian_filter2d(
            image, taps, sigma, padding="CONSTANT", constant_values=0
        ).numpy()
    return vectors


def rotation() -> Vectors:
    """rotate_S_dD: a square image turned counter-clockwise by D degrees."""
    vectors = {}
    for size, degrees in itertools.product((5, 8, 33), (-90, 0, 90, 180, 270, 360)):
        image = rng(2, size).integers(0, 256, [size, size, 3]).astype(np.uint8)
        vectors[f"square_{size}"] = image
        vectors[f"rotate_{size}_d{degrees}"] = tfa.image.rotate(
            image, np.deg2rad(degrees), interpolation="nearest"
        ).numpy()
    return vectors


def cutout() -> Vectors:
    """cutout_HxW [k, H, W, 1]: every hole of an even size that lies in the image.

    cutout_HxW_holes [k, 4]: the first row and column of a hole, its rows and columns.
    """
    vectors = {}
    for size, masks in (((8, 8), [(2, 2), (4, 4)]), ((8, 12), [(2, 4), (4, 6)])):
        name = "x".join(map(str, size))
        image = 1 + rng(3, *size).integers(0, 250, [*size, 1]).astype(np.uint8)
        holes = [
            (y, x, *mask)
            for mask in masks
            for y in range(size[0] - mask[0] + 1)
            for x in range(size[1] - mask[1] + 1)
        ]
        vectors[f"uncut_{name}"] = image
        vectors[f"cutout_{name}_holes"] = np.array(holes)
        vectors[f"cutout_{name}"] = np.concatenate(
            [
                tfa.image.cutout(image[None], (h, w), offset=(y + h // 2, x + w // 2))
                for y, x, h, w in holes
            ]
        )
    return vectors


def far_in_the_same_view(z: tf.Tensor) -> tf.Tensor:
    """1 - cosine across views; 4 inside a view: too far for a margin of up to 2."""
    unit = z / tf.norm(z, axis=1, keepdims=True)
    view = tf.repeat([0, 1], tf.shape(z)[0] // 2)
    distance = 1 - tf.matmul(unit, unit, transpose_b=True)
    return tf.where(view[:, None] == view[None], 4.0, distance)


def triplet_inputs() -> Vectors:
    """Projections [2n, d], view 1 rows then view 2 rows."""
    inputs = {}
    for n, d, noise in ((3, 5, 0.3), (7, 4, 0.5), (16, 8, 1.0)):
        view = rng(4, n).standard_normal([n, d])
        other = view + noise * rng(5, n).standard_normal([n, d])
        inputs[f"n{n}"] = np.concatenate([view, other])
    # In image 0 the other view is the least similar of all: no semi-hard negative.
    view = np.array([[1, 0.1, 0.2], [-1, 2, 0.3], [0.2, 0.5, 2], [0.5, -1, 1]])
    inputs["opposite"] = np.concatenate([view, view * [[-1], [1], [1], [1]]])
    # Own dimensions for each view, where its rows lean away from one another: the
    # same view is less similar than the other, so that stock distances will do.
    n = 5
    away = 4 * (np.eye(n) - 1 / n)
    view = rng(6).standard_normal([n, 3])
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    other = view + 0.7 * rng(7).standard_normal([n, 3])
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    zeros = np.zeros_like(away)
    rows = np.block([[view, away, zeros], [other, zeros, away]])
    inputs["apart"] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return {name: z.astype(np.float32) for name, z in inputs.items()}


def triplet() -> Vectors:
    """triplet_NAME_mM_METRIC: loss with margin M; grad_ the same: its gradient."""
    vectors = {}
    for name, z in triplet_inputs().items():
        vectors[f"projections_{name}"] = z
        labels = np.tile(np.arange(len(z) // 2), 2)
        metrics = {"one_view": far_in_the_same_view}
        if name == "apart":
            metrics |= {"angular": "angular", "squared": "squared-L2"}
        for (metric, distance), margin in itertools.product(
            metrics.items(), (0.05, 0.4, 0.8, 1.6)
        ):
            loss = tfa.losses.TripletSemiHardLoss(margin, distance_metric=distance)
            rows = tf.constant(z)
            with tf.GradientTape() as tape:
                tape.watch(rows)
                value = loss(labels, rows)
            key = f"triplet_{name}_m{margin}_{metric}"
            vectors[key] = value.numpy()
            vectors[f"grad_{key}"] = tape.gradient(value, rows).numpy()
    return vectors


SHAPES = {
    "kernel": (3, 3, 2, 4),
    "dense": (7, 5),
    "bias": (5,),
    "zero_weight": (3, 5),
    "zero_gradient": (3, 5),
    "late_gradient": (5,),
    "tiny_gradient": (7,),
}
STEPS, LEARNING_RATE, DECAY = 5, 0.02, 0.3


def lamb() -> Vectors:
    """lamb_CASE_NAME [steps, ...]: a variable after each step.

    plain: no weight decay. decay: tfa's own, 0.3, none for the bias. taken_off: no
    weight decay, but each weight except the bias is made smaller by learning rate *
    0.3 of itself before each step.
    """
    initial, gradients = {}, {}
    for i, (name, shape) in enumerate(SHAPES.items()):
        initial[name] = rng(8, i).standard_normal(shape).astype(np.float32)
        gradients[name] = rng(9, i).standard_normal([STEPS, *shape]).astype(np.float32)
    initial["zero_weight"][:] = 0
    gradients["zero_gradient"][:] = 0
    gradients["late_gradient"][:2] = 0
    gradients["tiny_gradient"] *= 1e-6  # as large as epsilon
    vectors = {f"initial_{n}": v for n, v in initial.items()}
    vectors |= {f"gradients_{n}": v for n, v in gradients.items()}
    for case in ("plain", "decay", "taken_off"):
        variables = [tf.Variable(v, name=n) for n, v in initial.items()]
        optimizer = tfa.optimizers.LAMB(
            LEARNING_RATE,
            weight_decay=DECAY if case == "decay" else 0.0,
            exclude_from_weight_decay=["bias"],
            exclude_from_layer_adaptation=["no variable"],
        )
        after = {name: [] for name in SHAPES}
        for step in range(STEPS):
            for v, name in zip(variables, SHAPES, strict=True):
                if case == "taken_off" and name != "bias":
                    v.assign(v * (1 - LEARNING_RATE * DECAY))
            optimizer.apply_gradients(
                (gradients[name][step], v)
                for v, name in zip(variables, SHAPES, strict=True)
            )
            for v, name in zip(variables, SHAPES, strict=True):
                after[name].append(v.numpy())
        vectors |= {f"lamb_{case}_{n}": np.stack(v) for n, v in after.items()}
    vectors["lamb_epsilon"] = np.array(optimizer.epsilon)
    return vectors


def main() -> None:
    vectors = blur() | rotation() | cutout() | triplet() | lamb()
    np.savez_compressed(FILE, **vectors)
    print(f"{len(vectors)} arrays, {FILE.stat().st_size} bytes: {FILE}")


if __name__ == "__main__":
    main()
