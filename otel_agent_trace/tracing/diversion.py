"""Divert the spans of every tracer of the process to backends, for a block: what `capture_runs` and replays share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from otel_agent_trace.pipeline import Gate, Policy, data_policies
from otel_agent_trace.tracing.interception import Interceptor
from otel_agent_trace.tracing.providers import private_provider, processors_of


class Diversion(Interceptor):
    """Send the spans of every tracer of the process to some backends while it is installed; nothing goes elsewhere.

    Tracers apply their own policies before the spans arrive here.

    Args:
        backends: the backends.
        policies: further policies, for the spans of our tracers.
    """

    def __init__(self, backends: Sequence[Any], policies: Iterable[Policy | Gate] = ()) -> None:
        data = data_policies(user_ids="plain", content="all", redact=False)
        self.provider = private_provider(backends, data, policies, is_temporary=True)
        self.sinks = processors_of(self.provider)[0].pipeline.sinks
