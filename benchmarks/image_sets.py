"""Prepares small sets of PNG files, as a user has them, from images of this machine.

Every set is a folder as ``--image_dir`` reads it::

    SET/unlabeled/*.png          images to pretrain on
    SET/train/CLASS/*.png        labelled images of the probes
    SET/validation/CLASS/*.png   labelled images that probes are scored on

The images are the drawn shapes at 32, 64 and 96 px, Fashion-MNIST at 28 px, crops of
photographs that scikit-learn and scikit-image install, each under a light of its own,
and ``few``, 400 unlabelled of those crops. No image comes from a test split. Every
image, and so every set, is the same on each machine. A set that is there already is
kept. Run from the repository's root::

    python -m benchmarks.image_sets [--folder DIR] [--sets shapes32,few]

Fashion-MNIST is read from ``--data_dir``, where it must be prepared (docs/data.md);
crops of all photographs need ``pip install scikit-image``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

DEFAULT_FOLDER = Path("~/.cache/simclr_tf2/image_sets")
VERSION = 2  # raise it whenever a set gets other images
PARTS = ("unlabeled", "train", "validation")

# Size in pixels: unlabelled and labelled images; of the latter 60 % are for probes.
SHAPES = {32: (20_000, 5_000), 64: (8_000, 4_000), 96: (4_000, 2_500)}
FASHION = {
    "unlabeled": "train[:20000]",
    "train": "train[20000:25000]",
    "validation": "train[50000:53000]",
}
FROM_SKLEARN = ("china.jpg", "flower.jpg")
FROM_SKIMAGE = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
CROP = 64  # pixels
TILE = 100  # pixels, about: photographs are a chessboard of such tiles
LEAST_SIDE = 56  # pixels of the square that is cut out of a tile; scaled to CROP
LEAST_DETAIL = 12.0  # deviation of the gray values: plain sky and black are left out
DRAWS = 200  # at most for a square with that much
EXPOSURE, WHITE_BALANCE = 0.3, 0.25  # deviations of the logarithm of a light's gains
CROPS_PER_PHOTO = {"unlabeled": 600, "train": 200, "validation": 120}
FEW = 400

# Part, class ("" where there is none) and image.
Examples = Iterator[tuple[str, str, np.ndarray]]


def shapes(size: int) -> Examples:
    """Yield the drawn shapes of one size, ``size`` pixels square."""
    from simclr_tf2.data import shapes_drawing, shapes_scene

    unlabeled, labeled = SHAPES[size]
    probes = labeled * 6 // 10
    for part, split, indices in (
        ("unlabeled", "unlabeled", range(unlabeled)),
        ("train", "train", range(probes)),
        ("validation", "train", range(probes, labeled)),
    ):
        drawings = shapes_drawing.draw(indices, split=split, image_size=size)
        for image, label in zip(drawings.images, drawings.labels, strict=True):
            name = "" if part == "unlabeled" else shapes_scene.CLASS_NAMES[label]
            yield part, name, image


def fashion_mnist(data_dir: str) -> Examples:
    """Yield gray Fashion-MNIST, 28 pixels square, from the TFDS set in ``data_dir``."""
    import tensorflow_datasets as tfds

    builder = tfds.builder("fashion_mnist", data_dir=data_dir)
    if not builder.is_prepared():
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {data_dir}; prepare it with "
            f"`python data/prepare_fashion_mnist.py --data_dir={data_dir}`, or leave "
            "it out with --sets"
        )
    names = builder.info.features["label"].names
    for part, split in FASHION.items():
        for example in tfds.as_numpy(builder.as_dataset(split, shuffle_files=False)):
            name = "" if part == "unlabeled" else names[example["label"]]
            yield part, name.replace("/", "_"), example["image"][..., 0]


def photographs() -> dict[str, np.ndarray]:
    """Return the colour photographs that scikit-learn and scikit-image install.

    Returns:
        Name -> uint8 [height, width, 3]. Nothing is downloaded.

    Raises:
        ImportError: scikit-image is not installed.
    """
    import sklearn.datasets

    try:
        import skimage
    except ImportError as error:
        raise ImportError(
            "crops of photographs need scikit-image; install it with "
            "`pip install scikit-image`, or leave them out with --sets"
        ) from error
    files = [
        Path(sklearn.datasets.__file__).parent / "images" / n for n in FROM_SKLEARN
    ]
    files += [Path(skimage.__file__).parent / "data" / name for name in FROM_SKIMAGE]
    return {
        file.stem: np.asarray(Image.open(file).convert("RGB"))
        for file in files
        if file.is_file()  # scikit-image downloads other files of its list on demand
    }


def crops(
    photos: dict[str, np.ndarray], counts: dict[str, int] = CROPS_PER_PHOTO
) -> Examples:
    """Yield square crops of photographs, scaled to 64 pixels; class: the photograph.

    A photograph is a chessboard of tiles. Crops for validation lie in its black tiles,
    all others in its white ones, so that no pixel is shown by both. Every crop is
    under a light of its own, for otherwise its colours alone would tell the class, and
    squares that show next to nothing are left out.

    Args:
        photos: Name -> uint8 [height, width, 3].
        counts: Part -> number of crops of each photograph.
    """
    for number, (name, photo) in enumerate(sorted(photos.items())):
        for row, part in enumerate(PARTS):
            squares = list(tiles(*photo.shape[:2], black=part == "validation"))
            rng = np.random.default_rng([number, row])
            for _ in range(counts[part]):
                square = Image.fromarray(detailed_square(photo, squares, rng))
                image = square.resize((CROP, CROP), Image.Resampling.BICUBIC)
                image = relight(np.asarray(image), rng)
                yield part, "" if part == "unlabeled" else name, image


def detailed_square(
    photo: np.ndarray, squares: Sequence[tuple[int, ...]], rng: np.random.Generator
) -> np.ndarray:
    """Return a square of one of the tiles, drawn again while it shows nothing.

    After ``DRAWS`` draws the last one is returned, however plain it is.
    """
    for _ in range(DRAWS):
        top, bottom, left, right = squares[rng.integers(len(squares))]
        largest = min(bottom - top, right - left)
        side = int(rng.integers(min(LEAST_SIDE, largest), largest + 1))
        y = int(rng.integers(top, bottom - side + 1))
        x = int(rng.integers(left, right - side + 1))
        found = photo[y : y + side, x : x + side]
        if found.mean(axis=-1).std() >= LEAST_DETAIL:
            break
    return found


def tiles(height: int, width: int, *, black: bool) -> Iterator[tuple[int, ...]]:
    """Yield top, bottom, left and right of the tiles of one colour of a chessboard.

    The tiles cover a photograph; the one in the upper left corner is white.
    """
    rows = np.linspace(0, height, max(2, height // TILE) + 1).astype(int)
    columns = np.linspace(0, width, max(2, width // TILE) + 1).astype(int)
    for i, j in itertools.product(range(len(rows) - 1), range(len(columns) - 1)):
        if (i + j) % 2 == black:
            yield tuple(map(int, (rows[i], rows[i + 1], columns[j], columns[j + 1])))


def relight(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 [height, width, 3] under another exposure and white balance."""
    gains = np.exp(EXPOSURE * rng.normal() + WHITE_BALANCE * rng.normal(size=3))
    return np.clip(np.rint(image * gains), 0, 255).astype(np.uint8)


