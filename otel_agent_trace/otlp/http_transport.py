"""OTLP over HTTP, with `httpx`."""

from __future__ import annotations

import email.utils
import gzip
import math
import socket
import ssl
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from otel_agent_trace.errors import ConfigurationError, EndpointError
from otel_agent_trace.formats.otlp_proto import OtlpProtoError, PartialSuccess
from otel_agent_trace.otlp.answers import (
    MAX_ANSWER_BYTES,
    ConnectionLostError,
    RejectedError,
    RetryableError,
    SecretScrubber,
    ServerError,
    is_html,
    success_of,
    words_of,
)
from otel_agent_trace.otlp.settings import Settings
from otel_agent_trace.version import __version__

if TYPE_CHECKING:
    import httpx

_CONTENT_TYPES = {"http/protobuf": "application/x-protobuf", "http/json": "application/json"}
_LATER = frozenset({408, 429, 502, 503, 504})
_TOO_LARGE = 413
_REFUSALS = frozenset({400, _TOO_LARGE, 422})
_FAILED = 500
_GZIP_LEVEL = 1
_CHUNK_BYTES = 256 << 10


class HttpTransport:
    """Sends requests one at a time, from any thread."""

    def __init__(self, settings: Settings) -> None:
        import httpx  # noqa: PLC0415 - half a second, and only for this

        self._settings = settings
        self._discreet = SecretScrubber(settings.headers.values())
        self._headers = {"content-type": _CONTENT_TYPES[settings.protocol]}
        if settings.gzip:
            self._headers["content-encoding"] = "gzip"
        own = {"user-agent": f"otel-agent-trace/{__version__}", "accept-encoding": "identity"}
        try:
            self._client = httpx.Client(
                headers={**own, **settings.headers}, verify=_tls(settings), timeout=settings.timeout_s
            )
        except ValueError as error:
            raise ConfigurationError(f"a proxy of the environment (HTTP_PROXY, ...): {error}") from error
        self._lost = httpx.TransportError

    def send(self, body: bytes) -> PartialSuccess:
        """Send one request and say what became of it.

        Raises:
            RejectedError, ServerError, RetryableError, EndpointError: as their names say.
        """
        content = gzip.compress(body, _GZIP_LEVEL) if self._settings.gzip else body
        headers = {**self._headers, "content-length": str(len(content))}
        deadline = time.monotonic() + self._settings.timeout_s
        try:
            with self._client.stream("POST", self._settings.url, content=_chunks(content), headers=headers) as response:
                return self._result(response, self._body(response, deadline))
        except self._lost as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _body(self, response: httpx.Response, deadline: float) -> bytes:
        """As much of the answer as anybody may have to say."""
        body = b""
        for part in response.iter_raw():
            body += part
            if len(body) > MAX_ANSWER_BYTES:
                return body[: MAX_ANSWER_BYTES + 1]
            if time.monotonic() > deadline:
                raise ConnectionLostError(f"no whole answer within {self._settings.timeout_s:g} s")
        return body

    def _result(self, response: httpx.Response, body: bytes) -> PartialSuccess:
        status, content_type = response.status_code, response.headers.get("content-type", "").lower()
        if response.is_success:
            return self._success(status, content_type, body)
        if response.has_redirect_location:
            raise EndpointError(f"{self._told(status)}: it redirects to {_place(response)}, where no spans are sent")
        words = self._discreet(words_of(content_type, body))
        said = self._told(status) + (f": {words}" if words else "")
        if status in _LATER:
            raise RetryableError(said, retry_after_s(response.headers.get("retry-after")))
        if status in _REFUSALS and not (is_html(body) and status != _TOO_LARGE):
            raise RejectedError(said, for_size=status == _TOO_LARGE)
        if status == _FAILED:
            raise ServerError(said)
        raise EndpointError(said)

    def _success(self, status: int, content_type: str, body: bytes) -> PartialSuccess:
        try:
            partial = success_of(content_type, body)
        except OtlpProtoError as error:
            said = self._discreet(str(error))
            raise EndpointError(f"{self._told(status)}, but not as a receiver of OTLP does: {said}") from error
        return partial._replace(message=self._discreet(partial.message))

    def _told(self, status: int) -> str:
        return f"{self._settings.shown} answered {status}"

    def _failure(self, error: httpx.TransportError) -> Exception:
        shown, reason = self._settings.shown, str(error) or type(error).__name__
        causes = _causes(error)
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return EndpointError(f"{shown}: TLS fails: {reason}")
        if any(isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME for cause in causes):
            return EndpointError(f"{shown}: there is no such host")
        if reason.startswith("illegal "):  # status or request line, as the client has it
            return EndpointError(f"{shown} does not speak HTTP/1.1; is it gRPC (grpc://host:4317)?")
        return ConnectionLostError(f"{shown}: {_lost_words(error, reason)}")


def _chunks(content: bytes) -> Iterator[bytes]:
    """Of what is sent whole, the client copies the rest each time that the connection has taken some."""
    return (content[start : start + _CHUNK_BYTES] for start in range(0, len(content), _CHUNK_BYTES))


def _lost_words(error: Exception, reason: str) -> str:
    kind = type(error).__name__
    return "no answer in time" if kind.endswith("Timeout") else reason


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _place(response: httpx.Response) -> str:
    """Where a redirect leads, without what it may give away."""
    location = response.headers["location"]
    return repr(location.partition("?")[0].rpartition("@")[2][:200])


def _tls(settings: Settings) -> ssl.SSLContext | bool:
    """How to check whom we talk to; where no TLS is spoken nothing of it is loaded."""
    import httpx  # noqa: PLC0415

    if not settings.secure:
        return False
    try:
        context = (
            httpx.create_ssl_context()
            if settings.ca_file is None
            else ssl.create_default_context(cafile=settings.ca_file)
        )
        if settings.client_certificate is not None:
            context.load_cert_chain(settings.client_certificate, settings.client_key)
    except (OSError, ValueError) as error:  # also those of ssl
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE or _CLIENT_KEY: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from error
    return context


def retry_after_s(text: str | None) -> float | None:
    """Seconds, of a header that has them or a date; None where it has neither."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until(text)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _until(date: str) -> float | None:
    try:
        return max(email.utils.parsedate_to_datetime(date).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
