"""Price the model calls in a table of spans: find what rates they have, and compute by SQL what each costs.

The rates of a call follow from its provider, its models, its time and its number of input tokens. The first statement is
over ``facts``, and lists the providers and models that were called, and the days; a call finds its rates by a key of all four.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.model import TOKEN_FIELDS, AgentStep, StepKind
from otel_agent_trace.prices import Prices, Rates
from otel_agent_trace.prices.published import DAY_NS, PublishedModel

COUNTED_TOKENS = " OR ".join(f"{field} IS NOT NULL" for field in TOKEN_FIELDS)
"""Condition for a span that reports tokens."""
_IS_CALL = f"kind = 'model' AND ({COUNTED_TOKENS})"
_BREAK = "\x1f"
_MODEL = f" || '{_BREAK}' || ".join(
    f"coalesce({column}, '')" for column in ("provider", "response_model", "request_model")
)
CALLED = (
    f"SELECT {_MODEL} AS called, start_ns - start_ns % {DAY_NS} AS day_ns, count(*) AS calls"
    f" FROM facts WHERE {_IS_CALL} AND NOT odd GROUP BY called, day_ns"
)
"""Models that were called, by day, with the numbers of calls, in ``facts``."""
_MOST_KEYS = 1_000
_GREATEST_RATE = 1 << 31
"""Greatest rate by which the cost of the tokens that a usual trace may have is an integer of 64 bits."""
_PARTS = {
    "input": "coalesce(input_tokens, 0) - coalesce(cache_read_input_tokens, 0) - coalesce(cache_write_input_tokens, 0)",
    "output": "coalesce(output_tokens, 0) - coalesce(reasoning_output_tokens, 0)",
    "cache_read": "coalesce(cache_read_input_tokens, 0)",
    "cache_write": "coalesce(cache_write_input_tokens, 0)",
    "reasoning": "coalesce(reasoning_output_tokens, 0)",
}
RATES = tuple(f"{name}_rate" for name in Rates._fields)
"""Columns of the rates of a call, which `COST` is of."""
_COST_OF_PARTS = " + ".join(
    f"CASE WHEN {part} = 0 THEN 0 ELSE ({part}) * {rate}_rate END" for rate, part in _PARTS.items()
)
COST = (
    f"CASE WHEN {_IS_CALL} AND {_PARTS['input']} >= 0 AND {_PARTS['output']} >= 0 THEN call_rate + {_COST_OF_PARTS} END"
)
"""Cost of a span in 1e-12 dollars, NULL where it has no price, as `Rates.cost_of` has it."""


class SpanRates(NamedTuple):
    """Hold the rates of calls by a key of their model, their size and their time.

    `sizes` are the numbers of input tokens above which any of these calls has other rates, `days_ns` the times from which.
    `unfit` are the models whose calls SQL does not price.
    """

    by_key: Mapping[str, Rates]
    sizes: Sequence[int]
    days_ns: Sequence[int]
    unfit: Sequence[str]

    @property
    def key(self) -> str:
        """Return the expression for the key of a call."""
        places = (_place("coalesce(input_tokens, 0) >", self.sizes), _place("start_ns >=", self.days_ns))
        return f" || '{_BREAK}' || ".join((_MODEL, *(f"CAST({place} AS VARCHAR)" for place in places)))

    def columns(self) -> dict[str, list[int | None]]:
        """Return the rates in the order of their keys, by the name of the column."""
        return {name: [rates[place] for rates in self.by_key.values()] for place, name in enumerate(RATES)}

    def unfit_traces(self, models: str) -> str:
        """Return the statement for the traces of which SQL prices no calls, given a list of `unfit` models."""
        return f"SELECT trace_id FROM facts WHERE {_IS_CALL} AND {_MODEL} IN {models}"


def rates_of_calls(prices: Prices, rows: Iterable[Sequence[Any]]) -> SpanRates:
    """Return the rates of the calls that the rows of `CALLED` are of."""
    days_of, calls_of = defaultdict[str, list[int]](list), Counter[str]()
    for called, day_ns, calls in rows:
        days_of[called].append(int(day_ns))
        calls_of[called] += calls
    unfit = {called for called in days_of if called.count(_BREAK) > 2}  # a name has one itself
    found = {called: model for called in days_of.keys() - unfit if (model := _known(prices, called)) is not None}
    unfit |= {called for called, model in found.items() if not _is_by_day(model)}
    sizes = sorted({size for called in found.keys() - unfit for size in _sizes_of(found[called])})
    rates_of = {
        called: {day_ns: _rates_by_size(found[called], day_ns, sizes) for day_ns in sorted(days_of[called])}
        for called in found.keys() - unfit
    }
    unfit |= {called for called, by_day in rates_of.items() if _greatest(by_day.values()) > _GREATEST_RATE}
    days_ns = sorted({day_ns for by_day in rates_of.values() for day_ns in _changes(by_day)})
    by_key: dict[str, Rates] = {}
    for called in sorted(rates_of.keys() - unfit, key=lambda called: (-calls_of[called], called)):
        added = dict(_with_keys(called, rates_of[called], days_ns))
        if len(by_key) + len(added) > _MOST_KEYS:
            unfit.add(called)
        else:
            by_key |= added
    return SpanRates(by_key, sizes, days_ns, sorted(unfit))


_BySize = tuple[Rates, ...]


def _place(condition: str, starts: Sequence[int]) -> str:
    """Return the expression for the number of starts that a condition holds for."""
    return " + ".join(f"CASE WHEN {condition} {start} THEN 1 ELSE 0 END" for start in starts) or "0"


def _known(prices: Prices, called: str) -> Rates | PublishedModel | None:
    provider, answered, requested = called.split(_BREAK, 2)
    attributes = {semconv.PROVIDER_NAME: provider, semconv.REQUEST_MODEL: requested}
    return prices.of_model(AgentStep(kind=StepKind.MODEL, name="", model=answered or requested, attributes=attributes))


def _is_by_day(model: Rates | PublishedModel) -> bool:
    return isinstance(model, Rates) or model.period_ns >= DAY_NS


def _sizes_of(model: Rates | PublishedModel) -> Sequence[int]:
    return model.steps if isinstance(model, PublishedModel) else ()


def _rates_by_size(model: Rates | PublishedModel, day_ns: int, sizes: Sequence[int]) -> _BySize:
    if isinstance(model, Rates):
        return (model,) * (len(sizes) + 1)
    return tuple(model.rates(day_ns, tokens, None) for tokens in (0, *(size + 1 for size in sizes)))


def _greatest(rates: Iterable[_BySize]) -> int:
    return max(rate or 0 for by_size in rates for each in by_size for rate in each)


def _changes(by_day: Mapping[int, _BySize]) -> list[int]:
    """Return the days on which the rates are not those of the day before, among those that there are."""
    days = list(by_day)
    return [day for before, day in pairwise(days) if by_day[before] != by_day[day]]


def _with_keys(called: str, by_day: Mapping[int, _BySize], days_ns: Sequence[int]) -> Iterable[tuple[str, Rates]]:
    for day_ns, by_size in by_day.items():
        for size, rates in enumerate(by_size):
            yield _BREAK.join((called, str(size), str(bisect_right(days_ns, day_ns)))), rates
