"""Set fields of every run that starts inside a block, for `tracer.bind()`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.tracing.coercion import RUN_FIELDS, metadata_among
from otel_agent_trace.tracing.contexts import Attachment, attach, current_context, detach

_KEY = otel_context.create_key("otel_agent_trace.bound")


class Bound:
    """Set fields of the runs that start in a ``with`` block, sync or async.

    Fields of inner blocks override those of outer ones, and metadata is merged. An object may be used again, by several
    threads or tasks at once too.
    """

    def __init__(self, diagnostics: Diagnostics, fields: Mapping[str, Any]) -> None:
        self._fields = {key: value for key, value in fields.items() if key in RUN_FIELDS}
        self._metadata = metadata_among(diagnostics, fields, RUN_FIELDS)
        self._attached: dict[int, tuple[Attachment, Context]] = {}

    def __enter__(self) -> None:
        outer = bound_fields()
        merged = {**outer, **self._fields, "metadata": {**outer.get("metadata", {}), **self._metadata}}
        context = otel_context.set_value(_KEY, merged, current_context())
        self._attached[id(context)] = attach(context), context

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        own = self._attached.pop(id(current_context()), None)
        detach(*(own or self._attached.popitem()[1]))

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def bound_fields() -> Mapping[str, Any]:
    """Return the fields that the blocks around this code set."""
    fields = current_context().get(_KEY)
    return fields if isinstance(fields, dict) else {}
