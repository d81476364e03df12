"""Describe a run as a whole for the head of a page: status, question, answer, totals and what else is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from otel_agent_trace.model import AgentRun, Score
from otel_agent_trace.query import status_of
from otel_agent_trace.values import encode
from otel_agent_trace.views.call_figures import CallFigures
from otel_agent_trace.views.figures import cost_text, count_text, duration_text, second_text
from otel_agent_trace.views.items import RunItems
from otel_agent_trace.views.values_text import Bounds, bounded, plain_text, shortened

_TEXT = Bounds(lines=100, chars=1900)  # with the remark about what is left out, less than 2,000 characters
_ERROR_CHARS = 500


def head_of(items: RunItems, figures: CallFigures, *, command: str = "") -> dict[str, Any]:
    """Return the head of a run as JSON-able data; `command` is the one that replays it."""
    run = items.run
    head = {
        **_texts(run),
        **_totals(items, figures),
        "error": None if run.error is None else shortened(str(run.error), _ERROR_CHARS),
        "started_at": run.started_at.isoformat() if run.started_at_ns else None,
        "when_text": second_text(run.started_at_ns),
        "duration_s": run.duration_s,
        "duration_text": duration_text(run.duration_s),
        "tags": list(run.tags),
        "sampling_probability": run.sampling_probability,
        "scores": [score_data(score) for score in run.scores],
        "cut": paths(run.truncated),
        "masked": paths(run.redacted),
        "command": command,
    }
    return dict(encode(head).data)


def score_data(score: Score) -> dict[str, Any]:
    """Return a score as a dictionary, of which `value` may be a number of any kind."""
    return {
        "name": score.name,
        "value": score.value,
        "label": score.label,
        "explanation": score.explanation,
        "source": score.source,
        "at": score.at.isoformat() if score.at_ns else None,
    }


def paths(found: Sequence[str]) -> list[str]:
    """Return the paths of values as a list."""
    return [path.lstrip(".") for path in found]


_TEXT_FIELDS = {
    "agent": "agent_name",
    **{
        name: name
        for name in (
            *("session_id", "user_id", "service_name", "service_version", "model", "dialect", "recorded_by"),
            *("replay_of", "continues", "parent_run_id"),
        )
    },
}
"""Fields of the head by name, with those of the run that they are read from."""


def _texts(run: AgentRun) -> dict[str, Any]:
    found = {name: getattr(run, field) for name, field in _TEXT_FIELDS.items()}
    return {
        "status": status_of(run),
        **{name: None if text is None else str(text) for name, text in found.items()},
        "question": _bounded_text(run.user_input),
        "answer": _bounded_text(run.final_output),
    }


def _bounded_text(value: Any) -> str | None:
    return None if value is None else bounded(plain_text(value), _TEXT)


def _totals(items: RunItems, figures: CallFigures) -> dict[str, Any]:
    usage, cost = items.run.usage, figures.cost
    tokens = usage.total_tokens if usage else figures.tokens[0]
    return {
        "steps": len(items) - 1,
        "errors": sum(item.step is not None and item.step.error is not None for item in items),
        "tokens": tokens,
        "tokens_text": count_text(tokens),
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cost_usd": cost.usd,
        "cost_text": cost_text(cost),
    }
