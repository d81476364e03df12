"""Turn a `RunQuery` into conditions on traces, which leave out no run that the query selects.

Names come from many attributes, some from within JSON, so a trace may have a name if any of its texts contains that, or
its longest part without characters that JSON may escape. Calls that another tracer recorded may be parts of runs with
other traces, and have names that are nowhere in their texts; and runs that paused are read with those that resume them:
a trace without a span of our own tracer, or with an agent that has no answer, is never left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.model import FAILED_STATUSES
from otel_agent_trace.policies.user_ids import key_id_of
from otel_agent_trace.query import ANY_TOOL, RunQuery

FILTERS = frozenset(
    {"since", "until", "service", "run_id", "agent", "status", "tool", "tool_error", "model", "user_id", "session_id"}
    | {"tag", "min_duration"}
)
"""Fields of `RunQuery` by which traces are left out."""
_PLAIN = re.compile(r"[A-Za-z0-9 _.:@-]+")
_MOST_CHARACTERS = 256
_WORDS_OF_PYTHON = frozenset({"none", "true", "false"})
_INT64_MAX = 2**63 - 1
_OUR_ATTRIBUTES = (semconv.RUN_ID, semconv.STEP_INDEX, semconv.STEP_ID, semconv.STEP_KIND)
_START, _END = "toUnixTimestamp64Nano(Timestamp)", "toUInt64(toUnixTimestamp64Nano(Timestamp)) + Duration"
_IS_OURS = (
    "ScopeName = {our_scope:String} OR arrayExists(key -> mapContains(SpanAttributes, key), {our_keys:Array(String)})"
)
_HAS_NO_ANSWER = (
    "mapContains(SpanAttributes, {interrupted_for:String}) OR (SpanAttributes[{operation:String}] = {agent:String}"
    " AND NOT mapContains(SpanAttributes, {answer:String}) AND NOT mapContains(SpanAttributes, {run_above:String})"
    " AND StatusCode != 'Error')"
)
_HAS_FAILED = "StatusCode = 'Error' OR mapContains(SpanAttributes, {run_status:String})"
_IS_USER_OF_OTHER_KEY = (
    "startsWith(SpanAttributes[{pseudo_id:String}], 'hmac:')"
    " AND NOT has({own_keys:Array(String)}, substring(SpanAttributes[{pseudo_id:String}], 6, 8))"
)
_CONTAINS = (
    "arrayExists(text -> position(text, {0}) > 0, [SpanName, ServiceName, ScopeName])"
    " OR arrayExists(text -> position(text, {0}) > 0, mapValues(SpanAttributes))"
    " OR arrayExists(text -> position(text, {0}) > 0, mapValues(ResourceAttributes))"
    " OR arrayExists(each -> arrayExists(text -> position(text, {0}) > 0, mapValues(each)),"
    " Events.Attributes)"
)


class Condition(NamedTuple):
    """Hold a condition of SQL on the spans of a trace together, and its parameters."""

    sql: str
    parameters: dict[str, Any]


def condition_of(query: RunQuery) -> Condition | None:
    """Return the condition for the traces of a query, apart from times, service and run id; None if it takes all."""
    parameters: dict[str, Any] = {}
    conditions = [*_conditions(query, parameters)]
    if not conditions:
        return None
    parameters |= {
        "our_scope": semconv.SCOPE_NAME,
        "our_keys": list(_OUR_ATTRIBUTES),
        "interrupted_for": semconv.INTERRUPTED_FOR,
        "operation": semconv.OPERATION_NAME,
        "agent": semconv.OPERATION_INVOKE_AGENT,
        "answer": semconv.OUTPUT_MESSAGES,
        "run_above": semconv.RUN_PARENT_ID,
    }
    all_hold = " AND ".join(f"({condition})" for condition in conditions)
    return Condition(f"countIf({_IS_OURS}) = 0 OR countIf({_HAS_NO_ANSWER}) > 0 OR ({all_hold})", parameters)


def _conditions(query: RunQuery, parameters: dict[str, Any]) -> Iterator[str]:
    """Yield conditions on the spans of a trace together, and add their parameters."""
    for name in _names(query):
        yield from _has_any([name], parameters)
    if query.user_id is not None:
        yield from _has_any(sorted(query.user_ids), parameters, _of_other_key(query, parameters))
    if query.status in FAILED_STATUSES or query.tool_error is not None:
        parameters["run_status"] = semconv.RUN_STATUS
        yield f"countIf({_HAS_FAILED}) > 0"
    if query.min_duration_ns is not None:
        parameters["least_ns"] = min(int(query.min_duration_ns), _INT64_MAX)
        yield f"max({_END}) - min(toUInt64({_START})) >= {{least_ns:Int64}}"


def _names(query: RunQuery) -> Iterator[str]:
    tags = () if query.tag is None else (query.tag,) if isinstance(query.tag, str) else tuple(query.tag)
    tool_error = None if query.tool_error in (True, ANY_TOOL) else query.tool_error
    for name in (query.agent, query.tool, tool_error, query.model, query.session_id, *tags):
        if isinstance(name, str):
            yield name


def _has_any(names: list[str], parameters: dict[str, Any], otherwise: str = "") -> Iterator[str]:
    """Yield the condition that texts of a trace contain one of the names, unless texts may spell one otherwise."""
    parts = [_longest_plain_part(name) for name in names]
    if None in parts or not parts:
        return
    conditions = [otherwise] if otherwise else []
    for part in parts:
        key = f"text_{len(parameters)}"
        parameters[key] = part
        conditions.append(_CONTAINS.replace("{0}", f"{{{key}:String}}"))
    yield f"countIf({' OR '.join(conditions)}) > 0"


def _longest_plain_part(name: str) -> str | None:
    """Return the longest part of a name that JSON writes as it is; None for a number, None or a name that may be cut."""
    if not name.isascii() or len(name) > _MOST_CHARACTERS or _is_number(name) or name.casefold() in _WORDS_OF_PYTHON:
        return None
    return max(_PLAIN.findall(name), key=len, default=None)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _of_other_key(query: RunQuery, parameters: dict[str, Any]) -> str:
    """Return the condition for users whose pseudonyms were made with other keys, of which runs are counted."""
    parameters["pseudo_id"] = semconv.ENDUSER_PSEUDO_ID
    parameters["own_keys"] = sorted({key for form in query.user_ids if (key := key_id_of(form)) is not None})
    return _IS_USER_OF_OTHER_KEY


# ── one run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_run(run_id: str) -> Condition | None:
    """Return the condition on a span that its trace may have a run whose id begins with a text; None if it takes all."""
    if not run_id.isascii() or not run_id.isprintable():
        return None  # ids of other characters are written with a type tag
    return Condition(
        "startsWith(TraceId, {trace_id:String}) OR startsWith(SpanAttributes[{run_key:String}], {run_id:String})"
        " OR position(SpanAttributes[{traces_key:String}], {run_id:String}) > 0",
        {
            "trace_id": run_id[:32],
            "run_id": run_id,
            "run_key": semconv.RUN_ID,
            "traces_key": semconv.RUN_TRACE_IDS,
        },
    )
