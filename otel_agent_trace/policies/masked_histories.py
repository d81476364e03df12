"""Mask texts that grow, as the messages that the calls of a run are sent: of each, only what is new is searched."""

from __future__ import annotations

from typing import NamedTuple

from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.growing_texts import begins_with, without_bracket
from otel_agent_trace.policies.masked_attributes import BytesMask, masked_attribute
from otel_agent_trace.redaction.redactor import Redactor

LONG_CHARACTERS = 4096
"""Length from which on texts are kept to be compared."""
_KEPT_TEXTS = 256
_KEPT_CHARACTERS = 8 << 20


class _Known(NamedTuple):
    """Hold the beginning of a JSON array that was searched: its text without the last bracket, and the masked one."""

    revision: int
    text: str
    masked: str


class MaskedHistories:
    """Keep what was searched of the longest texts of each trace, in which later texts begin with earlier ones.

    The messages that a model is sent are those of the call before, and some more.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._known: dict[tuple[str, str], _Known] = {}
        self._characters = 0
        self._lock = ForkSafeLock()

    def unknown_part(self, key: tuple[str, str], text: str) -> str | None:
        """Return what has not been searched yet of a text; None if there are masks in what has been."""
        known = self._beginning(key, text)
        if known is None:
            return text
        return text[len(known.text) :] if known.masked is known.text else None

    def masked(self, key: tuple[str, str], text: str, in_bytes: BytesMask | None) -> str:
        """Return a text with masks."""
        known = self._beginning(key, text)
        rest = text if known is None else text[len(known.text) :]
        masked: str
        if known is None:
            masked = masked_attribute(self._redactor, key[1], text, in_bytes)[1]
        elif rest == "]":
            masked = f"{known.masked}]"
        else:
            new = masked_attribute(self._redactor, key[1], f"[{rest[1:]}", in_bytes)[1]
            masked = f"{known.masked},{new[1:]}" if new[0] == "[" else new  # else it could not be searched
        if masked == text:
            masked = text
        self._keep(key, text, masked)
        return masked

    def _beginning(self, key: tuple[str, str], text: str) -> _Known | None:
        known = self._known.get(key)
        if known is None or known.revision != self._redactor.revision or not begins_with(text, known.text):
            return None
        length = len(known.text)
        return known if text[length : length + 1] in (",", "]") else None

    def keep_clean(self, key: tuple[str, str], text: str) -> None:
        """Keep a text in which nothing was found."""
        self._keep(key, text, text)

    def _keep(self, key: tuple[str, str], text: str, masked: str) -> None:
        if not (text.startswith("[{") and text.endswith("}]") and masked.endswith("}]")):
            return
        start = without_bracket(text)
        new = _Known(self._redactor.revision, start, start if masked is text else masked[:-1])
        with self._lock:
            before = self._known.pop(key, None)
            self._known[key] = new
            self._characters += len(start) - (0 if before is None else len(before.text))
            while len(self._known) > _KEPT_TEXTS or self._characters > _KEPT_CHARACTERS:
                self._characters -= len(self._known.pop(next(iter(self._known))).text)
