"""Parse the addresses of servers: host and path, login, services, and the one trace that a link may name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from otel_agent_trace.errors import SourceError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters at least: C:// is a drive
_BARE_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]{2,}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(?:[/?#]|$)")
_LOGIN, _MALFORMED_LOGIN = re.compile(r"//[^/?#]*@"), re.compile(r"//.*@", re.DOTALL)
_TRACE = re.compile(r"/(?:trace|api/traces|api/v3/traces)/([^/]+)")
_PAGE = re.compile(r"/(?:search|api/traces|api/v3/traces)$")
_TRACE_ID = re.compile(r"[0-9A-Fa-f]{1,32}")
_SERVICE = "service"


class Login(NamedTuple):
    """Hold the user and password of an address."""

    user: str
    password: str


class Address(NamedTuple):
    """Hold the parts of an address; `name` is the address for messages, without user, password and query."""

    name: str
    base_url: str
    login: Login | None
    services: tuple[str, ...]
    trace_id: str | None


def scheme_of(text: str) -> str | None:
    """Return the scheme of an address in lower case, or None for other texts: paths, drives, names with colons."""
    match = _SCHEME.match(text)
    return None if match is None else match[1].lower()


def with_scheme(text: str) -> str | None:
    """Return a text such as ``localhost:16686`` with a scheme, or None for one that is no host with a port."""
    return f"http://{text}" if _BARE_ADDRESS.match(text) else None


def without_secrets(text: str) -> str:
    """Return a source for messages: an address without user, password and query, or the name of a file."""
    if scheme_of(text) is None:
        return text
    try:
        # The beginning of a password with an unescaped slash is parsed as the port.
        is_well_formed = urlsplit(text).port != 0
    except ValueError:
        is_well_formed = False
    return (_LOGIN if is_well_formed else _MALFORMED_LOGIN).sub("//", text).partition("?")[0]


def services_of(text: str) -> tuple[str, ...]:
    """Return the services that an address names in its query, none for one that is invalid."""
    try:
        return parse_address(text).services
    except SourceError:
        return ()


def parse_address(text: str) -> Address:
    """Parse the address of a server, or a link to a page or a trace of its web interface or API.

    Raises:
        SourceError: the text is not a valid address.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
        parameters = parse_qs(parts.query, keep_blank_values=True)
    except ValueError as error:
        reason = "" if "@" in text else f" ({error})"  # the error may quote a part of a password
        msg = f"{without_secrets(text)}: the address is invalid{reason}; write http://HOST:PORT"
        raise SourceError(msg) from None
    if not host or not host.isprintable() or " " in host:
        msg = f"{without_secrets(text)}: the address has no valid host; write http://HOST:PORT"
        raise SourceError(msg)
    login = None if parts.username is None else Login(unquote(parts.username), unquote(parts.password or ""))
    site = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{'' if port is None else f':{port}'}"
    base, trace_id = _split_path(parts.path, site)
    name = site + base + (f"/trace/{trace_id}" if trace_id else "")
    if base == parts.path.rstrip("/"):
        _check_parameters(parameters, name)
    services = tuple(dict.fromkeys(filter(None, parameters.get(_SERVICE, []))))
    return Address(name, site + base, login, services, trace_id)


def _check_parameters(given: Iterable[str], name: str) -> None:
    """Check the parameters of an address that is no link; those of a page of the web interface are its own.

    Raises:
        SourceError: there is no such parameter.
    """
    unknown = [repr(parameter) for parameter in given if parameter != _SERVICE]
    if unknown:
        msg = f"{name}: there is no parameter {', '.join(unknown)} of addresses; the only one is {_SERVICE!r}"
        raise SourceError(msg)


def _split_path(path: str, site: str) -> tuple[str, str | None]:
    """Return the base path of a Jaeger server, and the id of the trace that a link names, or None.

    Raises:
        SourceError: the link names something that is no trace id.
    """
    match = _TRACE.search(path)
    if match is None:
        return _PAGE.sub("", path.rstrip("/")), None
    if not _TRACE_ID.fullmatch(match[1]):
        msg = f"{site}{path}: the trace id must have 1 to 32 hex digits"
        raise SourceError(msg)
    return path[: match.start()], match[1].lower().zfill(32)
