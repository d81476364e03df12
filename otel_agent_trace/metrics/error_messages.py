"""Count messages of errors.

They are normalised first: what differs between two occurrences of one error (ids, addresses, long numbers,
white space) is replaced. If one type of error still has too many different messages, all of them are truncated to half
their length, again and again, until they fit. The resulting width is the greatest at which all messages ever counted
fit, so it does not depend on the order in which they came, and no occurrence is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MESSAGE_WIDTH = 200
"""Most characters of a message that are kept."""
MESSAGES_PER_TYPE = 100
"""Most different messages that are kept for one type of error."""

_VARYING = re.compile(
    r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"  # a UUID
    r"|\b0x[0-9a-fA-F]+\b"  # an address
    r"|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b"  # an id in hexadecimal
    r"|[0-9]{4,}"  # any long number; shorter ones often mean something: a status, a line, a number of seconds
)
READ_CHARACTERS = 4 * MESSAGE_WIDTH
"""Characters of a message that are looked at."""


def normalised(message: str) -> str:
    """Return the message on one line of at most `MESSAGE_WIDTH` characters, with ``#`` for ids and long numbers."""
    return _VARYING.sub("#", " ".join(message[:READ_CHARACTERS].split()))[:MESSAGE_WIDTH]


@dataclass(slots=True)
class Occurrences:
    """Count the runs and the steps that something happened to."""

    runs: int = 0
    steps: int = 0

    def absorb(self, other: Occurrences) -> None:
        """Add the counts of another tally."""
        self.runs += other.runs
        self.steps += other.steps


@dataclass(slots=True)
class Texts:
    """Count the occurrences of each message of one type of error; messages are truncated to `width` characters."""

    width: int = MESSAGE_WIDTH
    by_text: dict[str, Occurrences] = field(default_factory=dict)

    def count(self, message: str, occurrences: Occurrences) -> None:
        """Add occurrences of one normalised message."""
        self._occurrences_of(message[: self.width]).absorb(occurrences)
        while len(self.by_text) > MESSAGES_PER_TYPE:
            self._truncate_to(self.width // 2)

    def absorb(self, other: Texts) -> None:
        """Add the messages of another tally, which stays as it is."""
        if other.width < self.width:
            self._truncate_to(other.width)
        for text, occurrences in other.by_text.items():
            self.count(text, occurrences)

    def shown(self, text: str) -> str:
        """Return a message for display, with an ellipsis where more may follow."""
        return f"{text}…" if len(text) >= self.width else text

    def _truncate_to(self, width: int) -> None:
        wider, self.width, self.by_text = self.by_text, width, {}
        for text, occurrences in wider.items():
            self._occurrences_of(text[:width]).absorb(occurrences)

    def _occurrences_of(self, text: str) -> Occurrences:
        return self.by_text.setdefault(text, Occurrences())
