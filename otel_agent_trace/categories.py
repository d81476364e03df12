"""Classify errors into a small, stable set of categories, beside the open set of ``error.type`` values."""

from __future__ import annotations

import re
from collections.abc import Iterable

TIMEOUT, RATE_LIMIT, AUTH, NETWORK = "timeout", "rate_limit", "auth", "network"
VALIDATION, TOOL_NOT_FOUND, CANCELLED = "validation", "tool_not_found", "cancelled"
INTERNAL, OTHER = "internal", "other"
CATEGORIES = (TIMEOUT, RATE_LIMIT, AUTH, NETWORK, VALIDATION, TOOL_NOT_FOUND, CANCELLED, INTERNAL, OTHER)

_BY_CLASS_NAME = {
    "TooSlowError": TIMEOUT,  # trio
    "RateLimitError": RATE_LIMIT,
    "ThrottlingException": RATE_LIMIT,
    "ResourceExhausted": RATE_LIMIT,
    "TooManyRequests": RATE_LIMIT,
    "AuthenticationError": AUTH,
    "PermissionDeniedError": AUTH,
    "PermissionError": AUTH,
    "Unauthenticated": AUTH,
    "PermissionDenied": AUTH,
    "ConnectionError": NETWORK,
    "APIConnectionError": NETWORK,
    "NetworkError": NETWORK,
    "TransportError": NETWORK,
    "gaierror": NETWORK,
    "SSLError": NETWORK,
    "IncompleteReadError": NETWORK,
    "URLError": NETWORK,
    "ToolNotFoundError": TOOL_NOT_FOUND,
    "ToolNotFound": TOOL_NOT_FOUND,
    "UnknownToolError": TOOL_NOT_FOUND,
    "CancelledError": CANCELLED,
    "Cancelled": CANCELLED,  # trio
    "TaskCancelled": CANCELLED,  # curio
    "CancelledRun": CANCELLED,  # Prefect
    "RunCancelled": CANCELLED,  # pydantic-ai
    "GreenletExit": CANCELLED,  # gevent, eventlet
    "KeyboardInterrupt": CANCELLED,
    "GeneratorExit": CANCELLED,
    "SystemExit": CANCELLED,
    "ValidationError": VALIDATION,
    "BadRequestError": VALIDATION,
    "UnprocessableEntityError": VALIDATION,
    "ValueError": VALIDATION,
    "TypeError": VALIDATION,
    "InternalServerError": INTERNAL,
    "Exception": INTERNAL,
}
_TIMEOUT_NAME = re.compile(
    "(timed?_?out|timelimitexceeded|deadline_?exceeded)(error|exception|expired)?[-_0-9]*$", re.IGNORECASE
)
"""Names of timeouts: `TimeoutError`, ``ReadTimeout``, ``FunctionTimedOut``, ``SoftTimeLimitExceeded``, ``ETIMEDOUT``.

func_timeout puts a number after the name.
"""
_BY_STATUS_CODE = {400: VALIDATION, 401: AUTH, 403: AUTH, 408: TIMEOUT, 422: VALIDATION, 429: RATE_LIMIT, 504: TIMEOUT}
_SERVER_ERRORS = range(500, 600)


def category_of_names(names: Iterable[str]) -> str:
    """Return the category of an error by the names of its classes, the most derived first; they may be qualified."""
    for name in names:
        own_name = name.rpartition(".")[2]
        category = TIMEOUT if _TIMEOUT_NAME.search(own_name) else _BY_CLASS_NAME.get(own_name)
        if category is not None:
            return category
    return OTHER


def category_of_status_code(code: int) -> str:
    """Return the category of an HTTP status code."""
    return _BY_STATUS_CODE.get(code, INTERNAL if code in _SERVER_ERRORS else OTHER)


def category_of_type(error_type: str) -> str:
    """Return the category of an ``error.type`` of the conventions: a class name, a status code, or an identifier."""
    if error_type in CATEGORIES:
        return error_type
    if error_type.isascii() and error_type.isdigit():
        return category_of_status_code(int(error_type[:3]))
    return category_of_names((error_type,))
