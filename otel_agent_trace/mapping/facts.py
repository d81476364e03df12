"""Define the table of facts: which attribute of our own spans holds which field of a run or a step, and in which form.

The writer and the reader of our spans follow it, and so do the names that attributes of callers cannot have, the facts
that `explain` shows, and the table in the documentation. A fact whose attribute depends on the kind of step or on other
facts has a row without a codec, and a function in `mapping.writer` and in `mapping.reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from otel_agent_trace import semconv
from otel_agent_trace.mapping.attributes import AttributeReader, AttributeWriter
from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.policies.user_ids import is_pseudonym

# ── codecs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Codec(Protocol):
    """Write a value into an attribute, and read it back."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        """Write a value, None to clear an earlier one; `field` is its name in the list of what limits truncated."""

    def read(self, reader: AttributeReader, key: str) -> Any:
        """Take the value of an attribute."""


class _Text:
    """Write a text as it is."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        writer.text(key, field, value)

    def read(self, reader: AttributeReader, key: str) -> str | None:
        return reader.text(key)


class _Json:
    """Write any value as JSON."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        writer.json(key, field, value)

    def read(self, reader: AttributeReader, key: str) -> Any:
        return reader.json(key)


class _JsonObject:
    """Write a mapping as JSON, unless it is empty."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        writer.json(key, field, value or None)

    def read(self, reader: AttributeReader, key: str) -> dict[Any, Any]:
        return reader.mapping(key)


class _Texts:
    """Write texts as a JSON array, into which some backends convert array attributes anyway, unless there are none."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        writer.json(key, field, list(value or ()) or None)

    def read(self, reader: AttributeReader, key: str) -> tuple[str, ...]:
        return reader.texts(key)


class _TraceIds(_Texts):
    """Write trace ids, if there are several: a single one is that of the span."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        super().write(writer, key, field, value if len(value or ()) > 1 else None)


class _Flag:
    """Write True, and nothing for False."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        if value:
            writer.attributes[key] = True

    def read(self, reader: AttributeReader, key: str) -> bool:
        return reader.rest.pop(key) in (True, "true")


class _Truth:
    """Write True or False, and nothing where neither is known."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        if value is not None:
            writer.attributes[key] = value

    def read(self, reader: AttributeReader, key: str) -> bool:
        return reader.rest.pop(key) in (True, "true")


class _Integer:
    """Write an integer."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        if value is not None:
            writer.count(key, field, value)

    def read(self, reader: AttributeReader, key: str) -> int | None:
        return reader.integer(key)


class _Probability:
    """Write a probability, and read it if it is one."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        if value is not None:
            writer.attributes[key] = value

    def read(self, reader: AttributeReader, key: str) -> float | None:
        return reader.probability(key)


class _Cuts:
    """Write the paths of what limits truncated when a run was first recorded."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        if value:
            writer.list_cuts(value)

    def read(self, reader: AttributeReader, key: str) -> tuple[str, ...]:
        return reader.texts(key)


class _UserId:
    """Write a user id under the conventions' attribute: ``enduser.pseudo.id`` for a pseudonym, else ``user.id``."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        if value is None:
            writer.text(semconv.ENDUSER_PSEUDO_ID, field, None)
        writer.text(semconv.ENDUSER_PSEUDO_ID if value and is_pseudonym(value) else semconv.USER_ID, field, value)

    def read(self, reader: AttributeReader, key: str) -> str | None:
        return reader.text(semconv.ENDUSER_PSEUDO_ID) or reader.text(semconv.USER_ID)


class _Recorder(_Text):
    """Write the scope that recorded a run, unless it is ours."""

    def write(self, writer: AttributeWriter, key: str, field: str, value: Any) -> None:
        if value != semconv.SCOPE_NAME:
            super().write(writer, key, field, value)


TEXT, JSON, JSON_OBJECT, TEXTS, TRACE_IDS = _Text(), _Json(), _JsonObject(), _Texts(), _TraceIds()
FLAG, TRUTH, INTEGER, PROBABILITY, CUTS, USER_ID = _Flag(), _Truth(), _Integer(), _Probability(), _Cuts(), _UserId()
RECORDER = _Recorder()

# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────

EVERY = frozenset(StepKind)
RUNS = frozenset({StepKind.AGENT})
STEPS = EVERY - RUNS
_TOOLS, _MODELS, _RETRIEVALS, _OTHERS = (
    frozenset({kind}) for kind in (StepKind.TOOL, StepKind.MODEL, StepKind.RETRIEVAL, StepKind.OTHER)
)


