"""Find the step whose exception ended a run, as distinct from errors that the agent handled earlier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from otel_agent_trace import semconv
from otel_agent_trace.categories import CANCELLED, TIMEOUT
from otel_agent_trace.model import AgentRun, RecordedException, RunStatus, StepError
from otel_agent_trace.query import INTERRUPTED, status_of
from otel_agent_trace.views.items import Item, RunItems

_LEAST_CHARS = 4
"""Length of a message from which on it is looked for within another."""
_Relation = Callable[[StepError, StepError], bool]


def cause_of(run: AgentRun | RunItems) -> int | None:
    """Return the number of the step whose exception ended a run; None where no step is known to have ended it.

    That is the deepest step with the error of the run, or with one that it was raised from; of several the latest.
    Where no error of a step is related to that of the run, it is the last one that failed, unless a later step
    succeeded. Of an interrupted run, and of one that took too long, it is the step that was in flight.
    """
    items = RunItems.of(run)
    status = status_of(items.run)
    if status == INTERRUPTED:
        return _deepest(items, _latest_in_flight)
    if status == RunStatus.TIMEOUT:
        found = _deepest(items, _related_child)
        return _deepest(items, _latest_stopped) if found is None else found
    return _deepest(items, _related_child) if status == RunStatus.ERROR else None


def _deepest(items: RunItems, choose: Callable[[RunItems, Item], Item | None]) -> int | None:
    """Return the number of the item that is reached from the run itself by choosing one below each; None if it is that."""
    item = items[0]
    while (below := choose(items, item)) is not None:
        item = below
    return item.number or None


def _latest_in_flight(items: RunItems, item: Item) -> Item | None:
    return _latest(below for below in items.below(item.number) if below.subject.ended_at_ns is None)


def _latest_stopped(items: RunItems, item: Item) -> Item | None:
    """Return the latest item below one that took too long, was cancelled, or had not ended."""
    return _latest(
        below
        for below in items.below(item.number)
        if below.subject.ended_at_ns is None
        or (below.step is not None and below.step.abandoned)
        or (below.error is not None and below.error.category in (TIMEOUT, CANCELLED))
    )


def _related_child(items: RunItems, item: Item) -> Item | None:
    """Return the item below one whose error ended it."""
    target = _error_within(item)
    if target is not None:
        for relation in _RELATIONS:
            found = _latest(_failed(items.below(item.number), target, relation))
            if found is not None:
                return found
        if item.number == 0:
            found = _latest(_failed(items, target, _is_same))
            if found is not None:
                return found
    is_whole = item.run is not None and (target is not None or item.number == 0)
    return _last_failed(items, item) if is_whole else None


def _error_within(item: Item) -> StepError | None:
    """Return the error of an item as the steps below it may have it: that of its run, if it has one."""
    inner = None if item.run is None else item.run.error
    return item.error if inner is None else inner


def _failed(found: Iterable[Item], target: StepError, relation: _Relation) -> Iterator[Item]:
    """Yield the steps among some items whose error, or that of their run, is related to another one."""
    for item in found:
        if item.step is not None and any(relation(target, error) for error in _errors(item)):
            yield item


def _errors(item: Item) -> list[StepError]:
    found = (item.error, _error_within(item)) if item.error is not None else ()
    return [error for error in found if error is not None]


def _latest(found: Iterable[Item]) -> Item | None:
    return max(found, key=_end_of, default=None)


def _end_of(item: Item) -> tuple[float, int, int]:
    subject = item.subject
    ended = float("inf") if subject.ended_at_ns is None else subject.ended_at_ns
    return ended, subject.started_at_ns, item.number


def _last_failed(items: RunItems, item: Item) -> Item | None:
    """Return the last step below one that failed, unless a later one succeeded."""
    found = _latest(below for below in items.below(item.number) if below.error is not None)
    if found is None:
        return None
    ended_ns = found.subject.ended_at_ns or found.subject.started_at_ns
    later = (below for below in items.below(item.number) if below.subject.started_at_ns >= ended_ns)
    return None if any(below is not found and below.error is None for below in later) else found


# ── relations of errors ──────────────────────────────────────────────────────────────────────────────────────────────


def _is_same(target: StepError, error: StepError) -> bool:
    """Return whether two errors have the same class and message, as far as both are known."""
    names = {_own_name(each.type) for each in (target, error)} - {semconv.ERROR_TYPE_OTHER, ""}
    messages = {each.message.strip() for each in (target, error)} - {""}
    return len(names) < 2 and len(messages) < 2 and bool(names or messages)


def _is_raised_from(target: StepError, error: StepError) -> bool:
    """Return whether an error is among the exceptions that another was raised from, or that a group holds."""
    pending = [] if target.exception is None else _direct_causes(target.exception)
    while pending:
        cause = pending.pop()
        if _is_recorded_as(cause, error):
            return True
        pending += _direct_causes(cause)
    return False


def _direct_causes(exception: RecordedException) -> list[RecordedException]:
    return [*exception.members, *([] if exception.cause is None else [exception.cause])]


def _is_recorded_as(cause: RecordedException, error: StepError) -> bool:
    if error.exception is not None and error.exception.classes:
        return (cause.classes, cause.args) == (error.exception.classes, error.exception.args)
    is_class = bool(cause.classes) and _own_name(cause.classes[0]) == _own_name(error.type)
    return is_class and error.message in ("", *map(str, cause.args))


def _is_in_stacktrace(target: StepError, error: StepError) -> bool:
    """Return whether the stack trace of an error shows another one, before which it was raised."""
    ending = f"{_own_name(error.type)}: {error.message}".strip()
    return len(error.message) >= _LEAST_CHARS and ending in (target.stacktrace or "")


def _is_quoted(target: StepError, error: StepError) -> bool:
    """Return whether the message of an error holds that of another one."""
    return len(error.message) >= _LEAST_CHARS and error.message in target.message


_RELATIONS: tuple[_Relation, ...] = (_is_same, _is_raised_from, _is_in_stacktrace, _is_quoted)
"""Relations that the error of a run or a step may have to that of a step in it, the closest first."""


def _own_name(qualified: str) -> str:
    return qualified.rpartition(".")[2]
