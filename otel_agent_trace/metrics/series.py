"""Divide time into buckets of equal width, in UTC.

Buckets start at multiples of their width from Monday, 5 January 1970, 00:00 UTC: hours start at the full hour, days at
midnight, weeks on Monday.
"""

from __future__ import annotations

import re
from datetime import timedelta

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown

_NS_PER_S = 1_000_000_000
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WIDTH = re.compile(r"\s*([0-9]{1,9})\s*([smhdw])\s*")
FIRST_MONDAY_NS = 4 * 86_400 * _NS_PER_S


def bucket_width_ns(bucket: str | timedelta | None) -> int | None:
    """Return the width of a bucket in nanoseconds, from a text like ``"15m"``, ``"1h"`` or ``"1d"``, or a timedelta.

    Raises:
        ConfigurationError: it is no such text (units s, m, h, d, w), or not positive.
    """
    if bucket is None:
        return None
    width_ns = _ns(bucket) if isinstance(bucket, timedelta) else _parsed_ns(bucket)
    if width_ns <= 0:
        raise ConfigurationError(f"bucket must be positive, got {shown(bucket)}")
    return width_ns


def bucket_start_ns(time_ns: int, width_ns: int) -> int:
    """Return the Unix nanoseconds at which the bucket of a time begins."""
    return time_ns - (time_ns - FIRST_MONDAY_NS) % width_ns


def newest_first(start_ns: int | None) -> int:
    """Return a rank for a bucket by which the newest come first."""
    return -(start_ns or 0)


def _ns(width: timedelta) -> int:
    return width // timedelta(microseconds=1) * 1000


def _parsed_ns(bucket: object) -> int:
    match = _WIDTH.fullmatch(bucket) if isinstance(bucket, str) else None
    if match is None:
        raise ConfigurationError(
            f'bucket must be a timedelta, or a number with a unit (s, m, h, d, w) like "15m" or "1d", got {shown(bucket)}'
        )
    return int(match[1]) * _UNIT_S[match[2]] * _NS_PER_S
