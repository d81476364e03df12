"""Send OTLP over gRPC with `grpcio`."""

from __future__ import annotations

import re
from typing import Any

from otel_agent_trace.errors import ConfigurationError, EndpointError
from otel_agent_trace.formats import otlp_proto
from otel_agent_trace.formats.otlp_proto import OtlpProtoError, PartialSuccess
from otel_agent_trace.http import SecretScrubber, wrong_scheme_advice
from otel_agent_trace.otlp.answers import (
    CHECK_HEADERS,
    ConnectionLostError,
    NotServedError,
    RejectedError,
    RetryableError,
    ServerError,
)
from otel_agent_trace.otlp.settings import Settings

_METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
"""Method by signal; their responses have the same fields under the same numbers."""
_STATUS_DETAILS = "grpc-status-details-bin"
_RETRYABLE = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "DATA_LOSS"})
_SERVER_ERRORS = frozenset({"INTERNAL", "UNKNOWN"})
_TOO_LARGE = re.compile(r"(?i)larger than max|too large|exceeds|limit")
_TLS_FAILURE = re.compile(r"(?i)handshake(?!r shutdown)|certificate|wrong version number|ssl")
_NO_TLS = re.compile(r"(?i)wrong[ _]version[ _]number")
_NO_GRPC = "the server does not use gRPC; for HTTP set the protocol to http/protobuf (of export: --to http://host:4318)"
_ADVICE = {
    "UNAUTHENTICATED": CHECK_HEADERS,
    "PERMISSION_DENIED": CHECK_HEADERS,
    "UNIMPLEMENTED": "the server receives no OTLP traces",
}
_SHORT = {
    "connection refused": "connection refused",
    "timed out": "no response in time",
    "expected settings frame": _NO_GRPC,
}
"""Texts in the details of `grpcio`, and what they mean."""
_UNKNOWN_HOST = re.compile(r"(?i)dns resolution failed|name resolution|domain name not found")
_RECONNECT_MS = {"initial": 100, "max": 2000}


class GrpcTransport:
    """Send requests over gRPC, from any thread.

    Raises:
        ConfigurationError: a file of certificates or keys cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        import grpc  # noqa: PLC0415 - slow, and needed for gRPC only

        self._settings = settings
        self._scrub = SecretScrubber(settings.headers.values())
        self._has_answered = False
        self._metadata = tuple(settings.headers.items())
        self._error = grpc.RpcError
        compression = grpc.Compression.Gzip if settings.gzip else grpc.Compression.NoCompression
        options = [
            ("grpc.enable_retries", 0),  # the sender retries, and reports it
            *((f"grpc.{which}_reconnect_backoff_ms", number) for which, number in _RECONNECT_MS.items()),
            ("grpc.min_reconnect_backoff_ms", int(settings.timeout_s * 1000)),  # the timeout of a connection attempt
        ]
        if settings.secure:
            self._channel = grpc.secure_channel(settings.url, _credentials(settings), options, compression)
        else:
            self._channel = grpc.insecure_channel(settings.url, options, compression)
        self._export = self._channel.unary_unary(_METHODS[settings.signal])

    def send(self, body: bytes) -> PartialSuccess:
        """Send one request, and return how many of its spans were rejected, and the receiver's message.

        Raises:
            RejectedError: the receiver rejected the request as a whole.
            ServerError: the receiver failed.
            RetryableError: the receiver may accept the request later.
            EndpointError: the endpoint cannot be reached, or is no receiver of OTLP.
        """
        try:
            answer = self._export(body, timeout=self._settings.timeout_s, metadata=self._metadata)
            self._has_answered = True
            partial = otlp_proto.decode_response(answer)
        except self._error as error:
            raise self._failure(error) from error
        except OtlpProtoError as error:
            raise EndpointError(f"{self._settings.shown}: the response is not that of an OTLP receiver") from error
        return partial._replace(message=self._scrub(partial.message))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _failure(self, error: Any) -> Exception:
        """Return the error to raise for one of gRPC, as the OTLP specification classifies its status code."""
        code, details = error.code().name, self._scrub(error.details() or "")
        advice = f" ({_ADVICE[code]})" if code in _ADVICE else ""
        reason = f"{self._settings.shown} answered {code}" + (f": {details}" if details else "") + advice
        after_s = _retry_after_s(error.trailing_metadata() or ())
        if code == "UNAVAILABLE":
            return self._unavailable(details, after_s)
        if code in ("RESOURCE_EXHAUSTED", "OUT_OF_RANGE") and after_s is None and _TOO_LARGE.search(details):
            return RejectedError(reason, for_size=True)
        if code == "RESOURCE_EXHAUSTED":
            return RetryableError(reason, after_s)
        if code in _RETRYABLE:
            return RetryableError(reason, after_s)
        if code == "INVALID_ARGUMENT":
            return RejectedError(reason)
        if code == "UNIMPLEMENTED":
            is_for_logs = self._settings.signal == "logs"
            return NotServedError.for_logs(self._settings.shown, code) if is_for_logs else NotServedError(reason)
        return ServerError(reason) if code in _SERVER_ERRORS else EndpointError(reason)

    def _unavailable(self, details: str, after_s: float | None) -> Exception:
        """Return the error for the status UNAVAILABLE; what failed to connect is only in the details of `grpcio`."""
        shown = self._settings.shown
        if _UNKNOWN_HOST.search(details):
            return EndpointError(f"{shown}: the host is unknown")
        if self._settings.secure and _NO_TLS.search(details):
            return EndpointError(f"{shown}: the server does not use TLS; write http:// or grpc://")
        if self._settings.secure and _TLS_FAILURE.search(details):
            return EndpointError(f"{shown}: TLS failed: {details}")
        if "http2" in details.lower() and "preface" in details.lower():
            return EndpointError(f"{shown}: {_NO_GRPC}")
        if details.endswith("Socket closed") and not self._settings.secure and not self._has_answered:
            return ConnectionLostError(
                f"{shown}: the server closed the connection; {wrong_scheme_advice(is_secure=False)}"
            )
        short = next((meant for text, meant in _SHORT.items() if text in details.lower()), details)
        reason = f"{shown}: {short or 'UNAVAILABLE'}"
        return ConnectionLostError(reason) if after_s is None else RetryableError(reason, after_s)


def _retry_after_s(metadata: Any) -> float | None:
    """Return the seconds of a `google.rpc.RetryInfo` in the trailing metadata, or None."""
    for name, value in metadata:
        if name == _STATUS_DETAILS:
            try:
                return otlp_proto.decode_status(value).retry_after_s
            except OtlpProtoError:
                return None
    return None


def _credentials(settings: Settings) -> Any:
    import grpc  # noqa: PLC0415

    try:
        return grpc.ssl_channel_credentials(
            root_certificates=_file_content(settings.ca_file),
            private_key=_file_content(settings.client_key),
            certificate_chain=_file_content(settings.client_certificate),
        )
    except OSError as error:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE or _CLIENT_KEY: "
            f"{error.filename}: {error.strerror or error}"
        ) from error


def _file_content(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()
