"""Describe all steps of a run by a few numbers each, in columns, from which a page draws the tree and the time axis."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.model import AgentRun, RunStatus, StepKind
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import INTERRUPTED, PAUSED
from otel_agent_trace.values.classes import repaired
from otel_agent_trace.views.call_figures import CallFigures, call_figures
from otel_agent_trace.views.cause import cause_of
from otel_agent_trace.views.head import head_of
from otel_agent_trace.views.item_facts import ERROR, OK, is_live, kind_of, name_of, status_of_item
from otel_agent_trace.views.items import Item, RunItems

STATUSES = (OK, ERROR, RunStatus.RUNNING.value, INTERRUPTED, PAUSED, RunStatus.TIMEOUT.value)
"""Statuses of items; in an outline, each is written as its place here."""
KINDS = tuple(
    kind.value for kind in (StepKind.AGENT, StepKind.MODEL, StepKind.TOOL, StepKind.RETRIEVAL, StepKind.OTHER)
)
_NS_PER_US = 1000
_IN_FLIGHT = -1


def outline_of(
    run: AgentRun | RunItems,
    prices: Prices | None = None,
    *,
    ids: bool = False,
    revision: str = "",
    command: str = "",
) -> dict[str, Any]:
    """Return the outline of a run as JSON-able data: its head, columns with an entry for each item, and the cause.

    Args:
        run: the run, or its items.
        prices: what model calls cost; without them no cost is known.
        ids: whether to add the column of span ids.
        revision: what distinguishes this state of a running run from later ones.
        command: the command that replays the run.
    """
    items = RunItems.of(run)
    figures = call_figures(items, prices)
    columns, names = _columns(items, figures)
    if ids:
        columns["ids"] = [item.subject.span_id for item in items]
    return {
        "run_id": repaired(items.run.run_id),
        "revision": revision,
        "started_at_ns": str(items.run.started_at_ns),
        "is_running": is_live(items),
        "head": head_of(items, figures, command=command),
        "names": names,
        "kinds": [*KINDS],
        "columns": columns,
        "cause": cause_of(items),
        "selected": None,
    }


class _Names(dict[str, int]):
    """Number names in the order in which they are first looked up."""

    def __missing__(self, name: str) -> int:
        return self.setdefault(name, len(self))


def _columns(items: RunItems, figures: CallFigures) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the columns of an outline, and the names that are numbered in them."""
    names = _Names()
    codes = {status: code for code, status in enumerate(STATUSES)}
    kinds = {kind: code for code, kind in enumerate(KINDS)}
    began_ns = items.run.started_at_ns
    columns = {
        "depth": [item.depth for item in items],
        "kind": [kinds[kind_of(item)] for item in items],
        "name": [names[repaired(name_of(item))] for item in items],
        "start_us": [(item.subject.started_at_ns - began_ns) // _NS_PER_US for item in items],
        "duration_us": [_duration_us(item) for item in items],
        "status": [codes[status_of_item(items, item)] for item in items],
        "tokens": figures.tokens,
        "cost_nano_usd": figures.nano_usd,
    }
    return columns, [*names]


def _duration_us(item: Item) -> int:
    ended_ns = item.subject.ended_at_ns
    return _IN_FLIGHT if ended_ns is None else max(ended_ns - item.subject.started_at_ns, 0) // _NS_PER_US
