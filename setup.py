"""What pyproject.toml cannot say: two files of the repository's root are shipped inside the package."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DATA = ("catalog.yaml", "references.bib")


class BuildWithData(build_py):
    """Copies the catalogue and the bibliography to segloss/data/ of what is built."""

    def run(self) -> None:
        """Build the package; an editable one reads the files where they are."""
        super().run()
        if not self.editable_mode:
            for name in DATA:
                target = Path(self.build_lib) / "segloss" / "data" / name
                self.mkpath(str(target.parent))
                self.copy_file(name, str(target))

    def get_source_files(self) -> list[str]:
        """Put the files into a source distribution too."""
        return [*super().get_source_files(), *DATA]


setup(cmdclass={"build_py": BuildWithData})
