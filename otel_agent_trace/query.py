"""Define `RunQuery`, which selects and orders runs.

A filter is a field of it, a row of `_FILTERS`, and an option of the commands.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import check_keywords, shown
from otel_agent_trace.model import AgentRun, AgentStep, Message, RunStatus, StepError, StepKind
from otel_agent_trace.policies.user_ids import known_forms
from otel_agent_trace.prices import Prices, PricesGiven, RunCosts
from otel_agent_trace.scores import ScoreCondition, score_condition, value_called
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import encode, same

Time: TypeAlias = datetime | date | timedelta | str | float
"""Type of a moment: a datetime, a date, Unix seconds or ISO 8601; or an age: a timedelta, "30m", "7d"."""
Duration: TypeAlias = str | float | timedelta
"""Type of a duration: seconds, a timedelta, or a text like "200ms", "1.5s", "2m"."""
Sort: TypeAlias = str
"""Type of an order: "time", "duration", "steps", "tokens", "cost", or "score:NAME"."""

INTERRUPTED = "interrupted"
PAUSED = "paused"
LAST = "last"
STATUSES = (*(status.value for status in RunStatus), PAUSED, INTERRUPTED)
"""Values of the filter `status`, and all that `status_of` returns."""
ANY_TOOL = "*"
COST = "cost"
SCORE_PREFIX = "score:"
"""Beginning of what names a score where other things can be named, as in ``sort="score:helpful"``."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|m|h|d|w)?")
_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6} | {unit: s * 10**9 for unit, s in _UNITS_S.items()}
_NS_PER_S = 1_000_000_000
_MICROSECOND = timedelta(microseconds=1)


