"""Builds TFDS's own fashion_mnist without a network, from a Debian package.

    apt-get install dataset-fashion-mnist
    python data/prepare_fashion_mnist.py --data_dir=data

The package carries the published files, but compressed again without the file name and
time stamp in the gzip header. With both put back the files are the published ones byte
for byte, and TFDS accepts them by checksum from its folder for manual downloads.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import sys

PACKAGE = "dataset-fashion-mnist"
SOURCE = "/usr/share/datasets/fashion-mnist"

# Published file: (time stamp in its gzip header, SHA-256 as in TFDS's url_checksums).
PUBLISHED = {
    "train-images-idx3-ubyte.gz": (
        0x59A7E9DE,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    "train-labels-idx1-ubyte.gz": (
        0x59A7E9DE,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    "t10k-images-idx3-ubyte.gz": (
        0x59A7E9F3,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        0x59A7E9F3,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
}


class SourceError(ValueError):
    """Error of source files that are absent or not what they should be."""


def restore_gzip_header(data: bytes, *, name: str, time_stamp: int) -> bytes:
    """Return a gzip file with the name and time of the file it was made from.

    Args:
      data: a gzip file; returned as it is unless its header has no optional fields.
      name: original file name, ASCII.
      time_stamp: seconds since 1970.

    Raises:
      SourceError: `data` is not a gzip file.
    """
    if len(data) < 18 or data[:3] != b"\x1f\x8b\x08":
        raise SourceError("not a gzip file")
    flags, has_name = data[3], b"\x08"
    if flags:
        return data
    # RFC 1952: magic, method, flags, time, extra flags, system; then the name.
    header = data[:3] + has_name + time_stamp.to_bytes(4, "little") + data[8:10]
    return header + name.encode("ascii") + b"\0" + data[10:]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def place_files(source: pathlib.Path, data_dir: pathlib.Path) -> list[pathlib.Path]:
    """Put the four published files where TFDS looks for manual downloads.

    Files that are there and right stay untouched; each is written whole or not at all.

    Returns:
      The paths in `data_dir`/downloads/manual.

    Raises:
      SourceError: a source file is absent or differs from the published one.
    """
    manual = data_dir / "downloads" / "manual"
    paths = []
    for name, (time_stamp, digest) in PUBLISHED.items():
        path = manual / name
        paths.append(path)
        if path.exists() and _sha256(path.read_bytes()) == digest:
            continue
        try:
            data = (source / name).read_bytes()
        except OSError as error:
            raise SourceError(
                f"cannot read {source / name}; run `apt-get install {PACKAGE}` or "
                "give the folder that has it as --source"
            ) from error
        try:
            # Upstream compressed the file `train-images-idx3-ubyte`.
            stem = name.removesuffix(".gz")
            data = restore_gzip_header(data, name=stem, time_stamp=time_stamp)
        except SourceError as error:
            raise SourceError(f"{source / name} is {error}") from error
        if _sha256(data) != digest:
            raise SourceError(
                f"{source / name} is not the published file (its SHA-256 differs); "
                f"run `apt-get install --reinstall {PACKAGE}`"
            )
        manual.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".partial{os.getpid()}")
        partial.write_bytes(data)
        partial.replace(path)
    return paths


def is_built(data_dir: pathlib.Path) -> bool:
    """Return whether the data set is there; TFDS renames a version when complete."""
    return any(data_dir.glob("fashion_mnist/[0-9]*/dataset_info.json"))


def build(data_dir: pathlib.Path):
    """Build the data set unless it is built and return its TFDS builder."""
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
    import simclr_tf2  # before TensorFlow, whose kernels it chooses

    assert simclr_tf2
    import tensorflow_datasets as tfds

    builder = tfds.builder("fashion_mnist", data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def main(arguments: list[str] | None = None) -> int:
    """Prepare the data set; return 0, or 2 after one line on standard error."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data_dir",
        type=pathlib.Path,
        default=pathlib.Path("data"),
        help="TFDS folder, as for run.py (default: data)",
    )
    parser.add_argument(
        "--source",
        type=pathlib.Path,
        default=pathlib.Path(SOURCE),
        help=f"folder with the package's files (default: {SOURCE})",
    )
    options = parser.parse_args(arguments)
    data_dir = options.data_dir.expanduser().absolute()
    try:
        if not is_built(data_dir):
            place_files(options.source.expanduser(), data_dir)
    except (SourceError, OSError) as error:
        print(f"prepare_fashion_mnist: {error}", file=sys.stderr)
        return 2
    builder = build(data_dir)
    sizes = ", ".join(f"{k} {v.num_examples}" for k, v in builder.info.splits.items())
    print(f"fashion_mnist is ready in {builder.data_dir}: {sizes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
