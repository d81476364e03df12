"""One HTTP client for all that is read and sent: bounded in time and size, with one clear error each, and one retry policy.

What it raises and gives names nothing secret. `httpx`, `ssl` and `email` are imported when a request is made: together they
take longer than the rest of the library.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from otel_agent_trace.version import __version__

if TYPE_CHECKING:
    import ssl

    import httpx

MAX_ERROR_BYTES = 64 << 10
"""As much of an answer as anybody has to say about an error."""
_CHUNK_BYTES = 256 << 10
_SHOWN_CHARS = 300
_SHORTEST_SECRET = 4
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")
_chance = random.SystemRandom()  # the sequence of `random` is the program's

ErrorKind = Literal[
    "timeout", "certificate", "tls", "host", "refused", "connect", "proxy", "header", "address", "protocol", "broken"
]
"""Why there is no answer.

"timeout": none, or no whole one, in time; "certificate": it is not trusted; "tls": no TLS connection; "host": no such host;
"refused": nobody listens; "connect": no connection for another reason; "proxy": a proxy, or the variable that names it;
"header", "address": cannot be sent; "protocol": what answers does not speak HTTP; "broken": the connection, or the answer.
"""


# ── trying again ─────────────────────────────────────────────────────────────────────────────────────────────────────


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Say when a request is sent again: at most `attempts` times in all, and within `timeout_s` seconds.

    The first wait is `first_wait_s`, each further one twice as long up to `longest_wait_s`, with up to `jitter_s` by chance
    on top, since others were cut off at the same moment. A server that names a time is asked again then.
    """

    timeout_s: float
    attempts: float = math.inf
    first_wait_s: float = 0.25
    longest_wait_s: float = 5.0
    jitter_s: float = 0.25

    def begin(self) -> Retries:
        """Begin with a request, which is about to be sent for the first time."""
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
        """Seconds since it was first sent."""
        return time.monotonic() - self._began

    def wait_s(self, after_s: float | None = None) -> float | None:
        """Seconds until it is sent again; None to give up.

        Args:
            after_s: the seconds that the server asks for, if it names them.
        """
        # A server that says "now" may go on saying so: without a wait that would be thousands of requests a second.
        wait_s = after_s or self.backoff_s()
        if self._attempts >= self._policy.attempts or self.spent_s + wait_s >= self._policy.timeout_s:
            return None
        self._attempts += 1
        return wait_s

    def backoff_s(self) -> float:
        """The next wait of the policy, whether there is time for it or not."""
        wait_s = self._next_wait_s
        self._next_wait_s = min(wait_s * 2, self._policy.longest_wait_s)
        return wait_s + _chance.uniform(0, self._policy.jitter_s)


def retry_after_s(text: str | None) -> float | None:
    """Seconds from now, of a `Retry-After` header that has a number or a date; None where it has neither."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until(text)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _until(date: str) -> float | None:
    import email.utils  # noqa: PLC0415 - slow, and only for dates

    try:
        return max(email.utils.parsedate_to_datetime(date).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


# ── what may be shown ────────────────────────────────────────────────────────────────────────────────────────────────


class SecretScrubber:
    """Shorten what a server says, and take out what it was sent in confidence, which some repeat."""

    def __init__(self, secrets: Iterable[str]) -> None:
        parts = {part for value in secrets for part in (value, *value.split()) if len(part) >= _SHORTEST_SECRET}
        self._secrets = sorted(parts, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """What may be shown of a text: one line without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────────


