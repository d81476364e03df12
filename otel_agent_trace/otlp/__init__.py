"""Send `SpanRecord`s to an OTLP endpoint, over HTTP or gRPC."""

from __future__ import annotations

from otel_agent_trace.otlp.answers import NotServedError
from otel_agent_trace.otlp.batches import MAX_REQUEST_BYTES, Batch, BatchBuilder, EncodedSpan, Encoder
from otel_agent_trace.otlp.sender import Outcome, RefusedSpan, Sender
from otel_agent_trace.otlp.settings import (
    Protocol,
    Schedule,
    Settings,
    Signal,
    schedule_of,
    settings_of,
    usable_variables,
    with_scheme,
)

__all__ = [
    "MAX_REQUEST_BYTES",
    "Batch",
    "BatchBuilder",
    "EncodedSpan",
    "Encoder",
    "NotServedError",
    "Outcome",
    "Protocol",
    "RefusedSpan",
    "Schedule",
    "Sender",
    "Settings",
    "Signal",
    "schedule_of",
    "settings_of",
    "usable_variables",
    "with_scheme",
]