def cut(examples: Examples, count: int) -> Examples:
    """Yield the labelled examples, and ``count`` evenly spaced unlabelled ones."""
    kept = list(examples)
    unlabeled = [example for example in kept if example[0] == "unlabeled"]
    places = np.linspace(0, len(unlabeled) - 1, min(count, len(unlabeled)))
    yield from (unlabeled[round(place)] for place in places)
    yield from (example for example in kept if example[0] != "unlabeled")


def image_sets(data_dir: str = "data") -> dict[str, Callable[[], Examples]]:
    """Return name -> function that yields the images of the set."""
    return {
        "shapes32": lambda: shapes(32),
        "shapes64": lambda: shapes(64),
        "shapes96": lambda: shapes(96),
        "fashion_mnist": lambda: fashion_mnist(data_dir),
        "photos": lambda: crops(photographs()),
        "few": lambda: cut(crops(photographs()), FEW),
    }


def record_of(folder: Path) -> Path:
    """Return the path of the record of a set, beside its folder."""
    return folder.with_name(f"{folder.name}.json")


def prepare(name: str, examples: Callable[[], Examples], parent: Path) -> dict:
    """Write a set to ``parent / name``, unless it is there.

    Args:
        name: Of the set.
        examples: Yields its images.
        parent: Folder of the sets; made if it is missing.

    Returns:
        The record, also written to ``parent / "NAME.json"`` after all images: version,
        image size in pixels, number of images of each part, number of classes.
    """
    folder, record = parent / name, record_of(parent / name)
    if record.is_file():
        known = json.loads(record.read_text())
        if known["version"] == VERSION and folder.is_dir():
            return known
    record.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    counts, classes, size = dict.fromkeys(PARTS, 0), set(), 0
    for part, label, image in examples():
        place = folder / part / label
        place.mkdir(parents=True, exist_ok=True)
        classes |= {label} - {""}
        Image.fromarray(image).save(place / f"{counts[part]:05}.png", compress_level=1)
        counts[part] += 1
        size = image.shape[0]
    found = {
        "name": name,
        "version": VERSION,
        "image_size": size,
        "images": counts,
        "classes": len(classes),
    }
    record.write_text(json.dumps(found, indent=1) + "\n")
    return found


def main() -> None:
    """Prepare the sets and print one line for each."""
    known = image_sets()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--sets", default=",".join(known), help="names, with commas")
    parser.add_argument("--data_dir", default="data", help="where TFDS sets are")
    arguments = parser.parse_args()
    names = arguments.sets.split(",")
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"--sets must be among {', '.join(known)}; received {unknown}")
    parent = arguments.folder.expanduser()
    for name in names:
        examples = image_sets(arguments.data_dir)[name]
        try:
            found = prepare(name, examples, parent)
        except (ImportError, FileNotFoundError) as error:
            parser.exit(1, f"{name}: {error}\n")
        counts = ", ".join(f"{n:,} {part}" for part, n in found["images"].items())
        print(
            f"{parent / name}: {found['image_size']} px, {counts}, "
            f"{found['classes']} classes",
            flush=True,
        )


if __name__ == "__main__":
    main()
