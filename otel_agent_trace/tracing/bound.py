"""`tracer.bind()`: fields for every run that starts inside a block."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_agent_trace.tracing.handles import detach

_KEY = otel_context.create_key("otel_agent_trace.bound")


class Bound:
    """Fields for the runs of a block, a context manager, sync and async; inner ones go over outer ones.

    Metadata adds up.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)
        self._attached: list[tuple[Token[Context], Context]] = []

    def __enter__(self) -> None:
        outer = bound_fields()
        merged = {**outer, **self._fields}
        if isinstance(outer.get("metadata"), Mapping) and isinstance(merged["metadata"], Mapping):
            merged["metadata"] = {**outer["metadata"], **merged["metadata"]}
        context = otel_context.set_value(_KEY, merged)
        self._attached.append((otel_context.attach(context), context))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        detach(*self._attached.pop())

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def bound_fields() -> Mapping[str, Any]:
    """The fields that the blocks around this code give."""
    fields = otel_context.get_current().get(_KEY)
    return fields if isinstance(fields, dict) else {}
