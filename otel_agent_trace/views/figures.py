"""Format times, durations and counts for people."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime

from otel_agent_trace.model import Usage, at_time
from otel_agent_trace.prices import RunCost
from otel_agent_trace.views.values_text import one_line

UNKNOWN = "-"
_SHOWN_MODELS = 3


def duration_text(seconds: float | None) -> str:
    """Return a duration in about four characters, as in ``0.7ms``, ``1.50s``, ``2m05s``; ``-`` for None."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0:
        return f"-{duration_text(-seconds)}"
    if seconds < 0.9995:
        millis = seconds * 1000
        return f"{millis:.0f}ms" if millis >= 9.95 or millis == 0 else f"{millis:.1f}ms"
    if seconds < 59.95:
        return f"{seconds:.2f}s" if seconds < 9.995 else f"{seconds:.1f}s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes}m{round(seconds) % 60:02}s"
    hours = minutes // 60
    return f"{hours}h{minutes % 60:02}m" if hours < 48 else f"{hours // 24}d{hours % 24:02}h"


def count_text(count: float | None) -> str:
    """Return a count in at most five characters, as in ``9999``, ``12.3k``; ``-`` for None.

    One of a sample, which is no whole number, is rounded.
    """
    if count is None:
        return UNKNOWN
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if count >= size:
            scaled = count / (1000 if unit == "k" else size)
            return f"{scaled:.1f}{unit}" if scaled < 99.95 else f"{scaled:.0f}{unit}"
    return str(round(count))


def dollars_text(usd: float | None, *, is_least: bool = False) -> str:
    """Return dollars to four decimals, or to two digits that count; ``-`` for None; `is_least` marks a lower bound."""
    if usd is None:
        return UNKNOWN
    text = f"{usd:,.4f}" if usd >= 0.001 or usd == 0 else f"{usd:.2g}"
    return f"{'≥' if is_least else ''}${text}"


def cost_text(cost: RunCost) -> str:
    """Return what a run cost in dollars, which is the least it can be where calls have no price."""
    return dollars_text(cost.usd, is_least=bool(cost.unpriced))


def whole_cost_text(cost: RunCost) -> str:
    """Return what a run cost in dollars, and which models have no price."""
    return f"{cost_text(cost)}{unpriced_text(cost.unpriced)}"


def unpriced_text(calls: Mapping[str, float]) -> str:
    """Return a remark about calls without a price, given their number by model; empty without any."""
    if not calls:
        return ""
    names = [f"{one_line(model)} ({round(count):,})" for model, count in itertools.islice(calls.items(), _SHOWN_MODELS)]
    more = len(calls) - len(names)
    return f", without calls of {', '.join(names)}{f' and {more:,} more' if more else ''}, whose price is not known"


def number_text(number: float | None) -> str:
    """Return a number with at most four digits that count, as in ``0.8235``, ``1.234e+06``; ``-`` for None."""
    return UNKNOWN if number is None else f"{number:.4g}"


def plural(count: float, noun: str) -> str:
    """Return a count, rounded, with its noun, in the plural unless it is 1."""
    return f"{round(count):,} {noun}" if round(count) == 1 else f"{round(count):,} {noun}s"


def usage_text(usage: Usage | None) -> str:
    """Return the input and output tokens, and how many were cached or reasoning; empty without any usage."""
    if not usage:
        return ""
    cached, thought = usage.cache_read_input_tokens, usage.reasoning_output_tokens
    sent = f"{count_text(usage.input_tokens)} in" + (f" ({count_text(cached)} cached)" if cached else "")
    answered = f"{count_text(usage.output_tokens)} out" + (f" ({count_text(thought)} reasoning)" if thought else "")
    return f"{sent}, {answered}"


def time_text(unix_ns: int) -> str:
    """Return a local time in full, with milliseconds and offset; ``-`` for 0."""
    return _local(unix_ns).isoformat(" ", "milliseconds") if unix_ns else UNKNOWN


def second_text(unix_ns: int) -> str:
    """Return a local time to the second; ``-`` for 0."""
    return f"{_local(unix_ns):%Y-%m-%d %H:%M:%S}" if unix_ns else UNKNOWN


def when_text(unix_ns: int, now: datetime) -> str:
    """Return a local time as short as `now` allows: without the date today, without the year this year."""
    if not unix_ns:
        return UNKNOWN
    local = _local(unix_ns)
    if local.date() == now.date():
        return f"{local:%H:%M:%S}"
    return f"{local:%b %d %H:%M}" if local.year == now.year else f"{local:%Y-%m-%d}"


def local_minute_text(moment: datetime | None) -> str:
    """Return a local time to the minute; "before" for None, the start of the bucket of all that is too old."""
    return "before" if moment is None else f"{_localised(moment):%Y-%m-%d %H:%M}"


def share_text(share: float | None) -> str:
    """Return a share from 0 to 1 in percent; only 1 itself is shown as 100% and only 0 as 0%."""
    if share is None:
        return UNKNOWN
    percent = f"{share * 100:.1f}".removesuffix(".0")
    if percent == "100" and share < 1:
        return ">99.9%"
    return "<0.1%" if percent == "0" and share > 0 else f"{percent}%"


def _local(unix_ns: int) -> datetime:
    return _localised(at_time(unix_ns))


def _localised(moment: datetime) -> datetime:
    try:
        return moment.astimezone()
    except (OverflowError, ValueError, OSError):  # at the ends of the calendar there is no other zone
        return moment
