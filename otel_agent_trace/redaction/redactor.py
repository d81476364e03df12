"""Mask secrets, and personal data on request, in any JSON value.

The rules are imported with the first value: a program that traces nothing does not need them.
"""

from __future__ import annotations

import operator
import os
import re
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from otel_agent_trace.copies import Shared, class_here
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import NO_FORK, ForkSafeLock
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.keywords import shown
from otel_agent_trace.redaction.masks import UNSCANNED
from otel_agent_trace.signals import is_of_signal_handler

if TYPE_CHECKING:
    from otel_agent_trace.redaction.known_values import KnownValue
    from otel_agent_trace.redaction.search import Search
    from otel_agent_trace.redaction.texts import Found


class Find(msgspec.Struct, frozen=True):
    """Describe a part of a value that is masked.

    Attributes:
        rule: the name of the rule that found it.
        path: its place, as ``arguments.headers[2]``; "" for a value that is a text itself.
    """

    rule: str
    path: str


class Redactor(Shared):
    """Mask secrets, and personal data on request, in any JSON value.

    Secrets are found by their names, by their shapes, and by their values, which are those of the process's environment
    under names of secrets, and those that `add_secret` registers. Threads may share a redactor. A copy in this process is
    the redactor itself; in another process, it has the same arguments and registered secrets.

    Args:
        pii: the kinds of personal data that are masked too: ``"email"``, ``"phone"``, ``"card"``, ``"iban"``, ``"ip"``,
            ``"ssn"``.
        add: regular expressions by the names that their masks have, searched for in every text.
        remove: names of rules that mask nothing.

    Attributes:
        revision: rises with each secret that is added; what was masked before is to be masked again then.

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
        for name, given in (("pii", pii), ("remove", remove)):
            if isinstance(given, str):
                msg = f"{name}={given!r} must be a list: [{given!r}]"
                raise ConfigurationError(msg)
        if add is not None and not isinstance(add, Mapping):
            msg = f'add={shown(add)} must be a mapping such as {{"ticket": "ACME-[0-9]{{6}}"}}'
            raise ConfigurationError(msg)
        self._pii, self._add, self._remove = tuple(pii), dict(add or {}), tuple(remove)
        if self._pii or self._add or self._remove:
            with NO_FORK:
                from otel_agent_trace.redaction import selection  # noqa: PLC0415 - the rules, else needed later

            selection.check(self._pii, self._add, self._remove)
        self.revision = 0
        self._registered: dict[str, list[KnownValue]] = {}
        self._environment: frozenset[str] = frozenset()
        self._variables = _Variables()
        self._lock = ForkSafeLock()
        self._search: Search | None = None
        self._diagnostics = Diagnostics()
        self._counting: weakref.WeakSet[Diagnostics] = weakref.WeakSet()
        self._share()

    def _copy_settings(self) -> dict[str, Any]:
        return {"pii": self._pii, "add": self._add, "remove": self._remove, "secrets": tuple(self._registered)}

    def _copy_from(self, settings: dict[str, Any]) -> None:
        arguments = dict(settings)
        secrets = arguments.pop("secrets")
        class_here(type(self)).__init__(self, **arguments)  # type: ignore[misc]
        for secret in secrets:
            self.add_secret(secret)

    def __call__(self, value: Any) -> Any:
        """Return what may be stored of a JSON value: the same object if nothing in it is masked.

        It never raises: what cannot be scanned is replaced by ``<secret:unscanned>``.
        """
        try:
            search = self._current()
            if not isinstance(value, str) and not search.may_find_in(value):
                return value
            return search.walk(self._masked).value(value)
        except Exception as error:  # what cannot be scanned is not stored
            if not self._has_noted(error):
                raise
            return UNSCANNED

    def worth_a_look(self, texts: Sequence[str]) -> Sequence[str]:
        """Return those of some texts in which, or under which as names, something may be found: one scan of all of them.

        It never raises.
        """
        try:
            search = self._search
            if search is None or self._variables.have_changed():  # `_current` written out: this runs once a span
                search = self._current()
            return search.worth_a_look(texts)
        except Exception as error:  # what cannot be scanned is to be masked
            if not self._has_noted(error):
                raise
            return texts

    def may_change(self, texts: Sequence[str]) -> bool:
        """Return False if none of the texts would change: one scan for all of them, unless there is something in it."""
        return any(self.masked_text(text) is not text for text in self.worth_a_look(texts))

    def masked_text(self, text: str, name: str | None = None) -> str:
        """Return a text with masks, the same object if it has none; never raises.

        Args:
            text: the text.
            name: the key, attribute or variable that it stands under.
        """
        try:
            return self._current().walk(self._masked).text(text, name)
        except Exception as error:  # what cannot be scanned is not stored
            if not self._has_noted(error):
                raise
            return UNSCANNED

    def finds(self, value: Any) -> Iterator[Find]:
        """Yield what is masked in a JSON value, in its order; never raises."""
        found: list[Find] = []

        def note(text: str, named: Sequence[Found], path: str) -> str:
            search = self._current()
            try:
                parts = search.found(text, named)
            except Exception as error:  # as in `_masked`
                if not self._has_noted(error):
                    raise
                parts = [search.unscanned(text)]
            found.extend(Find(one.rule, path) for one in parts)
            return search.with_masks(text, parts)

        try:
            self._current().walk(note).value(value)
        except Exception as error:  # as in a call
            if not self._has_noted(error):
                raise
            found.append(Find("unscanned", ""))
        yield from found

    def count_failures_in(self, diagnostics: Diagnostics) -> None:
        """Count values that are dropped as a rule failed in the statistics of a pipeline too, held by a weak reference."""
        self._counting.add(diagnostics)

    def add_secret(self, value: str) -> None:
        """Register a value that is masked wherever it stands, in any encoding.

        Raises:
            ConfigurationError: it is no text, or shorter than four characters, which stand in ordinary texts too.
        """
        with NO_FORK:
            from otel_agent_trace.redaction.known_values import LEAST_REGISTERED, known_forms  # noqa: PLC0415 - as in `_renewed`

        if not isinstance(value, str) or len(value.strip()) < LEAST_REGISTERED:
            msg = f"a secret must be a text of at least {LEAST_REGISTERED} characters"
            raise ConfigurationError(msg)
        with self._lock:
            if value not in self._registered:
                self._registered = {**self._registered, value: known_forms(value)}
                self._search = None
                self.revision += 1

    def _masked(self, text: str, named: Sequence[Found], path: str) -> str:
        try:
            return self._current().masked(text, named)
        except Exception as error:  # a rule that fails drops the value
            if not self._has_noted(error):
                raise
            return UNSCANNED

    def _has_noted(self, error: Exception) -> bool:
        """Log the class of an exception, whose text may quote a secret; return False for one of a signal handler."""
        if is_of_signal_handler(error):
            return False
        for diagnostics in list(self._counting):
            diagnostics.count("failed: redaction")
        kind = type(error).__name__
        self._diagnostics.warn_once(kind, "redaction failed: %s; the value is not stored (logged once)", kind)
        return True

    def _current(self) -> Search:
        """Return the search for all that is known, made anew when a secret was added or the environment changed."""
        search = self._search
        if search is None or self._variables.have_changed():
            with NO_FORK, self._lock:
                search = self._renewed()
        return search

    def _renewed(self) -> Search:
        from otel_agent_trace.redaction import selection  # noqa: PLC0415 - with the first value, see above
        from otel_agent_trace.redaction.known_values import known_forms, secrets_of_environment  # noqa: PLC0415 - likewise

        if self._search is None or self._variables.have_changed():
            self._variables = _Variables(secrets_of_environment)
            if self._variables.secrets != self._environment:
                self.revision += self._search is not None
                self._environment, self._search = self._variables.secrets, None
        if self._search is None:
            known = {value: known_forms(value) for value in sorted(self._environment)} | self._registered
            forms = [form for forms in known.values() for form in forms]
            self._search = selection.search(self._pii, self._add, self._remove, forms)
        return self._search


class _Variables:
    """Hold the environment as it was read, to notice cheaply that it has changed.

    It is looked at as the interpreter stores it: comparing that costs a tenth of decoding it. Variables that are added or
    removed, and those of secrets that get other values, are noticed at once, what leaves their number as it was within a second.
    """

    def __init__(self, secrets_of: Callable[[Mapping[str, str]], Iterable[str]] = lambda _: ()) -> None:
        self._stored: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
        self._read = dict(self._stored)
        self._count = len(self._read)
        self._next_look_s = time.monotonic() + _UNNOTICED_S
        decoded = {os.fsdecode(name): os.fsdecode(value) for name, value in self._read.items()}
        self.secrets = frozenset(secrets_of(decoded))
        holding = [name for name, value in self._read.items() if os.fsdecode(value) in self.secrets]
        self._values_of: Callable[[Any], Any] = operator.itemgetter(*holding) if holding else len
        self._values = self._values_of(self._read)

    def have_changed(self) -> bool:
        """Return whether variables may have changed since they were read."""
        stored = self._stored
        try:
            if len(stored) != self._count or self._values_of(stored) != self._values:
                return True
        except KeyError:
            return True
        return time.monotonic() > self._next_look_s and self._differ()

    def _differ(self) -> bool:
        self._next_look_s = time.monotonic() + _UNNOTICED_S
        return self._stored != self._read


_UNNOTICED_S = 1.0
