"""What is wrong, and where."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Problem:
    """One line for the reader: the file, the line in it, what is wrong and what to do."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        """As one line."""
        return f"{self.path}:{self.line}: {' '.join(self.text.split())}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Advice to append to a message; empty where no known name is near."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def read_text(root: Path, path: str) -> tuple[str, list[Problem]]:
    """Text of a file below the root, empty where it cannot be read."""
    try:
        return (root / path).read_bytes().decode("utf-8"), []
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return "", [Problem(path, line, f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8")]
    except FileNotFoundError:
        return "", [Problem(path, 1, "there is no such file")]
    except OSError as error:
        return "", [Problem(path, 1, f"cannot be read: {error.strerror}")]
