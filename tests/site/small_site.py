"""A small site from entries that are made up, to be built and served in a moment."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.site.conftest import ROOT, Quiet
from tools.catalogue import load
from tools.entries import read_entries, schema
from tools.families import FAMILIES
from tools.pages import UNPLACED, Placed, render
from tools.wanted import schema as wanted_schema
from tools.wanted import wanted_page

VOCABULARY = (
    tuple(FAMILIES),
    ("binary", "multiclass", "multilabel"),
    (1, 2, 3),
    ("distance", "image", "prior", "instances", "skeleton", "adjacency"),
)


def checked(entries: Mapping[str, Any], reader: Any) -> dict[str, Mapping[str, Any]]:
    """Entries as the tools read them from a file; none is refused."""
    text = yaml.safe_dump(dict(entries), allow_unicode=True, sort_keys=False)
    found, problems, _ = read_entries("catalog.yaml", text, reader)
    assert not problems, problems
    return {key: entry.fields for key, entry in found.items()}


def build(
    to: Path,
    entries: Mapping[str, Any],
    bibtex: Mapping[str, str],
    wanted: Mapping[str, Any] | None = None,
    placed: Placed = UNPLACED,
    only: str = "",
) -> Path:
    """The folder of the site; `only` keeps the pages whose path begins with it."""
    read = checked(entries, schema(*VOCABULARY))
    families = {key: [author.split()[-1] for author in entry["authors"]] for key, entry in read.items()}
    pages = render(
        {key: {**entry, "families": families[key]} for key, entry in read.items()},
        bibtex,
        load(ROOT).functions,
        {},
        placed=placed,
    )
    pages["docs/wanted.md"] = wanted_page(checked(wanted or {}, wanted_schema(tuple(FAMILIES))))
    shutil.copytree(ROOT / "overrides", to / "overrides")
    shutil.copytree(ROOT / "docs" / "assets", to / "docs" / "assets")
    (to / "docs" / "index.md").write_text("# Home\n", encoding="utf-8")
    for path, text in pages.items():
        if path.startswith(only or "docs/"):
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            (to / path).write_text(text, encoding="utf-8")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    del config["INHERIT"]
    config |= {"plugins": ["search"], "strict": False, "validation": {}}
    (to / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet"]
    built = subprocess.run(command, cwd=to, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stderr
    return to / "site"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder while it is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
