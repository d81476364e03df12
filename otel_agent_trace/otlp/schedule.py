"""When spans of a running program are sent, and how many may wait: what ``OTEL_BSP_*`` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

_QUEUE, _BATCH, _DELAY = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_SCHEDULE_DELAY"
_MS = 1000
_MOST_DIGITS, _SHOWN_CHARS = 9, 50
_LONGEST_DELAY_S = 3600.0


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """At most `max_waiting_spans` and `max_waiting_bytes` (estimated) wait; `batch_spans` go at once, after `delay_s`.

    A request that cannot be delivered is given up after `patience_s`.
    """

    max_waiting_spans: int = 2048
    max_waiting_bytes: int = 64 << 20
    batch_spans: int = 512
    delay_s: float = 5.0
    patience_s: float = 60.0


def schedule_of(environ: Mapping[str, str], on_broken: Callable[[str], None]) -> Schedule:
    """What the environment says; what cannot be meant of it is told, and the default used."""

    def whole_number(name: str, default: int) -> int:
        text = environ.get(name, "").strip()
        if not text:
            return default
        if text.isdecimal() and int(text[:_MOST_DIGITS]) > 0:
            return int(text[:_MOST_DIGITS])
        on_broken(f"{name} is {text[:_SHOWN_CHARS]!r}, which is no positive whole number; {default} is used")
        return default

    default = Schedule()
    waiting = whole_number(_QUEUE, default.max_waiting_spans)
    batch = whole_number(_BATCH, default.batch_spans)
    if batch > waiting and environ.get(_BATCH, "").strip():
        on_broken(f"{_BATCH} is more than {_QUEUE}: {batch} and {waiting}; batches are of {waiting}")
    delay_s = whole_number(_DELAY, round(default.delay_s * _MS)) / _MS
    return Schedule(max_waiting_spans=waiting, batch_spans=min(batch, waiting), delay_s=min(delay_s, _LONGEST_DELAY_S))
