"""What lies beside images without being one: folders of systems, files left out."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Mapping, Sequence

from simclr_tf2.data import dicom_files

# Folders that storage servers, operating systems and editors make beside a user's own,
# in lower case; folders whose name begins with a dot (.AppleDouble, .ipynb_checkpoints)
# are left out as well. docs/data.md has the list.
SIDE_FOLDERS = frozenset(
    (
        "@eadir",  # Synology: previews
        "#recycle",
        "#snapshot",
        "@tmp",
        "@sharebin",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "@__thumb",
        "@transcode",
        "lost+found",  # Linux file systems
        "$recycle.bin",  # Windows
        "recycler",
        "system volume information",
        "__macosx",  # macOS, in archives and on network drives
        "network trash folder",
        "temporary items",
        "__pycache__",
    )
)
SIDE_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
ARCHIVES = (
    ".zip .tar .tgz .gz .tbz2 .bz2 .txz .xz .zst .7z .rar .tar.gz .tar.bz2 .tar.xz "
    ".tar.zst"
).split()
# Formats of pictures that are not read but can be converted.
CONVERTIBLE = (
    ".heic .heif .avif .jxl .jp2 .j2k .psd .svg .pdf .dng .cr2 .cr3 .nef .arw .orf "
    ".rw2 .raf .tga .exr .hdr .nii .eps .ico"
).split()
_MOST = 8  # suffixes named in one line


def is_side_folder(name: str) -> bool:
    """Return whether a folder belongs to a system, and its files are no data."""
    return name.lower() in SIDE_FOLDERS


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is left out for its name."""
    return name.startswith(".") or name.lower() in SIDE_FILES or is_side_folder(name)


def suffix_of(name: str) -> str:
    """Return the end of a file's name in lower case; "(none)" without one."""
    stem, suffix = posixpath.splitext(name.lower())
    if suffix in ARCHIVES and stem.endswith(".tar"):
        return f".tar{suffix}"
    return suffix or "(none)"


def left_out(
    others: Mapping[str, int], side_folders: Mapping[str, int], hidden: int
) -> str:
    """Say in one line what is not read of a folder; "" if everything is.

    Args:
        others: Suffix -> files that are no images.
        side_folders: Name -> folders of systems.
        hidden: All files and folders left out for their name.
    """
    parts = []
    if others:
        counts = sorted(others.items(), key=lambda item: -item[1])
        named = ", ".join(f"{n} {suffix}" for suffix, n in counts[:_MOST])
        more = sum(n for _, n in counts[_MOST:])
        parts.append(f"{named}{f' and {more} others' if more else ''}{_remedy(others)}")
    if side_folders:
        named = ", ".join(
            f"{name} ({count})" if count > 1 else name
            for name, count in side_folders.items()
        )
        parts.append(f"folders of systems: {named}")
    rest = hidden - sum(side_folders.values())
    if rest:
        parts.append(f"{rest} hidden file{'s' * (rest > 1)} or folders")
    return "; ".join(parts)


def _remedy(others: Mapping[str, int]) -> str:
    remedies = []
    if not others.keys().isdisjoint(ARCHIVES):
        remedies.append("unpack archives to read the images in them")
    if not others.keys().isdisjoint(dicom_files.SUFFIXES):
        remedies.append(f"{dicom_files.INSTALL} reads DICOM files")
    convert = [s for s in others if s in CONVERTIBLE]
    if convert:
        remedies.append(f"convert {', '.join(convert)} to PNG or JPEG to read them")
    return f" ({'; '.join(remedies)})" if remedies else ""


def reading_flag(path: str) -> str:
    """Say which flag reads what lies at ``path``, or what to do first; "" if unknown.

    Paths are quoted for a shell. Only names are looked at, and whether a folder of that
    name is there.
    """
    name, suffix = os.path.basename(path), suffix_of(path)
    quoted = shlex.quote(path)
    if os.path.isdir(path):
        if any(".tfrecord" in entry for entry in os.listdir(path)):
            pattern = shlex.quote(os.path.join(path, "*.tfrecord*"))
            return f"pass --tfrecords={pattern}"
        return f"pass --image_dir={quoted}"
    if suffix in (".csv", ".tsv", ".parquet"):
        return f"pass --manifest={quoted}"
    if suffix in (".npz", ".npy"):
        return f"pass --dataset={quoted}"
    if ".tfrecord" in name:
        return f"pass --tfrecords={quoted}"
    if suffix in ARCHIVES:
        return f"it is an archive: {unpacking(path)} and pass --image_dir=FOLDER"
    return ""


def only_archives(root: str, archives: Sequence[str]) -> str:
    """Say that a folder holds archives alone, and how to unpack the first one.

    Args:
        root: The folder.
        archives: Their paths below it.
    """
    first = posixpath.join(root, min(archives))
    more = f" and {len(archives) - 1} other archives" if len(archives) > 1 else ""
    return (
        f"{root} holds no image but an archive, {first}{more}; unpack the images and "
        f"pass the same flags again ({_unpack(first)})"
    )


def unpacking(path: str) -> str:
    """Say how an archive is unpacked."""
    return f"unpack the archive first ({_unpack(path)})"


def _unpack(path: str) -> str:
    suffix = suffix_of(path)
    folder = shlex.quote(path[: -len(suffix)] or "photos")
    path = shlex.quote(path)
    if suffix == ".zip":
        return f"unzip {path} -d {folder}"
    if suffix.startswith(".t"):
        return f"mkdir {folder} && tar -xf {path} -C {folder}"
    return "with the program that made it"
