"""Read and check conditions about a report, such as ``success_rate<.95``, under which a job is to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.metrics.report import MetricsReport
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import score_name_in
from otel_agent_trace.scores import condition_in

_FIGURES: dict[str, Callable[[MetricsReport], float | None]] = {
    "success_rate": lambda report: report.success_rate,
    "cost": lambda report: report.cost.total_usd,
    "p95": lambda report: report.latency.p95_s,
}
_NAMED_MODELS = 3
FIGURES = (*_FIGURES, "score:NAME")
"""Figures that a condition can be about."""


class FailCondition(NamedTuple):
    """Hold a condition: the text, the figure that it is about, whether it holds below the bound, and the bound."""

    text: str
    figure: Callable[[MetricsReport], float | None]
    is_below: bool
    bound: float

    def check(self, prices: Prices) -> None:
        """Check that there are prices, if the condition is about what runs cost.

        Raises:
            ConfigurationError: there are none; the message names what to install.
        """
        if self._is_of_cost:
            prices.check()

    def failure(self, report: MetricsReport) -> str | None:
        """Return on one line why a report fails: the condition holds, or there is nothing to measure; None if it passes."""
        value = self.figure(report)
        if value is None:
            return f"{self.text}: nothing to measure{self._unknown(report)}"
        holds = value < self.bound if self.is_below else value > self.bound
        return f"{self.text}: it is {value:.6g}{self._unknown(report)}" if holds else None

    def doubt(self, report: MetricsReport) -> str | None:
        """Return on one line why a report may pass that should not; None where all is measured.

        Calls have no price, or dropped runs are unseen.
        """
        unknown = self._unknown(report)
        least = " or more" if self._is_of_cost else ""
        return f"{self.text}: it is {self.figure(report):.6g}{least}{unknown}" if unknown else None

    def _unknown(self, report: MetricsReport) -> str:
        return f"{self._unpriced(report)}{self._unseen(report)}"

    def _unseen(self, report: MetricsReport) -> str:
        sample = report.sample
        if sample is None or not (sample.perhaps_dropped if self._is_of_success else sample.has_unseen):
            return ""
        dropped = round(report.runs) - sample.runs + sample.perhaps_dropped
        return f"; runs are unseen among {dropped:,} dropped"

    @property
    def _is_of_success(self) -> bool:
        return self.figure is _FIGURES["success_rate"]

    @property
    def _is_of_cost(self) -> bool:
        return self.figure is _FIGURES["cost"]

    def _unpriced(self, report: MetricsReport) -> str:
        models = [each.model for each in report.cost.unpriced] if self._is_of_cost else []
        more = f" and {len(models) - _NAMED_MODELS:,} more" if len(models) > _NAMED_MODELS else ""
        return f"; no price is known of {', '.join(models[:_NAMED_MODELS])}{more}" if models else ""


def fail_condition(given: str) -> FailCondition:
    """Return the condition that a text like ``success_rate<.95``, ``p95 > 30`` or ``score:helpful<0.5`` stands for.

    Raises:
        ConfigurationError: it is no such text; the message has the figures that there are.
    """
    found = condition_in(given)
    figure = None if found is None else _figure_of(found.name)
    if found is None or figure is None or found.sign not in ("<", ">") or not isinstance(found.operand, float):
        msg = (
            f'fail-if must be like "success_rate<.95", with < or > and one of {", ".join(FIGURES)}, got {shown(given)}'
        )
        raise ConfigurationError(msg)
    return FailCondition(given.strip(), figure, found.sign == "<", found.operand)


def _figure_of(name: str) -> Callable[[MetricsReport], float | None] | None:
    score = score_name_in(name)
    return _FIGURES.get(name) if score is None else lambda report: _mean_of(report, score)


def _mean_of(report: MetricsReport, name: str) -> float | None:
    """Return the mean of the values of a score, of which true is 1 and false 0."""
    score = report.scores.get(name)
    if score is None or not score.numbers + score.true + score.false:
        return None
    return ((score.mean or 0.0) * score.numbers + score.true) / (score.numbers + score.true + score.false)
