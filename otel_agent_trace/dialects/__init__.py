"""Read spans of any tracer: one module per attribute scheme, each a `read(span) -> SpanFacts | None`.

`DIALECTS` lists the modules with the attribute namespaces and instrumentation scopes that are evidence for each. None
of the modules imports another. Where several dialects understand a span, each fact is taken from the first of them that
has it; a fact is never combined from two.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.dialects import (
    adk,
    agent_events,
    agent_framework,
    agentops,
    any_agent,
    claude_code,
    crewai,
    evaluations,
    gemini_cli,
    genai,
    genkit,
    haystack,
    langchain4j,
    langfuse,
    langsmith,
    litellm,
    livekit,
    logfire,
    mlflow,
    monocle,
    openinference,
    openlit,
    pydantic_ai,
    spring_ai,
    traceloop,
    vendors,
    vercel,
    voltagent,
)
from otel_agent_trace.dialects.parsing.attributes import session_id_in, user_id_in
from otel_agent_trace.dialects.parsing.payloads import arguments_of, content_of, cut, failure_in, parsed, result_of
from otel_agent_trace.dialects.parsing.signals import read_signal
from otel_agent_trace.dialects.parsing.texts import is_cut
from otel_agent_trace.mapping.attributes import AttributeReader, probability_of_value
from otel_agent_trace.mapping.reader import read as read_own
from otel_agent_trace.model import StepError, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.values import Truncated

_log = logging.getLogger("otel_agent_trace")
Read = Callable[[SpanRecord], "SpanFacts | None"]
ENTRY_POINT_GROUP = "otel_agent_trace.dialects"
"""Entry points of this group add dialects, which are asked before those of `DIALECTS`.

Each is a `Dialect`, or a function `read(span) -> SpanFacts | None`.
"""


class Dialect(NamedTuple):
    """Represent a row of the table of dialects.

    Args:
        name: the name that runs carry in `AgentRun.dialect`.
        read: returns the facts of a span, or None where the span is not of this dialect.
        namespaces: first parts (before the first dot) of attribute names that are evidence for the dialect.
        scopes: beginnings of names of instrumentation scopes that are evidence for it. A dialect with neither is asked
            about every span.
        has_envelopes: whether a tool's arguments and result may be in envelopes of a framework (a call with its name, a
            message), from which they are taken. Otherwise what looks like one is a value of the tool, but for the
            content blocks of MCP.
    """

    name: str
    read: Read
    namespaces: frozenset[str] = frozenset()
    scopes: tuple[str, ...] = ()
    has_envelopes: bool = True


def _row(module: Any, *namespaces: str, scopes: tuple[str, ...] = (), has_envelopes: bool = True) -> Dialect:
    return Dialect(module.NAME, module.read, frozenset(namespaces), scopes, has_envelopes)


_HAYSTACK = ("haystack", "openinference.instrumentation.haystack", "opentelemetry.instrumentation.haystack")
_CREWAI = ("opentelemetry.instrumentation.crewai", "openinference.instrumentation.crewai")
DIALECTS: tuple[Dialect, ...] = (
    _row(langsmith, "langsmith"),
    _row(langfuse, "langfuse"),
    _row(mlflow, "mlflow"),
    _row(crewai, *("crew_key", "task_key", "crew_tasks", "crewai"), scopes=_CREWAI),
    _row(haystack, "haystack", scopes=_HAYSTACK),
    _row(openinference, "openinference", "llm", scopes=("openinference.",)),
    _row(vercel, "ai"),
    _row(agentops, "agentops"),
    _row(gemini_cli, scopes=("gemini-cli",)),
    _row(genkit, "genkit:type", "genkit:name"),
    _row(voltagent, "entity"),
    _row(monocle, "span"),
    _row(langchain4j, scopes=("io.quarkus",)),
    _row(agent_events, "event"),
    _row(any_agent, "gen_ai"),
    _row(adk, "gcp", scopes=("gcp.vertex.agent",), has_envelopes=False),
    _row(agent_framework, "workflow", scopes=("agent_framework",)),
    _row(pydantic_ai, "pydantic_ai", "final_result", "all_messages_events", scopes=("pydantic-ai",)),
    _row(logfire, "logfire"),
    _row(openlit, "function", scopes=("openlit",)),
    _row(claude_code, "span", scopes=("qwen-code",)),
    _row(litellm, scopes=("litellm",)),
    _row(spring_ai, "spring"),
    _row(livekit, "lk"),
    _row(vendors),
    _row(traceloop, "traceloop", "llm"),
    _row(genai, "gen_ai", has_envelopes=False),
)


def read(span: SpanRecord) -> SpanFacts | None:
    """Return the facts of a span, by the dialects that understand it; None where none does."""
    return read_own(span) if is_ours(span) else read_third_party(span)


def read_third_party(span: SpanRecord) -> SpanFacts | None:
    """Return the facts of a span of another tracer, by the dialects that understand it; None where none does.

    Arguments and results of tools are unwrapped from the envelopes of frameworks, whichever dialect read them. Spans of
    an evaluation are no frame of the runs in it, which would be one run then, although Logfire and the conventions have
    attributes on them.
    """
    if evaluations.is_around_runs(span):
        return None
    namespaces = frozenset([key.partition(".")[0] for key in span.attributes])
    readings = [
        (dialect, facts)
        for dialect in _candidates(namespaces, span.scope.name)
        if (facts := dialect.read(span)) is not None
    ]
    if next((facts.kind for _, facts in readings if facts.kind is not None), None) is StepKind.TOOL:
        for dialect, facts in readings:
            _read_mcp_response(facts)
            _unwrap(facts, has_envelopes=dialect.has_envelopes)
    if not readings:
        return None
    facts = readings[0][1] if len(readings) == 1 else merged(facts for _, facts in readings)
    if facts.session_id is None:
        facts.session_id = session_id_in(span.attributes)
    if facts.user_id is None:
        facts.user_id = user_id_in(span.attributes)
    facts.truncated = tuple(_cut_places(span))
    if semconv.REDACTED in span.attributes:
        facts.redacted = AttributeReader(span.attributes).texts(semconv.REDACTED)
        facts.attributes = {key: value for key, value in facts.attributes.items() if key != semconv.REDACTED}
    if semconv.INTERRUPTED in span.attributes:
        facts.interrupted = span.attributes[semconv.INTERRUPTED] in (True, "true")
        facts.attributes = {key: value for key, value in facts.attributes.items() if key != semconv.INTERRUPTED}
    if semconv.SAMPLING_PROBABILITY in span.attributes:
        facts.sampling_probability = probability_of_value(span.attributes[semconv.SAMPLING_PROBABILITY])
        facts.attributes = {
            key: facts.attributes[key] for key in facts.attributes if key != semconv.SAMPLING_PROBABILITY
        }
    read_signal(span, facts)
    facts.attributes = evaluations.without_scores(facts.attributes)
    return facts


def _cut_places(span: SpanRecord) -> Iterator[str]:
    """Yield the attributes of a span that a limit has cut, as what is truncated in a run or a step is named."""
    for key, value in span.attributes.items():
        if is_cut(value):
            yield f"attributes.{key}"
    if any(is_cut(value) for event in span.events for value in event.attributes.values()):
        yield "events"


def _read_mcp_response(facts: SpanFacts) -> None:
    """Take a tool's result, if no other attribute has it, or its failure, from the response of an MCP server.

    Traceloop and its forks write it into ``mcp.response.value``.
    """
    response = parsed(facts.attributes.get(_MCP_RESPONSE))
    if response is not None and (facts.output is None or failure_in(response) is not None):
        facts.output = response
        del facts.attributes[_MCP_RESPONSE]


_MCP_RESPONSE = "mcp.response.value"


def _unwrap(facts: SpanFacts, *, has_envelopes: bool) -> None:
    """Take a tool's arguments and result out of envelopes; a result that is marked as a failure is an error."""
    failure = None if facts.output is None else failure_in(facts.output)
    if has_envelopes:
        facts.input, facts.output = arguments_of(facts.input), result_of(facts.output)
    else:
        facts.input = cut(facts.input.kept) if type(facts.input) is Truncated else facts.input
        facts.output = content_of(facts.output)
    if failure is not None and facts.error is None:
        facts.error, facts.output = StepError(type=semconv.ERROR_TYPE_OTHER, message=failure), None


