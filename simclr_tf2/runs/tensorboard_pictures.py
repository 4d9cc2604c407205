"""Write pictures and an embedding for TensorBoard next to the scalars of a run."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

PROJECTOR_IMAGES = 1000  # [ours] points of the embedding projector
SPRITE_SIDE = 48  # [ours] pixels of an image in the projector
CONFIG = "projector_config.pbtxt"  # the name that TensorBoard looks for


def write_picture(folder: Path, name: str, png: bytes, *, step: int) -> None:
    """Add a picture to the events of a run.

    Args:
        folder: Folder of the events.
        name: Tag of the picture.
        png: The encoded picture.
        step: Step it belongs to.
    """
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=step):
        tf.summary.image(name, tf.image.decode_png(png, channels=3)[tf.newaxis])
    writer.close()


def write_projector(
    folder: Path,
    features: np.ndarray,
    *,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] = (),
    name: str = "h",
    names: Sequence[str] = (),
    most: int = PROJECTOR_IMAGES,
) -> None:
    """Write an embedding for TensorBoard's projector: vectors, labels and thumbnails.

    Args:
        folder: Log folder of a run; the first ``most`` rows are written.
        features: float32 ``[n, d]``.
        images: uint8 ``[n, h, w, 3]``.
        labels: int64 ``[n]``, -1 for none; None for no labels.
        class_names: Names in label order.
        name: Name of the embedding.
        names: Names of the images, ``[n]``; default: their numbers.
        most: Largest number of rows.
    """
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    features, images = features[:most], images[:most]
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "vectors.tsv", features, fmt="%.6g", delimiter="\t")
    label_names = _label_names(labels, class_names, len(features))
    shown = [_one_line(text) for text in names] or map(str, range(len(features)))
    rows = [f"{a}\t{b}" for a, b in zip(shown, label_names, strict=False)]
    text = "\n".join(["image\tlabel", *rows]) + "\n"
    (folder / "metadata.tsv").write_text(text, encoding="utf-8")
    sprite, side = _sprite(images)
    (folder / "sprite.png").write_bytes(sprite)

    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = name
    embedding.tensor_path = "vectors.tsv"
    embedding.metadata_path = "metadata.tsv"
    embedding.sprite.image_path = "sprite.png"
    embedding.sprite.single_image_dim.extend([side, side])
    (folder / CONFIG).write_text(text_format.MessageToString(config))


def _label_names(
    labels: np.ndarray | None, class_names: Sequence[str], count: int
) -> list[str]:
    if labels is None:
        return ["unlabelled"] * count
    known = dict(enumerate(class_names))
    names = (known.get(int(i), str(i) if i >= 0 else "unlabelled") for i in labels)
    return [_one_line(name) for name in names][:count]


def _one_line(text: str) -> str:
    """Return a text without tabs and line ends, which separate cells of a table."""
    return " ".join(text.split())


def _sprite(images: np.ndarray) -> tuple[bytes, int]:
    """Lay out thumbnails in a square, row by row, as the projector reads them."""
    from PIL import Image

    side = min(SPRITE_SIDE, max(images.shape[1:3]))
    columns = math.ceil(math.sqrt(len(images)))
    sheet = Image.new("RGB", (columns * side, columns * side), "white")
    for place, image in enumerate(images):
        thumbnail = Image.fromarray(image).resize((side, side))
        sheet.paste(thumbnail, (place % columns * side, place // columns * side))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue(), side
