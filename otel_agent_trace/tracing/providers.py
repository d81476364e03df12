"""Where spans go, and what is done to them: the one place that makes or changes a `TracerProvider`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_agent_trace.backends import FileBackend
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.policies.user_ids import UserIds, check_mode
from otel_agent_trace.tracing.endpoints import Protocol, otlp_backend
from otel_agent_trace.tracing.ids import PrivateIdGenerator
from otel_agent_trace.tracing.processor import AgentSpanProcessor
from otel_agent_trace.tracing.provider_registry import ProviderRegistry

_MODES: ProviderRegistry[UserIds] = ProviderRegistry()
_METER_PROVIDERS: ProviderRegistry[MeterProvider] = ProviderRegistry()
_SAMPLER_VARIABLE = "OTEL_TRACES_SAMPLER"
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
    meter_provider: MeterProvider | None = None,
    resource: Resource | Mapping[str, Any] | None = None,
    set_global: bool = False,
) -> TracerProvider:
    """Say where spans go and what is done to them, and get the provider that does it.

    Args:
        provider: is added to; without it one is made, which records every run whatever its parent's sampled flag says,
            unless ``OTEL_TRACES_SAMPLER`` is set.
        backends: an `InMemoryBackend`, a `FileBackend`, any `SpanExporter`, a `TracerBackend` of your own, or a list of
            them.
        file: a file for a `FileBackend`.
        otlp: an endpoint such as ``http://localhost:4318``; True for what ``OTEL_EXPORTER_OTLP_*`` says, which is also
            what None does when an endpoint is set there; False for no OTLP; or an exporter, for example the official
            ``OTLPSpanExporter`` over HTTP or gRPC, for receivers that want what only it can do. Spans are sent in batches,
            in the background.
        protocol: "http/protobuf" (the default, or what ``OTEL_EXPORTER_OTLP_PROTOCOL`` says) or "grpc".
        user_ids: what happens to user ids: "pseudonym" (keyed HMAC), "plain", or "none" (not recorded).
        meter_provider: where runs and steps are measured, by the metrics of the GenAI conventions; without one they are
            not. Tracers see it from the first run that they record after this.
        resource: attributes of the program, beside those of ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``.
        set_global: make it OpenTelemetry's global provider.

    Raises:
        ConfigurationError: an argument that cannot be meant.
    """
    mode = check_mode(user_ids)
    keepers = [*as_backends(backends), *([FileBackend(file)] if file is not None else [])]
    if provider is None:
        provider = make_provider(resource)
    elif resource is not None:
        msg = "resource= belongs to a new provider; the one given has its resource already"
        raise ConfigurationError(msg)
    sending = otlp_backend(otlp, protocol)
    keepers += [] if sending is None else [sending]
    if keepers:
        provider.add_span_processor(AgentSpanProcessor(*keepers, user_ids=mode))
    _MODES.put(provider, mode)
    if meter_provider is not None:
        _METER_PROVIDERS.put(provider, meter_provider)
    if set_global:
        trace.set_tracer_provider(provider)
    return provider


def as_backends(given: Any) -> list[Any]:
    """One backend or many, as a list."""
    return list(given) if isinstance(given, list | tuple) else [given]


def make_provider(resource: Resource | Mapping[str, Any] | None = None) -> TracerProvider:
    """A provider that records every run."""
    if resource is not None and not isinstance(resource, Resource):
        resource = Resource.create(dict(resource))
    return TracerProvider(
        sampler=None if os.environ.get(_SAMPLER_VARIABLE) else ALWAYS_ON,
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


def private_provider(backends: Sequence[Any], user_ids: UserIds) -> TracerProvider:
    """The provider of a tracer with backends of its own."""
    provider = make_provider()
    provider.add_span_processor(AgentSpanProcessor(*backends, user_ids=user_ids))
    _MODES.put(provider, user_ids)
    return provider


def mode_of(provider: trace.TracerProvider) -> UserIds:
    """What the provider's configuration says of user ids; a pseudonym where nobody configured it here."""
    return _MODES.get(provider) or "pseudonym"


def meter_provider_of(provider: trace.TracerProvider) -> MeterProvider | None:
    """Where the provider's configuration says that its runs are measured."""
    return _METER_PROVIDERS.get(provider)


def processors_of(provider: trace.TracerProvider) -> list[AgentSpanProcessor]:
    """The processors of ours that a provider has; the SDK has no public way to ask for them."""
    all_of_them = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    return [processor for processor in all_of_them if isinstance(processor, AgentSpanProcessor)]
