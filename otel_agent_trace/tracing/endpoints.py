"""Find the OTLP endpoint of `configure`, from its arguments or the environment.

An invalid argument is an error. An invalid variable of the environment is one warning, and the program goes on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, get_args
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import SpanExporter

from otel_agent_trace import semconv
from otel_agent_trace.backends.otlp import OtlpBackend
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import warn
from otel_agent_trace.otlp import Settings, schedule_of, settings_of, usable_variables, with_scheme

Protocol = Literal["http/protobuf", "grpc"]
_TRACES_ENDPOINT, _ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
_LOGS_ENDPOINT, _LOGS_PROTOCOL = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"
_LOGS_EXPORTER = "OTEL_LOGS_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_DEFAULTS = {
    "http/protobuf": f"http://localhost:{semconv.OTLP_HTTP_PORT}",
    "grpc": f"http://localhost:{semconv.OTLP_GRPC_PORT}",
}


def otlp_backend(otlp: str | bool | SpanExporter | None, protocol: str | None) -> OtlpBackend | None:
    """Return a backend that sends spans by OTLP, or None if none is wanted.

    Args:
        otlp: an endpoint, or an exporter; True for the endpoint of the environment, or else the default one; None for
            the endpoint of the environment, if it has one; False for no OTLP.
        protocol: ``"http/protobuf"`` or ``"grpc"``; None for that of the environment.

    Raises:
        ConfigurationError: an argument is not valid.
    """
    if protocol is not None:
        _check_protocol(protocol)
    if isinstance(otlp, SpanExporter):
        return _exporter_backend(otlp, protocol)
    if otlp is None:
        otlp = _variable((_TRACES_ENDPOINT, _ENDPOINT)) is not None
    if otlp is False:
        return None
    wanted = protocol or _protocol_of_environment()
    environ = {
        name: text
        for name, text in usable_variables(os.environ, _warn).items()
        if name not in (*_PROTOCOLS, _LOGS_PROTOCOL)
    }
    settings = _environment_settings(wanted, environ) if otlp is True else _given_settings(otlp, wanted, environ)
    for_logs = _protocol_for_logs(protocol, wanted)
    logs = (
        _environment_log_settings(for_logs, environ) if otlp is True else _given_log_settings(otlp, for_logs, environ)
    )
    if (_variable((_LOGS_EXPORTER,)) or "").lower() == "none":
        logs = None
    return OtlpBackend(settings, schedule=schedule_of(os.environ, _warn), logs=logs)


def _exporter_backend(exporter: SpanExporter, protocol: str | None) -> OtlpBackend:
    if protocol is not None:
        raise ConfigurationError(
            f"protocol= needs an endpoint in otlp=; {type(exporter).__name__} has a protocol of its own"
        )
    return OtlpBackend(exporter, schedule=schedule_of(os.environ, _warn))


def _warn(broken: str) -> None:
    warn("%s (ignored)", broken)


def _given_settings(endpoint: object, protocol: str, environ: Mapping[str, str]) -> Settings:
    if not isinstance(endpoint, str):
        raise ConfigurationError(f"otlp={endpoint!r} must be an endpoint like http://localhost:4318, or a SpanExporter")
    if not _is_endpoint(endpoint):
        raise ConfigurationError(_invalid_endpoint_message(endpoint))
    return settings_of(endpoint, protocol=protocol, environ=environ)


def _invalid_endpoint_message(endpoint: str) -> str:
    address = with_scheme(endpoint.strip().removeprefix("grpc://"))
    is_grpc = address is not None and (
        endpoint.strip().startswith("grpc://") or address.endswith(f":{semconv.OTLP_GRPC_PORT}")
    )
    advice = "" if address is None else f"; write {address}" + (' and protocol="grpc"' if is_grpc else "")
    return f"otlp={endpoint.rpartition('@')[2]!r} must be an endpoint like http://localhost:4318{advice}"


def _environment_settings(protocol: str, environ: Mapping[str, str]) -> Settings | None:
    """Return the settings of the environment, None if its endpoint is invalid; that for traces is a whole address."""
    whole, base = _variable((_TRACES_ENDPOINT,)), _variable((_ENDPOINT,))
    try:
        return settings_of(
            whole or base or _DEFAULTS[protocol], protocol=protocol, environ=environ, is_whole=whole is not None
        )
    except ConfigurationError as error:
        warn("%s: %s; nothing is sent", _TRACES_ENDPOINT if whole else _ENDPOINT, error)
        return None


def _given_log_settings(endpoint: object, protocol: str, environ: Mapping[str, str]) -> Settings:
    return settings_of(str(endpoint), protocol=protocol, environ=environ, signal="logs")


def _environment_log_settings(protocol: str, environ: Mapping[str, str]) -> Settings | None:
    """Return the settings of the environment for logs, None if it has an endpoint for traces only.

    One for traces that ends in ``/v1/traces`` is that of a receiver of all signals.
    """
    whole, base, traces = (_variable((name,)) for name in (_LOGS_ENDPOINT, _ENDPOINT, _TRACES_ENDPOINT))
    if traces is not None and not (protocol == "grpc" or urlsplit(traces).path.rstrip("/").endswith("/v1/traces")):
        traces = None
        if whole is None and base is None:
            return None
    try:
        return settings_of(
            whole or base or traces or _DEFAULTS[protocol],
            protocol=protocol,
            environ=environ,
            is_whole=whole is not None,
            signal="logs",
        )
    except ConfigurationError as error:
        if whole is not None:  # else this was reported for the spans
            warn("%s: %s; no logs are sent", _LOGS_ENDPOINT, error)
        return None


def _protocol_for_logs(given: str | None, for_spans: str) -> str:
    """Return the protocol given, or that of the environment for logs, or that for spans."""
    named = _variable((_LOGS_PROTOCOL,))
    return given or (named if named is not None and named in get_args(Protocol) else for_spans)


def _check_protocol(protocol: str) -> None:
    if protocol not in get_args(Protocol):
        raise ConfigurationError(f"protocol={protocol!r} must be one of {', '.join(get_args(Protocol))}")


def _protocol_of_environment() -> str:
    """Return the protocol of the environment; one that is not supported is replaced, with a warning."""
    named = _variable(_PROTOCOLS) or "http/protobuf"
    if named in get_args(Protocol):
        return named
    warn("OTLP protocol %r of the environment is not supported; http/protobuf is used", named)
    return "http/protobuf"


def _variable(names: Sequence[str]) -> str | None:
    return next((text for name in names if (text := os.environ.get(name, "").strip())), None)


def _is_endpoint(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port or address
        return False
