"""Image files of a folder: which they are, and their pixels."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from simclr_tf2.config import ConfigError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def list_images(folder: Path) -> list[Path]:
    """Image files below ``folder`` by suffix, sorted; hidden ones are left out.

    Raises:
        ConfigError: There are none.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise ConfigError(
            f"{folder} holds no image: expected files ending in {', '.join(SUFFIXES)}"
        )
    return found


def decode(path: Path) -> tf.Tensor:
    """Pixels uint8 ``[h, w, 3]``; of an animation the first frame.

    Raises:
        ConfigError: The file cannot be read as an image.
    """
    try:
        return tf.io.decode_image(
            path.read_bytes(), channels=3, expand_animations=False
        )
    except (tf.errors.OpError, OSError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0][:120]
        raise ConfigError(f"{path} is not a readable image: {reason}") from error
