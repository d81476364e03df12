"""Describe sessions: many as a table, one as a conversation with its totals."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from otel_agent_trace.model import AgentRun, RunStatus, Score
from otel_agent_trace.prices import NO_COST
from otel_agent_trace.scores import mean_of
from otel_agent_trace.sessions import AgentSession
from otel_agent_trace.views.figures import (
    UNKNOWN,
    cost_text,
    count_text,
    duration_text,
    second_text,
    time_text,
    usage_text,
    when_text,
    whole_cost_text,
)
from otel_agent_trace.views.rows import Cell, Column, Line, Row, Table, cells
from otel_agent_trace.views.runs import answer_rows, question_rows, status_cell
from otel_agent_trace.views.values_text import one_line, shortened

_ID_WIDTH, _LEAST_ID_WIDTH, _LEAST_USER_WIDTH, _SCORES_WIDTH = 64, 36, 8, 12
_STEPS_CHARS = 200


def sessions_table(sessions: Sequence[AgentSession], now: datetime) -> Table:
    """Return a table with a row for each session.

    Args:
        sessions: the sessions, in the order of the rows.
        now: the time from which today and this year are counted.
    """
    columns = [
        Column(
            "session",
            cells((one_line(each.session_id) for each in sessions), "id"),
            "left",
            0,
            _ID_WIDTH,
            _LEAST_ID_WIDTH,
        ),
        Column("user", cells(one_line(each.user_id or UNKNOWN) for each in sessions), "left", 5, 40, _LEAST_USER_WIDTH),
        Column("turns", cells(count_text(len(each.turns)) for each in sessions)),
        Column("failed", [Cell(count_text(each.failed), "failed" if each.failed else "faint") for each in sessions]),
        Column("started", cells(when_text(each.started_at_ns, now) for each in sessions), "left", 1),
        Column("took", [_duration_cell(each) for each in sessions]),
        Column("tokens", cells(_tokens_text(each) for each in sessions), rank=4),
        *_cost_columns(sessions),
        Column("scores", cells(_means_text(each) for each in sessions), "left", 6, 40, _SCORES_WIDTH),
    ]
    return Table(columns)


def session_title(session: AgentSession) -> Line:
    """Return the id and the status of a session, and how long it took."""
    status = _status_text(session)
    title = [Cell("session ", "strong"), Cell(one_line(session.session_id), "strong"), Cell("  ")]
    title.append(Cell(status, f"strong {status}"))
    if session.duration_s is not None:
        title.append(Cell(f"  {duration_text(session.duration_s)}"))
    return tuple(title)


def session_rows(session: AgentSession) -> Iterator[Row]:
    """Yield rows for the user, the start and the number of turns of a session."""
    if session.user_id:
        yield Row("user", one_line(session.user_id))
    yield Row("started", time_text(session.started_at_ns))
    yield Row("turns", f"{len(session.turns):,}")


def turn_title(run: AgentRun, number: int) -> Line:
    """Return the number of a turn, its status, duration and start, and the id of its run."""
    status = status_cell(run)
    duration = "" if run.duration_s is None else f"  {duration_text(run.duration_s)}"
    return (
        Cell(f"{number:,}  ", "strong"),
        Cell(status.text, f"strong {status.tone}"),
        Cell(f"{duration}  "),
        Cell(f"{second_text(run.started_at_ns)}  ", "faint"),
        Cell(one_line(run.run_id), "id"),
    )


def turn_rows(run: AgentRun, number_of: dict[str, int], *, full: bool) -> Iterator[Row]:
    """Yield rows for what a turn continues, its question, the names of its steps, its answer, error and scores.

    Args:
        run: the run of the turn.
        number_of: the numbers of the turns of the session by the ids of their runs.
        full: whether to show values whole, and the names of all steps.
    """
    if run.continues is not None:
        number = number_of.get(run.continues)
        turn = "" if number is None else f"turn {number:,}, run "
        yield Row("continues", f"{turn}{one_line(run.continues)}", "paused")
    yield from question_rows(run, full=full)
    if run.steps:
        names = _step_names(run)
        yield Row("steps", one_line(names) if full else shortened(names, _STEPS_CHARS), "faint")
    yield from answer_rows(run, full=full)


def totals_rows(session: AgentSession) -> Iterator[Row]:
    """Yield rows with the number of turns, duration, tokens and scores of a session, and which turn failed first."""
    failed = f", {session.failed:,} failed" if session.failed else ""
    yield Row("turns", f"{len(session.turns):,}{failed}")
    yield Row("duration", duration_text(session.duration_s))
    if session.usage:
        yield Row("tokens", usage_text(session.usage))
    if session.cost is not None and session.cost.usd is not None:
        yield Row("cost", whole_cost_text(session.cost))
    for number, text in enumerate(_score_texts(session)):
        yield Row("" if number else "scores", text)
    if session.first_failed is not None:
        turn = session.turns[session.first_failed]
        yield Row("first failed", f"turn {session.first_failed + 1:,}, run {one_line(turn.run_id)}", "failed")


def _cost_columns(sessions: Sequence[AgentSession]) -> list[Column]:
    costs = [each.cost or NO_COST for each in sessions]
    return [Column("cost", cells(map(cost_text, costs)), rank=4)] if any(cost.priced_calls for cost in costs) else []


def _duration_cell(session: AgentSession) -> Cell:
    status = _status_text(session)
    return Cell(status, status) if session.status is RunStatus.RUNNING else Cell(duration_text(session.duration_s))


def _status_text(session: AgentSession) -> str:
    """Return "running" if any run is running, else the status of the last one, which may be interrupted."""
    return RunStatus.RUNNING.value if any(turn.is_running for turn in session.turns) else session.turns[-1].status


def _tokens_text(session: AgentSession) -> str:
    return count_text(session.usage.total_tokens if session.usage else None)


def _step_names(run: AgentRun) -> str:
    """Return the names of the steps of a run in order; of several in a row with one name, how many there are."""
    names = (one_line(step.name) or step.kind.value for step in run.steps)
    counted = ((name, sum(1 for _ in group)) for name, group in itertools.groupby(names))
    return ", ".join(name if count == 1 else f"{name} ({count:,})" for name, count in counted)


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _mean_text(scores: Sequence[Score]) -> str:
    mean = mean_of(scores)
    return UNKNOWN if mean is None else f"{mean:.3g}"


def _means_text(session: AgentSession) -> str:
    means = (f"{name} {_mean_text(scores)}" for name, scores in session.scores_by_name().items())
    return one_line(", ".join(means)) or UNKNOWN


def _score_texts(session: AgentSession) -> Iterator[str]:
    """Yield for each name the mean of the scores and their number; for labels without values, how often each came."""
    for name, scores in session.scores_by_name().items():
        labels = Counter(score.label for score in scores if score.value is None and score.label is not None)
        counts = ", ".join(f"{label} ({count:,})" for label, count in labels.most_common())
        valued = [score for score in scores if score.value is not None]
        mean = f"mean {_mean_text(valued)} ({len(valued):,})" if valued else ""
        yield one_line(f"{name} {', '.join(filter(None, (mean, counts)))}")
