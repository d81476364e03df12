"""Define the error by which a request is refused, with its status over HTTP and over gRPC."""

from __future__ import annotations

from enum import Enum

from otel_agent_trace.errors import AgentTraceError


class Reason(Enum):
    """Name a reason for a refusal; values are the status of HTTP and the code of gRPC."""

    UNREADABLE = 400, 3
    FORBIDDEN = 403, 7
    NOT_FOUND = 404, 12
    METHOD = 405, 12
    SLOW = 408, 4
    TOO_LARGE = 413, 8
    MEDIA_TYPE = 415, 3
    FAILED = 500, 13
    UNAVAILABLE = 503, 14

    @property
    def http_status(self) -> int:
        """Return the status of HTTP."""
        return self.value[0]

    @property
    def grpc_code(self) -> int:
        """Return the number of the code of gRPC."""
        return self.value[1]


class RefusedError(AgentTraceError):
    """Indicate a request that is refused; a client may send the same request again only if it has `retry_after_s`."""

    def __init__(self, reason: Reason, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.retry_after_s = reason, retry_after_s
