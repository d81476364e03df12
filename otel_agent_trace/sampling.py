"""Compute with sampling probabilities as OpenTelemetry writes them: the entry ``ot`` of a trace state, with ``th`` and ``rv``.

A trace has 56 random bits: ``rv``, else the last 56 bits of its id. It is kept if they are not below a threshold, so that
all who decide about a trace agree; a threshold of 0 keeps every trace, and a higher one only traces that lower ones keep.
Source: OpenTelemetry's specification of trace state handling and of probability sampling, and W3C Trace Context level 2.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

NS_PER_HOUR = 3600 * 10**9
NEVER = 1 << 56
"""Threshold that no trace reaches."""
_DIGITS = 14
_KEY = "ot"
_MEMBER = re.compile(r"(?:^|,)[ \t]*ot=([^,]*)")
_THRESHOLD = re.compile(r"[0-9a-f]{1,14}")
_RANDOM = re.compile(r"[0-9a-f]{14}")


class DroppedTraces(NamedTuple):
    """Count traces that sampling dropped, of one agent and status, whose root span started within one hour.

    `status` is that of the run (`query.STATUSES`), `hour_ns` the start of the hour (UTC) in Unix nanoseconds. Where `is_certain`
    is false, nobody knows how many of them, if any, belong to the runs beside which they are counted.
    """

    agent: str | None
    status: str
    hour_ns: int
    traces: int
    is_certain: bool = True


@functools.lru_cache(maxsize=256)
def threshold_of(probability: float) -> int:
    """Return the threshold that keeps traces with a probability from 0 to 1."""
    return NEVER - round(probability * NEVER)


def probability_of(threshold: int) -> float:
    """Return the probability with which a threshold keeps traces."""
    return (NEVER - threshold) / NEVER


def randomness_of(trace_id: int, trace_state: str = "") -> int:
    """Return the random bits of a trace: those of its trace state, else those of its id."""
    given = random_bits_in(trace_state)
    return random_bits_of(trace_id) if given is None else given


def random_bits_of(trace_id: int) -> int:
    """Return the random bits of a trace id."""
    return trace_id & (NEVER - 1)


def random_bits_in(trace_state: str) -> int | None:
    """Return the random bits in the header of a trace state; None where there are no valid ones."""
    value = _fields_in(trace_state).get("rv", "")
    return int(value, 16) if _RANDOM.fullmatch(value) else None


def threshold_in(trace_state: str) -> int | None:
    """Return the threshold in the header of a trace state; None where there is no valid one."""
    value = _fields_in(trace_state).get("th", "")
    return int(value.ljust(_DIGITS, "0"), 16) if _THRESHOLD.fullmatch(value) else None


def threshold_before(trace_state: str, written: object) -> int | None:
    """Return the threshold with which a span was sampled before: that of its trace state, else that of a written probability.

    None where neither is valid.

    Args:
        trace_state: the header of the trace state.
        written: the probability in an attribute.
    """
    threshold = threshold_in(trace_state)
    if threshold is None and isinstance(written, float) and 0 < written <= 1:
        return threshold_of(written)
    return threshold


def probability_in(trace_state: str, written: float | None) -> float | None:
    """Return the probability with which a trace was kept: that of its trace state or a written one, the smaller.

    A threshold of 0 alone is no sample, for which this is None, as where nothing is known, or what is written is not above 0
    and at most 1.

    Args:
        trace_state: the header of the trace state of the root span.
        written: the probability in an attribute.
    """
    threshold = threshold_in(trace_state)
    own = written if written is not None and 0 < written <= 1 else None
    if not threshold or (own is not None and threshold_of(own) >= threshold):
        return own
    return probability_of(threshold)


def with_threshold(trace_state: str, threshold: int) -> str:
    """Return the header of a trace state with a threshold, all other entries as they were, ours first."""
    others = {name: value for name, value in _fields_in(trace_state).items() if name != "th"}
    return _with_fields(trace_state, {"th": f"{threshold:014x}".rstrip("0") or "0", **others})


def without_threshold(trace_state: str) -> str:
    """Return the header of a trace state without its threshold, and without our entry if it has nothing else."""
    fields = _fields_in(trace_state)
    return trace_state if fields.pop("th", None) is None else _with_fields(trace_state, fields)


def _with_fields(trace_state: str, fields: dict[str, str]) -> str:
    """Return the header of a trace state with the entry ``ot`` of some fields, which is the first one, if any."""
    own = f"{_KEY}={';'.join(f'{name}:{value}' for name, value in fields.items())}" if fields else ""
    others = _MEMBER.sub("", trace_state).strip(" \t,")
    return f"{own},{others}" if own and others else own or others


def _fields_in(trace_state: str) -> dict[str, str]:
    """Return the fields of the entry ``ot``."""
    member = _MEMBER.search(trace_state) if "ot=" in trace_state else None
    if member is None:
        return {}
    pairs = (field.partition(":") for field in member[1].strip().split(";"))
    return {name: value for name, sign, value in pairs if sign}
