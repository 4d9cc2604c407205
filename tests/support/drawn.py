"""Small drawn pictures for tests that need files of images."""

import numpy as np
from PIL import Image


def photos(folder, count, size=(40, 36)):
    """Write ``count`` PNG files of stripes and rings, 000.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    for number in range(count):
        rng = np.random.default_rng(number)
        a, b = rng.uniform(0.15, 0.6, 2)
        wave = np.sin(a * x) if number % 2 else np.sin(a * np.hypot(x - 18, y - 20))
        pixels = (wave[..., None] * 0.5 + 0.5) * rng.uniform(60, 255, 3) * (0.5 + b / 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.png")


def in_class_colours(folder, layout, *, size=(20, 24)):
    """``layout``: "train/cat" -> number of pictures, each class in its own colour."""
    for path, count in layout.items():
        (folder / path).mkdir(parents=True)
        hue = sum(map(ord, path.split("/")[-1])) % 200
        for i in range(count):
            seed = sum(map(ord, path)) * 100 + i
            pixels = np.random.default_rng(seed).integers(0, 255, [*size, 3], np.uint8)
            pixels[..., 0] = hue
            Image.fromarray(pixels).save(folder / path / f"{i}.png")
    return str(folder)


def dark_and_light(folder, count=12):
    """Two classes that pixels tell apart, in train and test."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, base in (("dark", 40), ("light", 200)):
            place = folder / split / label
            place.mkdir(parents=True)
            for i in range(count):
                image = random.integers(base - 30, base + 30, [32, 32, 3], np.uint8)
                Image.fromarray(image).save(place / f"{i}.png")
