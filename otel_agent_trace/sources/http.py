"""GET from a server that may be anything: tried again where that helps, with one clear error each that says what to do."""

from __future__ import annotations

import http
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from otel_agent_trace.errors import SourceError
from otel_agent_trace.http import (
    HttpClient,
    HttpError,
    Response,
    RetryPolicy,
    SecretScrubber,
    retry_after_s,
    tls_context,
)
from otel_agent_trace.sources.addresses import Login

if TYPE_CHECKING:
    import ssl

_ATTEMPTS = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S, _JITTER_S = 0.1, 2.0, 0.1
_COME_AGAIN = frozenset({429, 502, 503, 504})
_WHO_ARE_YOU = frozenset({401, 403, 407})
_PAGE_CHARS = 200
_GIVE_HEADERS = "give headers=, or set OTEL_AGENT_TRACE_JAEGER_HEADERS"
_REASONS = {
    "certificate": "its certificate is not trusted ({}): give verify= the file of its CA",
    "tls": "no TLS connection ({})",
    "host": "there is no such host",
    "refused": "nobody listens there",
    "connect": "there is no way to it",
    "proxy": "the proxy does not let us through ({})",
    "header": "{}",
    "address": "{}",
}
_BROKEN = "the answer broke off, or is no HTTP"


class TooLargeError(SourceError):
    """An answer of more bytes than may be."""


class Answer(NamedTuple):
    """What came: the status, and all of the body."""

    status: int
    body: bytes
    is_page: bool


class _BusyError(Exception):
    """It says to come again, maybe after so many seconds."""

    def __init__(self, status: int, after_s: float | None) -> None:
        super().__init__(f"status {status}")
        self.status, self.after_s = status, after_s


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
        self._name, self._base_url, self._timeout_s, self._advice = name, base_url, timeout_s, advice
        self._policy = RetryPolicy(
            attempts=_ATTEMPTS,
            timeout_s=timeout_s,
            first_wait_s=_FIRST_WAIT_S,
            longest_wait_s=_LONGEST_WAIT_S,
            jitter_s=_JITTER_S,
        )
        self.shown = SecretScrubber([*headers.values(), *(() if login is None else login)])
        """What may be shown of what the server says."""
        try:
            self._client = HttpClient(
                headers={"accept": "application/json", **headers},
                timeout_s=timeout_s,
                tls=_tls(name, verify) if base_url.startswith("https:") else None,
                login=login,
            )
        except HttpError as error:
            raise self._explained(error) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, parameters: Mapping[str, str], most_bytes: int) -> Answer:
        """GET a path, and again if the server is busy or the connection breaks.

        Raises:
            TooLargeError: the answer has more bytes than that.
        """
        retries = self._policy.begin()
        while True:
            try:
                return self._get_once(path, parameters, most_bytes)
            except _BusyError as error:
                wait_s, explained = retries.wait_s(error.after_s), self.error(_too_busy(error))
            except HttpError as error:
                may_pass = error.may_pass and error.kind != "timeout"  # which has taken all the time there is
                wait_s, explained = retries.wait_s() if may_pass else None, self._explained(error)
            if wait_s is None:
                raise explained
            time.sleep(wait_s)

    def error(self, what: str) -> SourceError:
        """An error of this server."""
        return SourceError(f"{self._name}: {what}")

    def _get_once(self, path: str, parameters: Mapping[str, str], most_bytes: int) -> Answer:
        response = self._client.get(self._base_url + path, parameters=parameters, max_bytes=most_bytes)
        self._check(response)
        if response.is_success and len(response.body) > most_bytes:
            raise TooLargeError(f"{self._name}: an answer of more than {most_bytes >> 20} MiB")
        return Answer(response.status, response.body, _is_page(response))

    def _check(self, response: Response) -> None:
        """Raise where the status alone says enough."""
        status, location = response.status, response.redirects_to
        if status in _COME_AGAIN:
            raise _BusyError(status, retry_after_s(response.headers.get("retry-after")))
        if status in _WHO_ARE_YOU:
            raise self.error(f"it does not let us in ({_phrase(status)}); {_GIVE_HEADERS}")
        if location is not None:
            raise self.error(
                f"it leads elsewhere, to {_host(location)} ({status}), maybe a page to log in; "
                f"{_GIVE_HEADERS}, or name the address behind it"
            )

    def _explained(self, error: HttpError) -> SourceError:
        if error.kind == "timeout":
            return self.error(
                f"no whole answer within {self._timeout_s:g} s; is it very busy? "
                "Ask for less time (since, until), or wait longer (timeout_s)"
            )
        return self.error(f"{_REASONS.get(error.kind, _BROKEN).format(self.shown(str(error)))}; {self._advice}")


def _tls(name: str, verify: bool | str) -> ssl.SSLContext:
    if isinstance(verify, bool):
        return tls_context(verify=verify)
    try:
        return tls_context(ca_file=verify)
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: {verify} holds no certificates of a CA ({error})") from error


def _is_page(response: Response) -> bool:
    return "html" in response.content_type or response.body[:_PAGE_CHARS].lstrip().startswith(b"<")


def _too_busy(error: _BusyError) -> str:
    when = f"in {error.after_s:.0f} s" if error.after_s else "later"
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
