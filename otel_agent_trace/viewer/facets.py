"""Count what runs have, for the filters above a list: statuses, agents, tools, models, errors, and when they began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from otel_agent_trace.model import FAILED_STATUSES
from otel_agent_trace.viewer.entries import Entry

SHOWN = 50
_BUCKETS = 60
_S = 10**9
_WIDTHS_NS = [
    s * _S for s in (1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)
]


def facets_of(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the counts of each value but empty ones, the most frequent first, and a histogram of when runs began."""
    return {
        "status": _counts(entry.status for entry in entries),
        "agent": _counts(entry.agent for entry in entries),
        "tool": _counts(tool for entry in entries for tool in entry.tools),
        "model": _counts(model for entry in entries for model in entry.models),
        "error": _counts(entry.error for entry in entries),
        "histogram": histogram([(entry.started_at_ns, entry.status in FAILED_STATUSES) for entry in entries]),
    }


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(filter(None, values)).most_common(SHOWN))


def histogram(starts: Sequence[tuple[int, bool]]) -> list[dict[str, Any]]:
    """Return the numbers of runs and of failed ones in at most about 60 buckets of equal width, empty ones included.

    Args:
        starts: of each run when it began, in Unix nanoseconds, and whether it failed.
    """
    times = [start_ns for start_ns, _ in starts if start_ns]
    if not times:
        return []
    width_ns = width_for(max(times) - min(times))
    runs = Counter(start_ns // width_ns for start_ns in times)
    errors = Counter(start_ns // width_ns for start_ns, is_failed in starts if start_ns and is_failed)
    return buckets_of(runs, errors, width_ns)


def buckets_of(runs: Mapping[int, int], errors: Mapping[int, int], width_ns: int) -> list[dict[str, Any]]:
    """Return the buckets of a histogram, from the first number that has runs to the last, empty ones included."""
    return [
        {
            "start_ns": str(number * width_ns),
            "end_ns": str((number + 1) * width_ns),
            "runs": runs.get(number, 0),
            "errors": errors.get(number, 0),
        }
        for number in (range(min(runs), max(runs) + 1) if runs else ())
    ]


def width_for(span_ns: int) -> int:
    """Return the width of the buckets in which a span of time is shown, in nanoseconds."""
    return next((width for width in _WIDTHS_NS if span_ns <= _BUCKETS * width), span_ns // _BUCKETS + 1)
