"""Escape control characters, so that the text of a trace cannot control the terminal that shows it."""

from __future__ import annotations

import re
import unicodedata

_SUSPECT = re.compile(r"[^\t\n\x20-\x7e]")
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def escaped(text: str) -> str:
    r"""Return the text with visible escapes in place of characters that control its display.

    These are controls (C0 except \n and \t, DEL, C1), format characters (among them those that change the direction of
    writing), line and paragraph separators, and lone surrogates.
    """
    return _SUSPECT.sub(_python_escape, text)


def escaped_line(text: str) -> str:
    """Return the text escaped and on one line, with one blank in place of each run of white space."""
    return escaped(" ".join(text.split()))


def escaped_json(text: str) -> str:
    """Return a JSON text of the same value, with the characters that `escaped` replaces as JSON escapes."""
    return _SUSPECT.sub(_json_escape, text)


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in _UNSAFE_CATEGORIES


def _python_escape(match: re.Match[str]) -> str:
    char = match[0]
    return char.encode("unicode_escape").decode() if _is_unsafe(char) else char


def _json_escape(match: re.Match[str]) -> str:
    char = match[0]
    if not _is_unsafe(char):
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
