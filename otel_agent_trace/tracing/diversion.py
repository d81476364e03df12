"""Divert the spans of every tracer of the process to backends, for a block: what `capture_runs` and replays share."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from opentelemetry import trace

from otel_agent_trace.backends.adapters import sink_for
from otel_agent_trace.pipeline import DataPolicies, Gate, Policy, data_policies
from otel_agent_trace.tracing.interception import Interceptor
from otel_agent_trace.tracing.provider_registry import SETTINGS, settings_of
from otel_agent_trace.tracing.providers import private_provider


class Diversion(Interceptor):
    """Send the spans of every tracer of the process to some backends while it is installed; nothing goes elsewhere.

    The policies of each tracer and its provider apply as usual, except a gate.

    Args:
        backends: the backends.
        policies: further policies, for the spans of our tracers, which come last.
    """

    def __init__(self, backends: Iterable[object], policies: Iterable[Policy] = ()) -> None:
        self.sinks = tuple(map(sink_for, backends))
        self._policies = tuple(policies)
        self._providers: weakref.WeakKeyDictionary[trace.TracerProvider, tuple[int, trace.TracerProvider]]
        self._providers = weakref.WeakKeyDictionary()
        self._of_others = self._made(data_policies(user_ids="plain", content="all", redact=False))

    def provider_for(self, own: trace.TracerProvider) -> trace.TracerProvider:
        """Return the provider for tracers with an own one: with its policies if it is ours, else they apply before."""
        settings = settings_of(own)
        if not settings.is_ours:
            return self._of_others
        known = self._providers.get(own)
        if known is None or known[0] != SETTINGS.changes:
            policies = (policy for policy in settings.policies if not isinstance(policy, Gate))
            made = self._made(settings.data, policies)
            self._providers[own] = known = SETTINGS.changes, made
        return known[1]

    def _made(self, data: DataPolicies, policies: Iterable[Policy | Gate] = ()) -> trace.TracerProvider:
        return private_provider(self.sinks, data, (*policies, *self._policies), is_temporary=True)
