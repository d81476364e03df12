"""Error messages, made comparable and counted in bounded memory.

What differs between two occurrences of one error (ids, addresses, long numbers, white space) is blotted out. If one
type of error still has too many different messages, all of them are cut to half their length, again and again, until
they fit: the width that results is the greatest at which all messages ever seen fit, so it does not depend on the order
in which they came, and no occurrence is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

WIDTH = 200
"""Characters of a message that are kept at most."""
MESSAGES_PER_TYPE = 100
"""Different messages of one type of error that are kept at most."""

_VARYING = re.compile(
    r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"  # a UUID
    r"|\b0x[0-9a-fA-F]+\b"  # an address
    r"|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b"  # an id in hexadecimal
    r"|[0-9]{4,}"  # any long number; shorter ones often mean something: a status, a line, a number of seconds
)
_READ_CHARACTERS = 4 * WIDTH


def normalised(message: str) -> str:
    """The message on one line, at most `WIDTH` characters long, with ``#`` for what varies from time to time."""
    return _VARYING.sub("#", " ".join(message[:_READ_CHARACTERS].split()))[:WIDTH]


@dataclass(slots=True)
class Occurrences:
    """How many runs and how many steps something happened to."""

    runs: int = 0
    steps: int = 0

    def absorb(self, other: Occurrences) -> None:
        """Add another count."""
        self.runs += other.runs
        self.steps += other.steps


@dataclass(slots=True)
class Texts:
    """The messages of one type of error, each with its occurrences; `width` is the length that they are cut to."""

    width: int = WIDTH
    by_text: dict[str, Occurrences] = field(default_factory=dict)

    def count(self, message: str, occurrences: Occurrences) -> None:
        """Add occurrences of one normalised message."""
        self._into(message[: self.width]).absorb(occurrences)
        while len(self.by_text) > MESSAGES_PER_TYPE:
            self._narrow_to(self.width // 2)

    def absorb(self, other: Texts) -> None:
        """Add the messages of another, which stays as it is."""
        if other.width < self.width:
            self._narrow_to(other.width)
        for text, occurrences in other.by_text.items():
            self.count(text, occurrences)

    def shown(self, text: str) -> str:
        """The text as readers see it, with an ellipsis where more may follow."""
        return f"{text}…" if len(text) >= self.width else text

    def _narrow_to(self, width: int) -> None:
        wider, self.width, self.by_text = self.by_text, width, {}
        for text, occurrences in wider.items():
            self._into(text[:width]).absorb(occurrences)

    def _into(self, text: str) -> Occurrences:
        return self.by_text.setdefault(text, Occurrences())
