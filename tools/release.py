"""python -m tools.release: wheel and sdist into dist/, built twice and compared, with a bill of materials."""

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("segloss", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md")
SOURCES += ("CITATION.cff", "CONTRIBUTING.md", "catalog.yaml", "references.bib")


def main() -> int:
    """Build, compare, and keep one of the two."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (built(Path(folder) / name) for name in ("first", "second"))
        different = [file.name for file in first if not filecmp.cmp(file, second[0].parent / file.name, shallow=False)]
        if different:
            print(f"two builds differ: {', '.join(different)}", file=sys.stderr)
            return 1
        (ROOT / "dist").mkdir(exist_ok=True)
        for file in first:
            shutil.copy(file, ROOT / "dist")
    (ROOT / "dist" / "sbom.cdx.json").write_text(materials(), encoding="utf-8")
    print("\n".join(sorted(f"dist/{file.name}" for file in (ROOT / "dist").iterdir())))
    return 0


def built(place: Path, root: Path = ROOT) -> list[Path]:
    """Wheel and sdist, built from a copy with the build tools of this environment."""
    place.mkdir(parents=True)
    source, out = place / "source", place / "dist"
    for name in SOURCES:
        if (root / name).is_dir():
            shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copyfile(root / name, source / name)
    call = f"import setuptools.build_meta as b; b.build_sdist({str(out)!r}); b.build_wheel({str(out)!r})"
    out.mkdir()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or committed(root)}
    done = subprocess.run(
        [sys.executable, "-c", call], cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return sorted(out.iterdir())


def committed(root: Path) -> str:
    """Seconds of the last commit, which stand for the time of the build."""
    told = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=root, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "315532800"


def materials() -> str:
    """What is installed here, in the words of CycloneDX."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    raise SystemExit(main())
