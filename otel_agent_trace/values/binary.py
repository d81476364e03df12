"""Find binary content in texts: long runs of base64, as in data URIs, in parts of messages, and where bytes are JSON."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

LEAST_BYTES = 32 << 10
"""Size from which bytes are binary content, which has a limit of its own, and is stored once in a folder beside a store."""
LEAST_CHARACTERS = -(-LEAST_BYTES * 4 // 3)
_STEP = LEAST_CHARACTERS // 2
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-"
_run_from = re.compile(r"[A-Za-z0-9+/_-]*").match
_HEAD = r"(?i)data:(?P<mime_type>[A-Za-z0-9.+/-]*)(?:;[A-Za-z0-9.+/=_-]*)*;base64,\Z"  # compiled when it is used
_HEAD_CHARACTERS = 600
_KINDS = "[A-Z]", "[a-z]", "[0-9+/_-]"
_SAMPLE_CHARACTERS = 1 << 16
_TO_URL, _FROM_URL = str.maketrans("+/", "-_"), str.maketrans("-_", "+/")


def runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each long run of characters of base64, without its padding.

    Only every 20,000th or so of the other characters is looked at, since a long run includes one of them.
    """
    at = before = 0
    while at < len(text):
        end = _run_from(text, at).end()  # type: ignore[union-attr]
        if end - at < _STEP:
            at += _STEP
            continue
        first = max(before, at - _STEP)
        start = first + len(text[first:at].rstrip(_ALPHABET))
        if start and text[start - 1] == "\\":  # the run follows an escape of JSON
            start += 5 if text[start] == "u" else 1
        if end - start >= LEAST_CHARACTERS:
            yield start, end
        at = before = end


def data_uri_head(text: str, start: int) -> re.Match[str] | None:
    """Return the head of the data URI whose base64 starts there, with its group ``mime_type``; None if there is none."""
    return re.search(_HEAD, text[max(0, start - _HEAD_CHARACTERS) : start])


def seems_binary(text: str, start: int, end: int) -> bool:
    """Return whether a run has the three kinds of characters of base64, as no long number, no hex digits and no filler has."""
    sample = text[start : min(end, start + _SAMPLE_CHARACTERS)]
    return all(re.search(kind, sample) for kind in _KINDS)


def content_characters(text: str) -> int:
    """Return how many characters of a text are binary content in base64."""
    if len(text) < LEAST_CHARACTERS:
        return 0
    return sum(end - start for start, end in runs(text) if is_content(text, start, end))


def is_content(text: str, start: int, end: int) -> bool:
    """Return whether a run is binary content, as it belongs to a data URI, or has all kinds of characters of base64."""
    return seems_binary(text, start, end) or data_uri_head(text, start) is not None


def without_content(text: str) -> str:
    """Return a text without the base64 of binary content."""
    pieces, last = list[str](), 0
    for start, end in runs(text):
        if is_content(text, start, end):
            pieces.append(text[last:start])
            last = end
    return "".join((*pieces, text[last:]))


def decoded(run: str) -> tuple[bytes, bool] | None:
    """Return the content of a run, and whether it is of the variant for URLs; None if `encoded` would not return the run."""
    is_for_urls = "-" in run or "_" in run
    try:
        content = binascii.a2b_base64((run.translate(_FROM_URL) if is_for_urls else run) + "=" * (-len(run) % 4))
    except ValueError:
        return None
    return (content, is_for_urls) if encoded(content, is_for_urls=is_for_urls) == run else None


def encoded(content: bytes, *, is_for_urls: bool) -> str:
    """Return content in base64 without padding."""
    text = binascii.b2a_base64(content, newline=False).decode("ascii").rstrip("=")
    return text.translate(_TO_URL) if is_for_urls else text