class HttpError(Exception):
    """There is no answer, or no whole one.

    `kind` says why; the message is without secrets; `may_pass` is true where the same request may be answered later.
    """

    def __init__(self, kind: ErrorKind, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.kind, self.may_pass = kind, may_pass


class Response(NamedTuple):
    """An answer: of the body at most one byte more than was asked for, so that one sees that there is more."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    @property
    def redirects_to(self) -> str | None:
        """Where it sends us, if it does; we do not follow, since our headers are not for others."""
        return self.headers.get("location") if self.status in (301, 302, 303, 307, 308) else None

    @property
    def content_type(self) -> str:
        """The type of the body in lower case; empty where it is not named."""
        return self.headers.get("content-type", "").lower()


class HttpClient:
    """Send requests, from any thread, with connections that stay open.

    Args:
        headers: go with every request.
        timeout_s: seconds for one whole answer.
        tls: how to check whom we talk to; None where no TLS is spoken, which saves loading all certificates.
        login: user and password for basic authentication.

    Raises:
        HttpError: a proxy of the environment, or a header, that cannot be used.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        import httpx  # noqa: PLC0415 - half a second, and only for this

        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_OWN_REQUESTS)
        self._timeout_s = timeout_s
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
        except (ValueError, ImportError, httpx.InvalidURL) as error:  # ImportError: no package for socks5://
            raise HttpError("proxy", f"a proxy of the environment (HTTP_PROXY, ...): {error}") from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, url: str, *, parameters: Mapping[str, str], max_bytes: int) -> Response:
        """GET an address.

        Raises:
            HttpError: there is no answer, or no whole one.
        """
        return self._request("GET", url, max_bytes, params=dict(parameters))

    def post(self, url: str, content: bytes, *, headers: Mapping[str, str], max_bytes: int) -> Response:
        """POST a body.

        Raises:
            HttpError: there is no answer, or no whole one.
        """
        headers = {**headers, "content-length": str(len(content))}
        return self._request("POST", url, max_bytes, content=_chunks(content), headers=headers)

    def _request(self, method: str, url: str, max_bytes: int, **options: object) -> Response:
        import httpx  # noqa: PLC0415

        deadline = time.monotonic() + self._timeout_s
        try:
            with _OWN_REQUESTS, self._client.stream(method, url, **options) as response:  # type: ignore[arg-type]
                most = max_bytes if response.is_success else min(max_bytes, MAX_ERROR_BYTES)
                return Response(response.status_code, response.headers, self._body(response, deadline, most))
        except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:
            raise _http_error(error) from None

    def _body(self, response: httpx.Response, deadline: float, max_bytes: int) -> bytes:
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                break
            if time.monotonic() > deadline:
                raise HttpError("timeout", f"no whole answer within {self._timeout_s:g} s", may_pass=True)
        return b"".join(parts)[: max_bytes + 1]


class _OwnRequests(logging.Filter):
    """Drop what the client logs of our requests, in the thread that makes one: `httpx` logs each with its whole address,
    in programs that log their own work. Their own requests are logged as ever.
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
    """Make the context of TLS connections.

    Args:
        verify: whether the certificate of a server is checked.
        ca_file: the CA that it is checked with; by default those of `httpx` and ``SSL_CERT_FILE``.
        client_certificate: the file of our own.
        client_key: the file of its key, if that is another.

    Raises:
        OSError, ValueError: a file is missing, or holds something else.
    """
    import ssl  # noqa: PLC0415 - slow, and only for TLS

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
    """Of what is sent whole, the client copies the rest each time that the connection has taken some."""
    return (content[start : start + _CHUNK_BYTES] for start in range(0, len(content), _CHUNK_BYTES))


# ── what went wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def _http_error(error: Exception) -> HttpError:
    """Say of an error of the client what it comes from. Its own text, and those of its causes, may show what is secret."""
    import socket  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return HttpError("certificate", cause.verify_message)
        if isinstance(cause, ssl.SSLError):
            return HttpError("tls", cause.reason or "it was broken off")
        if isinstance(cause, socket.gaierror):
            return HttpError("host", "there is no such host", may_pass=cause.errno != socket.EAI_NONAME)
        if isinstance(cause, ConnectionRefusedError):
            return HttpError("refused", "connection refused", may_pass=True)
    return _client_error(error)


def _client_error(error: Exception) -> HttpError:
    import httpx  # noqa: PLC0415

    reason = str(error) or type(error).__name__
    if isinstance(error, UnicodeError | httpx.LocalProtocolError):
        return _unsendable_header()
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return HttpError("address", "this is no address")
    if isinstance(error, httpx.TimeoutException):
        return HttpError("timeout", "no answer in time", may_pass=True)
    if isinstance(error, httpx.ConnectError):
        return HttpError("connect", reason, may_pass=True)
    if isinstance(error, httpx.ProxyError):
        return HttpError("proxy", reason, may_pass=True)
    if isinstance(error, httpx.DecodingError):
        return HttpError("broken", "an answer that cannot be unpacked")
    if isinstance(error, httpx.RemoteProtocolError) and reason.startswith("illegal "):  # status line, as h11 has it
        return HttpError("protocol", reason)
    return HttpError("broken", reason, may_pass=True)


def _unsendable_header() -> HttpError:
    return HttpError("header", "a header cannot be sent as it is")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
