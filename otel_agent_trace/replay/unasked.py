"""Describe the recorded calls that a replay never asked for, and gaps of recordings that may be the reason."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from otel_agent_trace.replay.divergences import ReplayDivergence, class_here
from otel_agent_trace.replay.options import Options
from otel_agent_trace.replay.questions import Finder, described
from otel_agent_trace.replay.recordings import Place, Recording

_MAX_MISSING = 100


def unasked(finder: Finder, options: Options) -> Iterator[ReplayDivergence]:
    """Yield a divergence for each of the first recorded calls that nobody asked for, although the code around them ran."""
    for call in islice(finder.missing(lambda one: not options.is_after_the_end(one)), _MAX_MISSING):
        reason = f"{described(call)} was recorded, but never asked for{gap_at(finder.recording, call.parent)}"
        yield class_here()(reason, kind=call.kind.value, name=call.name, step=call.path)


def gap_at(recording: Recording, place: Place) -> str:
    """Return what is missing in the recorded run of a place, as the reason of a difference; empty for nothing."""
    if place.of is None:
        return ""
    run = recording.runs[place.of.order[0]]
    lost = [number for number, step in enumerate(run.steps) if step.index > number]
    if run.ended_at_ns is None:
        return " (the recorded run was interrupted)"
    return f" (the recorded run has lost steps before step {run.steps[lost[0]].step_id})" if lost else ""
