"""pyproject.toml and constraints.txt -> locked.txt: the hashes of what is installed, for every platform.

    pip install uv
    python -m tools.lock

Torch is not among them: which build fits depends on the machine, so it is installed before, by name and version.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS, LOCKED = "constraints.txt", "locked.txt"
EXTRAS = ("docs", "test", "topology", "skeleton", "fast")
OLDEST = "3.11.5"
"""The Python from which on all of it can be installed."""
HEAD = f"# Hashes of what {PINS} pins, but for torch and what it needs. Made by `python -m tools.lock`.\n"


def wanted(root: Path) -> list[str]:
    """Requirements of the project and of the extras that the two commands need."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name in EXTRAS for line in project["optional-dependencies"][name]]
    return [line for line in (*project["dependencies"], *extras) if not line.startswith("torch")]


def main() -> None:
    """Write the file."""
    how = ["--universal", "--python-version", OLDEST, "--generate-hashes", "--no-annotate", "--no-header"]
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--constraint", PINS, *how, "-"],
        input="\n".join(wanted(ROOT)),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        sys.exit(done.stderr or f"uv ended with {done.returncode}")
    (ROOT / LOCKED).write_text(HEAD + done.stdout, encoding="utf-8")


if __name__ == "__main__":
    main()
