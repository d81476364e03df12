"""Set fields of every run that starts inside a block, for `tracer.bind()`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.tracing.coercion import RUN_FIELDS, metadata_among
from otel_agent_trace.tracing.contexts import INHERITED, RUN_KEY, Blocks, current_context

_KEY = otel_context.create_key("otel_agent_trace.bound")
_BOUND_IN_KEY = otel_context.create_key("otel_agent_trace.bound.run")


class Bound:
    """Set fields of the runs that start in a ``with`` block, sync or async.

    Fields of inner blocks override those of outer ones, and metadata is merged. An object may be used again, by several
    threads or tasks at once too.
    """

    def __init__(self, diagnostics: Diagnostics, fields: Mapping[str, Any]) -> None:
        self._fields = {key: value for key, value in fields.items() if key in RUN_FIELDS}
        self._metadata = metadata_among(diagnostics, fields, RUN_FIELDS)
        self._blocks = Blocks()

    def __enter__(self) -> None:
        outer = bound_fields()
        merged = {**outer, **self._fields, "metadata": {**outer.get("metadata", {}), **self._metadata}}
        current = current_context()
        self._blocks.enter(Context({**current, _KEY: merged, _BOUND_IN_KEY: current.get(RUN_KEY)}), current)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._blocks.leave()

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def bound_fields() -> Mapping[str, Any]:
    """Return the fields that the blocks around this code set.

    The run around this code has had those of blocks around it; what a sub-agent inherits is then the run's to decide.
    """
    context = current_context()
    fields = context.get(_KEY)
    if not isinstance(fields, dict):
        return {}
    run = context.get(RUN_KEY)
    if run is None or run is context.get(_BOUND_IN_KEY):
        return fields
    return {name: value for name, value in fields.items() if name not in INHERITED}
