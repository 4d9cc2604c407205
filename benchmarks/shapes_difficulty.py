"""Measures how hard simclr_shapes is without learning from unlabelled images.

Run from the repository root; takes minutes on one core:

    python -m benchmarks.shapes_difficulty

Prints the test accuracy in percent of logistic regression on 256 principal components
of the pixels, of 10 nearest neighbours on the same, and of a small convolutional
network trained with all labels, which shows what the images hold.
"""

from __future__ import annotations

import argparse
import json
import time

import keras
import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simclr_tf2.data import shapes_drawing, shapes_scene


def principal_components(train, test, *, count: int):
    """Return both sets of images as standardised pixels' leading components."""
    model = make_pipeline(StandardScaler(), PCA(count, random_state=0))
    flat = [x.reshape(len(x), -1).astype(np.float32) / 255.0 for x in (train, test)]
    return model.fit_transform(flat[0]), model.transform(flat[1])


def classifier_accuracies(train, test) -> dict[str, float]:
    """Return the accuracies of the linear and the nearest-neighbour classifier."""
    features, test_features = principal_components(train.images, test.images, count=256)
    classifiers = {
        "pca_logreg": LogisticRegression(C=1.0, max_iter=1200),  # L-BFGS
        "pca_knn": KNeighborsClassifier(10),
    }
    return {
        name: classifier.fit(features, train.labels).score(test_features, test.labels)
        for name, classifier in classifiers.items()
    }


def small_network(image_size: int, num_classes: int) -> keras.Model:
    """Return a classifier of four strided convolutions, 0.4 M parameters."""
    inputs = x = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    for filters, strides in ((32, 1), (64, 2), (128, 2), (256, 2)):
        x = keras.layers.Conv2D(
            filters, 3, strides=strides, padding="same", use_bias=False
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(x))


def turned_and_flipped(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images [n, s, s, c], each in one of its eight orientations."""
    images = images.copy()
    choice = rng.integers(8, size=len(images))
    images[choice >= 4] = images[choice >= 4].transpose(0, 2, 1, 3)
    images[choice % 4 >= 2] = images[choice % 4 >= 2][:, ::-1]
    images[choice % 2 == 1] = images[choice % 2 == 1][:, :, ::-1]
    return images


def network_accuracy(train, test, *, epochs: int, batch_size: int = 64) -> float:
    """Return the accuracy of the small network trained with all labels."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    model = small_network(train.images.shape[1], len(shapes_scene.CLASS_NAMES))
    steps = epochs * -(-len(train.images) // batch_size)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    for _ in range(epochs):
        images = turned_and_flipped(train.images, rng)
        model.fit(images, train.labels, batch_size=batch_size, epochs=1, verbose=0)
    return model.evaluate(test.images, test.labels, verbose=0)[1]


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_train", type=int, default=5000)
    parser.add_argument("--num_test", type=int, default=3000)
    parser.add_argument("--image_size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=30, help="0: no network")
    parser.add_argument("--color_bias", type=float, default=shapes_scene.COLOR_BIAS)
    arguments = parser.parse_args()
    settings = {
        "image_size": arguments.image_size,
        "color_bias": arguments.color_bias,
    }
    start = time.process_time()
    train = shapes_drawing.draw(range(arguments.num_train), split="train", **settings)
    test = shapes_drawing.draw(range(arguments.num_test), split="test", **settings)
    seconds = time.process_time() - start
    number = arguments.num_train + arguments.num_test
    results = {**vars(arguments), "images_per_cpu_second": round(number / seconds)}
    accuracies = classifier_accuracies(train, test)
    if arguments.epochs:
        accuracies["supervised_cnn"] = network_accuracy(
            train, test, epochs=arguments.epochs
        )
    results |= {name: round(100 * value, 1) for name, value in accuracies.items()}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
