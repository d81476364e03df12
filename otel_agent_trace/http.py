"""Provide the HTTP client and the retry policy of everything that is read from servers and sent to them.

Requests are bounded in time and size, and fail with one kind of error, whose message holds no secrets. `httpx`, `ssl` and
`email` are imported when they are used: together they take longer to import than the rest of the library.
"""

from __future__ import annotations

import logging
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from otel_agent_trace.version import __version__

if TYPE_CHECKING:
    import ssl

    import httpx

MAX_ERROR_BYTES = 64 << 10
"""Largest body of an error that is read."""
_CHUNK_BYTES = 256 << 10
_SHOWN_CHARS = 300
_SHORTEST_SECRET = 4
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")
_NO_TLS = re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER_FAILURE|UNKNOWN_PROTOCOL")
_random = random.SystemRandom()  # the functions of `random` would change the sequence that the program draws from

ErrorKind = Literal[
    "timeout",
    "certificate",
    "tls",
    "plain",
    "host",
    "refused",
    "connect",
    "proxy",
    "header",
    "address",
    "protocol",
    "closed",
    "broken",
]
"""Reason why there is no complete response.

"timeout": it did not arrive in time; "certificate": the server's is not trusted; "tls": the TLS connection failed;
"plain": the server does not use TLS; "host": the name does not resolve; "refused": the connection was refused; "connect": there is no connection for another
reason; "proxy": the proxy, or the variable that names it, cannot be used; "header", "address": the request's is invalid;
"protocol": the peer does not speak HTTP; "closed": the peer closed the connection without a response, or during the TLS
handshake; "broken": the connection was lost, or the response is invalid.
"""


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Define when a request is sent again: at most `attempts` times in all, and within `timeout_s` seconds.

    The first wait is `first_wait_s`; each further one is twice as long, up to `longest_wait_s`. Up to `jitter_s` are added
    at random, since other clients lost their connections at the same moment. A time that the server names in
    ``Retry-After`` replaces the wait.
    """

    timeout_s: float
    attempts: float = math.inf
    first_wait_s: float = 0.25
    longest_wait_s: float = 5.0
    jitter_s: float = 0.25

    def begin(self) -> Retries:
        """Return the retries of a request that is about to be sent for the first time."""
        return Retries(self)


class Retries:
    """Count the attempts of one request under a policy."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._attempts = 1
        self._next_wait_s = policy.first_wait_s
        self._began = time.monotonic()

    @property
    def spent_s(self) -> float:
        """Return the seconds since the request was first sent."""
        return time.monotonic() - self._began

    def excuse(self, seconds: float) -> None:
        """Do not count so many seconds towards the timeout, since the process was frozen."""
        self._began += seconds

    def wait_s(self, after_s: float | None = None) -> float | None:
        """Return the seconds to wait before the next attempt, or None to give up.

        Args:
            after_s: the wait that the server asks for in seconds, if it names one.
        """
        # A server that asks for 0 s each time would be sent thousands of requests a second without a wait.
        wait_s = after_s or self.backoff_s()
        if self._attempts >= self._policy.attempts or self.spent_s + wait_s >= self._policy.timeout_s:
            return None
        self._attempts += 1
        return wait_s

    def backoff_s(self) -> float:
        """Return the next wait of the policy in seconds, even if it ends after the policy's timeout."""
        wait_s = self._next_wait_s
        self._next_wait_s = min(wait_s * 2, self._policy.longest_wait_s)
        return wait_s + _random.uniform(0, self._policy.jitter_s)


