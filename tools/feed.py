"""The feed of entries, newest paper first, in the Atom format."""

import re
import uuid
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from tools.address import Addresses
from tools.paper import Entry, items, paper_name, short_name

NAMESPACE = uuid.UUID("6f2b4c1e-7f0a-5d6b-9a53-2f5e1c7b8d90")
"""Never to be changed: the identifiers of entries follow from it and from their keys."""
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TITLE = "segloss: loss functions for image segmentation"


def feed(entries: Mapping[str, Entry], where: Addresses) -> str:
    """The feed; links are relative to it as long as the site has no address."""
    base = f"{where.site}/" if where.site else ""
    updated = max((moment(entry["date"]) for entry in entries.values()), default=moment("1970"))
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom">',
        f"<title>{TITLE}</title>",
        f"<id>{identifier('feed')}</id>",
        f"<updated>{updated}</updated>",
        "<author><name>segloss</name></author>",
        f'<link rel="self" type="application/atom+xml" href={quoteattr(base + "feed.xml")}/>',
        f'<link rel="alternate" type="text/html" href={quoteattr(base + "catalog/")}/>',
    ]
    for key, entry in entries.items():
        lines += feed_entry(key, entry, base)
    return "\n".join([*lines, "</feed>", ""])


def feed_entry(key: str, entry: Entry, base: str) -> list[str]:
    """One paper, with its authors, venue and functions."""
    date = moment(entry["date"])
    functions = ", ".join(dict.fromkeys(short_name(item["function"]) for item in items(entry)))
    summary = f"{paper_name(entry)}, {entry['venue']}. Family: {entry['family']}. Functions: {functions}."
    return [
        "<entry>",
        f"<title>{text(entry['title'])}</title>",
        f"<id>{identifier(key)}</id>",
        f"<published>{date}</published>",
        f"<updated>{date}</updated>",
        *(f"<author><name>{text(author)}</name></author>" for author in entry["authors"]),
        f"<category term={quoteattr(entry['family'])}/>",
        f'<link rel="alternate" type="text/html" href={quoteattr(f"{base}papers/{key}/")}/>',
        f"<summary>{text(summary)}</summary>",
        "</entry>",
    ]


def text(words: str) -> str:
    """Text of XML, without the characters that XML has no way to hold."""
    return escape(FORBIDDEN.sub("", " ".join(words.split())))


def moment(date: str) -> str:
    """The first moment of a day, a month or a year."""
    return (str(date) + "-01-01")[:10] + "T00:00:00Z"


def identifier(key: str) -> str:
    """Always the same for a key."""
    return uuid.uuid5(NAMESPACE, key).urn
