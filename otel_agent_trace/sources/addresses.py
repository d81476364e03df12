"""What an address says: where a server is, which services, or which one trace of it."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from otel_agent_trace.errors import SourceError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters at least: C:// is a drive
_BARE_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]{2,}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(?:[/?#]|$)")
_LOGIN, _LOGIN_IN_DISORDER = re.compile(r"//[^/?#]*@"), re.compile(r"//.*@", re.DOTALL)
_TRACE = re.compile(r"/(?:trace|api/traces|api/v3/traces)/([^/]+)")
_PAGE = re.compile(r"/(?:search|api/traces|api/v3/traces)$")
_TRACE_ID = re.compile(r"[0-9A-Fa-f]{1,32}")


class Login(NamedTuple):
    """User and password out of an address."""

    user: str
    password: str


class Address(NamedTuple):
    """An address taken apart; `name` is what it is called in messages, without user, password and query."""

    name: str
    base_url: str
    login: Login | None
    services: tuple[str, ...]
    trace_id: str | None


def scheme_of(text: str) -> str | None:
    """The scheme of an address, in lower case; None for what is none: paths, drives, names with colons."""
    match = _SCHEME.match(text)
    return None if match is None else match[1].lower()


def with_scheme(text: str) -> str | None:
    """Return the address that a text without a scheme is, as in ``localhost:16686``; None for what looks like none."""
    return f"http://{text}" if _BARE_ADDRESS.match(text) else None


def without_secrets(text: str) -> str:
    """A source as messages may show it: of an address no user, no password and no query."""
    if scheme_of(text) is None:
        return text
    try:
        in_order = (
            urlsplit(text).port != 0
        )  # of a password with a slash in it, the beginning stands where the port does
    except ValueError:
        in_order = False
    return (_LOGIN if in_order else _LOGIN_IN_DISORDER).sub("//", text).partition("?")[0]


def parse_address(text: str) -> Address:
    """Take apart the address of a server, or a link to a page or a trace of it.

    Raises:
        SourceError: it is no address.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
        services = tuple(dict.fromkeys(filter(None, parse_qs(parts.query).get("service", []))))
    except ValueError as error:
        why = "" if "@" in text else f" ({error})"  # the error may quote a part of a password
        msg = f"{without_secrets(text)}: this is no address{why}; write http://HOST:PORT"
        raise SourceError(msg) from None
    if not host or not host.isprintable() or " " in host:
        msg = f"{without_secrets(text)}: an address without a host; write http://HOST:PORT"
        raise SourceError(msg)
    login = None if parts.username is None else Login(unquote(parts.username), unquote(parts.password or ""))
    site = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{'' if port is None else f':{port}'}"
    base, trace_id = _split_path(parts.path, site)
    name = site + base + (f"/trace/{trace_id}" if trace_id else "")
    return Address(name, site + base, login, services, trace_id)


def _split_path(path: str, site: str) -> tuple[str, str | None]:
    """The path before the pages of Jaeger, and the trace that it links to."""
    match = _TRACE.search(path)
    if match is None:
        return _PAGE.sub("", path.rstrip("/")), None
    if not _TRACE_ID.fullmatch(match[1]):
        msg = f"{site}{path}: no trace has such an id; it has up to 32 hex digits"
        raise SourceError(msg)
    return path[: match.start()], match[1].lower().zfill(32)
