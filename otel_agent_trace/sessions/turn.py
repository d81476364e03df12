"""Define what is kept of each run of a session while the run itself is not in memory."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_agent_trace.model import FAILED_STATUSES, AgentRun, RunStatus, Score, Timed, Usage
from otel_agent_trace.prices import RunCost
from otel_agent_trace.query import INTERRUPTED, PAUSED, status_of
from otel_agent_trace.usage import usage_of
from otel_agent_trace.values import encode

_STATUS_OF = {PAUSED: RunStatus.SUCCESS, INTERRUPTED: RunStatus.RUNNING}
_QUESTION_CHARS = 200


class SessionTurn(Timed, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hold the facts of a run in a session, and of what was asked and answered only how the question begins.

    `status` is that of `RunQuery`, which has "paused" and "interrupted" beside those of `RunStatus`. `steps` counts the
    steps, and `usage` the tokens, of sub-agents too; `usage` is None where none were reported. `scores` are those of the
    run itself, in the order in which they were given. `continues` is the id of the interrupted run that it resumes. `cost` is
    that of the run and of sub-agents; None where no prices were given. `question` is at most 200 characters of the run's
    input; None where that is no text.
    """

    run_id: str
    trace_id: str | None = None
    agent_name: str | None = None
    user_id: str | None = None
    status: str = RunStatus.RUNNING.value
    started_at_ns: int = 0
    ended_at_ns: int | None = None
    steps: int = 0
    usage: Usage | None = None
    scores: tuple[Score, ...] = ()
    continues: str | None = None
    cost: RunCost | None = None
    question: str | None = None

    @property
    def run_status(self) -> RunStatus:
        """Return the status as `AgentRun.status` has it."""
        return _STATUS_OF.get(self.status) or RunStatus(self.status)

    @property
    def is_running(self) -> bool:
        """Return whether the run has not ended, and its process is not known to be gone."""
        return self.status == RunStatus.RUNNING.value

    @property
    def is_failed(self) -> bool:
        """Return whether the run ended in an error or a timeout."""
        return self.status in FAILED_STATUSES

    def to_dict(self) -> dict[str, Any]:
        """Return the turn as JSON-able data; times are ISO 8601, durations seconds."""
        return {
            "run_id": self.run_id,
            "trace_id": self.trace_id,
            "agent_name": self.agent_name,
            "user_id": self.user_id,
            "status": self.status,
            "started_at": self.started_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "duration_s": self.duration_s,
            "steps": self.steps,
            "input_tokens": self.usage.input_tokens if self.usage else None,
            "output_tokens": self.usage.output_tokens if self.usage else None,
            "scores": [_score_dict(score) for score in self.scores],
            "cost_usd": None if self.cost is None else self.cost.usd,
            "continues": self.continues,
        }


def _score_dict(score: Score) -> dict[str, Any]:
    return {**msgspec.structs.asdict(score), "value": encode(score.value).data}


def turn_of(run: AgentRun, cost: RunCost | None = None) -> SessionTurn:
    """Return the facts of a run."""
    return SessionTurn(
        run_id=run.run_id,
        trace_id=run.trace_id,
        agent_name=run.agent_name,
        user_id=run.user_id,
        status=status_of(run),
        started_at_ns=run.started_at_ns,
        ended_at_ns=run.ended_at_ns,
        steps=sum(len(part.steps) for part in run.walk()),
        usage=usage_of(run) or None,
        scores=run.scores,
        continues=run.continues,
        cost=cost,
        question=run.user_input[:_QUESTION_CHARS] if isinstance(run.user_input, str) else None,
    )
