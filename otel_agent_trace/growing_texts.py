"""Join and compare texts that grow, as the messages that the calls of a run are sent, once for all that keep them.

The tracer makes such a text from the one before, which redaction and the encoder then look for at its beginning, one after
the other. It has tens of thousands of characters: to copy and to compare it takes longer than all else.
"""

from __future__ import annotations


class _Latest:
    """Hold the latest text that was cut, and the latest that was compared; each is replaced as a whole, for threads."""

    __slots__ = ("compared", "cut")

    def __init__(self) -> None:
        self.cut = ("", "")
        self.compared = ("", "")


_LATEST = _Latest()


def without_bracket(text: str) -> str:
    """Return the text of a JSON array without its last character, the same object if it was the latest text too."""
    known, beginning = _LATEST.cut
    if known is not text:
        beginning = text[:-1]
        _LATEST.cut = text, beginning
    return beginning


def longer(array: str, items: list[str]) -> str:
    """Return the text of a JSON array with further items, at least one, given as JSON."""
    beginning = without_bracket(array)
    text = f"{beginning},{','.join(items)}]"
    _LATEST.compared = text, beginning
    return text


def begins_with(text: str, beginning: str) -> bool:
    """Return whether a text begins with another; at once if the same two were the latest for which that is so."""
    known = _LATEST.compared
    if known[0] is text and known[1] is beginning:
        return True
    if text.startswith(beginning):
        _LATEST.compared = text, beginning
        return True
    return False
