"""Where to send, how, and when: what the caller says, else what ``OTEL_EXPORTER_OTLP_*`` and ``OTEL_BSP_*`` say."""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Literal, get_args
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from otel_agent_trace.errors import ConfigurationError

Protocol = Literal["http/protobuf", "http/json", "grpc"]

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_RETRY_TIMEOUT_S = 60.0
_GRPC_PORT, _HTTP_PORT, _LAST_PORT = 4317, 4318, 65535
_HTTP_PATH = "/v1/traces"
_HTTP_SCHEMES, _GRPC_SCHEMES = ("http", "https"), ("grpc", "grpcs")
_SECURE_SCHEMES = ("https", "grpcs")
_FEWEST_MS = 1000
_QUEUE, _BATCH, _DELAY = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_SCHEDULE_DELAY"
_MS = 1000
_MAX_DIGITS, _SHOWN_CHARS = 9, 50
_LONGEST_DELAY_S = 3600.0
_SIGNALS = ("_TRACES_", "_")
_BARE_ENDPOINT = re.compile(r"(?P<host>[\w-]+(?:\.[\w-]+)*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?(?P<path>/\S*)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold everything about an endpoint; `url` is ``host:port`` for gRPC, header names are in lower case."""

    protocol: Protocol
    url: str
    shown: str
    """The endpoint as messages may show it: without user, password and query."""
    secure: bool
    headers: Mapping[str, str] = {}
    timeout_s: float = DEFAULT_TIMEOUT_S
    gzip: bool = False
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None

    def __repr__(self) -> str:
        return f"<Settings of {self.shown}>"


def settings_of(
    endpoint: str,
    *,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    environ: Mapping[str, str] | None = None,
    is_whole: bool = False,
) -> Settings:
    """Make the settings for an endpoint, of what is given and what the environment has.

    Args:
        endpoint: ``http(s)://host:4318`` (``/v1/traces`` is added unless it ends so), ``grpc://host:4317`` or
            ``grpcs://host:4317`` (with TLS); with `protocol` "grpc" also ``http(s)://host:4317`` or ``host:4317``.
        protocol: "http/protobuf", "http/json" or "grpc"; without it the scheme says whether it is gRPC, and the
            environment which of the two others.
        headers: go before those of the environment that have the same name.
        timeout_s: seconds for one request.
        environ: the environment, by default the process's.
        is_whole: an address of HTTP is used as it is, without ``/v1/traces``.

    Raises:
        ConfigurationError: something of it cannot be meant; names it, but shows no header and no password.
    """
    variables = _Variables(os.environ if environ is None else environ)
    parts = _split(endpoint)
    wanted = _protocol(parts.scheme, protocol, variables)
    if wanted != "grpc" and not parts.scheme:
        raise ConfigurationError(_no_scheme(endpoint, wanted))
    host = _host(parts, wanted)
    is_grpc = wanted == "grpc"
    path = parts.path if is_whole else _http_path(parts)
    given = _checked_headers({**_basic(parts), **_header_variable(variables), **_lowered(headers or {})})
    return Settings(
        protocol=wanted,
        url=host if is_grpc else parts._replace(netloc=host, path=path, fragment="").geturl(),
        shown=f"{parts.scheme + '://' if parts.scheme else ''}{host}{'' if is_grpc else path}",
        secure=_is_secure(parts.scheme, variables),
        headers=given,
        timeout_s=_timeout_s(variables) if timeout_s is None else _positive(timeout_s, "the timeout"),
        gzip=_wants_gzip(variables),
        ca_file=variables.get("CERTIFICATE"),
        client_certificate=variables.get("CLIENT_CERTIFICATE"),
        client_key=variables.get("CLIENT_KEY"),
    )


def with_scheme(endpoint: str) -> str | None:
    """Complete an endpoint that lacks its scheme, as ``localhost:4318`` does; None for what is no such thing."""
    match = _BARE_ENDPOINT.fullmatch(endpoint.strip().rpartition("@")[2])
    if match is None or int(match["port"] or 0) > _LAST_PORT:
        return None
    return f"http://{match['host']}:{match['port'] or _HTTP_PORT}{match['path'] or ''}"


def usable_variables(environ: Mapping[str, str], on_broken: Callable[[str], None]) -> dict[str, str]:
    """Return the environment without the headers, timeout and compression of OTLP that cannot be meant.

    For programs that must start whatever somebody mistyped; `on_broken` is called with what is wrong with each.
    """
    kept = dict(environ)
    for name in [
        f"OTEL_EXPORTER_OTLP{signal}{name}" for signal in _SIGNALS for name in ("HEADERS", "TIMEOUT", "COMPRESSION")
    ]:
        if kept.get(name):
            kept[name] = _usable(name, kept[name], on_broken)
    return kept


def _usable(name: str, text: str, on_broken: Callable[[str], None]) -> str:
    """Keep of headers those that can be sent; of the rest all or nothing."""
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
    variables = _Variables({name: text})
    _checked_headers(_header_variable(variables))
    _timeout_s(variables)
    _wants_gzip(variables)


class _Variables:
    """Look up the variables of OTLP: those for traces go before those for all signals."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str) -> str | None:
        return self.named(name)[1]

    def named(self, name: str) -> tuple[str, str | None]:
        """Return the full name of the variable that has a value, and the value."""
        for signal in _SIGNALS:
            full = f"OTEL_EXPORTER_OTLP{signal}{name}"
            value = self._environ.get(full, "").strip()
            if value:
                return full, value
        return name, None


# ── the endpoint ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _split(endpoint: str) -> SplitResult:
    text = endpoint.strip()
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(_no_endpoint(endpoint)) from error
    if not parts.hostname or parts.scheme not in (*_HTTP_SCHEMES, *_GRPC_SCHEMES, ""):
        raise ConfigurationError(_no_endpoint(endpoint))
    return parts


def _no_endpoint(endpoint: str) -> str:
    return f"{endpoint.rpartition('@')[2]!r} is no endpoint like http://localhost:4318 or grpc://localhost:4317"


def _no_scheme(endpoint: str, protocol: Protocol) -> str:
    address = with_scheme(endpoint) or "http://localhost:4318"
    is_grpc = urlsplit(address).port == _GRPC_PORT
    advice = f"{address.replace('http', 'grpc', 1)}, or {address} if HTTP is spoken there" if is_grpc else address
    return f"{endpoint.rpartition('@')[2]!r} has no http://, which {protocol} needs; write {advice}"


def _protocol(scheme: str, protocol: str | None, variables: _Variables) -> Protocol:
    """Choose the protocol. An address of HTTP is never taken for one of gRPC because of a variable, which is a program's own setting."""
    name, text = variables.named("PROTOCOL")
    asked = _known(text, name) if text else None
    if protocol is not None:
        wanted = _known(protocol, "the protocol")
    elif scheme in _GRPC_SCHEMES:
        wanted = "grpc"
    else:
        wanted = "http/protobuf" if asked is None or (asked == "grpc" and scheme) else asked
    if wanted != "grpc" and scheme in _GRPC_SCHEMES:
        raise ConfigurationError(f"{wanted} does not go with an address that begins with {scheme}://")
    return wanted


def _known(protocol: str, name: str) -> Protocol:
    for known in get_args(Protocol):
        if protocol == known:
            result: Protocol = known
            return result
    raise ConfigurationError(f"{name} is {protocol!r}, which is none of {', '.join(get_args(Protocol))}")


def _host(parts: SplitResult, wanted: Protocol) -> str:
    """Return the host, with its port where there is one, without user and password."""
    host = parts.netloc.rpartition("@")[2]
    return f"{host}:{_GRPC_PORT}" if wanted == "grpc" and parts.port is None else host


def _http_path(parts: SplitResult) -> str:
    path = parts.path.rstrip("/")
    return path if path.endswith(_HTTP_PATH) else path + _HTTP_PATH


def _is_secure(scheme: str, variables: _Variables) -> bool:
    """Whether TLS is spoken; an address without a scheme does so unless a variable says no."""
    if scheme:
        return scheme in _SECURE_SCHEMES
    return (variables.get("INSECURE") or "").lower() != "true"


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _basic(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _header_variable(variables: _Variables) -> dict[str, str]:
    name, text = variables.named("HEADERS")
    headers: dict[str, str] = {}
    for number, entry in enumerate((text or "").split(","), 1):
        key, sign, value = entry.partition("=")
        if entry.strip():
            if not sign:
                raise ConfigurationError(f"{name}: entry {number} is not like name=value")
            headers[unquote(key.strip()).lower()] = unquote(value.strip())
    return headers


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.strip().lower(): value.strip() for name, value in headers.items()}


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigurationError("the name of a header has characters that no header has")
        if not _HEADER_VALUE.fullmatch(value):
            raise ConfigurationError(f"the header {name} has characters that no header has")
    return headers


def _timeout_s(variables: _Variables) -> float:
    """Read the timeout. OpenTelemetry means milliseconds, its Python SDK reads seconds: so few as no request takes are seconds."""
    name, text = variables.named("TIMEOUT")
    if text is None:
        return DEFAULT_TIMEOUT_S
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return _positive(number / 1000 if number >= _FEWEST_MS else number, name)


def _positive(seconds: float, name: str) -> float:
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"{name} must be a positive number of seconds")
    return seconds