def is_ours(span: SpanRecord) -> bool:
    """Return whether our own tracer wrote the span, even if its instrumentation scope was lost on the way."""
    return span.scope.name == _OUR_SCOPE or not _OURS.isdisjoint(span.attributes)


_OUR_SCOPE = semconv.SCOPE_NAME
_OURS = frozenset({semconv.RUN_ID, semconv.STEP_INDEX, semconv.STEP_ID, semconv.STEP_KIND})


@functools.lru_cache(maxsize=4096)
def _candidates(namespaces: frozenset[str], scope: str) -> tuple[Dialect, ...]:
    return tuple(
        dialect
        for dialect in (*plugin_dialects(), *DIALECTS)
        if not (dialect.namespaces or dialect.scopes)
        or not dialect.namespaces.isdisjoint(namespaces)
        or (dialect.scopes and scope.startswith(dialect.scopes))
    )


@functools.lru_cache(maxsize=1)
def plugin_dialects() -> tuple[Dialect, ...]:
    """Return the dialects that other packages add by entry points."""
    from importlib import metadata  # noqa: PLC0415 - slow, and only spans of other tracers need it

    loaded = [(point.name, _load_or_warn(point)) for point in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    return tuple(
        found if isinstance(found, Dialect) else Dialect(name, found) for name, found in loaded if found is not None
    )


def _load_or_warn(point: Any) -> Any:
    try:
        return point.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        _log.warning("the dialect %s (%s) cannot be used: %s", point.name, point.value, error)
        return None


def merged(readings: Iterable[SpanFacts]) -> SpanFacts:
    """Return the first of several readings, completed by the later ones: the first value of each fact wins.

    Attributes that any of them has read are left out of `attributes`.
    """
    first, *others = readings
    for other in others:
        if first.kind is None:
            first.has_inferred_kind = other.has_inferred_kind
        for field in _FACTS:
            if not getattr(first, field):
                value = getattr(other, field)
                if value is not None and value != ():
                    setattr(first, field, value)
                    if field == "messages":
                        first.choices = other.choices
        first.is_frame = first.is_frame or other.is_frame
        unread = other.attributes
        first.attributes = {key: value for key, value in first.attributes.items() if key in unread}
    if first.is_frame:
        first.kind = None
    return first


_NO_FACTS = frozenset({"dialect", "is_frame", "has_inferred_kind", "attributes", "choices"})
_FACTS = tuple(name for name in SpanFacts.__struct_fields__ if name not in _NO_FACTS)
