"""`RemoteContext`: where a trace comes from that began elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from types import TracebackType

from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_agent_trace.tracing.carriers import TRACEPARENT
from otel_agent_trace.tracing.contexts import Parent, detach, with_span

_TRACE_CONTEXT = TraceContextTextMapPropagator()
_BAGGAGE = W3CBaggagePropagator()


class RemoteContext(Context, Parent):
    """The context of a caller elsewhere: current inside a ``with`` block, sync and async, or given as ``parent=``.

    It stands in for the span, the run and the baggage of the current context; where the caller named no span, there is
    none. One may be used again, also by several threads or tasks at once.
    """

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        context = with_span(INVALID_SPAN, baggage.clear(Context()))
        if len(fields.get(TRACEPARENT, ())) == 1:  # of two nobody knows which is meant
            context = _TRACE_CONTEXT.extract(fields, context)
        super().__init__(_BAGGAGE.extract(fields, context))
        self._attached: dict[int, tuple[Token[Context], Context]] = {}

    def over(self, base: Context) -> Context:
        """That context, with this one's span, run and baggage."""
        return Context({**base, **self})

    def __enter__(self) -> RemoteContext:
        context = self.over(otel_context.get_current())
        self._attached[id(context)] = otel_context.attach(context), context
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        own = self._attached.pop(id(otel_context.get_current()), None)
        detach(*(own or self._attached.popitem()[1]))

    async def __aenter__(self) -> RemoteContext:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
