"""OpenTelemetry's SDK, imported before anything else imports it: it refuses to be, over one broken variable."""

from __future__ import annotations

import logging
import os

_VARIABLE = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
_log = logging.getLogger("otel_agent_trace")


def _import_sdk() -> None:
    """Import it, without the variable where that is what it refuses."""
    try:
        import opentelemetry.sdk.trace  # noqa: PLC0415 - the point of this module
    except ValueError:
        value = os.environ.pop(_VARIABLE, None)
        if value is None:
            raise
        try:
            import opentelemetry.sdk.trace  # noqa: F401, PLC0415 - once more
        finally:
            os.environ[_VARIABLE] = value
        _log.warning("%s=%r is no number; the default is used", _VARIABLE, value)


_import_sdk()
