"""Read the settings of an OTLP endpoint and the schedule of sending.

What the caller gives has precedence over ``OTEL_EXPORTER_OTLP_*`` and ``OTEL_BSP_*``.
"""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import warn

Protocol = Literal["http/protobuf", "http/json", "grpc"]
Signal = Literal["traces", "logs"]

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_RETRY_TIMEOUT_S = 60.0
_LAST_PORT = 65535
_HTTP_PATHS: dict[Signal, str] = {"traces": "/v1/traces", "logs": "/v1/logs"}
_HTTP_SCHEMES, _GRPC_SCHEMES = ("http", "https"), ("grpc", "grpcs")
_SECURE_SCHEMES = ("https", "grpcs")
_LEAST_MS = 1000
_QUEUE_SIZE, _BATCH_SIZE, _DELAY = (
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
)
_MS = 1000
_MAX_DIGITS, _SHOWN_CHARS = 9, 50
_LONGEST_DELAY_S = 3600.0
_PREFIXES: dict[Signal, tuple[str, str]] = {"traces": ("_TRACES_", "_"), "logs": ("_LOGS_", "_")}
_ALL_PREFIXES = ("_TRACES_", "_LOGS_", "_")
_BARE_ENDPOINT = re.compile(r"(?P<host>[\w-]+(?:\.[\w-]+)*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?(?P<path>/\S*)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the settings of an endpoint; `url` is ``host:port`` for gRPC, header names are in lower case."""

    protocol: Protocol
    url: str
    shown: str
    """Endpoint for messages, without user, password and query."""
    secure: bool
    """True if the connection uses TLS."""
    signal: Signal = "traces"
    headers: Mapping[str, str] = {}
    timeout_s: float = DEFAULT_TIMEOUT_S
    gzip: bool = False
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None

    def __repr__(self) -> str:
        return f"<Settings of {self.shown}>"

    def __deepcopy__(self, memo: object) -> Settings:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle all but what may hold credentials: headers, and the query of the address."""
        kept = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ("url", "headers")}
        return _unpickled, (kept, [*self.headers, *(["the query of its address"] if "?" in self.url else [])])


def settings_of(
    endpoint: str,
    *,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    environ: Mapping[str, str] | None = None,
    is_whole: bool = False,
    signal: Signal = "traces",
) -> Settings:
    """Return the settings of an endpoint, from the arguments and the environment.

    Args:
        endpoint: ``http(s)://host:4318`` (``/v1/traces`` is added unless it ends so), ``grpc://host:4317`` or
            ``grpcs://host:4317`` (with TLS); with `protocol` "grpc" also ``http(s)://host:4317`` or ``host:4317``.
        protocol: "http/protobuf", "http/json" or "grpc"; by default gRPC if the scheme is that of gRPC, else the
            protocol of the environment.
        headers: replace those of the environment with the same name.
        timeout_s: the timeout of one request in seconds.
        environ: the environment, by default that of the process.
        is_whole: whether an HTTP address is complete, so that ``/v1/traces`` is not added.
        signal: what is sent: "traces", or "logs", whose path is ``/v1/logs`` in place of ``/v1/traces``.

    Raises:
        ConfigurationError: an argument or variable has an invalid value. The message names it, but shows no header and
            no password.
    """
    variables = _Variables(os.environ if environ is None else environ, _PREFIXES[signal])
    parts = _split_endpoint(endpoint)
    chosen = _protocol(parts.scheme, protocol, variables)
    if chosen != "grpc" and not parts.scheme:
        raise ConfigurationError(_missing_scheme_message(endpoint, chosen))
    host = _host_and_port(parts, chosen)
    is_grpc = chosen == "grpc"
    if parts.scheme in _GRPC_SCHEMES and parts.query:
        raise ConfigurationError(_grpc_parameters_message(host, parts.query))
    path = parts.path if is_whole else _http_path(parts, signal)
    return Settings(
        protocol=chosen,
        url=host if is_grpc else parts._replace(netloc=host, path=path, fragment="").geturl(),
        shown=f"{parts.scheme + '://' if parts.scheme else ''}{host}{'' if is_grpc else path}",
        secure=_is_secure(parts.scheme, variables),
        signal=signal,
        headers=_checked_headers(
            {**_basic_auth(parts), **_headers_of_variable(variables), **_normalized_headers(headers or {})}
        ),
        timeout_s=_timeout_s(variables) if timeout_s is None else _positive_s(timeout_s, "the timeout"),
        gzip=_uses_gzip(variables),
        ca_file=variables.get("CERTIFICATE"),
        client_certificate=variables.get("CLIENT_CERTIFICATE"),
        client_key=variables.get("CLIENT_KEY"),
    )


def _unpickled(kept: dict[str, Any], secrets: list[str]) -> Settings:
    """Return settings in another process, with the headers of its own environment."""
    environ = usable_variables(os.environ, lambda broken: warn("%s (ignored)", broken))
    own = settings_of(kept["shown"], protocol=kept["protocol"], signal=kept["signal"], environ=environ, is_whole=True)
    lost = [secret for secret in secrets if secret not in own.headers]
    if lost:
        advice = "credentials are not pickled: set OTEL_EXPORTER_OTLP_HEADERS"
        warn("an OtlpBackend from another process sends to %s without %s; %s", kept["shown"], ", ".join(lost), advice)
    return Settings(url=own.url, headers=own.headers, **kept)


def with_scheme(endpoint: str) -> str | None:
    """Return an endpoint such as ``localhost:4318`` with a scheme, or None for a text that is no host with a port."""
    match = _BARE_ENDPOINT.fullmatch(endpoint.strip().rpartition("@")[2])
    if match is None or int(match["port"] or 0) > _LAST_PORT:
        return None
    return f"http://{match['host']}:{match['port'] or semconv.OTLP_HTTP_PORT}{match['path'] or ''}"


def usable_variables(environ: Mapping[str, str], on_broken: Callable[[str], None]) -> dict[str, str]:
    """Return the environment without invalid headers, timeouts and compressions of OTLP.

    It is for programs that must start although a variable is mistyped.

    Args:
        environ: the environment.
        on_broken: called with a message about each value that is left out.
    """
    kept = dict(environ)
    for name in [
        f"OTEL_EXPORTER_OTLP{prefix}{name}"
        for prefix in _ALL_PREFIXES
        for name in ("HEADERS", "TIMEOUT", "COMPRESSION")
    ]:
        if kept.get(name):
            kept[name] = _usable(name, kept[name], on_broken)
    return kept


def _usable(name: str, text: str, on_broken: Callable[[str], None]) -> str:
    """Return the value of a variable without invalid headers, or an empty text for another invalid value."""
    parts = text.split(",") if name.endswith("HEADERS") else [text]
    usable = []
    for part in parts:
        try:
            _check_variable(name, part)
            usable.append(part)
        except ConfigurationError as error:
            reason = str(error)
            on_broken(reason if name in reason else f"{name}: {reason}")
    return ",".join(usable)


def _check_variable(name: str, text: str) -> None:
    variables = _Variables({name: text}, _ALL_PREFIXES)
    _checked_headers(_headers_of_variable(variables))
    _timeout_s(variables)
    _uses_gzip(variables)


class _Variables:
    """Look up the variables of OTLP; those for one signal have precedence over those for all signals."""

    def __init__(self, environ: Mapping[str, str], prefixes: tuple[str, ...]) -> None:
        self._environ, self._prefixes = environ, prefixes

    def get(self, name: str) -> str | None:
        """Return the value of a variable, given the end of its name, or None if it is not set."""
        return self.named(name)[1]

    def named(self, name: str) -> tuple[str, str | None]:
        """Return the full name of the variable that has a value, and the value."""
        for prefix in self._prefixes:
            full = f"OTEL_EXPORTER_OTLP{prefix}{name}"
            value = self._environ.get(full, "").strip()
            if value:
                return full, value
        return name, None


# ── the endpoint ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _split_endpoint(endpoint: str) -> SplitResult:
    text = endpoint.strip()
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(_invalid_endpoint_message(endpoint)) from error
    if not parts.hostname or parts.scheme not in (*_HTTP_SCHEMES, *_GRPC_SCHEMES, ""):
        raise ConfigurationError(_invalid_endpoint_message(endpoint))
    return parts


def _invalid_endpoint_message(endpoint: str) -> str:
    return f"{endpoint.rpartition('@')[2]!r} is no endpoint like http://localhost:4318 or grpc://localhost:4317"


def _grpc_parameters_message(host: str, query: str) -> str:
    names = ", ".join(repr(parameter.partition("=")[0]) for parameter in query.split("&"))
    return f"{host}: a grpc:// address takes no parameters, got {names}; for TLS write grpcs://{host}"


def _missing_scheme_message(endpoint: str, protocol: Protocol) -> str:
    address = with_scheme(endpoint) or f"http://localhost:{semconv.OTLP_HTTP_PORT}"
    is_grpc = urlsplit(address).port == semconv.OTLP_GRPC_PORT
    advice = f"{address.replace('http', 'grpc', 1)}, or {address} if it uses HTTP" if is_grpc else address
    return f"{endpoint.rpartition('@')[2]!r} has no http://, which {protocol} needs; write {advice}"


def _protocol(scheme: str, protocol: str | None, variables: _Variables) -> Protocol:
    """Return the protocol: the one given, else that of the scheme, else that of the environment.

    With an http:// or https:// address the variable's ``grpc`` does not count: it was set for the program's own exporter.
    """
    name, text = variables.named("PROTOCOL")
    default = _checked_protocol(text, name) if text else None
    if protocol is not None:
        chosen = _checked_protocol(protocol, "the protocol")
    elif scheme in _GRPC_SCHEMES:
        chosen = "grpc"
    else:
        chosen = "http/protobuf" if default is None or (default == "grpc" and scheme) else default
    if chosen != "grpc" and scheme in _GRPC_SCHEMES:
        raise ConfigurationError(f"protocol {chosen} cannot be used with a {scheme}:// address")
    return chosen


def _checked_protocol(protocol: str, name: str) -> Protocol:
    for known in get_args(Protocol):
        if protocol == known:
            result: Protocol = known
            return result
    raise ConfigurationError(f"{name} must be one of {', '.join(get_args(Protocol))}, got {protocol!r}")


def _host_and_port(parts: SplitResult, protocol: Protocol) -> str:
    """Return the host without user and password, with its port; that of gRPC is added where it is missing."""
    host = parts.netloc.rpartition("@")[2]
    return f"{host}:{semconv.OTLP_GRPC_PORT}" if protocol == "grpc" and parts.port is None else host


def _http_path(parts: SplitResult, signal: Signal) -> str:
    """Return the path for a signal: below that of the address, or beside it if it is that of a signal already."""
    path = parts.path.rstrip("/")
    for known in _HTTP_PATHS.values():
        path = path.removesuffix(known)
    return path + _HTTP_PATHS[signal]


def _is_secure(scheme: str, variables: _Variables) -> bool:
    """Return whether to use TLS: as the scheme has it, and without one unless ``OTEL_EXPORTER_OTLP_INSECURE`` is true."""
    if scheme:
        return scheme in _SECURE_SCHEMES
    return (variables.get("INSECURE") or "").lower() != "true"


# ── headers, timeout, compression ────────────────────────────────────────────────────────────────────────────────────


def _basic_auth(parts: SplitResult) -> dict[str, str]:
    """Return the header of basic authentication for the user and password of an address."""
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _headers_of_variable(variables: _Variables) -> dict[str, str]:
    """Return the headers of ``OTEL_EXPORTER_OTLP_HEADERS``, whose names and values are percent-encoded."""
    name, text = variables.named("HEADERS")
    headers: dict[str, str] = {}
    for number, entry in enumerate((text or "").split(","), 1):
        key, sign, value = entry.partition("=")
        if entry.strip():
            if not sign:
                raise ConfigurationError(f"{name}: entry {number} must be like name=value")
            headers[unquote(key.strip()).lower()] = unquote(value.strip())
    return headers


def _normalized_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.strip().lower(): value.strip() for name, value in headers.items()}


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError("the name of a header has invalid characters")
        if not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(f"the value of the header {name} has invalid characters")
    return headers


def _timeout_s(variables: _Variables) -> float:
    """Return the timeout of the environment in seconds.

    The OTLP specification has milliseconds, the Python SDK reads seconds: numbers below 1000 are taken for seconds.
    """
    name, text = variables.named("TIMEOUT")
    if text is None:
        return DEFAULT_TIMEOUT_S
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return _positive_s(number / _MS if number >= _LEAST_MS else number, name)


def _positive_s(seconds: float, name: str) -> float:
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} must be a positive number of seconds")
    return seconds


def _uses_gzip(variables: _Variables) -> bool:
    name, text = variables.named("COMPRESSION")
    if text not in (None, "gzip", "none"):
        raise ConfigurationError(f"{name} must be gzip or none, got {text!r}")
    return text == "gzip"


# ── the schedule ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Bound the queue of spans that wait to be sent, and the time that they wait.

    At most `max_waiting_spans` of about `max_waiting_bytes` in all wait. A batch is sent when it has `batch_spans` spans,
    or after `delay_s` seconds. A request that cannot be delivered is given up after `retry_timeout_s` seconds.
    """

    max_waiting_spans: int = 2048
    max_waiting_bytes: int = 64 << 20
    batch_spans: int = 512
    delay_s: float = 5.0
    retry_timeout_s: float = DEFAULT_RETRY_TIMEOUT_S


def schedule_of(environ: Mapping[str, str], on_broken: Callable[[str], None]) -> Schedule:
    """Return the schedule of ``OTEL_BSP_*``, with the default in place of each invalid value.

    Args:
        environ: the environment.
        on_broken: called with a message about each invalid value.
    """

    def whole_number(name: str, default: int) -> int:
        """Return the value of a variable, or the default if it is not set or invalid."""
        text = environ.get(name, "").strip()
        if not text:
            return default
        if text.isdecimal() and int(text[:_MAX_DIGITS]) > 0:
            return int(text[:_MAX_DIGITS])
        on_broken(f"{name} must be a positive whole number, got {text[:_SHOWN_CHARS]!r}; {default} is used")
        return default

    default = Schedule()
    waiting = whole_number(_QUEUE_SIZE, default.max_waiting_spans)
    batch = whole_number(_BATCH_SIZE, default.batch_spans)
    if batch > waiting and environ.get(_BATCH_SIZE, "").strip():
        on_broken(f"{_BATCH_SIZE} ({batch}) must not be greater than {_QUEUE_SIZE} ({waiting}); {waiting} is used")
    delay_s = whole_number(_DELAY, round(default.delay_s * _MS)) / _MS
    return Schedule(max_waiting_spans=waiting, batch_spans=min(batch, waiting), delay_s=min(delay_s, _LONGEST_DELAY_S))
