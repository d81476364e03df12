"""Reading the documents: their sections, the blocks in them, and what a block is shown to print."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/**/*.md")))
)
"""Every document, as a path below the root of the checkout."""


def read(page: str) -> str:
    """Return the text of a document."""
    return (ROOT / page).read_text(encoding="utf-8")


def section(document: str, title: str) -> str:
    """Return the text below a heading of the second or third level, up to the next heading of its level or above."""
    heading = re.search(rf"^(##+) {re.escape(title)}\n", document, re.MULTILINE)
    assert heading is not None, f"there is no section {title!r}"
    rest = document[heading.end() :]
    return re.split(rf"^#{{2,{len(heading[1])}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(document: str) -> list[tuple[str, str]]:
    """Return the fenced blocks as pairs of language and text, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def blocks_in(document: str, language: str) -> list[str]:
    """Return the texts of the blocks in one language, in order."""
    return [text for found, text in blocks(document) if found == language]


def python_blocks(document: str) -> list[str]:
    """Return the texts of the Python blocks, in order."""
    return blocks_in(document, "python")


def named_files(document: str) -> dict[str, str]:
    """Return the blocks that follow a line such as "`name.py`:", by that name."""
    return dict(re.findall(r"^`([\w.-]+)`:\n\n```\w+\n(.*?)^```$", document, re.MULTILINE | re.DOTALL))


def shown_outputs(document: str) -> dict[int, str]:
    """Return what is shown as the output of Python blocks: the text blocks right after them, by number of the former."""
    shown: dict[int, str] = {}
    number, before = -1, ""
    for language, text in blocks(document):
        number += language == "python"
        if language == "text" and before == "python":
            shown[number] = text
        before = language
    return shown


def console_sessions(document: str) -> list[tuple[str, list[str]]]:
    """Return the commands of console blocks, each with the lines that are shown below it."""
    sessions: list[tuple[str, list[str]]] = []
    for text in blocks_in(document, "console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                sessions.append((line[2:], []))
            else:
                sessions[-1][1].append(line)
    return sessions


def mentions(document: str, name: str) -> bool:
    """Return whether a document has a name as a word of its own."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", document) is not None


def without_chance(text: str) -> str:
    """Return the text without what differs from run to run: ids, dates, times, durations."""
    for pattern in (
        r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b",
        r"\b\d{4}-\d\d-\d\d\b",
        r"\b\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00)?",
        r"\b\d+(\.\d+)?m?s\b",
    ):
        text = re.sub(pattern, "#", text)
    return text


def anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(
        r"^#+ (.*)", re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def links(document: str) -> list[tuple[str, str]]:
    """Return the links to other documents and headings, as pairs of path and anchor, either of which may be empty."""
    text = re.sub(r"^```.*?^```$", "", document, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [(path, anchor) for path, _, anchor in (target.partition("#") for target in targets) if "://" not in path]
