"""Put run.py, flags.py and the recipes into ``simclr_tf2.command_line`` of the wheel.

In the repository they stand at the top, where a reader looks for them. Everything else
about the package is in pyproject.toml.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RECIPES = [*Path("recipes").glob("*.flags"), *Path("recipes/hardware").glob("*.json")]
FILES = ["run.py", "flags.py", *sorted(map(str, RECIPES))]


class BuildWithCommandLine(build_py):
    """Copy the packages, then what the command line consists of."""

    def run(self) -> None:
        """Copy everything; an editable installation reads the repository itself."""
        super().run()
        for target, source in self._added().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """List the files of the wheel."""
        return [*super().get_outputs(include_bytecode), *self._added()]

    def get_output_mapping(self) -> dict[str, str]:
        """Return each file of the wheel with the one that it is made from."""
        return super().get_output_mapping() | self._added()

    def get_source_files(self) -> list[str]:
        """List what belongs into a source distribution."""
        return [*super().get_source_files(), *FILES]

    def _added(self) -> dict[str, str]:
        if self.editable_mode:
            return {}
        folder = Path(self.build_lib, "simclr_tf2", "command_line")
        return {str(folder / name): name for name in FILES}


setup(cmdclass={"build_py": BuildWithCommandLine})