class RunQuery(msgspec.Struct, frozen=True, kw_only=True, dict=True, repr_omit_defaults=True):
    """Select runs by what they are like, order them and limit their number; a field that is None applies no filter.

    Args:
        agent: the agent's name.
        status: running, success, error, timeout; or paused: ended by a signal (`interrupted_for`), as a framework's pause
            does, which is no success; or interrupted: running, though its process is known to be gone.
        tool: a tool that the run, or a sub-agent of it, called.
        tool_error: a tool that failed in the run or in a sub-agent of it, whether the run succeeded or not; True or
            "*": any tool.
        model: a model that was requested, or answered, in the run or in a sub-agent of it.
        user_id: the user, as the program knows them or as the pseudonym that the traces have.
        session_id: the conversation.
        service: a service that takes part in the trace.
        tag: a tag of the run, or several, all of which it must have.
        where: facts by name, all of which must be equal by type and value: ``metadata.KEY`` of the run,
            ``resource.KEY``, ``step.KEY`` (an attribute of any step, of sub-agents too); any other name is an attribute
            of the run. KEY may contain dots.
        since: the run began at that time or later: a datetime, a date, Unix seconds, ISO 8601, or a timedelta or "7d"
            (ago).
        until: the run began before that time.
        min_duration: the run took at least that long, to the nanosecond: seconds, or "200ms", "1.5s", "2m". Runs that
            have not ended do not match.
        score: a condition about a score that counts in the run, or where the run has none of that name, in its steps and
            sub-agents: ``helpful<0.5``, ``correct=true``, ``verdict=pass`` (a label), or ``helpful`` (any); or several,
            all of which must hold.
        text: a text that occurs, in upper or lower case, in the question, the answer, errors (type and message),
            inputs, outputs or messages of the run or of sub-agents: in texts, keys and numbers, however deep.
        run_id: the run's id or a trace id of it, or the beginning of one; that of a sub-agent's run selects the run
            which it is part of. "last" is the newest run.
        sort: time (the newest first), or the longest duration, the most steps (of sub-agents too), the most tokens or the
            highest cost first; or score:NAME: the largest value of that score first (the mean where several sources
            gave one). Runs without a cost, or that score, come last.
        prices: what model calls cost, for ``sort="cost"``, and for what a source keeps of it: as `compute_metrics` takes
            them.
        newest_first: the same as ``sort="time"``; `sort` takes precedence.
        limit: the most runs to return: the first ones in the given order.

    Raises:
        ConfigurationError: a value is invalid.
    """

    agent: str | None = None
    status: RunStatus | str | None = None
    tool: str | None = None
    tool_error: str | Literal[True] | None = None
    model: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    service: str | None = None
    tag: str | Sequence[str] | None = None
    where: Mapping[str, Any] | None = None
    score: str | Sequence[str] | None = None
    since: Time | None = None
    until: Time | None = None
    min_duration: Duration | None = None
    text: str | None = None
    run_id: str | None = None
    sort: Sort | None = None
    newest_first: bool = False
    limit: int | None = None
    prices: PricesGiven = None

    def __post_init__(self) -> None:
        _ = self._filters
        if self.sort == COST:
            self.costs.prices.check()
        if self.sort not in (None, COST) and _order_of(self.sort) is None:
            msg = f"sort must be one of {', '.join(SORTS)}, got {shown(self.sort)}"
            raise ConfigurationError(msg)
        if self.limit is not None and type(self.limit) is not int:
            msg = f"limit must be an integer, got {shown(self.limit)}"
            raise ConfigurationError(msg)
        if self.limit is not None and self.limit < 0:
            msg = f"limit must not be negative, got {shown(self.limit)}"
            raise ConfigurationError(msg)

    @classmethod
    def of(cls, **keywords: Any) -> RunQuery:
        """Return the query with the given keywords, which were held as data.

        Raises:
            TypeError: a keyword is unknown; the message suggests the closest one.
            ConfigurationError: a value is invalid.
        """
        check_keywords(cls.__name__, keywords, RunQuery.__struct_fields__)
        return RunQuery(**keywords)

    def but(self, **changes: Any) -> RunQuery:
        """Return this query with some of its fields changed."""
        return RunQuery(**{**self.given(), **changes})

    def given(self) -> dict[str, Any]:
        """Return the fields that select or order something, as they were given."""
        values = {name: getattr(self, name) for name in RunQuery.__struct_fields__}
        return {name: value for name, value in values.items() if value is not None and value is not False}

    @property
    def is_filter(self) -> bool:
        """Return whether any run may be left out for what it is like."""
        return bool(self._filters)

    @property
    def since_ns(self) -> int | None:
        """Return `since` in Unix nanoseconds."""
        return self._time_ns("since")

    @property
    def until_ns(self) -> int | None:
        """Return `until` in Unix nanoseconds."""
        return self._time_ns("until")

    @property
    def min_duration_ns(self) -> Decimal | None:
        """Return `min_duration` in nanoseconds."""
        return next((value for row, value in self._filters if row is _FILTERS["min_duration"]), None)

    def matches(self, run: AgentRun, spans: Iterable[SpanRecord] = ()) -> bool:
        """Return whether a run fits all filters; `spans` are those of its traces, where they are known."""
        return all(row.fits(run, spans, value) for row, value in self._filters)

    @property
    def user_ids(self) -> frozenset[str]:
        """Return the forms of `user_id` that match: the id and its pseudonym; empty without that filter."""
        return next((value for row, value in self._filters if row is _FILTERS["user_id"]), frozenset())

    @property
    def order(self) -> Callable[[AgentRun], tuple[Any, ...]] | None:
        """Return the key by which the first runs are the largest; None where no order is given."""
        if self.sort == COST:
            return lambda run: (_cost_or_none(self.costs, run), *age(run))
        return None if self.order_name is None else _order_of(self.order_name)

    @functools.cached_property
    def costs(self) -> RunCosts:
        """Return what runs cost, by the prices of the query."""
        return RunCosts(Prices.of(self.prices))

    @property
    def needs_costs(self) -> bool:
        """Return whether whoever made the query asks for the cost of runs."""
        return self.prices is not None or self.sort == COST

    @property
    def order_name(self) -> str | None:
        """Return `sort`, or what `newest_first` means; None where no order is given."""
        return self.sort or ("time" if self.newest_first else None)

    @functools.cached_property
    def _filters(self) -> tuple[tuple[_Filter, Any], ...]:
        """Return the filters that are set, each with its converted value; an age counts from when the query is made."""
        filters = []
        for name, row in _FILTERS.items():
            given = getattr(self, name)
            if given is not None:
                try:
                    filters.append((row, row.read(given)))
                except _NoTextError:
                    msg = f"{name} must be a string{' or True' if row.read is _tool_or_any else ''}, got {shown(given)}"
                    raise ConfigurationError(msg) from None
        return tuple(filters)

    def _time_ns(self, name: str) -> int | None:
        return next((value for row, value in self._filters if row is _FILTERS[name]), None)