def _wants_gzip(variables: _Variables) -> bool:
    name, text = variables.named("COMPRESSION")
    if text not in (None, "gzip", "none"):
        raise ConfigurationError(f"{name} is {text!r}, which is neither gzip nor none")
    return text == "gzip"


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Bound what waits and how long: at most `max_waiting_spans` and `max_waiting_bytes` (estimated) wait; `batch_spans` go at once, after `delay_s`.

    A request that cannot be delivered is given up after `retry_timeout_s`.
    """

    max_waiting_spans: int = 2048
    max_waiting_bytes: int = 64 << 20
    batch_spans: int = 512
    delay_s: float = 5.0
    retry_timeout_s: float = DEFAULT_RETRY_TIMEOUT_S


def schedule_of(environ: Mapping[str, str], on_broken: Callable[[str], None]) -> Schedule:
    """Read the schedule from the environment; `on_broken` is called with what cannot be meant, and the default is used."""

    def whole_number(name: str, default: int) -> int:
        text = environ.get(name, "").strip()
        if not text:
            return default
        if text.isdecimal() and int(text[:_MAX_DIGITS]) > 0:
            return int(text[:_MAX_DIGITS])
        on_broken(f"{name} is {text[:_SHOWN_CHARS]!r}, which is no positive whole number; {default} is used")
        return default

    default = Schedule()
    waiting = whole_number(_QUEUE, default.max_waiting_spans)
    batch = whole_number(_BATCH, default.batch_spans)
    if batch > waiting and environ.get(_BATCH, "").strip():
        on_broken(f"{_BATCH} is more than {_QUEUE}: {batch} and {waiting}; batches are of {waiting}")
    delay_s = whole_number(_DELAY, round(default.delay_s * _MS)) / _MS
    return Schedule(max_waiting_spans=waiting, batch_spans=min(batch, waiting), delay_s=min(delay_s, _LONGEST_DELAY_S))
