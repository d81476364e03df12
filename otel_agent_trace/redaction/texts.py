"""Find the secrets of one text: each detector looks where a literal was found, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

JOINT = '"\n"'
"""Separator of texts that are searched together: some names are looked for with the quote after them."""
_LEAST_WORK = 200_000
_MOST_ITEMS = 3_000_000
_WORK_PER_CHARACTER = 12
JUDGED = 120
"""Work of judging what stands under a name, in characters that could be read in the same time."""


class Found(NamedTuple):
    """Hold a part of a text that is to be masked.

    Attributes:
        start: the position of its first character.
        end: the position after its last character.
        rule: the rule that found it.
        value: the secret, of which a text may hold an encoded form.
        quote: what the mask is to be quoted with, where a number of JSON is masked.
    """

    start: int
    end: int
    rule: str
    value: str
    quote: str = ""


class UnscannableError(Exception):
    """Indicate a text that nobody can look at in the time that it is worth: it is not stored."""


class Text:
    """Hold a text while it is searched, and count the work.

    Attributes:
        text: the text.
        done: the position up to which it was masked.
        seen: the position up to which names were read.
    """

    __slots__ = ("_work", "done", "seen", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.done = 0
        self.seen = 0
        self._work = _LEAST_WORK + _WORK_PER_CHARACTER * len(text)

    def spend(self, characters: int) -> None:
        """Count characters that were looked at.

        Raises:
            UnscannableError: there were too many for a text of this length.
        """
        self._work -= characters
        if self._work < 0:
            raise UnscannableError


Detector = Callable[[Text, int], Iterable[Found]]
"""Represent what looks at a text where a literal was found: given the text and the literal's position, returns what it found."""


def texts_of(value: Any) -> Iterator[str]:
    """Yield all texts of a JSON value, its keys too, and its bytes as texts, in any order.

    Raises:
        UnscannableError: it has more than `_MOST_ITEMS`, as one that contains itself.
    """
    stack, items_left = [value], _MOST_ITEMS
    while stack:
        item = stack.pop()
        items_left -= 1
        if not items_left:
            raise UnscannableError
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, bytes):
            stack.append(texts_of_bytes(item))


_ASCII = re.compile(rb"[\t\n\r -~]{8,}")


def texts_of_bytes(value: bytes) -> str | list[str]:
    """Return bytes as a text if they are one in UTF-8, else the texts in them: eight or more characters of ASCII.

    Between these, in pictures and archives, anything may stand by chance.
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return [found[0].decode() for found in _ASCII.finditer(value)]


def bytes_of_texts(value: bytes, texts: str | list[str]) -> bytes:
    """Return bytes with other texts in the place of those that `texts_of_bytes` returns."""
    if isinstance(texts, str):
        return texts.encode("utf-8", "replace")
    left = iter(texts)
    return _ASCII.sub(lambda _: next(left).encode("utf-8", "replace"), value)
