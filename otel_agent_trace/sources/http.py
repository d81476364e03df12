"""Read from a server over HTTP, with retries, and raise errors that name what is wrong and what to do about it."""

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
    wrong_scheme_advice,
)
from otel_agent_trace.sources.addresses import Login

if TYPE_CHECKING:
    import ssl

_ATTEMPTS = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S, _JITTER_S = 0.1, 2.0, 0.1
_BUSY = frozenset({429, 502, 503, 504})
_UNAUTHORIZED = frozenset({401, 403, 407})
_PAGE_CHARS = 200
_HEADERS_ADVICE = "give headers=, or set OTEL_AGENT_TRACE_JAEGER_HEADERS"
_REASONS = {
    "certificate": "its certificate is not trusted ({}): give the file of its CA as verify=",
    "tls": "the TLS connection failed ({})",
    "plain": "the TLS connection failed, since the server does not use TLS: write http://",
    "host": "the host is unknown",
    "refused": "the connection was refused",
    "connect": "the connection failed",
    "proxy": "the proxy refused the connection ({})",
    "header": "{}",
    "address": "{}",
}
_BROKEN = "the response is incomplete, or not HTTP"


class TooLargeError(SourceError):
    """Report that a response has more bytes than allowed."""


class Answer(NamedTuple):
    """Hold the status and the whole body of a response; `is_page` is true for a web page."""

    status: int
    body: bytes
    is_page: bool


class _BusyError(Exception):
    """Report that the server is busy: after `after_s` seconds, if it names them, the request may be sent again."""

    def __init__(self, status: int, after_s: float | None) -> None:
        super().__init__(f"status {status}")
        self.status, self.after_s = status, after_s


class HttpReader:
    """Send GET requests to one server.

    Args:
        name: the name of the server for messages.
        base_url: the address to which paths are appended, without user and password.
        login: user and password for basic authentication.
        headers: the headers of every request.
        timeout_s: the timeout of one response in seconds, and of all attempts to get it.
        verify: whether to check the certificate of the server, or the file of the CA to check it with.
        advice: the end of messages about unexpected errors and responses.

    Raises:
        SourceError: a certificate, a header, or a proxy of the environment cannot be used.
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
        self._has_answered = False
        self._policy = RetryPolicy(
            attempts=_ATTEMPTS,
            timeout_s=timeout_s,
            first_wait_s=_FIRST_WAIT_S,
            longest_wait_s=_LONGEST_WAIT_S,
            jitter_s=_JITTER_S,
        )
        self.shown = SecretScrubber([*headers.values(), *(() if login is None else login)])
        """Return a text of the server for messages, shortened and without secrets."""
        try:
            self._client = HttpClient(
                headers={"accept": "application/json", **headers},
                timeout_s=timeout_s,
                tls=_tls_context(name, verify) if base_url.startswith("https:") else None,
                login=login,
            )
        except HttpError as error:
            raise self._source_error(error) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, parameters: Mapping[str, str], most_bytes: int) -> Answer:
        """Send a GET request, again if the server is busy or the connection is lost, and return its response.

        Raises:
            TooLargeError: the response has more than `most_bytes`.
            SourceError: there is no response, or one that requires a login.
        """
        retries = self._policy.begin()
        while True:
            try:
                return self._get_once(path, parameters, most_bytes)
            except _BusyError as error:
                wait_s, final_error = retries.wait_s(error.after_s), self.error(_busy_message(error))
            except HttpError as error:
                may_retry = error.may_pass and error.kind != "timeout"  # after a timeout there is no time left
                wait_s, final_error = retries.wait_s() if may_retry else None, self._source_error(error)
            if wait_s is None:
                raise final_error
            time.sleep(wait_s)

    def error(self, message: str) -> SourceError:
        """Return an error with a message that names this server."""
        return SourceError(f"{self._name}: {message}")

    def _get_once(self, path: str, parameters: Mapping[str, str], most_bytes: int) -> Answer:
        response = self._client.get(self._base_url + path, parameters=parameters, max_bytes=most_bytes)
        self._has_answered = True
        self._check(response)
        if response.is_success and len(response.body) > most_bytes:
            raise TooLargeError(f"{self._name}: the response has more than {most_bytes >> 20} MiB")
        return Answer(response.status, response.body, _is_page(response))

    def _check(self, response: Response) -> None:
        """Raise an error for a status that needs none of the body.

        Raises:
            _BusyError: the server is busy.
            SourceError: the server requires a login, or redirects.
        """
        status, location = response.status, response.redirects_to
        if status in _BUSY:
            raise _BusyError(status, retry_after_s(response.headers.get("retry-after")))
        if status in _UNAUTHORIZED:
            raise self.error(f"access denied ({_phrase(status)}); {_HEADERS_ADVICE}")
        if location is not None:
            raise self.error(
                f"it redirects to {_redirect_host(location)} ({status}), perhaps a login page; "
                f"{_HEADERS_ADVICE}, or give the address that it redirects to"
            )

    def _source_error(self, error: HttpError) -> SourceError:
        """Return the error for a request without a response, with advice."""
        if error.kind == "timeout":
            return self.error(
                f"no complete response within {self._timeout_s:g} s; "
                "ask for a shorter time (since, until), or wait longer (timeout_s)"
            )
        advice = self._advice
        if error.kind == "closed" and not self._has_answered:
            advice += f"; {wrong_scheme_advice(is_secure=self._base_url.startswith('https:'))}"
        return self.error(f"{_REASONS.get(error.kind, _BROKEN).format(self.shown(str(error)))}; {advice}")


def _tls_context(name: str, verify: bool | str) -> ssl.SSLContext:
    if isinstance(verify, bool):
        return tls_context(verify=verify)
    try:
        return tls_context(ca_file=verify)
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: {verify} has no certificate of a CA ({error})") from error


def _is_page(response: Response) -> bool:
    return "html" in response.content_type or response.body[:_PAGE_CHARS].lstrip().startswith(b"<")


def _busy_message(error: _BusyError) -> str:
    when = f"in {error.after_s:.0f} s" if error.after_s else "later"
    return f"the server is busy or not ready ({_phrase(error.status)}); try again {when}"


def _phrase(status: int) -> str:
    """Return a status with its phrase, as in ``404 Not Found``."""
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _redirect_host(location: str) -> str:
    """Return the host of a redirect for messages, without anything that may be secret."""
    try:
        return urlsplit(location).hostname or "another path"
    except ValueError:
        return "another address"
