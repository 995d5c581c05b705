"""What pyproject.toml cannot say: two files of the root are shipped in the package, and archives are reproducible."""

import gzip
import os
import tarfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

DATA = ("catalog.yaml", "references.bib")
EARLIEST = 315532800
"""1980, the first year that a zip file can tell."""


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


class ReproducibleSource(sdist):
    """Files in the order of their names, of one time and owner, so that two builds are the same to the byte."""

    def make_archive(self, base_name: str, format: str, root_dir: str | None = None, base_dir: str | None = None, **_):
        """Write the archive; only gzipped tar is known."""
        if format != "gztar":
            raise ValueError(f"format must be gztar, not {format!r}")
        name, root = Path(f"{base_name}.tar.gz"), Path(root_dir or ".")
        time = int(os.environ.get("SOURCE_DATE_EPOCH", EARLIEST))
        with (
            name.open("wb") as raw,
            gzip.GzipFile("", "wb", fileobj=raw, mtime=time) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted((root / str(base_dir)).rglob("*")):
                if path.is_file():
                    member = archive.gettarinfo(path, path.relative_to(root).as_posix())
                    member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "", ""
                    member.mode = 0o755 if member.mode & 0o100 else 0o644
                    with path.open("rb") as content:
                        archive.addfile(member, content)
        return str(name)


os.environ.setdefault("SOURCE_DATE_EPOCH", str(EARLIEST))
setup(cmdclass={"build_py": BuildWithData, "sdist": ReproducibleSource})
