"""Define `AgentSession`: the runs of one conversation, and what they are together."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from otel_agent_trace.model import AgentRun, RunStatus, Score, Timed, Usage
from otel_agent_trace.notebooks import ShownInNotebooks
from otel_agent_trace.prices import RunCost
from otel_agent_trace.scores import current_scores, mean_of
from otel_agent_trace.sessions.turn import SessionTurn


class AgentSession(ShownInNotebooks, Timed, msgspec.Struct, frozen=True, kw_only=True, eq=False, gc=False):
    """Represent a session: the runs with one `session_id`, as far as a query selected them.

    `runs` are the outermost runs, oldest first: a sequence that reads a run from the source when it is asked for, and
    raises a `RunNotFoundError` if it is not there any more. A run that has got more steps since has them. `turns` are
    the facts of the same runs that were held when the session was read.

    `started_at_ns` is the first start, `ended_at_ns` the last end, None while a run is running or if no end is known.
    `status` is running while any run is running whose process is not known to be gone, else that of the last run.
    `user_id` is that of all runs that have one; None if these differ. `usage` is the sum over all runs and their
    sub-agents, in which no token counts twice; None if none were reported. `scores` are those of the runs, not of their
    steps, in the order in which they were given.

    Two are equal if their ids and turns are.
    """

    session_id: str
    runs: Sequence[AgentRun]
    user_id: str | None = None
    started_at_ns: int = 0
    ended_at_ns: int | None = None
    status: RunStatus = RunStatus.RUNNING
    usage: Usage | None = None
    scores: tuple[Score, ...] = ()
    turns: tuple[SessionTurn, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.session_id == other.session_id and self.turns == other.turns

    def __ne__(self, other: object) -> bool:  # msgspec's own would go by identity
        return not self == other

    def __hash__(self) -> int:
        return hash((self.session_id, len(self.turns)))

    def __repr__(self) -> str:
        return (
            f"AgentSession(session_id={self.session_id!r}, user_id={self.user_id!r}, status={self.status.value!r}, "
            f"runs={len(self.turns)}, started_at={self.started_at.isoformat()})"
        )

    @property
    def first_failed(self) -> int | None:
        """Return the index in `runs` of the first that ended in an error or a timeout; None without any."""
        return next((index for index, turn in enumerate(self.turns) if turn.is_failed), None)

    @property
    def failed(self) -> int:
        """Return how many runs ended in an error or a timeout."""
        return sum(turn.is_failed for turn in self.turns)

    @property
    def continued(self) -> dict[str, str]:
        """Return the ids of runs that continue an interrupted one → the id of that one."""
        return {turn.run_id: turn.continues for turn in self.turns if turn.continues is not None}

    @property
    def cost(self) -> RunCost | None:
        """Return what all runs cost; None where no prices were given."""
        costs = [turn.cost for turn in self.turns if turn.cost is not None]
        return sum(costs[1:], costs[0]) if costs else None

    def scores_by_name(self) -> dict[str, tuple[Score, ...]]:
        """Return the scores that count by name: of each run the newest of each source, the runs in order."""
        by_name: dict[str, list[Score]] = {}
        for turn in self.turns:
            for score in current_scores(turn.scores):
                by_name.setdefault(score.name, []).append(score)
        return {name: tuple(scores) for name, scores in by_name.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the session as JSON-able data, without what was asked and answered.

        Times are ISO 8601, durations seconds; `first_failed` is an index in `runs`.
        """
        return {
            "session_id": self.session_id,
            "user_id": self.user_id,
            "status": self.status.value,
            "started_at": self.started_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "duration_s": self.duration_s,
            "turns": len(self.turns),
            "failed": self.failed,
            "first_failed": self.first_failed,
            "continued": self.continued,
            "input_tokens": self.usage.input_tokens if self.usage else None,
            "output_tokens": self.usage.output_tokens if self.usage else None,
            "cost_usd": None if self.cost is None else self.cost.usd,
            "unpriced_calls": None if self.cost is None else self.cost.unpriced_calls,
            "mean_scores": {name: mean_of(scores) for name, scores in self.scores_by_name().items()},
            "runs": [turn.to_dict() for turn in self.turns],
        }


def session_of(session_id: str, turns: Sequence[SessionTurn], runs: Sequence[AgentRun]) -> AgentSession:
    """Return the session of some turns, of which there is at least one, and their runs; both oldest first."""
    user_ids = {turn.user_id for turn in turns} - {None}
    ends = [turn.ended_at_ns for turn in turns if turn.ended_at_ns is not None]
    is_running = any(turn.is_running for turn in turns)
    usages = [turn.usage for turn in turns if turn.usage is not None]
    return AgentSession(
        session_id=session_id,
        runs=runs,
        user_id=user_ids.pop() if len(user_ids) == 1 else None,
        started_at_ns=turns[0].started_at_ns,
        ended_at_ns=None if is_running else max(ends, default=None),
        status=RunStatus.RUNNING if is_running else turns[-1].run_status,
        usage=sum(usages[1:], usages[0]) if usages else None,
        scores=tuple(_in_order(turns)),
        turns=tuple(turns),
    )


def _in_order(turns: Iterable[SessionTurn]) -> list[Score]:
    """Return the scores of all turns by their time; one whose time is not known comes with the start of its turn."""
    timed = [(score.at_ns or turn.started_at_ns, score) for turn in turns for score in turn.scores]
    return [score for _, score in sorted(timed, key=operator.itemgetter(0))]
