"""Describe metadata: what frameworks add to that of every run and step is folded into a count of keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from otel_agent_trace.views.figures import plural
from otel_agent_trace.views.rows import Row
from otel_agent_trace.views.values_text import SHORT, WHOLE, value_text


class _Framework(NamedTuple):
    """Name a framework with the beginnings of its keys, and further keys that are its own where there is one of these."""

    name: str
    prefixes: tuple[str, ...]
    keys: frozenset[str] = frozenset()


_FRAMEWORKS = (
    _Framework(
        "LangGraph", ("langgraph_", "__pregel_"), frozenset({"checkpoint_ns", "checkpoint_id", "thread_id", "graph_id"})
    ),
    _Framework("LangChain", ("ls_", "lc_")),
)


def metadata_rows(label: str, metadata: Mapping[str, Any], tone: str = "", *, full: bool) -> Iterator[Row]:
    """Yield rows for metadata: with `full` one with all, else one without the keys of frameworks, and their number."""
    if full:
        own, folded = dict(metadata), Counter[str]()
    else:
        owners = {key: _owner(key, metadata) for key in metadata}
        own = {key: value for key, value in metadata.items() if owners[key] is None}
        folded = Counter(owner for owner in owners.values() if owner is not None)
    if own:
        yield Row(label, value_text(own, WHOLE if full else SHORT), tone)
    if folded:
        counts = ", ".join(f"{plural(count, 'key')} of {name}" for name, count in folded.items())
        yield Row("" if own else label, f"{counts} (--full shows them)", "faint")


def _owner(key: object, metadata: Mapping[str, Any]) -> str | None:
    """Return the framework that a key of metadata belongs to; None for one of the program's own."""
    for framework in _FRAMEWORKS:
        if str(key).startswith(framework.prefixes):
            return framework.name
        if key in framework.keys and any(str(other).startswith(framework.prefixes) for other in metadata):
            return framework.name
    return None
