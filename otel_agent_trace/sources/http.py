"""GET from a server that may be anything: bounded in time and size, tried again where that helps, one clear error each.

Messages name the server without what is secret: no headers, no password, no query.
"""

from __future__ import annotations

import email.utils
import http
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.addresses import Login
from otel_agent_trace.version import __version__

if TYPE_CHECKING:
    import httpx

_CHUNK_BYTES = 64 << 10
_ATTEMPTS = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _JITTER_S = 0.1, 2.0, 0.1
_COME_AGAIN = frozenset({429, 502, 503, 504})
_WHO_ARE_YOU = frozenset({401, 403, 407})
_SHOWN = 200


class TooLargeError(SourceError):
    """An answer of more bytes than may be."""


class Answer(NamedTuple):
    """What came: the status, and all of the body."""

    status: int
    body: bytes
    is_page: bool


class _TryAgainError(Exception):
    """It said to come again, maybe after so many seconds."""

    def __init__(self, status: int, wait_s: float | None) -> None:
        self.status, self.wait_s = status, wait_s
        super().__init__(f"status {status}")


class HttpReader:
    """Asks one server.

    Args:
        name: what it is called in messages.
        base_url: what paths are put behind; without user and password.
        login: for basic authentication.
        headers: go with every request.
        timeout_s: for one answer, and for trying again until there is one.
        verify: whether the certificate is checked, or the file of the CA that it is checked with.
        advice: what to do when there is something, but not what was expected.

    Raises:
        SourceError: from every call that gets no answer, or one that asks to log in.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        login: Login | None,
        headers: Mapping[str, str],
        timeout_s: float,
        verify: bool | str,
        advice: str,
    ) -> None:
        import httpx  # noqa: PLC0415 - only when something is asked

        self._name, self._base_url, self._timeout_s, self._advice = name, base_url, timeout_s, advice
        verification = _verification(name, verify) if base_url.startswith("https:") else False  # True loads all CAs
        with self._explained():
            self._client = httpx.Client(
                auth=None if login is None else (login.user, login.password),
                headers={"accept": "application/json", "user-agent": f"otel-agent-trace/{__version__}", **headers},
                timeout=timeout_s,
                verify=verification,
                follow_redirects=False,
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, parameters: Mapping[str, str], most_bytes: int) -> Answer:
        """GET a path, and again if the server is busy or the connection breaks.

        Raises:
            TooLargeError: the answer has more bytes than that.
        """
        import stamina  # noqa: PLC0415 - only when something is asked

        with self._explained():
            for attempt in stamina.retry_context(
                on=self._pause,
                attempts=_ATTEMPTS,
                timeout=self._timeout_s,
                wait_initial=_FIRST_PAUSE_S,
                wait_max=_LONGEST_PAUSE_S,
                wait_jitter=_JITTER_S,
            ):
                with attempt:
                    return self._get_once(path, parameters, most_bytes)
        raise self.error("no answer")  # pragma: no cover - the last attempt has given one, or raised

    def error(self, what: str) -> SourceError:
        """An error of this server."""
        return SourceError(f"{self._name}: {what}")

    def _get_once(self, path: str, parameters: Mapping[str, str], most_bytes: int) -> Answer:
        deadline = time.monotonic() + self._timeout_s
        with self._client.stream("GET", self._base_url + path, params=dict(parameters)) as response:
            self._check(response)
            body = b"".join(self._chunks(response, deadline, most_bytes))
        return Answer(response.status_code, body, _is_page(response, body))

    def _chunks(self, response: httpx.Response, deadline: float, most_bytes: int) -> Iterator[bytes]:
        size = 0
        for chunk in response.iter_bytes(_CHUNK_BYTES):
            size += len(chunk)
            if size > most_bytes:
                raise TooLargeError(f"{self._name}: an answer of more than {most_bytes >> 20} MiB")
            if time.monotonic() > deadline:
                raise TimeoutError
            yield chunk

    def _check(self, response: httpx.Response) -> None:
        """Raise where the status alone says enough."""
        status = response.status_code
        if status in _COME_AGAIN:
            raise _TryAgainError(status, _retry_after(response.headers.get("retry-after", "")))
        if status in _WHO_ARE_YOU:
            raise self.error(f"it does not let us in ({_phrase(status)}); {_GIVE_HEADERS}")
        if response.is_redirect:
            raise self.error(
                f"it leads elsewhere, to {_host(response.headers['location'])} ({status}), maybe a page to log in; "
                f"{_GIVE_HEADERS}, or name the address behind it"
            )

    def _pause(self, error: Exception) -> bool | float:
        """Whether it helps to try again, or in how many seconds."""
        import httpx  # noqa: PLC0415

        if isinstance(error, _TryAgainError):
            wait_s = error.wait_s
            return True if wait_s is None else wait_s <= self._timeout_s and wait_s
        if isinstance(error, httpx.ConnectError):
            return not any(isinstance(cause, socket.gaierror | ssl.SSLError) for cause in _causes(error))
        return isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say of what goes wrong what it is and what to do. The errors themselves may show what is secret."""
        import httpx  # noqa: PLC0415

        try:
            yield
        except _TryAgainError as error:
            raise self.error(_too_busy(error)) from None
        except (httpx.TimeoutException, TimeoutError):
            raise self.error(
                f"no whole answer within {self._timeout_s:g} s; is it very busy? "
                "Ask for less time (since, until), or wait longer (timeout_s)"
            ) from None
        except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL, UnicodeError) as error:
            raise self.error(f"{_reason(error)}; {self._advice}") from None


_GIVE_HEADERS = "give headers=, or set OTEL_AGENT_TRACE_JAEGER_HEADERS"


def _verification(name: str, verify: bool | str) -> bool | ssl.SSLContext:
    if isinstance(verify, bool):
        return verify
    try:
        return ssl.create_default_context(cafile=verify)
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: {verify} holds no certificates of a CA ({error})") from error


def _is_page(response: httpx.Response, body: bytes) -> bool:
    return "html" in response.headers.get("content-type", "") or body[:_SHOWN].lstrip().startswith(b"<")


def _retry_after(text: str) -> float | None:
    """Seconds from now, or None where it does not say: a number, or a date."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _too_busy(error: _TryAgainError) -> str:
    when = f"in {error.wait_s:.0f} s" if error.wait_s else "later"
    return f"it is busy or not ready ({_phrase(error.status)}); try again {when}"


def _phrase(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _host(location: str) -> str:
    """Where a redirect leads, without what may be secret."""
    try:
        return urlsplit(location).hostname or "another path"
    except ValueError:
        return "another address"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: Exception) -> str:
    import httpx  # noqa: PLC0415

    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message}): give verify= the file of its CA"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS connection ({cause.reason or 'it was broken off'})"
        if isinstance(cause, socket.gaierror):
            return "there is no such host"
        if isinstance(cause, ConnectionRefusedError):
            return "nobody listens there"
    for kind, text in (
        (httpx.ConnectError, "there is no way to it"),
        (httpx.ProxyError, "the proxy does not let us through"),
        (httpx.LocalProtocolError, "a header cannot be sent as it is"),
        (UnicodeError, "a header cannot be sent as it is"),
        (httpx.InvalidURL, "this is no address"),
    ):
        if isinstance(error, kind):
            return text
    return "the answer broke off, or is no HTTP"


def shown(text: str) -> str:
    """The first line of what a server says, as far as it fits into a message."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
