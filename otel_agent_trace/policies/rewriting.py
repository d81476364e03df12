"""Rewrite the values of spans and log records, wherever a text can stand in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from otel_agent_trace.span import Event, Link, LogRecord, Resource, Scope, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)
M = TypeVar("M", Event, Link, Resource, Scope)

Attributes = Mapping[str, Any]


def attributes_in(span: Any) -> Mapping[str, Any]:
    """Return the attributes of a span of the SDK as they are; only for reading.

    The SDK's `attributes` property returns a proxy of a mapping written in Python, in which a look-up takes twenty times as
    long as in its underlying dictionary.
    """
    try:
        held: Mapping[str, Any] = span._attributes._dict  # noqa: SLF001 - see above
    except AttributeError:  # a plain mapping, as in a span that is not the SDK's own class
        return span.attributes or {}
    return held


class Rewriter:
    """Rewrite records; each method returns the same object where nothing changes.

    Subclasses override `text`, for a text that is no attribute, and `attributes`.
    """

    def text(self, where: str, text: str) -> str:
        """Return a text in place of another.

        Args:
            where: ``name``, ``status``, ``body``, or ``event`` for the name of one.
            text: the text.
        """
        return text

    def attributes(self, where: str, attributes: Attributes) -> Attributes:
        """Return attributes in place of others.

        Args:
            where: ``span``, ``log``, ``link``, ``resource``, ``scope``, or the name of an event of a span.
            attributes: the attributes.
        """
        return attributes

    def record_attributes(self, record: SpanRecord | LogRecord) -> Attributes:
        """Return attributes of a span or log record in place of its own."""
        return self.attributes("span" if isinstance(record, SpanRecord) else "log", record.attributes)

    def body(self, event: str, body: Any) -> Any:
        """Return the body of a log record in place of another.

        Args:
            event: the name of the event that the record stands for, "" for a line of a log.
            body: a text, or any other JSON value.
        """
        return self.text("body", body) if type(body) is str else body

    def resource(self, resource: Resource) -> Resource:
        """Return the resource of a record in place of another."""
        return self._with_attributes("resource", resource)

    def scope(self, scope: Scope) -> Scope:
        """Return the scope of a record in place of another."""
        return self._with_attributes("scope", scope)

    def __call__(self, record: R) -> R:
        """Return a span or log record with what the methods return."""
        changes: dict[str, Any] = {
            "name": self.text("name", record.name),
            "attributes": self.record_attributes(record),
            "resource": self.resource(record.resource),
            "scope": self.scope(record.scope),
        }
        if isinstance(record, SpanRecord):
            changes["status_message"] = self.text("status", record.status_message)
            changes["events"] = _all(self._event, record.events)
            changes["links"] = _all(lambda link: self._with_attributes("link", link), record.links)
        else:
            changes["body"] = self.body(record.name, record.body)
        return replaced(record, changes)

    def _event(self, event: Event) -> Event:
        return replaced(
            event, {"name": self.text("event", event.name), "attributes": self.attributes(event.name, event.attributes)}
        )

    def _with_attributes(self, where: str, part: M) -> M:
        return replaced(part, {"attributes": self.attributes(where, part.attributes)}) if part.attributes else part


def container_in(text: str) -> Any:
    """Return the array or object that a text of JSON holds, None for any other text."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


def _all(change: Callable[[T], T], items: tuple[T, ...]) -> tuple[T, ...]:
    changed = tuple(map(change, items))
    return items if all(map(_is, changed, items)) else changed


def _is(one: object, other: object) -> bool:
    return one is other


def replaced(struct: S, fields: Mapping[str, Any]) -> S:
    """Return a struct with other values in its fields, the same object if all of them are the same objects."""
    changes = {name: value for name, value in fields.items() if value is not getattr(struct, name)}
    return msgspec.structs.replace(struct, **changes) if changes else struct
