"""Parse the addresses of ClickHouse servers: host, HTTP port, login, database, table and services."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.addresses import Login, without_secrets

DEFAULT_PORT, DEFAULT_TLS_PORT = 8123, 8443
DEFAULT_DATABASE = "default"
DEFAULT_TABLE = "otel_traces"
_TLS_SCHEME = "clickhouses"
_PARAMETERS = ("service", "table", "secure")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_FORM = "clickhouse://[USER:PASSWORD@]HOST:PORT/DATABASE"


class ClickHouseAddress(NamedTuple):
    """Hold the parts of an address; `name` is the address for messages, without user, password and query."""

    name: str
    host: str
    port: int
    is_secure: bool
    login: Login | None
    database: str
    table: str
    services: tuple[str, ...]


def parse_clickhouse_address(text: str) -> ClickHouseAddress:
    """Parse an address such as ``clickhouse://HOST:8123/DATABASE?service=NAME&table=otel_traces``.

    Raises:
        SourceError: the text is not a valid address.
    """
    shown = without_secrets(text)
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
        parameters = parse_qs(parts.query, keep_blank_values=True)
    except ValueError:  # its message may quote a part of a password
        raise SourceError(f"{shown}: the address is invalid; write {_FORM}") from None
    if not host or not host.isprintable() or " " in host:
        raise SourceError(f"{shown}: the address has no valid host; write {_FORM}")
    unknown = [repr(name) for name in parameters if name not in _PARAMETERS]
    if unknown:
        raise SourceError(f"{shown}: there is no parameter {', '.join(unknown)} of such addresses; {_known()}")
    is_secure = parts.scheme.lower() == _TLS_SCHEME or _truth(parameters.get("secure", ["false"])[-1], shown)
    return ClickHouseAddress(
        shown,
        host,
        port or (DEFAULT_TLS_PORT if is_secure else DEFAULT_PORT),
        is_secure,
        None if parts.username is None else Login(unquote(parts.username), unquote(parts.password or "")),
        _database(parts, shown),
        parameters.get("table", [""])[-1] or DEFAULT_TABLE,
        tuple(dict.fromkeys(filter(None, parameters.get("service", [])))),
    )


def _database(parts: SplitResult, shown: str) -> str:
    name = parts.path.strip("/")
    if "/" in name:
        raise SourceError(f"{shown}: the path must be the name of a database; write {_FORM}")
    return unquote(name) or DEFAULT_DATABASE


def _truth(text: str, shown: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise SourceError(f"{shown}: secure must be true or false, got {text[:20]!r}")
    return _TRUTHS[text.lower()]


def _known() -> str:
    return f"the known ones are {', '.join(map(repr, _PARAMETERS))}"
