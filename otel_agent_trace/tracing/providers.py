"""Where spans go, and what is done to them: the one place that makes or changes a `TracerProvider`."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from otel_agent_trace.backends import FileBackend
from otel_agent_trace.backends.policy import PolicyExporter
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.processing.user_ids import UserIds, check_mode
from otel_agent_trace.tracing.by_provider import ByProvider
from otel_agent_trace.tracing.ids import PrivateIdGenerator
from otel_agent_trace.tracing.processor import AgentSpanProcessor

_log = logging.getLogger("otel_agent_trace")
Protocol = Literal["http/protobuf", "grpc"]
_MODES: ByProvider[UserIds] = ByProvider()
_METER_PROVIDERS: ByProvider[MeterProvider] = ByProvider()
_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SAMPLER_VARIABLE = "OTEL_TRACES_SAMPLER"
_HTTP_PATH = "/v1/traces"
_ATTRIBUTES = 4096
_EVENTS = 1024


def configure(
    *,
    provider: TracerProvider | None = None,
    backends: Any = (),
    file: str | PathLike[str] | None = None,
    otlp: str | bool | None = None,
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
            what None does when an endpoint is set there; False for no OTLP. Spans are sent in batches, in the background.
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
    exporter = _otlp_exporter(otlp, protocol)
    if provider is None:
        provider = make_provider(resource)
    elif resource is not None:
        msg = "resource= belongs to a new provider; the one given has its resource already"
        raise ConfigurationError(msg)
    if keepers:
        provider.add_span_processor(AgentSpanProcessor(*keepers, user_ids=mode))
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(PolicyExporter(exporter, mode)))
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


# ── OTLP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _otlp_exporter(otlp: str | bool | None, protocol: str | None) -> SpanExporter | None:
    if protocol is not None:
        _check_protocol(protocol)
    if otlp is None:
        otlp = _from_environment(_ENDPOINT_VARIABLES) is not None
    if otlp is False:
        return None
    wanted = protocol or _protocol_of_environment()
    endpoint = None if otlp is True else _checked(otlp)
    return _grpc_exporter(endpoint) if wanted == "grpc" else _http_exporter(endpoint)


def _check_protocol(protocol: str) -> None:
    if protocol not in get_args(Protocol):
        msg = f"protocol {protocol!r} is none of {', '.join(get_args(Protocol))}"
        raise ConfigurationError(msg)


def _protocol_of_environment() -> str:
    """What the environment says; a protocol that is not spoken here is warned of, and replaced."""
    said = _from_environment(_PROTOCOL_VARIABLES) or "http/protobuf"
    if said in get_args(Protocol):
        return said
    _log.warning("OTLP protocol %r of the environment is not spoken here; http/protobuf is used", said)
    return "http/protobuf"


def _from_environment(names: Sequence[str]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name, "").strip())), None)


def _checked(endpoint: str) -> str:
    if not _is_endpoint(endpoint):
        msg = f"otlp={endpoint!r} is no endpoint like http://localhost:4318"
        raise ConfigurationError(msg)
    return endpoint.strip()


def _is_endpoint(endpoint: object) -> bool:
    if not isinstance(endpoint, str):
        return False
    try:
        parts = urlsplit(endpoint.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an address that is none
        return False


def _http_exporter(endpoint: str | None) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - slow to import

    return OTLPSpanExporter(endpoint=None if endpoint is None else _with_path(endpoint))


def _with_path(endpoint: str) -> str:
    """The address for traces of a base address; one that is so already stays."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_HTTP_PATH) else path + _HTTP_PATH).geturl()


def _grpc_exporter(endpoint: str | None) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - slow to import

    return OTLPSpanExporter(endpoint=endpoint)
