"""Import OpenTelemetry's SDK even if ``OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT`` is invalid.

The SDK reads this variable when it is imported, and raises a `ValueError` for a value that is no number. Importing this
module first keeps that from the program.
"""

from __future__ import annotations

import logging
import os

_VARIABLE = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
_log = logging.getLogger("otel_agent_trace")


def _import_sdk() -> None:
    """Import the SDK, a second time without the variable if that is what it refuses."""
    try:
        import opentelemetry.sdk.trace  # noqa: PLC0415 - it may raise
    except ValueError:
        value = os.environ.pop(_VARIABLE, None)
        if value is None:
            raise
        try:
            import opentelemetry.sdk.trace  # noqa: F401, PLC0415 - it may raise for another reason
        finally:
            os.environ[_VARIABLE] = value
        _log.warning("%s must be a number, got %r; the default is used", _VARIABLE, value)


_import_sdk()
