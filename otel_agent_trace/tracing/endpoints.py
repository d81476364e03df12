"""Where `configure` sends to by OTLP: what its caller says, and what the environment does.

What a caller cannot mean is an error; of the environment it is one warning, and the program goes on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, get_args
from urllib.parse import urlsplit

from opentelemetry.sdk.trace.export import SpanExporter

from otel_agent_trace.backends.otlp import OtlpBackend
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import warn
from otel_agent_trace.otlp import Settings, schedule_of, settings_of, usable_variables, with_scheme

Protocol = Literal["http/protobuf", "grpc"]
_TRACES_ENDPOINT, _ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_DEFAULTS = {"http/protobuf": "http://localhost:4318", "grpc": "http://localhost:4317"}


def otlp_backend(otlp: str | bool | SpanExporter | None, protocol: str | None) -> OtlpBackend | None:
    """Make what sends, if anything shall.

    Args:
        otlp: an endpoint, or an exporter that sends in its own way; True or None for the endpoint of the environment,
            without which None is no OTLP; False for no OTLP.
        protocol: "http/protobuf" or "grpc"; None for that of the environment.

    Raises:
        ConfigurationError: an argument that cannot be meant.
    """
    if protocol is not None:
        _check_protocol(protocol)
    if isinstance(otlp, SpanExporter):
        return _exporting(otlp, protocol)
    if otlp is None:
        otlp = _variable((_TRACES_ENDPOINT, _ENDPOINT)) is not None
    if otlp is False:
        return None
    wanted = protocol or _protocol_of_environment()
    environ = {name: text for name, text in usable_variables(os.environ, _warn).items() if name not in _PROTOCOLS}
    settings = _of_environment(wanted, environ) if otlp is True else _of_caller(otlp, wanted, environ)
    return OtlpBackend(settings, schedule=schedule_of(os.environ, _warn))


def _exporting(exporter: SpanExporter, protocol: str | None) -> OtlpBackend:
    if protocol is not None:
        raise ConfigurationError(
            f"protocol= goes with an endpoint; {type(exporter).__name__} has a protocol of its own"
        )
    return OtlpBackend(exporter, schedule=schedule_of(os.environ, _warn))


def _warn(broken: str) -> None:
    warn("%s (ignored)", broken)


def _of_caller(endpoint: object, protocol: str, environ: Mapping[str, str]) -> Settings:
    if not isinstance(endpoint, str):
        raise ConfigurationError(f"otlp={endpoint!r} is no endpoint like http://localhost:4318, and no SpanExporter")
    if not _is_endpoint(endpoint):
        raise ConfigurationError(_no_endpoint(endpoint))
    return settings_of(endpoint, protocol=protocol, environ=environ)


def _no_endpoint(endpoint: str) -> str:
    address = with_scheme(endpoint.strip().removeprefix("grpc://"))
    speaks_grpc = address is not None and (endpoint.strip().startswith("grpc://") or address.endswith(":4317"))
    advice = "" if address is None else f"; write {address}" + (' and protocol="grpc"' if speaks_grpc else "")
    return f"otlp={endpoint.rpartition('@')[2]!r} is no endpoint like http://localhost:4318{advice}"


def _of_environment(protocol: str, environ: Mapping[str, str]) -> Settings | None:
    """The variable for traces alone is the whole address, and goes before the other; None if it cannot be meant."""
    whole, base = _variable((_TRACES_ENDPOINT,)), _variable((_ENDPOINT,))
    try:
        return settings_of(
            whole or base or _DEFAULTS[protocol], protocol=protocol, environ=environ, is_whole=whole is not None
        )
    except ConfigurationError as error:
        warn("%s: %s; nothing is sent", _TRACES_ENDPOINT if whole else _ENDPOINT, error)
        return None


def _check_protocol(protocol: str) -> None:
    if protocol not in get_args(Protocol):
        raise ConfigurationError(f"protocol {protocol!r} is none of {', '.join(get_args(Protocol))}")


def _protocol_of_environment() -> str:
    """What the environment says; a protocol that is not spoken here is warned of, and replaced."""
    named = _variable(_PROTOCOLS) or "http/protobuf"
    if named in get_args(Protocol):
        return named
    warn("OTLP protocol %r of the environment is not spoken here; http/protobuf is used", named)
    return "http/protobuf"


def _variable(names: Sequence[str]) -> str | None:
    return next((text for name in names if (text := os.environ.get(name, "").strip())), None)


def _is_endpoint(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an address that is none
        return False
