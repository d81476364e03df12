"""Where spans go, and what is done to them: the one place that makes or changes a `TracerProvider`."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_agent_trace.backends import FileBackend
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.pipeline import Gate, Policy, checked_policies
from otel_agent_trace.policies.user_ids import UserIdPolicy, UserIds
from otel_agent_trace.tracing.processor import AgentSpanProcessor, as_backends
from otel_agent_trace.tracing.provider_registry import (
    SETTINGS,
    HistoryMode,
    ProviderSettings,
    check_history,
    settings_of,
)

if TYPE_CHECKING:
    from otel_agent_trace.backends.otlp import OtlpBackend
    from otel_agent_trace.tracing.endpoints import Protocol

_SAMPLER_VARIABLE = "OTEL_TRACES_SAMPLER"
_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_ATTRIBUTES = 4096
_EVENTS = 1024


def configure(
    *,
    provider: TracerProvider | None = None,
    backends: Any = (),
    file: str | PathLike[str] | None = None,
    otlp: str | bool | SpanExporter | None = None,
    protocol: Protocol | None = None,
    user_ids: UserIds = "pseudonym",
    policies: Iterable[Policy | Gate] = (),
    history: HistoryMode | None = None,
    meter_provider: MeterProvider | None = None,
    resource: Resource | Mapping[str, Any] | None = None,
    set_global: bool = False,
) -> TracerProvider:
    """Say where spans go and what is done to them, and get the provider that does it.

    Args:
        provider: is added to; without it one is made, which records every run whatever its parent's sampled flag says,
            unless ``OTEL_TRACES_SAMPLER`` is set.
        backends: an `InMemoryBackend`, a `FileBackend`, any `SpanExporter`, a `SpanSink` or `TracerBackend` of your own, or
            a list of them.
        file: a file for a `FileBackend`.
        otlp: an endpoint such as ``http://localhost:4318``; True for what ``OTEL_EXPORTER_OTLP_*`` says, which is also
            what None does when an endpoint is set there; False for no OTLP; or an exporter, for example the official
            ``OTLPSpanExporter`` over HTTP or gRPC, for receivers that want what only it can do. Spans are sent in batches,
            in the background.
        protocol: "http/protobuf" (the default, or what ``OTEL_EXPORTER_OTLP_PROTOCOL`` says) or "grpc".
        user_ids: what happens to user ids: "pseudonym" (keyed HMAC), "plain", or "none" (not recorded).
        policies: what else is done to spans and logs before any backend has them: functions from a `SpanRecord` or a
            `LogRecord` to one, or to None, which drops it; the last may be a `Gate`. On a provider that was not made here,
            tracers apply them to what they write, before the span has it; what others write there, only these backends
            see after the policies. Those of an earlier call hold as well, but for its gate.
        history: what the span of a model call holds of its messages: "full" (the default, as the conventions say), or
            "new": what was added since an earlier call of the same run, and which call that is. Reading restores the whole;
            other tools see what was added.
        meter_provider: where runs and steps are measured, by the metrics of the GenAI conventions; without one they are
            not. Tracers see it from the first run that they record after this.
        resource: attributes of the program, beside those of ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``.
        set_global: make it OpenTelemetry's global provider.

    Raises:
        ConfigurationError: an argument that cannot be meant.
    """
    of_users, given = UserIdPolicy(user_ids), checked_policies(policies)
    checked_history = None if history is None else check_history(history)
    keepers = [*as_backends(backends), *([FileBackend(file)] if file is not None else [])]
    is_ours = provider is None
    if provider is None:
        provider = make_provider(resource)
    elif resource is not None:
        msg = "resource= belongs to a new provider; the one given has its resource already"
        raise ConfigurationError(msg)
    sending = _otlp_backend(otlp, protocol)
    keepers += [] if sending is None else [sending]
    before = settings_of(provider)
    # What was there before does not see the policies that come now, which tracers then apply themselves.
    reaches_all = is_ours or (before.is_ours and not (given and processors_of(provider)))
    given = (*(policy for policy in before.policies if not isinstance(policy, Gate)), *given)
    if keepers:
        provider.add_span_processor(AgentSpanProcessor(keepers, user_ids=of_users, policies=given))
    settings = ProviderSettings(
        of_users,
        given,
        meter_provider if meter_provider is not None else before.meter_provider,
        checked_history or before.history,
        reaches_all,
    )
    SETTINGS.put(provider, settings)
    if set_global:
        trace.set_tracer_provider(provider)
    return provider


def _otlp_backend(otlp: str | bool | SpanExporter | None, protocol: Protocol | None) -> OtlpBackend | None:
    """Make what sends, if anything shall; what sends is imported then."""
    if protocol is None and (otlp is False or (otlp is None and not any(map(os.environ.get, _ENDPOINT_VARIABLES)))):
        return None
    from otel_agent_trace.tracing.endpoints import otlp_backend  # noqa: PLC0415 - most programs send nothing

    return otlp_backend(otlp, protocol)


def make_provider(
    resource: Resource | Mapping[str, Any] | None = None, *, is_temporary: bool = False
) -> TracerProvider:
    """Make a provider that records every run; a temporary one whatever ``OTEL_TRACES_SAMPLER`` says, and not until exit."""
    if resource is not None and not isinstance(resource, Resource):
        resource = Resource.create(dict(resource))
    return TracerProvider(
        sampler=None if os.environ.get(_SAMPLER_VARIABLE) and not is_temporary else ALWAYS_ON,
        shutdown_on_exit=not is_temporary,
        resource=resource,
        id_generator=PrivateIdGenerator(),
        span_limits=SpanLimits(
            max_attributes=_ATTRIBUTES,
            max_span_attributes=_ATTRIBUTES,
            max_event_attributes=_ATTRIBUTES,
            max_link_attributes=_ATTRIBUTES,
            max_events=_EVENTS,
            max_links=_EVENTS,
            max_attribute_length=SpanLimits.UNSET,
            max_span_attribute_length=SpanLimits.UNSET,
        ),
    )


def private_provider(
    backends: Any, user_ids: UserIds, policies: Iterable[Policy | Gate] = (), *, is_temporary: bool = False
) -> TracerProvider:
    """Return a provider for a tracer with backends of its own; a temporary one is not kept until the process ends."""
    provider, of_users = make_provider(is_temporary=is_temporary), UserIdPolicy(user_ids)
    given = checked_policies(policies)
    provider.add_span_processor(AgentSpanProcessor(backends, user_ids=of_users, policies=given))
    SETTINGS.put(provider, ProviderSettings(of_users, given, is_ours=True))
    return provider


class PrivateIdGenerator(IdGenerator):
    """Ids that do not come from `random`, whose sequence is the host's, but from a generator of its own.

    It is seeded by the system, anew in a forked child.
    """

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(32))  # noqa: S311 - ids are no secrets
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin another sequence."""
        self._random.seed(os.urandom(32))

    def generate_span_id(self) -> int:
        """Return 64 random bits, not all zero."""
        return self._random.getrandbits(64) or self.generate_span_id()

    def generate_trace_id(self) -> int:
        """Return 128 random bits, not all zero."""
        return self._random.getrandbits(128) or self.generate_trace_id()


def processors_of(provider: trace.TracerProvider) -> list[AgentSpanProcessor]:
    """The processors of ours that a provider has; the SDK has no public way to ask for them."""
    all_of_them = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    return [processor for processor in all_of_them if isinstance(processor, AgentSpanProcessor)]
