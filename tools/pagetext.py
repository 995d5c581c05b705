"""Catalogue text in a page of the site: whatever it holds, a reader sees it as it was written."""

import html
import re
from urllib.parse import quote

MARKS = re.compile(r"""[&<>"\\`*_{}\[\]#+!|~^$=]|^[^\w\s]|(?<=^\d)[.)]|(?<=^\d\d)[.)]""", re.ASCII)
"""What Markdown, an extension of it or HTML could take for a mark."""
ADDRESS = ":/?#@!$&*+,;=%~-._"
"""What may stand in an address as it is: no quote, bracket or space."""


def shown(text: str) -> str:
    """Text for a line of Markdown: what could be a mark stands as the number of its character."""
    return MARKS.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def apart(text: str) -> str:
    """The same, where the direction of its writing does not reach the text around it."""
    return f"<bdi>{shown(text)}</bdi>"


def as_code(text: str) -> str:
    """Code in a line of Markdown or in a cell."""
    return f"<code>{shown(text)}</code>"


def link(words: str, address: str) -> str:
    """A link to another host; `words` are Markdown already."""
    return f'<a href="{html.escape(quote(address, safe=ADDRESS))}">{words}</a>'


def fenced(text: str, language: str) -> list[str]:
    """A block of code, within a fence longer than any in its text."""
    longest = max((len(found) for found in re.findall(r"`+|~+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text.strip(), fence, ""]


def attribute(text: str) -> str:
    """Text on one line for an attribute, or for the front matter, which the theme prints as HTML."""
    return html.escape(" ".join(text.split()))
