"""Mask secrets, and personal data where that is asked for, in spans and logs of any instrumentation."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.policies.rewriting import Attributes, Rewriter, container_in
from otel_agent_trace.redaction.redactor import Find, Redactor
from otel_agent_trace.span import LogRecord, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)

_KNOWN_NAMES = frozenset(
    name for name in vars(semconv).values() if type(name) is str and name.startswith(("gen_ai.", "agent_trace."))
).union(semconv.USAGE.values())
"""Names of attributes in which nothing has to be looked for."""
_LONG_CHARACTERS = 4096
_KEPT_TEXTS = 256
_KEPT_CHARACTERS = 8 << 20


class RedactionPolicy:
    """Mask what a `Redactor` finds, in every text of a span or log record.

    A clean span is looked at as it is: its texts are searched together, once, and no record is made. Of the growing
    list of messages that the calls of a run are sent, only those that are new since the last call are searched.
    """

    traces = False

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._messages = _MaskedMessages(redactor)
        self._clean: tuple[int, Any] = (0, None)

    def violates(self, span: Any) -> bool:
        """Return whether something in a span of the SDK may have to be masked."""
        if span.context is None:  # it is dropped later
            return False
        try:
            attributes: Mapping[str, Any] = span._attributes._dict  # noqa: SLF001 - as in `UserIdPolicy.violates`
        except AttributeError:
            attributes = span.attributes or {}
        try:
            texts = [span.name, span.status.description or ""]
            _add_all(texts, span.events)
            _add_all(texts, span.links)
            return self._may_change(texts, attributes, span.resource.attributes, f"{span.context.trace_id:032x}")
        except (AttributeError, TypeError):  # a span that is not as the SDK makes them, of which a record is
            return True

    def _may_change(
        self, texts: list[str], attributes: Mapping[str, Any], resource: Mapping[str, Any], trace_id: str
    ) -> bool:
        """Return whether something in these texts, attributes and resource may have to be masked."""
        long = _add(texts, attributes)
        keys = [(_run_of(attributes, trace_id), name) for name in long]
        parts = [self._messages.unknown_part(key, attributes[key[1]]) for key in keys]
        if None in parts:
            return True
        texts += filter(None, parts)
        if _has_bytes(attributes):
            texts += (text for value in attributes.values() if type(value) is str for text in _bytes_in(value))
        is_known = self._clean[0] == self.redactor.revision and self._clean[1] is resource
        if not is_known:
            texts += [attributes[name] for name in _add(texts, resource)]
        if self.redactor.may_change(texts):
            return True
        for key in keys:
            self._messages.keep_clean(key, attributes[key[1]])
        if not is_known:
            self._clean = self.redactor.revision, resource
        return False

    def __call__(self, record: R) -> R:
        """Return a span or log record with masks in place of what was found; the same one if nothing was."""
        trace_id = record.trace_id
        if not self._may_change(_texts_of(record), record.attributes, record.resource.attributes, trace_id):
            return record
        masking = _Masking(self.redactor, self._messages, _run_of(record.attributes, trace_id))
        masking.has_bytes = _has_bytes(record.attributes)
        changed = masking(record)
        if not masking.finds:
            return changed
        places = [find.path for find in masking.finds]
        attributes = {**changed.attributes, semconv.REDACTED: _listed(changed.attributes, places)}
        return msgspec.structs.replace(changed, attributes=attributes)

    def finds(self, record: R) -> list[Find]:
        """Return what would be masked in a span or log record."""
        masking = _Masking(self.redactor, None, "")
        masking.has_bytes = _has_bytes(record.attributes)
        masking(record)
        return masking.finds


def _texts_of(record: SpanRecord | LogRecord) -> list[str]:
    """Return the texts of a record outside of its attributes and its resource."""
    texts = [record.name]
    if isinstance(record, SpanRecord):
        texts.append(record.status_message)
        _add_all(texts, record.events)
        _add_all(texts, record.links)
    else:
        texts.append(record.body if type(record.body) is str else repr(record.body))
    texts += [record.scope.attributes[name] for name in _add(texts, record.scope.attributes)]
    return texts


def _add_all(texts: list[str], parts: Iterable[Any] | None) -> None:
    """Add the texts of events or links."""
    for part in parts or ():
        texts.append(getattr(part, "name", ""))
        attributes = part.attributes or {}
        texts += [attributes[name] for name in _add(texts, attributes)]


def _add(texts: list[str], attributes: Mapping[str, Any]) -> list[str]:
    """Add the texts in attributes, but for the long ones, of which the names are returned."""
    long = []
    for name, value in attributes.items():
        if name not in _KNOWN_NAMES:
            texts.append(name if type(name) is str else str(name))
        if type(value) is str:
            if len(value) < _LONG_CHARACTERS:
                texts.append(value)
            else:
                long.append(name)
        elif type(value) is tuple or type(value) is list:
            texts.extend(item for item in value if type(item) is str)
        elif type(value) is dict or type(value) is bytes:  # of spans from elsewhere
            texts.append(repr(value))
    return long


def _run_of(attributes: Mapping[str, Any], trace_id: str) -> str:
    """Return the key of a run for its messages: its id, else that of the trace."""
    return str(attributes.get(semconv.RUN_ID) or trace_id)


# ── bytes, which stand as base64 ─────────────────────────────────────────────────────────────────────────────────────

_BASE64 = re.compile(r'(?<=")(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?(?=["\\])')


def _has_bytes(attributes: Mapping[str, Any]) -> bool:
    """Return whether there are bytes among the values that our tracer recorded: their type is ``bytes``, ``bytearray``."""
    types = attributes.get(semconv.TYPES)
    return type(types) is str and '"byte' in types


def _bytes_in(text: str) -> Iterator[str]:
    """Yield the bytes in a JSON text as texts, each byte as a character."""
    for found in _BASE64.finditer(text):
        yield base64.b64decode(found[0]).decode("latin-1")


def _with_masked_bytes(text: str, redactor: Redactor) -> str:
    """Return a JSON text with masks in its bytes, which stay base64."""

    def masked(found: re.Match[str]) -> str:
        text = base64.b64decode(found[0]).decode("latin-1")
        changed = redactor.masked_text(text)
        return found[0] if changed is text else base64.b64encode(changed.encode("latin-1", "replace")).decode()

    changed = _BASE64.sub(masked, text)
    return text if changed == text else changed


def _listed(attributes: Attributes, places: Iterable[str]) -> str:
    """Return the places of masks, with those that were listed before."""
    try:
        before = msgspec.json.decode(attributes.get(semconv.REDACTED, "[]"), type=list[str])
    except (msgspec.DecodeError, TypeError):
        before = []
    return msgspec.json.encode(list(dict.fromkeys([*before, *places]))).decode()


class _Masking(Rewriter):
    """Mask one record, and collect what was found."""

    def __init__(self, redactor: Redactor, messages: _MaskedMessages | None, run: str) -> None:
        self._redactor, self._messages, self._run = redactor, messages, run
        self.finds: list[Find] = []
        self.has_bytes = False
        """True if bytes are among the values."""

    def text(self, where: str, text: str) -> str:
        """Return a text with masks."""
        masked = self._redactor.masked_text(text)
        if masked is not text:
            self._note(where, text)
        return masked

    def body(self, event: str, body: Any) -> Any:
        """Return the body of a log record with masks."""
        masked = self._redactor(body)
        if masked is not body:
            self._note("body", body)
        return masked

    def attributes(self, where: str, attributes: Attributes) -> Attributes:
        """Return attributes with masks in their values and names."""
        changed: dict[str, Any] = {}
        is_same = True
        for name, value in attributes.items():
            if name == semconv.REDACTED:
                changed[name] = value
                continue
            new_name = name if name in _KNOWN_NAMES else self._redactor.masked_text(name)
            new_value = self._value(name, value, where)
            changed[new_name] = new_value
            if new_value is not value or new_name is not name:
                is_same = False
                prefix = "" if where in ("span", "log") else f"{where}."
                if self._is_history(value, where):
                    self.finds.append(Find("", f"{prefix}{new_name}"))  # to find the rules is to search all of it again
                else:
                    self._note(f"{prefix}{new_name}", value, name)
        return attributes if is_same else changed

    def _value(self, name: str, value: Any, where: str) -> Any:
        if type(value) is not str:
            return value if isinstance(value, bool | int | float) else self._redactor({name: value})[name]
        if self.has_bytes and (value := _with_masked_bytes(given := value, self._redactor)) is not given:
            return self._redactor.masked_text(value, name)
        if self._messages is not None and self._is_history(value, where):
            return self._messages.masked((self._run, name), value)
        return self._redactor.masked_text(value, name)

    def _is_history(self, value: Any, where: str) -> bool:
        """Return whether a value may begin with the text of an earlier span."""
        return where == "span" and self._messages is not None and type(value) is str and len(value) >= _LONG_CHARACTERS

    def _note(self, place: str, value: Any, name: str | None = None) -> None:
        """Note what was found in a value, which stands under a name."""
        data = container_in(value) if type(value) is str else None
        value = value if data is None else data
        finds = list(self._redactor.finds(value if name is None else {name: value}))
        for find in finds or [Find(rule="", path="")]:
            path = find.path if name is None else find.path.removeprefix(name)
            dot = "." if path and path[0] not in ".[" else ""
            self.finds.append(Find(find.rule, self._redactor.masked_text(f"{place}{dot}{path}")))


class _Known(NamedTuple):
    """Hold the beginning of a JSON array that was searched: its text without the last bracket, and the masked one."""

    revision: int
    text: str
    masked: str


class _MaskedMessages:
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

    def masked(self, key: tuple[str, str], text: str) -> str:
        """Return a text with masks."""
        known = self._beginning(key, text)
        if known is None:
            masked = self._redactor.masked_text(text, key[1])
        else:
            rest = text[len(known.text) :]
            new = self._redactor.masked_text(f"[{rest[1:]}", key[1]) if len(rest) > 1 else "]"
            masked = f"{known.masked}{rest[0]}{new[1:]}" if len(rest) > 1 else f"{known.masked}]"
        if masked == text:
            masked = text
        self._keep(key, text, masked)
        return masked

    def _beginning(self, key: tuple[str, str], text: str) -> _Known | None:
        known = self._known.get(key)
        if known is None or known.revision != self._redactor.revision or not text.startswith(known.text):
            return None
        return known if text[len(known.text) :][:1] in (",", "]") else None

    def keep_clean(self, key: tuple[str, str], text: str) -> None:
        """Keep a text in which nothing was found."""
        self._keep(key, text, text)

    def _keep(self, key: tuple[str, str], text: str, masked: str) -> None:
        if not (text.startswith("[{") and text.endswith("}]") and masked.endswith("}]")):
            return
        start = text[:-1]
        known = _Known(self._redactor.revision, start, start if masked is text else masked[:-1])
        with self._lock:
            self._forget(key)
            self._known[key] = known
            self._characters += len(start)
            while len(self._known) > _KEPT_TEXTS or self._characters > _KEPT_CHARACTERS:
                self._forget(next(iter(self._known)))

    def _forget(self, key: tuple[str, str]) -> None:
        known = self._known.pop(key, None)
        self._characters -= 0 if known is None else len(known.text)
