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
