"""Files are written all or none, and a reader never sees half of one."""

import os
from collections.abc import Mapping
from pathlib import Path

Content = str | bytes | None
"""What a file shall hold; None removes it."""


def write_all(root: Path, files: Mapping[str, Content]) -> list[str]:
    """Writes what differs from what is there, through files beside the old ones; on an error everything is as before.

    Returns the paths that changed.
    """
    wanted = {(root / path).resolve(): _bytes(content) for path, content in files.items()}
    before = {path: path.read_bytes() if path.is_file() else None for path in wanted}
    changed = {path: content for path, content in wanted.items() if content != before[path]}
    for path in wanted:
        _sweep(path)
    made: list[Path] = []
    replaced: list[Path] = []
    try:
        for path in changed:
            _make_folder(path.parent, made)
        for path, content in changed.items():
            if content is not None:
                _temporary(path).write_bytes(content)
        for path, content in changed.items():
            replaced.append(path)
            _put(path, content)
    except BaseException:
        for path in replaced:
            _restore(path, before[path])
        for path in changed:
            _temporary(path).unlink(missing_ok=True)
        for folder in reversed(made):
            folder.rmdir()
        raise
    return [path for path in files if (root / path).resolve() in changed]


def _bytes(content: Content) -> bytes | None:
    return content.encode("utf-8") if isinstance(content, str) else content


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _sweep(path: Path) -> None:
    """Removes what a writer that was killed has left beside a file."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        writer = left.name.split(".")[-2]
        if writer.isdecimal() and not _runs(int(writer)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _make_folder(folder: Path, made: list[Path]) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent, made)
        folder.mkdir()
        made.append(folder)


def _put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
        return
    if path.exists():
        _temporary(path).chmod(path.stat().st_mode)
    os.replace(_temporary(path), path)


def _restore(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        _temporary(path).write_bytes(content)
        os.replace(_temporary(path), path)
