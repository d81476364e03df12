"""Find the groups to which a run belongs: those of its agent, of its user, of a score of it, and so on.

A run belongs to one group, except where it has several tags, models, providers, tools, versions of prompts, or scores
of one name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.model import AgentRun, AgentStep, Score
from otel_agent_trace.query import SCORE_PREFIX, score_name_in, status_of
from otel_agent_trace.runs.names import model_name, shortened
from otel_agent_trace.scores import LARGEST_EXACT, number_of, scores_called
from otel_agent_trace.values import encode_text

NONE = "(none)"
"""Name of the group of runs that have nothing under the key."""


def _models_of(run: AgentRun) -> Iterable[Any]:
    return [model_name(step) for part in run.walk() for step in part.model_steps] or [run.model]


def _providers_of(run: AgentRun) -> Iterable[Any]:
    return [_provider_of(step) for part in run.walk() for step in part.model_steps]


def _provider_of(step: AgentStep) -> Any:
    """Return the provider of a model call by its present name, or by one of the names that it had before."""
    return next((name for key in semconv.PROVIDERS if (name := step.attributes.get(key))), None)


def _tools_of(run: AgentRun) -> Iterable[Any]:
    return [step.name for part in run.walk() for step in part.tool_steps]


def _of_prompt(field: str) -> Callable[[AgentRun], Iterable[Any]]:
    """Return a function that reads what a run has in a field, or if it has none, what its steps and sub-agents have."""

    def values_of(run: AgentRun) -> Iterable[Any]:
        own = getattr(run, field)
        items = (item for part in run.walk() for item in (part, *part.steps))
        return [own] if own is not None else [value for item in items if (value := getattr(item, field)) is not None]

    return values_of


_FIELDS: dict[str, Callable[[AgentRun], Iterable[Any]]] = {
    "agent": lambda run: [run.agent_name],
    "model": _models_of,
    "provider": _providers_of,
    "tool": _tools_of,
    "user_id": lambda run: [run.user_id],
    "session_id": lambda run: [run.session_id],
    "service": lambda run: [run.service_name],
    "version": lambda run: [run.service_version],
    "status": lambda run: [status_of(run)],
    "tag": lambda run: run.tags,
    "prompt_name": _of_prompt("prompt_name"),
    "prompt_version": _of_prompt("prompt_version"),
    "environment": lambda run: [run.environment],
}
_ALIASES = {"user": "user_id", "session": "session_id"}
"""Names of keys as the options of the commands have them."""
_MAPPINGS: dict[str, Callable[[AgentRun], dict[Any, Any]]] = {
    "metadata": lambda run: run.metadata,
    "resource": lambda run: run.resource,
}
KEYS = (*_FIELDS, *(f"{name}.KEY" for name in _MAPPINGS), f"{SCORE_PREFIX}NAME")
"""Keys by which runs can be grouped."""


def grouping(by: str) -> Callable[[AgentRun], list[str]]:
    """Return a function that returns the names of the groups of a run by one of `KEYS`, each once, at least one.

    ``user`` and ``session`` stand for ``user_id`` and ``session_id``.

    Raises:
        ConfigurationError: it is no such key.
    """
    values_of = _reader(by)
    if values_of is None:
        raise ConfigurationError(f"by must be one of {', '.join(KEYS)}, got {shown(by)}")
    return lambda run: [*dict.fromkeys(map(group_name, values_of(run)))] or [NONE]


def _reader(by: Any) -> Callable[[AgentRun], Iterable[Any]] | None:
    if not isinstance(by, str):
        return None
    field = _FIELDS.get(_ALIASES.get(by, by))
    if field is not None:
        return field
    score = score_name_in(by)
    if score is not None:
        return lambda run: map(_word_of, scores_called(run, score))
    place, _, key = by.partition(".")
    mapping_of = _MAPPINGS.get(place) if key else None
    return None if mapping_of is None else lambda run: [mapping_of(run).get(key)]


def _word_of(score: Score) -> Any:
    """Return the label of a score, or its value where it has none."""
    return score.value if score.label is None and number_of(score) is not None else score.label


def group_name(value: Any) -> str:
    """Return the name of the group of runs that have a value under the key."""
    if value is None or value == "":
        return NONE
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_EXACT:
        value = int(value)  # 1.0 and 1 are one group
    return shortened(value if isinstance(value, str) else encode_text(value).text)
