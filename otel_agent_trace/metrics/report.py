"""Provide `MetricsReport`: what was counted, as readable figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.metrics import figures, frames
from otel_agent_trace.metrics.dropped import COUNTED_KEYS, are_buckets_counted
from otel_agent_trace.metrics.estimates import Bounds
from otel_agent_trace.metrics.figures import (
    AgentMetrics,
    Bucket,
    Cost,
    ErrorMessage,
    GroupMetrics,
    Latency,
    ModelMetrics,
    Outcomes,
    Sampled,
    ScoreMetrics,
    Sizes,
    Tokens,
    ToolMetrics,
)
from otel_agent_trace.metrics.sketch import RELATIVE_ACCURACY
from otel_agent_trace.metrics.strata import Count, Sample, Strata
from otel_agent_trace.metrics.table import Table, Tally
from otel_agent_trace.metrics.tally import Occurrences, RunTally
from otel_agent_trace.metrics.unseen import has_unseen, known_apart, perhaps_dropped

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

T = TypeVar("T")
V = TypeVar("V", bound=Tally)
_NS_PER_S = 1_000_000_000
_LISTED_MESSAGES = 20


@dataclass(frozen=True, repr=False)
class MetricsReport:
    """Hold the figures of any number of runs, as `compute_metrics` returns them; ``MetricsReport()`` is that of
    none.

    Reports add up: ``a + b`` is the report of the runs of both, in whichever order and grouping. Runs, rates, latency
    and tokens are of the outermost runs (each with the tokens of the runs below it); tools, models and step errors are
    of the runs below them as well.

    A run that was kept with a probability p, as samplers record it, stands for 1/p runs in every figure.

    Tables by name hold up to 1000 names, those of error types up to 200, of the labels of a score and of the scores of a
    group up to 30, the series up to 10 000 buckets: what is beyond counts under the name ``(other)`` and, of the series,
    in a first bucket without a start. Which names are kept depends on the names alone. A tool, model or agent without a
    name is ``unknown``.
    """

    _strata: Strata = field(default_factory=Strata)

    def __add__(self, other: MetricsReport) -> MetricsReport:
        """Return the report of the runs of both.

        Raises:
            ConfigurationError: the buckets of their series differ in width, or their groups are by different keys.
        """
        if not isinstance(other, MetricsReport):
            return NotImplemented
        strata = Strata(
            bucket_ns=_shared("bucket_ns", self, other, _width_text), by=_shared("by", self, other, _groups_text) or ()
        )
        strata.absorb(self._strata)
        strata.absorb(other._strata)
        return MetricsReport(strata)

    def __reduce__(self) -> tuple[type[MetricsReport], tuple[Strata]]:
        return type(self), (self._strata,)  # the figures are views, which cannot be pickled, and are soon built again

    def __repr__(self) -> str:
        return f"<MetricsReport of {self.runs} runs, success rate {self.success_rate}>"

    @cached_property
    def _sample(self) -> Sample[RunTally]:
        sample = self._strata.sample()
        return replace(sample, has_unseen=has_unseen(sample.of(lambda tally: tally.outcomes)))

    @cached_property
    def outcomes(self) -> Outcomes:
        """Return all figures of the outermost runs together; the properties up to `success_with_tool_errors` are its own."""
        return figures.outcomes(self._sample.of(lambda tally: tally.outcomes))

    @property
    def runs(self) -> Count:
        """Return the number of outermost runs."""
        return self.outcomes.runs

    @property
    def running(self) -> Count:
        """Return the number of outermost runs that have not ended."""
        return self.outcomes.running

    @property
    def success(self) -> Count:
        """Return the number of outermost runs that succeeded."""
        return self.outcomes.success

    @property
    def errors(self) -> Count:
        """Return the number of outermost runs that ended in an error."""
        return self.outcomes.errors

    @property
    def timeouts(self) -> Count:
        """Return the number of outermost runs that ended in a timeout."""
        return self.outcomes.timeouts

    @property
    def paused(self) -> Count:
        """Return the number of outermost runs that a signal ended, which neither succeeded nor failed."""
        return self.outcomes.paused

    @property
    def interrupted(self) -> Count:
        """Return `paused` by its former name."""
        return self.paused

    @property
    def finished(self) -> Count:
        """Return the number of outermost runs that succeeded or failed."""
        return self.outcomes.finished

    @property
    def success_rate(self) -> float | None:
        """Return the share of the finished runs that succeeded, from 0 to 1; None without one."""
        return self.outcomes.success_rate

    @property
    def success_interval(self) -> tuple[float, float] | None:
        """Return the 95 % Wilson interval (low, high) of the success rate; None without a finished run."""
        return self.outcomes.success_interval

    @property
    def sampling_interval(self) -> Bounds | None:
        """Return the 95 % interval (low, high) of the success rate of the runs that happened; None unless sampled."""
        return self.outcomes.sampling_interval

    @property
    def too_few(self) -> bool:
        """Return whether this is a sample of fewer than 30 runs, too few to trust its figures."""
        return self.outcomes.too_few

    @cached_property
    def sample(self) -> Sampled | None:
        """Return how large the sample is; None where every run stands for itself alone."""
        if not self._sample.is_sampled:
            return None
        outcomes = self._sample.of(lambda tally: tally.outcomes)
        return Sampled(
            runs=outcomes.kept(lambda tally: tally.runs),
            has_unseen=outcomes.has_unseen,
            perhaps_dropped=perhaps_dropped(outcomes),
        )

    @property
    def latency(self) -> Latency:
        """Return the durations of the finished runs, in seconds."""
        return self.outcomes.latency

    @property
    def tokens(self) -> Tokens:
        """Return the tokens of all runs and the runs below them, none counted twice."""
        return self.outcomes.tokens

    @property
    def first_chunk(self) -> Latency:
        """Return the times to the first chunk of the runs that streamed chunks themselves, in seconds."""
        return self.outcomes.first_chunk

    @property
    def loops(self) -> Count:
        """Return the number of outermost runs in which a tool was called three times, or more, with the same input."""
        return self.outcomes.loops

    @property
    def retries(self) -> Count:
        """Return the number of calls of tools and models before which the same call had failed in the same run."""
        return self.outcomes.retries

    @property
    def success_with_tool_errors(self) -> Count:
        """Return the number of outermost runs that succeeded although a call of a tool failed."""
        return self.outcomes.success_with_tool_errors

    @cached_property
    def cost(self) -> Cost:
        """Return what the model calls of all runs and of the runs below them cost, and which calls have no price."""
        costs = self._sample.of(lambda tally: tally.outcomes.cost)
        return figures.cost(costs, self._sample.by_key(lambda tally: tally.unpriced))

    @cached_property
    def steps_per_run(self) -> Sizes:
        """Return how many steps the finished runs had, those of sub-agents included, as `list` counts them."""
        return figures.sizes(self._sample.of(lambda tally: tally.steps))

    @cached_property
    def tools(self) -> Mapping[str, ToolMetrics]:
        """Return the tools by name, the most called first."""
        return self._by_name(lambda tally: tally.tools, figures.tool, lambda tool: tool.calls)

    @cached_property
    def models(self) -> Mapping[str, ModelMetrics]:
        """Return the models by name, the most called first.

        Their tokens are those of model calls: they miss tokens that only a run reports as a whole.
        """
        return self._by_name(lambda tally: tally.models, figures.model, lambda model: model.calls)

    @cached_property
    def agents(self) -> Mapping[str, AgentMetrics]:
        """Return the agents by name, the one with most runs first."""
        samples = known_apart(self._sample.by_key(lambda tally: tally.agents), lambda agent: agent.outcomes)
        return MappingProxyType(figures.by_name(samples, figures.agent, lambda agent: agent.runs))

    @cached_property
    def scores(self) -> Mapping[str, ScoreMetrics]:
        """Return the scores that count in the runs, their steps and sub-agents by name, the most frequent first."""
        return self._by_name(lambda tally: tally.scores, figures.score, lambda score: score.count)

    @cached_property
    def by(self) -> Mapping[str, Mapping[str, GroupMetrics]]:
        """Return, for each key that groups are by, the groups of runs by name, the largest first.

        Runs without anything under the key are ``(none)``. A run counts once in each of its groups: it may have several
        tags, models, versions of prompts or scores.
        """
        return MappingProxyType({key: self._groups_by(key) for key in self._strata.by})

    @property
    def groups(self) -> Mapping[str, GroupMetrics]:
        """Return the groups by the first key; none without a key."""
        return next(iter(self.by.values()), MappingProxyType({}))

    def _groups_by(self, key: str) -> Mapping[str, GroupMetrics]:
        is_counted = key in COUNTED_KEYS
        sample = self._sample if is_counted else self._sample.estimated()
        samples = sample.by_key(lambda tally: tally.groups[key])
        if is_counted:
            samples = known_apart(samples, lambda group: group.outcomes)
        return MappingProxyType(figures.by_name(samples, figures.group, lambda group: group.runs))

    @cached_property
    def run_errors(self) -> Mapping[str, Count]:
        """Return how many outermost runs failed, by category of error, the most frequent first."""
        return self._counts(lambda seen: seen.runs)

    @cached_property
    def step_errors(self) -> Mapping[str, Count]:
        """Return how many steps of any kind failed, by category of error, the most frequent first.

        The failure of a sub-agent is one of the step that stands for it.
        """
        return self._counts(lambda seen: seen.steps)

    @cached_property
    def error_messages(self) -> tuple[ErrorMessage, ...]:
        """Return the errors of runs and steps by type and message, the most frequent first."""
        by_type = self._sample.by_key(lambda tally: tally.error_types)
        messages = (figure for name, texts in by_type.items() for figure in figures.error_messages(name, texts))
        return tuple(sorted(messages, key=lambda error: (-error.count, error.type, error.message)))

    @property
    def bucket_s(self) -> float | None:
        """Return the width of the series' buckets in seconds; None without a series."""
        return None if self._strata.bucket_ns is None else self._strata.bucket_ns / _NS_PER_S

    @cached_property
    def series(self) -> tuple[Bucket, ...]:
        """Return the buckets in which a run began, in order of time; buckets without a run are left out."""
        is_counted = self._strata.bucket_ns is not None and are_buckets_counted(self._strata.bucket_ns)
        sample = self._sample if is_counted else self._sample.estimated()
        by_start = sample.by_key(lambda tally: tally.series)
        if is_counted:
            by_start = known_apart(by_start, lambda outcomes: outcomes)
        entries = sorted(by_start.items(), key=lambda item: (item[0] is not None, item[0] or 0))
        return tuple(figures.bucket(start_ns, sample) for start_ns, sample in entries)

    def _by_name(
        self, table: Callable[[RunTally], Table[str, V]], figure: Callable[[Sample[V]], T], size: Callable[[T], float]
    ) -> Mapping[str, T]:
        return MappingProxyType(figures.by_name(self._sample.by_key(table), figure, size))

    def _counts(self, number: Callable[[Occurrences], int]) -> Mapping[str, Count]:
        counts = self._by_name(lambda tally: tally.categories, lambda sample: sample.total(number), lambda count: count)
        return MappingProxyType({name: count for name, count in counts.items() if count})

    def to_dict(self, *, error_messages: int = _LISTED_MESSAGES) -> dict[str, Any]:
        """Return JSON-serializable data: all properties by name, with only the most frequent messages.

        `error_messages` is the most messages to list. In the result, `relative_accuracy` is how far a quantile may be
        from the true one, as a share, and `error_messages_left_out` the number of occurrences of the messages that are
        not listed.
        """
        listed, left_out = self.error_messages[:error_messages], self.error_messages[error_messages:]
        outcomes = msgspec.structs.asdict(self.outcomes)
        del outcomes["cost_usd"]  # it is the total of `cost`
        data = {
            "relative_accuracy": RELATIVE_ACCURACY,
            **({"sample": self.sample} if self.sample else {}),
            **outcomes,
            "cost": self.cost,
            "steps_per_run": self.steps_per_run,
            "tools": dict(self.tools),
            "models": dict(self.models),
            "agents": dict(self.agents),
            "scores": dict(self.scores),
            "by": {key: dict(groups) for key, groups in self.by.items()},
            "groups": dict(self.groups),
            "run_errors": dict(self.run_errors),
            "step_errors": dict(self.step_errors),
            "error_messages": listed,
            "error_messages_left_out": sum(error.count for error in left_out),
            "bucket_s": self.bucket_s,
            "series": self.series,
        }
        plain: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(data), allow_nan=False))  # lists, no tuples
        return plain

    def to_pandas(self) -> pd.DataFrame:
        """Return a `pandas.DataFrame` of all figures but errors, with a row for each thing that has some.

        The column ``table`` is ``total``, ``agents``, ``tools``, ``models``, ``scores``, ``by KEY``, ``scores by KEY`` or
        ``series``; ``name``, ``score`` and ``start`` are the keys of its rows. The figures are columns of floats,
        the same ones for every report.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        return frames.to_pandas(self)

    def to_arrow(self) -> pa.Table:
        """Return a `pyarrow.Table` with the columns and rows of `to_pandas`.

        Raises:
            ConfigurationError: pyarrow is not installed.
        """
        return frames.to_arrow(self)


def _shared(setting: str, one: MetricsReport, other: MetricsReport, text_of: Callable[[MetricsReport], str]) -> Any:
    """Return the setting of the tally that both reports share; a report without runs and without the setting fits any."""
    given = [(report.runs, getattr(report._strata, setting)) for report in (one, other)]  # noqa: SLF001
    values = {value for runs, value in given if runs or value}
    if len(values) > 1:
        raise ConfigurationError(
            f"reports that were computed in different ways cannot be added: {text_of(one)} and {text_of(other)}; "
            "compute both with the same bucket and by"
        )
    return next(iter(values), None)


def _width_text(report: MetricsReport) -> str:
    return "no buckets" if report.bucket_s is None else f"buckets of {report.bucket_s:g} s"


def _groups_text(report: MetricsReport) -> str:
    return f"groups by {', '.join(report.by)}" if report.by else "no groups"
