"""Write a score as an event, find which scores of a run count, and read conditions about them, such as ``helpful<0.5``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.model import AgentRun, Score
from otel_agent_trace.span import Event

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(
    r"(?P<name>[^<>=!]*[^<>=!\s])\s*(?:(?P<sign>[<>=!]=|[<>=])\s*(?P<value>[^<>=!\s](?:.*\S)?)\s*)?"
)
LARGEST_EXACT = 1 << 53
"""Largest integer up to which a double is equal to each."""
_WORDS = {"true": 1.0, "false": 0.0}


def event_of(score: Score) -> Event:
    """Return a score as an event of the conventions: the inverse of `dialects.evaluations.score_of`.

    The value is a double as they require, but for an integer that no double is equal to.
    """
    value = score.value
    is_exact = type(value) is int and abs(value) > LARGEST_EXACT
    fields = {
        semconv.EVALUATION_NAME: score.name,
        semconv.EVALUATION_SCORE: value if value is None or is_exact else float(value),
        semconv.SCORE_TYPE: type(value).__name__ if type(value) in (bool, int) and not is_exact else None,
        semconv.EVALUATION_LABEL: score.label,
        semconv.EVALUATION_EXPLANATION: score.explanation,
        semconv.SCORE_SOURCE: score.source,
    }
    given = {key: value for key, value in fields.items() if value is not None}
    return Event(semconv.EVALUATION_EVENT, score.at_ns, given)


def current_scores(scores: Sequence[Score]) -> tuple[Score, ...]:
    """Return the scores that count: the newest of each name and source, in the order in which they were given."""
    if len(scores) < 2:
        return tuple(scores)
    newest = {(score.name, score.source): score for score in scores}
    kept = {id(score) for score in newest.values()}
    return tuple(score for score in scores if id(score) in kept)


def scores_in(run: AgentRun) -> Iterator[Score]:
    """Yield all scores that count in a run: its own, then those of its steps and of its sub-agents."""
    yield from current_scores(run.scores)
    for scores in _scores_below(run):
        yield from current_scores(scores)


def scores_called(run: AgentRun, name: str) -> tuple[Score, ...]:
    """Return the scores of a name that count: those of the run, or if it has none, those of its steps and sub-agents."""
    own = tuple(score for score in current_scores(run.scores) if score.name == name)
    return own or tuple(
        score for scores in _scores_below(run) for score in current_scores(scores) if score.name == name
    )


def _scores_below(run: AgentRun) -> Iterator[tuple[Score, ...]]:
    for part in run.walk():
        if part is not run:
            yield part.scores
        yield from (step.scores for step in part.steps if step.scores)


def number_of(score: Score) -> float | None:
    """Return the value of a score, 1.0 for True; None without one, and for one that is not finite or fits no double."""
    try:
        number = None if score.value is None else float(score.value)
    except (TypeError, ValueError, OverflowError):  # a backend of one's own may hold anything
        return None
    return number if number is not None and math.isfinite(number) else None


def value_called(run: AgentRun, name: str) -> float | None:
    """Return the value that a run has for a name: the mean where several sources gave one; None without any."""
    return mean_of(scores_called(run, name))


def mean_of(scores: Iterable[Score]) -> float | None:
    """Return the mean of the values of scores, exactly, so in any order the same; None if none has one."""
    values = [value for score in scores if (value := number_of(score)) is not None]
    return float(sum(map(Fraction, values)) / len(values)) if values else None


def unique_scores(scores: Iterable[Score]) -> tuple[Score, ...]:
    """Return the scores in order of time, each once though it stands in several places."""
    found: dict[tuple[object, ...], Score] = {}
    for score in scores:
        found.setdefault(score_key(score), score)
    return tuple(sorted(found.values(), key=operator.attrgetter("at_ns")))


def score_key(score: Score) -> tuple[object, ...]:
    """Return what distinguishes a score from others: two are equal if these are."""
    value = score.value
    return score.at_ns, score.name, type(value), repr(value), score.label, score.explanation, score.source


class ScoreCondition(NamedTuple):
    """Represent a condition about scores: a name alone, or with an operator and a number or a label."""

    name: str
    sign: str | None
    operand: float | str | None

    def holds(self, run: AgentRun) -> bool:
        """Return whether any score of the name that counts in a run fits; the value of one without is its label's."""
        return any(self._fits(score) for score in scores_called(run, self.name))

    def _fits(self, score: Score) -> bool:
        if self.sign is None:
            return True
        found = score.label if isinstance(self.operand, str) else _value_or_label(score)
        return isinstance(found, type(self.operand)) and _OPERATORS[self.sign](found, self.operand)


def score_condition(given: str) -> ScoreCondition:
    """Return the condition that a text like ``helpful<0.5``, ``correct=true``, ``verdict=pass`` or ``helpful`` stands for.

    A label can only be compared with ``=`` and ``!=``.

    Raises:
        ConfigurationError: it is no such condition.
    """
    found = condition_in(given)
    if found is None or (isinstance(found.operand, str) and found.sign not in ("=", "==", "!=")):
        msg = f'score must be like "helpful<0.5", "correct=true" or "verdict=pass", got {shown(given)}'
        raise ConfigurationError(msg)
    return found


def condition_in(given: str) -> ScoreCondition | None:
    """Return the name, operator and operand in a text; None if it has another form."""
    found = _CONDITION.fullmatch(given.strip())
    if found is None:
        return None
    operand = None if found["value"] is None else _number_or_label(found["value"])
    return ScoreCondition(found["name"].strip(), found["sign"], operand)


def _value_or_label(score: Score) -> float | str | None:
    return number_of(score) if score.value is not None or score.label is None else _number_or_label(score.label)


def _number_or_label(text: str) -> float | str:
    """Return the finite number that a text is, 1.0 for "true" and 0.0 for "false"; any other text as it is."""
    try:
        number = _WORDS[text.lower()] if text.lower() in _WORDS else float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
