"""Where the site and its repository stand, from mkdocs.yml; both are left out as long as they are not known."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml

from tools.problems import read_text


@dataclass(frozen=True)
class Addresses:
    """The address of the site, that of the repository and the branch of it that pages link to; empty if unknown."""

    site: str = ""
    repository: str = ""
    branch: str = "main"

    def source(self, path: str, line: int) -> str:
        """The line of a file, to be read."""
        return self._line("blob", path, line)

    def edit(self, path: str, line: int) -> str:
        """The line of a file, to be changed."""
        return self._line("edit", path, line)

    def _line(self, action: str, path: str, line: int) -> str:
        return f"{self.repository}/{action}/{self.branch}/{quote(path)}#L{line}" if self.repository else ""


NOWHERE = Addresses()
"""Neither has an address."""


def addresses(root: Path) -> Addresses:
    """What mkdocs.yml says under site_url and extra."""
    config = yaml.safe_load(read_text(root, "mkdocs.yml")[0]) or {}
    extra = config.get("extra") or {}
    return Addresses(
        (config.get("site_url") or "").rstrip("/"),
        (extra.get("repository") or "").rstrip("/"),
        extra.get("branch") or "main",
    )
