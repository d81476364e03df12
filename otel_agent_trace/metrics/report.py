"""Provide `MetricsReport`: what was counted, as readable figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.metrics import frames
from otel_agent_trace.metrics.report_figures import ReportFigures
from otel_agent_trace.metrics.sketch import RELATIVE_ACCURACY
from otel_agent_trace.metrics.strata import Strata
from otel_agent_trace.notebooks import ShownInNotebooks

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_LISTED_MESSAGES = 20


@dataclass(frozen=True, repr=False)
class MetricsReport(ShownInNotebooks, ReportFigures):
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
