"""Provide `ReportFigures`: all figures of a report, each computed from the counts when it is read for the first time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar

from otel_agent_trace.metrics import of_samples
from otel_agent_trace.metrics.dropped import COUNTED_KEYS, are_buckets_counted
from otel_agent_trace.metrics.error_messages import Occurrences
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
from otel_agent_trace.metrics.outcome_tally import OutcomeTally
from otel_agent_trace.metrics.strata import Count, Sample, Strata
from otel_agent_trace.metrics.table import Table, Tally
from otel_agent_trace.metrics.tally import RunTally
from otel_agent_trace.metrics.unseen import has_unseen, has_unseen_cells, known_apart, perhaps_dropped

T = TypeVar("T")
V = TypeVar("V", bound=Tally)
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, repr=False)
class ReportFigures:
    """Hold what was counted of any number of runs; its properties are the figures."""

    _strata: Strata = field(default_factory=Strata)

    @cached_property
    def _sample(self) -> Sample[RunTally]:
        sample = self._strata.sample()
        return replace(sample, has_unseen=has_unseen(sample.of(lambda tally: tally.outcomes), _by_agent(sample)))

    @cached_property
    def _has_unseen_cells(self) -> bool:
        return has_unseen_cells(self._sample.of(lambda tally: tally.outcomes), _by_agent(self._sample))

    @cached_property
    def outcomes(self) -> Outcomes:
        """Return all figures of the outermost runs together; the properties up to `success_with_tool_errors` are its own."""
        return of_samples.outcomes(self._sample.of(lambda tally: tally.outcomes))

    @property
    def runs(self) -> Count:
        """Return the number of outermost runs."""
        return self.outcomes.runs

    @property
    def runs_interval(self) -> Bounds | None:
        """Return the 95 % interval (low, high) of the number of the outermost runs that happened; None unless sampled."""
        return self.outcomes.runs_interval

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
        """Return whether this is a sample of fewer than 30 runs, too few to trust its of_samples."""
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
        return of_samples.cost(self._sample)

    @cached_property
    def steps_per_run(self) -> Sizes:
        """Return how many steps the finished runs had, those of sub-agents included, as `list` counts them."""
        return of_samples.sizes(self._sample.of(lambda tally: tally.steps))

    @cached_property
    def tools(self) -> Mapping[str, ToolMetrics]:
        """Return the tools by name, the most called first."""
        return self._by_name(lambda tally: tally.tools, of_samples.tool, lambda tool: tool.calls)

    @cached_property
    def models(self) -> Mapping[str, ModelMetrics]:
        """Return the models by name, the most called first.

        Their tokens are those of model calls: they miss tokens that only a run reports as a whole.
        """
        return self._by_name(lambda tally: tally.models, of_samples.model, lambda model: model.calls)

    @cached_property
    def agents(self) -> Mapping[str, AgentMetrics]:
        """Return the agents by name, the one with most runs first."""
        samples = known_apart(self._sample.by_key(lambda tally: tally.agents), lambda agent: agent.outcomes)
        return MappingProxyType(of_samples.by_name(samples, of_samples.agent, lambda agent: agent.runs))

    @cached_property
    def scores(self) -> Mapping[str, ScoreMetrics]:
        """Return the scores that count in the runs, their steps and sub-agents by name, the most frequent first."""
        return self._by_name(lambda tally: tally.scores, of_samples.score, lambda score: score.count)

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
            is_in_doubt = key != "agent" and self._has_unseen_cells
            samples = known_apart(samples, lambda group: group.outcomes, is_in_doubt=is_in_doubt)
        return MappingProxyType(of_samples.by_name(samples, of_samples.group, lambda group: group.runs))

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
        messages = (figure for name, texts in by_type.items() for figure in of_samples.error_messages(name, texts))
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
            by_start = known_apart(by_start, lambda outcomes: outcomes, is_in_doubt=self._has_unseen_cells)
        entries = sorted(by_start.items(), key=lambda item: (item[0] is not None, item[0] or 0))
        return tuple(of_samples.bucket(start_ns, sample) for start_ns, sample in entries)

    def _by_name(
        self, table: Callable[[RunTally], Table[str, V]], figure: Callable[[Sample[V]], T], size: Callable[[T], float]
    ) -> Mapping[str, T]:
        return MappingProxyType(of_samples.by_name(self._sample.by_key(table), figure, size))

    def _counts(self, number: Callable[[Occurrences], int]) -> Mapping[str, Count]:
        counts = self._by_name(lambda tally: tally.categories, lambda sample: sample.total(number), lambda count: count)
        return MappingProxyType({name: count for name, count in counts.items() if count})


def _by_agent(sample: Sample[RunTally]) -> list[Sample[OutcomeTally]]:
    return [agent.of(lambda tally: tally.outcomes) for agent in sample.by_key(lambda tally: tally.agents).values()]
