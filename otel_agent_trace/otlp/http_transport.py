"""Send OTLP over HTTP, as protobuf or JSON."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from otel_agent_trace.errors import ConfigurationError, EndpointError
from otel_agent_trace.formats.otlp_proto import OtlpProtoError, PartialSuccess
from otel_agent_trace.http import (
    HttpClient,
    HttpError,
    Response,
    SecretScrubber,
    retry_after_s,
    tls_context,
    wrong_scheme_advice,
)
from otel_agent_trace.otlp.answers import (
    CHECK_HEADERS,
    MAX_ANSWER_BYTES,
    ConnectionLostError,
    NotServedError,
    RejectedError,
    RetryableError,
    ServerError,
    is_html,
    reason_in,
    success_of,
)
from otel_agent_trace.otlp.settings import Settings

if TYPE_CHECKING:
    import ssl

_CONTENT_TYPES = {"http/protobuf": "application/x-protobuf", "http/json": "application/json"}
_RETRYABLE = frozenset({408, 429, 502, 503, 504})
_TOO_LARGE = 413
_REJECTIONS = frozenset({400, _TOO_LARGE, 422})
_SERVER_ERROR = 500
_NOT_SERVED = frozenset({404, 405, 501})
_GZIP_LEVEL = 1
_ADVICE = {
    401: CHECK_HEADERS,
    403: CHECK_HEADERS,
    404: "check the path of the endpoint",
    405: "check the path of the endpoint",
}


class HttpTransport:
    """Send requests over HTTP, from any thread.

    Raises:
        ConfigurationError: a certificate, or a proxy of the environment, cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scrub = SecretScrubber(settings.headers.values())
        self._has_answered = False
        self._headers = {"content-type": _CONTENT_TYPES[settings.protocol]}
        if settings.gzip:
            self._headers["content-encoding"] = "gzip"
        try:
            self._client = HttpClient(
                headers={"accept-encoding": "identity", **settings.headers},
                timeout_s=settings.timeout_s,
                tls=_tls_context(settings) if settings.secure else None,
            )
        except HttpError as error:
            raise ConfigurationError(str(error)) from error

    def send(self, body: bytes) -> PartialSuccess:
        """Send one request, and return how many of its spans were rejected, and the receiver's message.

        Raises:
            RejectedError: the receiver rejected the request as a whole.
            ServerError: the receiver failed.
            RetryableError: the receiver may accept the request later.
            EndpointError: the endpoint cannot be reached, or is no receiver of OTLP.
        """
        content = gzip.compress(body, _GZIP_LEVEL) if self._settings.gzip else body
        try:
            response = self._client.post(self._settings.url, content, headers=self._headers, max_bytes=MAX_ANSWER_BYTES)
        except HttpError as error:
            raise self._connection_error(error) from error
        self._has_answered = True
        if response.is_success:
            return self._success(response)
        raise self._status_error(response)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _status_error(self, response: Response) -> Exception:
        """Return the error for a response without success, whose status the OTLP specification classifies."""
        status, body, location = response.status, response.body, response.redirects_to
        if status in _NOT_SERVED and self._settings.signal == "logs":
            return NotServedError.for_logs(self._settings.shown, status)
        if location is not None:
            return EndpointError(
                f"{self._answered(status)}: it redirects to {_redirect_target(location)}, where no spans are sent"
            )
        given = self._scrub(reason_in(response.content_type, body))
        advice = f" ({_ADVICE[status]})" if status in _ADVICE else ""
        reason = self._answered(status) + (f": {given}" if given else "") + advice
        if status in _RETRYABLE:
            return RetryableError(reason, retry_after_s(response.headers.get("retry-after")))
        if status in _REJECTIONS and not (is_html(body) and status != _TOO_LARGE):
            return RejectedError(reason, for_size=status == _TOO_LARGE)
        if status in _NOT_SERVED:
            return NotServedError(reason)
        return ServerError(reason) if status == _SERVER_ERROR else EndpointError(reason)

    def _success(self, response: Response) -> PartialSuccess:
        try:
            partial = success_of(response.content_type, response.body)
        except OtlpProtoError as error:
            answered, description = self._answered(response.status), self._scrub(str(error))
            raise EndpointError(f"{answered}, but not as an OTLP receiver does: {description}") from error
        return partial._replace(message=self._scrub(partial.message))

    def _answered(self, status: int) -> str:
        return f"{self._settings.shown} answered {status}"

    def _connection_error(self, error: HttpError) -> Exception:
        """Return the error for a request without a response."""
        shown, reason = self._settings.shown, self._scrub(str(error))
        if error.kind == "plain":
            return EndpointError(f"{shown}: the server does not use TLS; write http:// instead of https://")
        if error.kind == "certificate":
            return EndpointError(
                f"{shown}: TLS failed: {reason}; OTEL_EXPORTER_OTLP_CERTIFICATE names the file of its CA"
            )
        if error.kind == "tls":
            return EndpointError(f"{shown}: TLS failed: {reason}")
        if error.kind == "protocol":
            return EndpointError(
                f"{shown}: the server does not use HTTP/1.1; for gRPC set the protocol to grpc (of export: --to "
                "grpc://host:4317), for TLS write https://"
            )
        if error.kind == "closed" and not self._has_answered:
            reason += f"; {wrong_scheme_advice(is_secure=self._settings.secure)}"
        return (ConnectionLostError if error.may_pass else EndpointError)(f"{shown}: {reason}")


def _redirect_target(location: str) -> str:
    """Return the target of a redirect for a message, without user, password and query."""
    return repr(location.partition("?")[0].rpartition("@")[2][:200])


def _tls_context(settings: Settings) -> ssl.SSLContext:
    try:
        return tls_context(
            ca_file=settings.ca_file,
            client_certificate=settings.client_certificate,
            client_key=settings.client_key,
        )
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        files = ", ".join(filter(None, (settings.ca_file, settings.client_certificate, settings.client_key)))
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE or _CLIENT_KEY: "
            f"{files}: {getattr(error, 'strerror', None) or error}"
        ) from error
