"""Classify errors into a small, stable set of categories, beside the open set of ``error.type`` values."""

from __future__ import annotations

from collections.abc import Iterable

TIMEOUT, RATE_LIMIT, AUTH, NETWORK = "timeout", "rate_limit", "auth", "network"
VALIDATION, TOOL_NOT_FOUND, CANCELLED = "validation", "tool_not_found", "cancelled"
INTERNAL, OTHER = "internal", "other"
CATEGORIES = (TIMEOUT, RATE_LIMIT, AUTH, NETWORK, VALIDATION, TOOL_NOT_FOUND, CANCELLED, INTERNAL, OTHER)

_BY_CLASS_NAME = {
    "TimeoutError": TIMEOUT,
    "TimeoutException": TIMEOUT,
    "APITimeoutError": TIMEOUT,
    "TimeoutExpired": TIMEOUT,
    "Timeout": TIMEOUT,
    "ConnectTimeout": TIMEOUT,
    "TooSlowError": TIMEOUT,  # trio
    "TaskTimeout": TIMEOUT,  # curio, where it is a CancelledError
    "SoftTimeLimitExceeded": TIMEOUT,  # Celery
    "TimeLimitExceeded": TIMEOUT,  # Celery, dramatiq
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
_BY_STATUS_CODE = {400: VALIDATION, 401: AUTH, 403: AUTH, 408: TIMEOUT, 422: VALIDATION, 429: RATE_LIMIT, 504: TIMEOUT}
_SERVER_ERRORS = range(500, 600)


def category_of_names(names: Iterable[str]) -> str:
    """Return the category of an error by the names of its classes, the most derived first; they may be qualified."""
    for name in names:
        category = _BY_CLASS_NAME.get(name.rpartition(".")[2])
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
