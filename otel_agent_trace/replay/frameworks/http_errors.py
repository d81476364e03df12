"""Give the HTTP response, or the failure of the connection, that a recorded error of a model's client came from."""

from __future__ import annotations

import re
from typing import Any

from otel_agent_trace.dialects.parsing.texts import value_in
from otel_agent_trace.model import StepError

_STATUS = re.compile(r"\b(?:Error code|status[_ ]code|HTTP)\W{0,3}([45]\d\d)\b(?: - )?", re.IGNORECASE)
_STATUSES = {
    "BadRequestError": 400,
    "AuthenticationError": 401,
    "PermissionDeniedError": 403,
    "NotFoundError": 404,
    "ConflictError": 409,
    "UnprocessableEntityError": 422,
    "RateLimitError": 429,
    "InternalServerError": 500,
    "OverloadedError": 529,
}
_CONNECTION_ERRORS = {"APITimeoutError": "ReadTimeout", "APIConnectionError": "ConnectError"}


def http_status(error: StepError) -> int | None:
    """Return the HTTP status of a recorded error, None if it is not known."""
    found = _STATUS.search(error.message)
    return int(found[1]) if found else _by_class(_STATUSES, error)


def error_body(error: StepError) -> dict[str, Any]:
    """Return the body of the response, from which the client makes the recorded message again."""
    found = _STATUS.search(error.message)
    content = value_in(error.message[found.end() :] if found and found.end() else error.message)
    if isinstance(content, dict) and "error" in content:
        return content
    return {
        "type": "error",
        "error": content if isinstance(content, dict) else {"message": content, "type": error.type},
    }


def connection_error(error: StepError) -> str | None:
    """Return the name of httpx's exception where there was no response, None where there was one."""
    return _by_class(_CONNECTION_ERRORS, error)


def _by_class(table: dict[str, Any], error: StepError) -> Any:
    return next((value for name, value in table.items() if error.type.endswith(name)), None)
