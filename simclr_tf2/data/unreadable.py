"""Errors of readers of image files: why bytes are no image that can be used."""

from __future__ import annotations


class BadImage(ValueError):
    """Error that says in one line why bytes are no image that can be used."""


class MissingReader(BadImage):
    """Error that names the package that would read the image, and how to install it."""