class Fact(NamedTuple):
    """Describe a fact: a field of `AgentRun` or `AgentStep`, its attribute, its codec, and the kinds of spans with it.

    Args:
        field: the name of the field.
        attribute: the name of the attribute.
        codec: writes and reads the attribute; None if functions of `mapping.writer` and `mapping.reader` do.
        kinds: the kinds of steps whose spans have the attribute; `StepKind.AGENT` for runs.
        read_as: the name of the field in `SpanFacts`, if it differs.
        shared: whether a fact of the run is also written on the spans of its steps.
        mutable: whether it is written again at the end, as the program may have changed the value in place.
        given: whether `AgentTracer.run` and `start_run` accept it.
    """

    field: str
    attribute: str
    codec: Codec | None = None
    kinds: frozenset[StepKind] = EVERY
    read_as: str = ""
    shared: bool = False
    mutable: bool = False
    given: bool = False


IDENTITY = (
    Fact("kind", semconv.OPERATION_NAME, None, EVERY - _OTHERS),
    Fact("kind", semconv.STEP_KIND, None, _OTHERS),
    Fact("kind", semconv.TOOL_TYPE, None, _TOOLS),
    Fact("run_id", semconv.RUN_ID, TEXT, shared=True, given=True),
    Fact("parent_run_id", semconv.RUN_PARENT_ID, TEXT, RUNS),
    Fact("continues", semconv.RUN_CONTINUES, TEXT, RUNS, given=True),
    Fact("trace_ids", semconv.RUN_TRACE_IDS, TRACE_IDS, RUNS),
    Fact("index", semconv.STEP_INDEX),
    Fact("step_id", semconv.STEP_ID),
    Fact("status", semconv.RUN_STATUS, None, RUNS),
    Fact("sampling_probability", semconv.SAMPLING_PROBABILITY, PROBABILITY, shared=True),
    Fact("interrupted", semconv.INTERRUPTED, TRUTH),
    Fact("is_inferred", semconv.INFERRED, FLAG),
    Fact("truncated", semconv.TRUNCATED, CUTS),
    Fact("redacted", semconv.REDACTED, TEXTS),
    Fact("recorded_by", semconv.RECORDED_BY, RECORDER, shared=True),
    Fact("not_recorded", semconv.NOT_RECORDED, TEXTS, STEPS),
)
"""Facts that identify the run or step of a span, and how it was recorded."""

FACTS = (
    Fact("agent_name", semconv.AGENT_NAME, None, RUNS, "name", given=True),
    Fact("agent_name", semconv.AGENT_NAME, TEXT, STEPS, shared=True),
    Fact("name", semconv.TOOL_NAME, None, _TOOLS),
    Fact("name", semconv.STEP_NAME, None, EVERY - _TOOLS),
    Fact("user_input", semconv.INPUT_MESSAGES, None, RUNS, "input", given=True),
    Fact("input", semconv.TOOL_ARGUMENTS, None, _TOOLS),
    Fact("input", semconv.RETRIEVAL_QUERY, None, _RETRIEVALS),
    Fact("input", semconv.INPUT, None, STEPS - _TOOLS),
    Fact("final_output", semconv.OUTPUT_MESSAGES, None, RUNS, "output"),
    Fact("output", semconv.TOOL_RESULT, None, _TOOLS),
    Fact("output", semconv.RETRIEVAL_DOCUMENTS, None, _RETRIEVALS),
    Fact("output", semconv.OUTPUT, None, STEPS),
    Fact("input_after", semconv.INPUT_AFTER, JSON, STEPS),
    Fact("chunks", semconv.CHUNKS, JSON, STEPS),
    Fact("returned_as", semconv.RETURNED_AS, TEXTS, STEPS),
    Fact("error", semconv.ERROR_TYPE),
    Fact("error", semconv.ERROR_CATEGORY),
    Fact("error", semconv.ERROR_MESSAGE),
    Fact("error", semconv.EXCEPTION),
    Fact("messages", semconv.INPUT_MESSAGES, None, STEPS),
    Fact("messages", semconv.OUTPUT_MESSAGES, None, STEPS),
    Fact("messages", semconv.HISTORY_SPAN_ID, None, _MODELS),
    Fact("messages", semconv.HISTORY_MESSAGES, None, _MODELS),
    Fact("messages", semconv.MESSAGES, None, RUNS),
    Fact("session_id", semconv.CONVERSATION_ID, TEXT, shared=True, given=True),
    Fact("user_id", semconv.ENDUSER_PSEUDO_ID, USER_ID, shared=True, given=True),
    Fact("user_id", semconv.USER_ID, USER_ID),
    Fact("tags", semconv.TAGS, TEXTS, RUNS, given=True),
    Fact("model", semconv.REQUEST_MODEL, given=True),
    Fact("model", semconv.RESPONSE_MODEL),
    *(Fact("usage", attribute) for attribute in (*semconv.USAGE.values(), semconv.USAGE_DETAILS)),
    Fact("prompt_name", semconv.PROMPT_NAME, TEXT, given=True),
    Fact("prompt_version", semconv.PROMPT_VERSION, TEXT, given=True),
    Fact("config", semconv.CONFIG, JSON, RUNS, mutable=True, given=True),
    Fact("metadata", semconv.METADATA, JSON_OBJECT, mutable=True, given=True),
    Fact("abandoned", semconv.ABANDONED, FLAG),
    Fact("interrupted_for", semconv.INTERRUPTED_FOR, JSON),
    Fact("first_chunk_at_ns", semconv.FIRST_CHUNK_AT_NS, INTEGER),
    Fact("first_chunk_at_ns", semconv.TIME_TO_FIRST_CHUNK),
    Fact("replay_of", semconv.REPLAY_OF, TEXT, RUNS),
)
"""Facts of a run or a step, in the order in which `explain` shows them."""

