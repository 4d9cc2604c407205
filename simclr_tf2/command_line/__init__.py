"""The command line: ``run.py``, ``flags.py`` and the recipes.

A wheel has them in this package (``setup.py`` puts them here). In a checkout they stand
at the top of the repository, which is a second place of this package's modules.
"""

from __future__ import annotations

from pathlib import Path

from simclr_tf2 import places

HOME = places.home()
if Path(__file__).parent != HOME:
    __path__.append(str(HOME))


def main() -> None:
    """Run the program: ``simclr-tf2`` and ``python -m simclr_tf2``."""
    from simclr_tf2 import stopping

    stopping.install()  # before anything that takes time is imported
    from simclr_tf2.command_line import run  # type: ignore[attr-defined]

    stopping.run_to_exit(run.main)
