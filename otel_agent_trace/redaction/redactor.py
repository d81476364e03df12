"""Mask secrets, and personal data on request, in any JSON value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.redaction.engine import LiteralScanner
from otel_agent_trace.redaction.masks import MASK, secret_mask
from otel_agent_trace.redaction.names import named_secret
from otel_agent_trace.redaction.rules import RULES


class Find(msgspec.Struct, frozen=True):
    """Describe what a rule found: the rule, and the place as a path like ``arguments.headers[2]``."""

    rule: str
    path: str


class Redactor:
    """Mask secrets, and personal data on request, in any JSON value."""

    def __init__(
        self,
        *,
        pii: Iterable[str] = (),
        add: Mapping[str, str | re.Pattern[str]] = {},  # noqa: B006 - only read
        remove: Iterable[str] = (),
    ) -> None:
        self.revision = 0
        self._literals = [(literal, rule) for rule in RULES for literal in rule.literals]
        self._scanner = LiteralScanner([literal for literal, _ in self._literals])
        self._known: set[str] = set()

    def __call__(self, value: Any) -> Any:
        """Return what may be stored of a value; the very same object if nothing changes. Never raises."""
        return self._redacted(value, None)

    def _redacted(self, value: Any, name: str | None) -> Any:
        if isinstance(value, str):
            return self.masked_text(value, name)
        if isinstance(value, (list, tuple)):
            items = [self._redacted(item, None) for item in value]
            return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
        if isinstance(value, dict):
            changed = {self._redacted(key, None): self._redacted(item, key) for key, item in value.items()}
            return value if all(changed.get(key) is item for key, item in value.items()) else changed
        return value

    def add_secret(self, value: str) -> None:
        """Register a value that is masked wherever it stands."""
        if len(value) < 4:
            raise ConfigurationError("a secret must have four characters at least")
        self._known.add(value)
        self.revision += 1

    def may_change(self, texts: Sequence[str]) -> bool:
        """Return False if none of the texts would change."""
        joined = "\n".join(texts)
        return any(known in joined for known in self._known) or self._scanner.has_hits(joined)

    def masked_text(self, text: str, name: str | None = None) -> str:
        """Return a text with masks; `name` is the key or attribute that it stands under."""
        if name is not None and named_secret(name) and not MASK.fullmatch(text):
            return secret_mask("named", text)
        for known in self._known:
            text = text.replace(known, secret_mask("known", known))
        parts, done = [], 0
        for literal, position in self._scanner.hits(text):
            rule = self._literals[literal][1]
            match = rule.compiled().match(text, position) if position >= done else None
            if match and (position == 0 or not text[position - 1].isalnum()):
                parts += [text[done:position], secret_mask(rule.name, match[0])]
                done = match.end()
        return "".join([*parts, text[done:]]) if parts else text

    def finds(self, value: Any) -> Iterator[Find]:
        """Yield what would be masked in a value."""
        yield from ()
