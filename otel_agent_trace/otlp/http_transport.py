"""OTLP over HTTP."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from otel_agent_trace.errors import ConfigurationError, EndpointError
from otel_agent_trace.formats.otlp_proto import OtlpProtoError, PartialSuccess
from otel_agent_trace.http import HttpClient, HttpError, Response, SecretScrubber, retry_after_s, tls_context
from otel_agent_trace.otlp.answers import (
    MAX_ANSWER_BYTES,
    ConnectionLostError,
    RejectedError,
    RetryableError,
    ServerError,
    is_html,
    success_of,
    words_of,
)
from otel_agent_trace.otlp.settings import Settings

if TYPE_CHECKING:
    import ssl

_CONTENT_TYPES = {"http/protobuf": "application/x-protobuf", "http/json": "application/json"}
_LATER = frozenset({408, 429, 502, 503, 504})
_TOO_LARGE = 413
_REFUSALS = frozenset({400, _TOO_LARGE, 422})
_FAILED = 500
_GZIP_LEVEL = 1


class HttpTransport:
    """Send requests one at a time, from any thread.

    Raises:
        ConfigurationError: a certificate, or a proxy of the environment, that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scrub = SecretScrubber(settings.headers.values())
        self._headers = {"content-type": _CONTENT_TYPES[settings.protocol]}
        if settings.gzip:
            self._headers["content-encoding"] = "gzip"
        try:
            self._client = HttpClient(
                headers={"accept-encoding": "identity", **settings.headers},
                timeout_s=settings.timeout_s,
                tls=_tls(settings) if settings.secure else None,
            )
        except HttpError as error:
            raise ConfigurationError(str(error)) from error

    def send(self, body: bytes) -> PartialSuccess:
        """Send one request and say what became of it.

        Raises:
            RejectedError, ServerError, RetryableError, EndpointError: as their names say.
        """
        content = gzip.compress(body, _GZIP_LEVEL) if self._settings.gzip else body
        try:
            response = self._client.post(self._settings.url, content, headers=self._headers, max_bytes=MAX_ANSWER_BYTES)
        except HttpError as error:
            raise self._failure(error) from error
        if response.is_success:
            return self._success(response)
        raise self._refusal(response)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _refusal(self, response: Response) -> Exception:
        status, body, location = response.status, response.body, response.redirects_to
        if location is not None:
            return EndpointError(
                f"{self._answered(status)}: it redirects to {_place(location)}, where no spans are sent"
            )
        words = self._scrub(words_of(response.content_type, body))
        reason = self._answered(status) + (f": {words}" if words else "")
        if status in _LATER:
            return RetryableError(reason, retry_after_s(response.headers.get("retry-after")))
        if status in _REFUSALS and not (is_html(body) and status != _TOO_LARGE):
            return RejectedError(reason, for_size=status == _TOO_LARGE)
        return ServerError(reason) if status == _FAILED else EndpointError(reason)

    def _success(self, response: Response) -> PartialSuccess:
        try:
            partial = success_of(response.content_type, response.body)
        except OtlpProtoError as error:
            answered, words = self._answered(response.status), self._scrub(str(error))
            raise EndpointError(f"{answered}, but not as a receiver of OTLP does: {words}") from error
        return partial._replace(message=self._scrub(partial.message))

    def _answered(self, status: int) -> str:
        return f"{self._settings.shown} answered {status}"

    def _failure(self, error: HttpError) -> Exception:
        shown, reason = self._settings.shown, self._scrub(str(error))
        if error.kind in ("tls", "certificate"):
            return EndpointError(f"{shown}: TLS fails: {reason}")
        if error.kind == "protocol":
            return EndpointError(f"{shown} does not speak HTTP/1.1; is it gRPC (grpc://host:4317)?")
        return (ConnectionLostError if error.may_pass else EndpointError)(f"{shown}: {reason}")


def _place(location: str) -> str:
    """Return where a redirect leads, without what it may give away."""
    return repr(location.partition("?")[0].rpartition("@")[2][:200])


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        return tls_context(
            ca_file=settings.ca_file,
            client_certificate=settings.client_certificate,
            client_key=settings.client_key,
        )
    except (OSError, ValueError) as error:  # also those of ssl
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE or _CLIENT_KEY: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from error