def retry_after_s(text: str | None) -> float | None:
    """Return the seconds from now that a ``Retry-After`` header gives as a number or a date, or None for anything else."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    import email.utils  # noqa: PLC0415 - slow, and needed for dates only

    try:
        return max(email.utils.parsedate_to_datetime(date).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


# ── texts of servers ─────────────────────────────────────────────────────────────────────────────────────────────────


class SecretScrubber:
    """Shorten the texts of a server for messages, and mask the secrets that were sent to it, which some servers repeat.

    Args:
        secrets: the values to mask, such as those of headers; each of their words is masked as well.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        parts = {part for value in secrets for part in (value, *value.split()) if len(part) >= _SHORTEST_SECRET}
        self._secrets = sorted(parts, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return at most 300 characters of a text on one line, with ``***`` in place of secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────────


class HttpError(Exception):
    """Report that there is no complete response, with a message that holds no secrets.

    `kind` classifies the reason; `may_pass` is true where the same request may succeed later.
    """

    def __init__(self, kind: ErrorKind, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.kind, self.may_pass = kind, may_pass


class Response(NamedTuple):
    """Hold a response; a body of more than `max_bytes` is cut one byte above them, so that the caller can see it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Return whether the status is one of success (2xx)."""
        return 200 <= self.status < 300

    @property
    def redirects_to(self) -> str | None:
        """Return the target of a redirect, or None; the client follows none, since its headers may hold credentials."""
        return self.headers.get("location") if self.status in (301, 302, 303, 307, 308) else None

    @property
    def content_type(self) -> str:
        """Return the ``Content-Type`` in lower case, or an empty text where there is none."""
        return self.headers.get("content-type", "").lower()


class HttpClient:
    """Send requests, from any thread, over connections that stay open.

    Args:
        headers: the headers of every request.
        timeout_s: the seconds within which a response must be complete.
        tls: the context of TLS connections; None for plain HTTP, which saves loading the certificates.
        login: user and password for basic authentication.

    Raises:
        HttpError: a proxy of the environment, or a header, cannot be used.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        import httpx  # noqa: PLC0415 - takes half a second, and is needed for requests only

        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_OWN_REQUESTS)
        self._deadline = _Deadline(timeout_s)
        try:
            self._client = httpx.Client(
                headers={"user-agent": f"otel-agent-trace/{__version__}", **headers},
                auth=login,
                timeout=timeout_s,
                verify=False if tls is None else tls,
                follow_redirects=False,
            )
        except UnicodeError:
            raise _unsendable_header() from None
        except (ValueError, ImportError, httpx.InvalidURL) as error:  # ImportError: socks5:// needs a package
            raise HttpError("proxy", f"the proxy of HTTP_PROXY, ... cannot be used: {error}") from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, url: str, *, parameters: Mapping[str, str], max_bytes: int) -> Response:
        """Send a GET request, and return its response with at most `max_bytes` of the body and one more.

        Raises:
            HttpError: there is no complete response.
        """
        return self._request("GET", url, max_bytes, params=dict(parameters))

    def post(self, url: str, content: bytes, *, headers: Mapping[str, str], max_bytes: int) -> Response:
        """Send a POST request, and return its response with at most `max_bytes` of the body and one more.

        Raises:
            HttpError: there is no complete response.
        """
        headers = {**headers, "content-length": str(len(content))}
        return self._request("POST", url, max_bytes, content=_chunks(content), headers=headers)

    def _request(self, method: str, url: str, max_bytes: int, **options: object) -> Response:
        import httpx  # noqa: PLC0415

        self._deadline.begin()
        options["extensions"] = {"trace": self._deadline.on_event}
        is_success = False
        try:
            with _OWN_REQUESTS, self._client.stream(method, url, **options) as response:  # type: ignore[arg-type]
                is_success = response.is_success
                limit = max_bytes if is_success else min(max_bytes, MAX_ERROR_BYTES)
                return Response(response.status_code, response.headers, _body(response, limit))
        except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:
            if is_success and isinstance(error, httpx.TimeoutException):
                raise self._deadline.error() from None
            raise _http_error(error, is_success=is_success) from None


def _body(response: httpx.Response, max_bytes: int) -> bytes:
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            break
    return b"".join(parts)[: max_bytes + 1]


class _Deadline(threading.local):
    """Bound the time of a whole request, of which a thread makes one at a time.

    The timeout of `httpx` is for each read and write by itself: a server that sends a byte now and then would hold a
    request for hours. `httpcore` hands out the stream of each new connection by the extension ``trace``.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = self._ends_at_s = timeout_s

    def begin(self) -> None:
        """Begin the time of a request."""
        self._ends_at_s = time.monotonic() + self._timeout_s

    def error(self) -> HttpError:
        """Return the error for a response that was not complete in time."""
        return HttpError("timeout", f"no complete response within {self._timeout_s:g} s", may_pass=True)

    def on_event(self, event: str, info: Mapping[str, Any]) -> None:
        """Bound the reads and writes of a stream that a request has opened."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            stream = info["return_value"]
            stream.read, stream.write = self._bounded(stream.read), self._bounded(stream.write)

    def _bounded(self, transfer: Callable[..., Any]) -> Callable[..., Any]:
        def bounded(data: Any, timeout: float | None = None) -> Any:
            left_s = self._ends_at_s - time.monotonic()
            if left_s <= 0:
                raise self.error()
            return transfer(data, timeout=left_s)

        return bounded


class _OwnRequests(logging.Filter):
    """Drop the log records of `httpx` about requests of this module, in the thread that makes one.

    They would show whole addresses in the log of a program that enables these loggers for its own requests, which are
    logged as before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self._local, "depth", 0)

    def __enter__(self) -> None:
        self._local.depth = getattr(self._local, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        self._local.depth -= 1


_OWN_REQUESTS = _OwnRequests()


def tls_context(
    *,
    verify: bool = True,
    ca_file: str | None = None,
    client_certificate: str | None = None,
    client_key: str | None = None,
) -> ssl.SSLContext:
    """Return the context of TLS connections.

    Args:
        verify: whether to check the certificate of the server.
        ca_file: the file of the CA to check it with; by default the CAs of `httpx` and ``SSL_CERT_FILE``.
        client_certificate: the file of the client's certificate, if it needs one.
        client_key: the file of its key, if that is not the same.

    Raises:
        OSError: a file cannot be read, or holds no certificate (`ssl.SSLError`).
        ValueError: a file holds something else.
    """
    import ssl  # noqa: PLC0415 - slow, and needed for TLS only

    import httpx  # noqa: PLC0415

    context = (
        ssl.create_default_context(cafile=ca_file)
        if verify and ca_file is not None
        else httpx.create_ssl_context(verify=verify)
    )
    if client_certificate is not None:
        context.load_cert_chain(client_certificate, client_key)
    return context


def _chunks(content: bytes) -> Iterator[bytes]:
    """Yield a body in parts, since httpcore copies the rest of what it sends each time that the socket takes some."""
    return (content[start : start + _CHUNK_BYTES] for start in range(0, len(content), _CHUNK_BYTES))


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _http_error(error: Exception, *, is_success: bool) -> HttpError:
    """Return the error for one of `httpx`, by its causes, whose own texts may hold secrets.

    Args:
        error: the error of `httpx`.
        is_success: whether a response of success had begun. One of failure may be cut off: servers in Go answer plain
            HTTP at a port of TLS with 400, and reset the connection before its body can be read.
    """
    import socket  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    import httpx  # noqa: PLC0415

    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return HttpError("certificate", cause.verify_message)
        # Before Python 3.11.4, a connection that ends within the handshake is one that TLS has closed.
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) and not is_success:
            return HttpError("closed", "the server closed the connection", may_pass=True)
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or "the connection was closed"
            return HttpError("plain" if _NO_TLS.search(reason) else "tls", reason)
        if isinstance(cause, socket.gaierror):
            return HttpError("host", "the host is unknown", may_pass=cause.errno != socket.EAI_NONAME)
        if isinstance(cause, ConnectionRefusedError):
            return HttpError("refused", "connection refused", may_pass=True)
        if isinstance(cause, ConnectionResetError | BrokenPipeError) and not is_success:
            return HttpError("closed", "the connection was reset", may_pass=True)
    if isinstance(error, httpx.RemoteProtocolError) and not is_success and "disconnected" in str(error):
        return HttpError("closed", "the server closed the connection", may_pass=True)
    return _client_error(error)


def _client_error(error: Exception) -> HttpError:
    import httpx  # noqa: PLC0415

    reason = str(error) or type(error).__name__
    if isinstance(error, UnicodeError | httpx.LocalProtocolError):
        return _unsendable_header()
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return HttpError("address", "the address is invalid")
    if isinstance(error, httpx.TimeoutException):
        return HttpError("timeout", "no response in time", may_pass=True)
    if isinstance(error, httpx.ConnectError):
        return HttpError("connect", reason, may_pass=True)
    if isinstance(error, httpx.ProxyError):
        return HttpError("proxy", reason, may_pass=True)
    if isinstance(error, httpx.DecodingError):
        return HttpError("broken", "the response cannot be decompressed")
    if isinstance(error, httpx.RemoteProtocolError) and reason.startswith("illegal "):  # h11: "illegal status line"
        return HttpError("protocol", reason)
    return HttpError("broken", reason, may_pass=True)


def wrong_scheme_advice(*, is_secure: bool) -> str:
    """Return the advice for a connection that the server closes, as servers do at the wrong scheme of an address."""
    spoken, scheme = ("plain HTTP", "http") if is_secure else ("TLS", "https")
    return f"if it speaks {spoken}, write {scheme}://"


def _unsendable_header() -> HttpError:
    return HttpError("header", "a header has characters that cannot be sent")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