class QueryKeywords(RunQuery, frozen=True, kw_only=True):
    """Define the fields of `RunQuery` as keywords of a function that takes a whole query too."""

    newest_first: bool | None = None  # type: ignore[assignment]  # None: not given; False takes it back

    def replacing(self, query: RunQuery) -> RunQuery:
        """Return a query with the fields that were given as keywords in place of its own.

        Raises:
            ConfigurationError: it is no `RunQuery`.
        """
        if not isinstance(query, RunQuery):
            msg = f"query must be a RunQuery, got {shown(query)}; RunQuery.of(**mapping) makes one of a mapping"
            raise ConfigurationError(msg)
        order = {} if self.newest_first is None else {"newest_first": self.newest_first}
        return query.but(**{**self.given(), **order})


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Filter(NamedTuple):
    """Represent a filter: how its value is converted, and whether a run, with the spans of its traces, fits it."""

    read: Callable[[Any], Any]
    fits: Callable[[AgentRun, Iterable[SpanRecord], Any], bool]


class _NoTextError(Exception):
    """Indicate a value that is no text where one is needed."""


def _checked_text(given: Any) -> str:
    if not isinstance(given, str):
        raise _NoTextError
    return given


def _checked_texts(given: Any) -> tuple[str, ...]:
    return (
        (given,)
        if isinstance(given, str)
        else tuple(map(_checked_text, given if isinstance(given, Iterable) else (given,)))
    )


def _known_user_ids(given: Any) -> frozenset[str]:
    try:
        return known_forms(given)
    except ValueError:  # an integer of thousands of digits has no text
        raise _NoTextError from None


def _checked_status(given: Any) -> str:
    if given not in STATUSES:
        msg = f"status must be one of {', '.join(STATUSES)}, got {shown(given)}"
        raise ConfigurationError(msg)
    return str(given)


def status_of(run: AgentRun) -> str:
    """Return the status of a run as people see it and metrics count it, one of `STATUSES`.

    It is "interrupted" for a running run whose process is known to be gone, and "paused" for one that a signal ended, such
    as a framework's pause (`interrupted_for`), which neither succeeded nor failed.
    """
    if run.status is RunStatus.RUNNING and run.interrupted is True:
        return INTERRUPTED
    if run.status is RunStatus.SUCCESS and run.interrupted_for is not None:
        return PAUSED
    return run.status.value


def _has_status(run: AgentRun, _: Any, status: str) -> bool:
    return status == status_of(run) or (status == RunStatus.RUNNING.value and run.status is RunStatus.RUNNING)


def _tool_or_any(given: Any) -> str:
    return ANY_TOOL if given is True else _checked_text(given)


def _all_steps(run: AgentRun) -> Iterator[AgentStep]:
    return (step for part in run.walk() for step in part.steps)


def _has_tool_error(run: AgentRun, _: Any, tool: str) -> bool:
    return any(
        step.kind is StepKind.TOOL and step.error is not None and tool in (ANY_TOOL, step.name)
        for step in _all_steps(run)
    )


def models_in(run: AgentRun) -> set[str]:
    """Return the models that answered or were requested in a run and its sub-agents, by which the filter `model` goes.

    Where both are known of a call, the latter is an attribute.
    """
    parts: list[AgentRun | AgentStep] = [*run.walk(), *_all_steps(run)]
    names = (name for part in parts for name in (part.model, part.attributes.get(semconv.REQUEST_MODEL)))
    return {name for name in names if isinstance(name, str)}


def _has_model(run: AgentRun, _: Any, model: str) -> bool:
    return model in models_in(run)


def _takes_part(run: AgentRun, spans: Iterable[SpanRecord], service: str) -> bool:
    return any(part.service_name == service for part in run.walk()) or any(
        span.resource.attributes.get(semconv.SERVICE_NAME) == service for span in spans
    )


def _has_tags(run: AgentRun, _: Any, tags: tuple[str, ...]) -> bool:
    return set(tags) <= set(run.tags)