TABLE = (*IDENTITY, *FACTS)

# ── derived tables ───────────────────────────────────────────────────────────────────────────────────────────────────

Write = Callable[[AttributeWriter, str, str, Any], None]
Read = Callable[[AttributeReader, str], Any]
Row = tuple[str, str, Write]
"""Field, attribute, and the function that writes it."""


def _rows(kind: StepKind, *, mutable: bool = False) -> tuple[Row, ...]:
    """Return the rows of a kind of step that have a codec, one for each field."""
    found = {
        fact.field: (fact.field, fact.attribute, fact.codec.write)
        for fact in reversed(TABLE)
        if fact.codec is not None and kind in fact.kinds and (fact.mutable or not mutable)
    }
    return tuple(reversed(found.values()))


WRITTEN: Mapping[StepKind, tuple[Row, ...]] = {kind: _rows(kind) for kind in StepKind}
"""Rows with a codec, by kind of step."""
MUTABLE: Mapping[StepKind, tuple[Row, ...]] = {kind: _rows(kind, mutable=True) for kind in StepKind}
"""Rows of values that are written again at the end, by kind of step."""
WRITES: Mapping[str, Row] = {row[0]: row for kind in StepKind for row in WRITTEN[kind]}
"""Rows with a codec, by field."""
SHARED: tuple[Row, ...] = tuple(
    (fact.field, fact.attribute, fact.codec.write) for fact in TABLE if fact.shared and fact.codec is not None
)
"""Rows of a run that are also written on the spans of its steps."""
READ: Mapping[StepKind, Mapping[str, tuple[str, Read]]] = {
    kind: {
        fact.attribute: (fact.read_as or fact.field, fact.codec.read)
        for fact in TABLE
        if fact.codec is not None and kind in fact.kinds
    }
    for kind in StepKind
}
"""Field of `SpanFacts` and the function that reads it, by kind of step and attribute."""
_FIELDS = {
    kind: {fact.attribute: fact.field for fact in FACTS if kind in fact.kinds}
    | {"status": "error.message", semconv.EXCEPTION_EVENT: "error", semconv.EXCEPTION: "error.exception"}
    for kind in StepKind
}
"""Field by the attribute, or other part of a span, that holds it."""


def field_path(path: str, kind: StepKind) -> str:
    """Return a path that begins with an attribute as one that begins with the field of a step which it holds.

    Policies, which write what they masked, do not know what an attribute holds.
    """
    for attribute, field in _FIELDS[kind].items():
        rest = path.removeprefix(attribute)
        if rest != path and rest[:1] in ("", ".", "["):
            return field + rest
    return path


GIVEN = frozenset(fact.field for fact in TABLE if fact.given)
"""Fields that are accepted when a run starts."""
FLAGS = frozenset(fact.field for fact in TABLE if fact.codec is FLAG)
"""Fields that are written only if they are True."""
TAKEN_NAMES = semconv.AWKWARD_NAMES.union(
    (semconv.OPERATION_NAME, semconv.TYPES, semconv.MEDIA),
    (fact.attribute for fact in TABLE if fact.attribute.startswith(semconv.OUR_PREFIX)),
)
"""Names of attributes that a caller's own attributes cannot have; such ones are written under other names."""
_FACT_NAMES = {kind: frozenset(fact.attribute for fact in TABLE if kind in fact.kinds) for kind in StepKind}


def fact_names(kind: StepKind) -> frozenset[str]:
    """Return the attributes that are read as facts of a step; another instrumentation may use them otherwise."""
    return _FACT_NAMES[kind]


def _explained_fields(model: type[AgentRun | AgentStep], kinds: frozenset[StepKind]) -> dict[str, str]:
    known = model.__struct_fields__
    return {fact.field: fact.read_as or fact.field for fact in FACTS if fact.field in known and fact.kinds & kinds}


RUN_FIELDS = _explained_fields(AgentRun, RUNS)
"""Field of `SpanFacts` by field of a run, for every fact that is explained."""
STEP_FIELDS = _explained_fields(AgentStep, STEPS)
"""Field of `SpanFacts` by field of a step, for every fact that is explained."""
