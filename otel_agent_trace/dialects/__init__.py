"""What one span says: one module per attribute scheme, each a `read(span) -> Meaning | None`; a table picks.

None of the modules knows another. Of the schemes whose evidence is in a span the first that tells a fact is believed, fact
by fact; a fact is never put together from two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.dialects import (
    adk,
    agent_framework,
    agentops,
    claude_code,
    conventions,
    crewai,
    genai,
    haystack,
    langfuse,
    langsmith,
    livekit,
    logfire,
    mlflow,
    openinference,
    openlit,
    pydantic_ai,
    spring_ai,
    traceloop,
    vendors,
    vercel,
)
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.span import SpanRecord

Read = Callable[[SpanRecord], "Meaning | None"]
ENTRY_POINT_GROUP = "otel_agent_trace.dialects"
"""Entry points of this group add dialects, which are asked before those here: each a `Dialect`, or a function `read`."""


class Dialect(NamedTuple):
    """A row of the table.

    `namespaces`: the first parts (before the first dot) of attribute names that are evidence for it; `scopes`: beginnings
    of the names of instrumentation scopes that are. With neither it is asked about every span.
    """

    name: str
    read: Read
    namespaces: frozenset[str] = frozenset()
    scopes: tuple[str, ...] = ()


def _row(module: Any, *namespaces: str, scopes: tuple[str, ...] = ()) -> Dialect:
    return Dialect(module.NAME, module.read, frozenset(namespaces), scopes)


DIALECTS: tuple[Dialect, ...] = (
    _row(langsmith, "langsmith"),
    _row(langfuse, "langfuse"),
    _row(mlflow, "mlflow"),
    _row(crewai, "crew_key", "task_key", "crewai", scopes=("opentelemetry.instrumentation.crewai",)),
    _row(openinference, "openinference"),
    _row(vercel, "ai"),
    _row(agentops, "agentops"),
    _row(adk, "gcp", scopes=("gcp.vertex.agent",)),
    _row(agent_framework, "workflow", scopes=("agent_framework",)),
    _row(haystack, "haystack", scopes=("haystack",)),
    _row(pydantic_ai, "pydantic_ai", "final_result", "all_messages_events", scopes=("pydantic-ai",)),
    _row(logfire, "logfire"),
    _row(openlit, "function", scopes=("openlit",)),
    _row(claude_code, "span"),
    _row(spring_ai, "spring"),
    _row(livekit, "lk"),
    _row(vendors),
    _row(traceloop, "traceloop", "llm"),
    _row(conventions, "gen_ai"),
)


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, in the dialects that understand it."""
    attributes = span.attributes
    if is_ours(span):
        return genai.read(span)
    meanings = [
        meaning
        for dialect in _candidates(frozenset([key.partition(".")[0] for key in attributes]), span.scope.name)
        if (meaning := dialect.read(span)) is not None
    ]
    return None if not meanings else meanings[0] if len(meanings) == 1 else merged(meanings)


def is_ours(span: SpanRecord) -> bool:
    """Whether our own tracer wrote it, also if its scope was lost on the way."""
    return span.scope.name == semconv.SCOPE_NAME or not _OURS.isdisjoint(span.attributes)


_OURS = frozenset({semconv.RUN_ID, semconv.STEP_INDEX, semconv.STEP_ID, semconv.STEP_KIND})


@functools.lru_cache(maxsize=4096)
def _candidates(namespaces: frozenset[str], scope: str) -> tuple[Dialect, ...]:
    return tuple(
        dialect
        for dialect in (*third_party(), *DIALECTS)
        if not (dialect.namespaces or dialect.scopes)
        or not dialect.namespaces.isdisjoint(namespaces)
        or (dialect.scopes and scope.startswith(dialect.scopes))
    )


@functools.lru_cache(maxsize=1)
def third_party() -> tuple[Dialect, ...]:
    """The dialects of other packages."""
    from importlib import metadata  # noqa: PLC0415 - slow, and only foreign spans need it

    found = [(point.name, point.load()) for point in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    return tuple(loaded if isinstance(loaded, Dialect) else Dialect(name, loaded) for name, loaded in found)


def merged(meanings: Iterable[Meaning]) -> Meaning:
    """The first word on each fact."""
    first, *others = meanings
    attributes = first.attributes
    for other in others:
        for field in Meaning.__struct_fields__:
            if field not in _OWN_FIELDS and not getattr(first, field) and getattr(other, field) not in (None, ()):
                setattr(first, field, getattr(other, field))
        attributes = {key: value for key, value in attributes.items() if key in other.attributes}
        first.is_frame = first.is_frame or other.is_frame
    first.attributes = attributes
    if first.is_frame:
        first.kind = None
    return first


_OWN_FIELDS = frozenset({"dialect", "is_frame", "attributes"})