def _checked_facts(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        msg = f'where must be a mapping like {{"metadata.tenant": "acme"}}, got {shown(given)}'
        raise ConfigurationError(msg)
    return dict(given)


def facts_of(words: Iterable[str]) -> dict[str, Any]:
    """Return the condition `where` of words like ``metadata.tenant=acme``, whose values are JSON, else texts.

    Raises:
        ConfigurationError: a word has no name or no sign, or a name has two values.
    """
    facts: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not (name and sign):
            raise ConfigurationError(f"{word!r} must be like metadata.tenant=acme")
        value = _json_or_text(text)
        if name in facts and not same(facts[name], value):
            raise ConfigurationError(f"{name} is given twice with different values")
        facts[name] = value
    return facts


def _json_or_text(text: str) -> Any:
    """Return the value of a JSON text, or a text that is no JSON itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _has_facts(run: AgentRun, _: Any, facts: dict[str, Any]) -> bool:
    return all(any(same(found, value) for found in _facts_called(name, run)) for name, value in facts.items())


def _facts_called(name: str, run: AgentRun) -> list[Any]:
    """Return the values that a run has under a name; a name of step attributes may have many."""
    where, dot, key = name.partition(".")
    if not dot:
        places, key = [run.attributes], name
    elif where == "step":
        places = [step.attributes for step in _all_steps(run)]
    elif where == "metadata":
        places = [run.metadata]
    elif where == "resource":
        places = [run.resource]
    else:
        places, key = [run.attributes], name
    return [place[key] for place in places if key in place]


def _score_conditions(given: Any) -> tuple[ScoreCondition, ...]:
    if isinstance(given, Mapping):
        raise ConfigurationError(f'score must be like "helpful<0.5", or several of these, got {shown(given)}')
    return tuple(map(score_condition, _checked_texts(given)))


def _has_scores(run: AgentRun, _: Any, conditions: tuple[ScoreCondition, ...]) -> bool:
    return all(condition.holds(run) for condition in conditions)


def duration_ns(name: str, given: Any) -> Decimal:
    """Return a duration in nanoseconds, exactly as written: 0.1 is a tenth of a second.

    Args:
        name: the name of what is given, for the error.
        given: seconds, a text such as ``200ms``, or a `timedelta`.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(given, timedelta) and given >= timedelta():
        return Decimal(given // _MICROSECOND) * 1000
    match = None if isinstance(given, bool) else _DURATION.fullmatch(_number_text(given))
    if match is None:
        msg = f'{name} must be seconds, or a text like "200ms", "1.5s" or "2m", got {shown(given)}'
        raise ConfigurationError(msg)
    return Decimal(match[1]) * _UNITS_NS[match[2] or "s"]


def _number_text(given: Any) -> str:
    """Return a number as text without an exponent; an empty text for one that is too long to be written."""
    if isinstance(given, str):
        return given.strip()
    try:
        return format(Decimal(str(given)), "f")
    except (InvalidOperation, ValueError):  # ValueError: an integer of thousands of digits
        return ""


def _lasts_at_least(run: AgentRun, _: Any, least_ns: Decimal) -> bool:
    return run.ended_at_ns is not None and run.ended_at_ns - run.started_at_ns >= least_ns


def _casefolded(given: Any) -> str:
    return _checked_text(given).casefold()


def _contains_text(run: AgentRun, _: Any, text: str) -> bool:
    return any(text in found.casefold() for part in run.walk() for found in _own_texts_of(part))


def _own_texts_of(run: AgentRun) -> Iterator[str]:
    """Yield the texts in a run, without those of sub-agents' runs."""
    yield from _texts_in([run.user_input, run.final_output, run.error])
    for step in run.steps:
        yield from _texts_in([step.input, step.output, step.error, *step.messages])


def _texts_in(values: list[Any]) -> Iterator[str]:
    """Yield each text, key and number in values; other objects as their JSON has them."""
    pending, seen = values[::-1], dict[int, Any]()  # holding the objects keeps their ids from being used again
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, StepError):
            pending += [value.message, value.type]
        elif isinstance(value, Message):
            pending += [value.extra, value.name]
            pending += [found for part in value.parts for key, found in part.items() if key != "type"]
        elif isinstance(value, dict | list | tuple | set | frozenset):
            if id(value) not in seen:  # a value from a user's backend may contain itself
                seen[id(value)] = value
                pending += value if not isinstance(value, dict) else [*value.values(), *value]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield _number_text(value)
        elif value is not None and not isinstance(value, bool):
            pending.append(encode(value).data)


def _has_id_beginning(run: AgentRun, _: Any, run_id: str) -> bool:
    if run_id == LAST:
        return True  # the order and the limit of the query choose the newest
    return any(known.startswith(run_id) for known in (*trace_ids_of(run), *(part.run_id for part in run.walk())))


def trace_ids_of(run: AgentRun) -> tuple[str, ...]:
    """Return the ids of the traces that a run was read from."""
    return run.trace_ids or ((run.trace_id,) if run.trace_id else ())


def moment_ns(when: Any) -> int:
    """Return Unix nanoseconds for a datetime, a date, a timedelta (ago), Unix seconds or a text ("7d" ago, ISO 8601).

    A time without an offset is local time.

    Raises:
        ConfigurationError: the value is not a time.
    """
    try:
        return _unix_ns(when)
    except (ValueError, OverflowError):
        msg = (
            f'a time must be ISO 8601 like "2026-11-22T18:00:00+01:00", or an age like "30m" or "7d", got {shown(when)}'
        )
        raise ConfigurationError(msg) from None


def _unix_ns(when: Any) -> int:
    if isinstance(when, timedelta):
        return time.time_ns() - when // _MICROSECOND * 1000
    if isinstance(when, datetime):
        return int(when.replace(microsecond=0).timestamp()) * _NS_PER_S + when.microsecond * 1000
    if isinstance(when, date):
        return _unix_ns(datetime(when.year, when.month, when.day))  # noqa: DTZ001 - a day is a local day
    if isinstance(when, int | float) and not isinstance(when, bool):
        return int(when * _NS_PER_S)
    text = str(when).strip()
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return time.time_ns() - int(float(ago[1]) * _UNITS_S[ago[2]] * _NS_PER_S)
    return _unix_ns(datetime.fromisoformat(text.replace("Z", "+00:00")))


_FILTERS: dict[str, _Filter] = {
    "agent": _Filter(_checked_text, lambda run, _, name: run.agent_name == name),
    "status": _Filter(_checked_status, _has_status),
    "tool": _Filter(_checked_text, lambda run, _, name: any(step.tool_name == name for step in _all_steps(run))),
    "tool_error": _Filter(_tool_or_any, _has_tool_error),
    "model": _Filter(_checked_text, _has_model),
    "user_id": _Filter(_known_user_ids, lambda run, _, ids: run.user_id in ids),
    "session_id": _Filter(_checked_text, lambda run, _, session_id: run.session_id == session_id),
    "service": _Filter(_checked_text, _takes_part),
    "tag": _Filter(_checked_texts, _has_tags),
    "where": _Filter(_checked_facts, _has_facts),
    "score": _Filter(_score_conditions, _has_scores),
    "since": _Filter(moment_ns, lambda run, _, since_ns: run.started_at_ns >= since_ns),
    "until": _Filter(moment_ns, lambda run, _, until_ns: run.started_at_ns < until_ns),
    "min_duration": _Filter(functools.partial(duration_ns, "min_duration"), _lasts_at_least),
    "text": _Filter(_casefolded, _contains_text),
    "run_id": _Filter(_checked_text, _has_id_beginning),
}
"""Field of `RunQuery` → how its value is converted, and which runs fit."""


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def age(run: AgentRun) -> tuple[int, str]:
    """Return the key by which runs are sorted by time."""
    return run.started_at_ns, run.run_id


def _duration_or_none_ns(run: AgentRun) -> int:
    return -1 if run.ended_at_ns is None else run.ended_at_ns - run.started_at_ns


def _cost_or_none(costs: RunCosts, run: AgentRun) -> int:
    cost = costs.of(run)
    return cost.pico_usd if cost.priced_calls else -1


_SORTS: dict[str, Callable[[AgentRun], tuple[Any, ...]]] = {
    "time": age,
    "duration": lambda run: (_duration_or_none_ns(run), *age(run)),
    "steps": lambda run: (sum(1 for _ in _all_steps(run)), *age(run)),
    "tokens": lambda run: (run.usage.total_tokens if run.usage else 0, *age(run)),
}
"""`RunQuery.sort` → the key of which the largest come first."""
SORTS = (*_SORTS, COST, f"{SCORE_PREFIX}NAME")
"""Values of `RunQuery.sort`."""


def _order_of(sort: Any) -> Callable[[AgentRun], tuple[Any, ...]] | None:
    """Return the key by which the first runs are the largest; None for what is no order."""
    name = score_name_in(sort)
    if name is not None:
        return functools.partial(_score_or_none, name)
    return _SORTS.get(sort) if isinstance(sort, str) else None


def score_name_in(key: Any) -> str | None:
    """Return the name in a text like ``score:helpful``; None for any other value."""
    is_one = isinstance(key, str) and key.startswith(SCORE_PREFIX) and len(key) > len(SCORE_PREFIX)
    return key[len(SCORE_PREFIX) :] if is_one else None


def _score_or_none(name: str, run: AgentRun) -> tuple[Any, ...]:
    value = value_called(run, name)
    return value is not None, 0.0 if value is None else value, *age(run)
