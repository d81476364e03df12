"""Mask secrets, and personal data on request, in any JSON value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.guard import Diagnostics, failed
from otel_agent_trace.keys import default_key
from otel_agent_trace.redaction.engine import TooManyHitsError
from otel_agent_trace.redaction.known_values import LEAST_REGISTERED, KnownValue, known_forms, secrets_of_environment
from otel_agent_trace.redaction.masks import UNSCANNED, personal_mask, secret_mask
from otel_agent_trace.redaction.names import NAME_RULES, named_secret
from otel_agent_trace.redaction.patterns import lazy_pattern
from otel_agent_trace.redaction.personal import PERSONAL_RULES
from otel_agent_trace.redaction.quoting import TooLongError
from otel_agent_trace.redaction.rules import RULES, Rule, plugin_rules
from otel_agent_trace.redaction.search import PLACE_RULES, Search, Searched
from otel_agent_trace.redaction.texts import Found, TooMuchWorkError
from otel_agent_trace.redaction.walk import Announced, Walk, texts
from otel_agent_trace.signals import is_of_signal_handler

_HOSTILE = (TooManyHitsError, TooMuchWorkError, TooLongError)
_NAME = lazy_pattern(r"[a-z][a-z0-9_.-]{0,63}")
_PERSONAL_NAMES = frozenset(rule.name for rule in PERSONAL_RULES)


class Find(msgspec.Struct, frozen=True):
    """Describe a part of a value that is masked.

    Attributes:
        rule: the name of the rule that found it.
        path: its place, as ``arguments.headers[2]``; "" for a value that is a text itself.
    """

    rule: str
    path: str


class Redactor:
    """Mask secrets, and personal data on request, in any JSON value.

    Secrets are found by their names, by their shapes, and by their values, which are those of the process's environment
    under telling names, and those that `add_secret` registers. Threads may share a redactor.

    Args:
        pii: the kinds of personal data that are masked too: ``"email"``, ``"phone"``, ``"card"``, ``"iban"``, ``"ip"``, ``"ssn"``.
        add: regular expressions by the names that their masks have, searched for in every text.
        remove: names of rules that mask nothing.

    Attributes:
        revision: rises with each secret that becomes known; a value that was masked before is to be masked again.

    Raises:
        ConfigurationError: a kind or a rule is unknown, a name is none, or a pattern cannot be compiled.
    """

    def __init__(
        self,
        *,
        pii: Iterable[str] = (),
        add: Mapping[str, str | re.Pattern[str]] | None = None,
        remove: Iterable[str] = (),
    ) -> None:
        kinds = _known_names(pii, _PERSONAL_NAMES, "kinds of personal data")
        self.revision = 0
        self._personal = tuple(rule for rule in PERSONAL_RULES if rule.name in kinds)
        self._added = tuple(_searched(name, pattern) for name, pattern in (add or {}).items())
        self._plugins: tuple[Rule, ...] | None = None
        self._remove = frozenset(remove)
        if not self._remove <= _RULE_NAMES:
            self._plugins = plugin_rules()
            _known_names(remove, _RULE_NAMES | {rule.name for rule in self._plugins}, "rules")
        self._registered: dict[str, list[KnownValue]] = {}
        self._lock = ForkSafeLock()
        self._search: Search | None = None
        self._variables = -1
        self._environment: frozenset[str] = frozenset()
        self._diagnostics = Diagnostics()

    def __call__(self, value: Any) -> Any:
        """Return what may be stored of a JSON value: the same object if nothing in it is masked.

        It never raises: what cannot be scanned is replaced by ``<secret:unscanned>``.
        """
        if isinstance(value, str):
            return self.masked_text(value)
        try:
            if not self.may_find(value):
                return value
            return Walk(self._masked).value(value)
        except Exception as error:  # noqa: BLE001 - what cannot be scanned is not stored; as of a very deep value
            self._failed(error)
            return UNSCANNED

    def may_find(self, value: Any) -> bool:
        """Return False if a look at all texts of a value together shows that nothing in it is masked."""
        return self._current().may_find(_joined(texts(value)))

    def may_change(self, texts: Sequence[str]) -> bool:
        """Return False if none of the texts would change."""
        try:
            if not self._current().may_find(_joined(texts)):
                return False
        except Exception as error:  # noqa: BLE001 - then it is left to the masking
            self._failed(error)
            return True
        return any(self.masked_text(text) is not text for text in texts)

    def masked_text(self, text: str, name: str | None = None) -> str:
        """Return a text with masks, the same object if it has none; never raises.

        Args:
            text: the text.
            name: the key, attribute or variable that it stands under.
        """
        secret = named_secret(name) if name else None
        try:
            return Walk(self._masked).value(text, Announced(secret)) if secret else self._masked(text, [], "")  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - what cannot be scanned is not stored
            self._failed(error)
            return UNSCANNED

    def finds(self, value: Any) -> Iterator[Find]:
        """Yield what is masked in a JSON value, in its order; never raises."""
        found: list[Find] = []

        def note(text: str, named: list[Found], path: str) -> str:
            parts = self._found(text, named)
            found.extend(Find(one.rule, path) for one in parts)
            return _with_masks(text, parts) if parts else text

        try:
            Walk(note).value(value)
        except Exception as error:  # noqa: BLE001 - as in a call
            self._failed(error)
            found.append(Find("unscanned", ""))
        yield from found

    def add_secret(self, value: str) -> None:
        """Register a value that is masked wherever it stands, in any encoding.

        Raises:
            ConfigurationError: it is no text, or shorter than four characters, which stand in ordinary texts too.
        """
        if not isinstance(value, str) or len(value.strip()) < LEAST_REGISTERED:
            msg = f"a secret must be a text of at least {LEAST_REGISTERED} characters"
            raise ConfigurationError(msg)
        with self._lock:
            if value not in self._registered:
                self._registered = {**self._registered, value: known_forms(value)}
                self._search = None
                self.revision += 1

    # ── one text ──

    def _masked(self, text: str, named: list[Found], path: str) -> str:
        found = self._found(text, named)
        return _with_masks(text, found) if found else text

    def _found(self, text: str, named: list[Found]) -> list[Found]:
        try:
            return self._current().found(text, named)
        except _HOSTILE:
            pass
        except Exception as error:  # noqa: BLE001 - a rule that fails drops the value
            self._failed(error)
        return [Found(0, len(text), "unscanned", "")]

    def _failed(self, error: Exception) -> None:
        if is_of_signal_handler(error):
            raise error
        failed(self._diagnostics, "redaction", error)

    # ── rules ──

    def _current(self) -> Search:
        """Return the search for all that is known, made anew when a secret was added or the environment changed."""
        search = self._search
        if search is None or len(os.environ) != self._variables:
            with self._lock:
                search = self._renewed()
        return search

    def _renewed(self) -> Search:
        variables = len(os.environ)
        environment = (
            frozenset(secrets_of_environment(os.environ)) if variables != self._variables else self._environment
        )
        if environment != self._environment:
            self.revision += self._search is not None
            self._environment = environment
            self._search = None
        self._variables = variables
        if self._search is None:
            if self._plugins is None:
                self._plugins = plugin_rules()
            known = {value: known_forms(value) for value in sorted(environment)} | self._registered
            forms = [] if "known" in self._remove else [form for forms in known.values() for form in forms]
            self._search = Search((*RULES, *self._plugins), forms, self._added, self._personal, self._remove)
        return self._search


def _joined(parts: Iterable[str]) -> str:
    """Return texts as one, each in quotes: names of few letters are looked for with the quote after them."""
    return '"\n"'.join(("", *parts, ""))


def _with_masks(text: str, found: list[Found]) -> str:
    parts: list[str] = []
    done = 0
    key = default_key()
    for one in found:
        mask = _mask(one, key)
        parts += (text[done : one.start], one.quote, mask, one.quote)
        done = one.end
    parts.append(text[done:])
    return "".join(parts)


def _mask(found: Found, key: bytes) -> str:
    if found.rule == "unscanned":
        return UNSCANNED
    mask = personal_mask if found.rule in _PERSONAL_NAMES else secret_mask
    return mask(found.rule, found.value, key)


def _known_names(names: Iterable[str], known: frozenset[str] | set[str], what: str) -> frozenset[str]:
    wanted = frozenset(names)
    if not wanted <= known:
        msg = f"unknown {what}: {', '.join(sorted(map(str, wanted - known)))}; known are {', '.join(sorted(known))}"
        raise ConfigurationError(msg)
    return wanted


def _searched(name: str, pattern: str | re.Pattern[str]) -> Searched:
    if not _NAME.fullmatch(name):
        msg = f"the name of a rule must be of lower-case letters, digits and hyphens: {name!r}"
        raise ConfigurationError(msg)
    try:
        return Searched(name, re.compile(pattern))
    except (re.error, TypeError) as error:
        msg = f"the pattern of the rule {name!r} cannot be compiled: {error}"
        raise ConfigurationError(msg) from error


_RULE_NAMES = frozenset(
    (*(rule.name for rule in RULES), *NAME_RULES, *PLACE_RULES, "known", "signed-url", "url-parameter")
)
