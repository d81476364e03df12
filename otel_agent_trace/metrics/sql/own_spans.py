"""Find the runs of our own tracer in a table of spans by SQL: those whose figures follow from their attributes alone.

A trace is usual if it is one complete run of ours that needs none of the passes which readers make over a trace, as
`sources.index.own_rows` has it for the index. All other traces are left to the readers.

The statements are over ``raw``, a row a span: `trace_id`, `span_id`, `parent_span_id` (empty without one), `start_ns`,
`end_ns`, `scope_name`, `attributes` (a map of texts), `is_error`, `status_message`, `service_name`, `environment`,
`has_scores`, `has_exception`, `is_odd` (what only the engine can know).
"""

from __future__ import annotations

from dataclasses import replace

from otel_agent_trace import semconv
from otel_agent_trace.metrics.sql.aggregates import FAILED, MOST_TOKENS
from otel_agent_trace.metrics.sql.dialects import Dialect
from otel_agent_trace.metrics.sql.span_prices import COUNTED_TOKENS
from otel_agent_trace.model import TOKEN_FIELDS, RunStatus
from otel_agent_trace.prices.calls import RARE_ATTRIBUTES
from otel_agent_trace.runs.names import NAME_CHARACTERS, UNKNOWN
from otel_agent_trace.runs.repeats import LOOP

_TEXTS = {
    "run_id": semconv.RUN_ID,
    "agent": semconv.AGENT_NAME,
    "tool": semconv.TOOL_NAME,
    "provider": semconv.PROVIDER_NAME,
    "session": semconv.CONVERSATION_ID,
    "pseudonym": semconv.ENDUSER_PSEUDO_ID,
    "plain_user": semconv.USER_ID,
    "request_model": semconv.REQUEST_MODEL,
    "response_model": semconv.RESPONSE_MODEL,
    "error_type": semconv.ERROR_TYPE,
    "error_category": semconv.ERROR_CATEGORY,
    "error_text": semconv.ERROR_MESSAGE,
    "replay_of": semconv.REPLAY_OF,
}
"""Column → attribute of a text, which has no type tag in a usual span."""
_OTHERS = {
    "operation": semconv.OPERATION_NAME,
    "run_status": semconv.RUN_STATUS,
    "parent_run_id": semconv.RUN_PARENT_ID,
    "probability_text": semconv.SAMPLING_PROBABILITY,
    "abandoned_text": semconv.ABANDONED,
    "types": semconv.TYPES,
    "sent": semconv.INPUT_MESSAGES,
    "result": semconv.TOOL_RESULT,
    "output": semconv.OUTPUT,
    "answer": semconv.OUTPUT_MESSAGES,
    "step_kind": semconv.STEP_KIND,
    "arguments": semconv.TOOL_ARGUMENTS,
}
_EXACT = frozenset({"error_text", "replay_of"})
"""Columns in which an empty text is not none."""
_TOKENS = {f"{field}_text": semconv.USAGE[field] for field in TOKEN_FIELDS}
COLUMNS = {**_TEXTS, **_OTHERS, **_TOKENS}
TEXT_ATTRIBUTES = frozenset({*_TEXTS.values(), *_OTHERS.values()}) - {semconv.SAMPLING_PROBABILITY, semconv.ABANDONED}
"""Attributes that are texts in a usual span."""
_ODD_ATTRIBUTES = (
    *(semconv.INTERRUPTED_FOR, semconv.INTERRUPTED, semconv.RUN_TRACE_IDS, semconv.RUN_CONTINUES),
    *(semconv.USAGE_DETAILS, semconv.INFERRED, semconv.RECORDED_BY),
    *(semconv.TIME_TO_FIRST_CHUNK, semconv.FIRST_CHUNK_AT_NS),
    *RARE_ATTRIBUTES,
    *(semconv.ATTRIBUTE_PREFIX + name for name in (semconv.PROVIDER_NAME, semconv.REQUEST_MODEL, *RARE_ATTRIBUTES)),
)
SAMPLED_STATE = "ot=[^,]*th:0*[1-9a-f]"
"""Expression for the trace state of a span that was kept with a probability below 1."""
_MOST_AGENTS = 60
_GREATEST = 1 << 40
_MODELS = ", ".join(f"'{operation}'" for operation in sorted(semconv.MODEL_OPERATIONS))
_KIND = (
    f"CASE WHEN operation = '{semconv.OPERATION_EXECUTE_TOOL}' THEN 'tool'"
    f" WHEN operation = '{semconv.OPERATION_INVOKE_AGENT}' THEN 'agent'"
    f" WHEN operation = '{semconv.OPERATION_RETRIEVAL}' THEN 'retrieval'"
    f" WHEN operation IN ({_MODELS}) THEN 'model' WHEN step_kind IS NOT NULL THEN 'other' ELSE '' END"
)
_TAGGED = " OR ".join(f"types LIKE '%{key}%'" for key in (*_TEXTS.values(), *_TOKENS.values()))
_HAS_TOKENS = " OR ".join(f"{column} IS NOT NULL" for column in _TOKENS)
_IS_ODD = (
    "is_odd",
    "has_scores",
    f"scope_name <> '{semconv.SCOPE_NAME}'",
    "coalesce(end_ns, 0) < start_ns OR coalesce(start_ns, 0) <= 0",
    "kind = ''",
    f"types IS NOT NULL AND ({_TAGGED})",
    "parent_span_id = '' AND kind <> 'agent'",
    f"parent_span_id <> '' AND kind = 'agent' AND ({_HAS_TOKENS})",
    "kind = 'tool' AND (tool IS NULL OR result LIKE '%pending%')",
    "output LIKE '%pending%'",
    "parent_run_id IS NOT NULL AND parent_span_id = ''",
    "is_error AND error_type IS NULL",
    "error_type = ''",
    "error_type IS NOT NULL AND error_text IS NULL AND status_message = '' AND has_exception",
    *(f"{column} IS NOT NULL AND {column[:-5]} IS NULL" for column in _TOKENS),
    *(f"{field} NOT BETWEEN 0 AND {_GREATEST}" for field in TOKEN_FIELDS),
    "probability_text IS NOT NULL AND (sampling_probability IS NULL OR sampling_probability <> 1)",
)
_STATUS = (
    f"CASE WHEN run_status IN ({FAILED}) THEN run_status"
    f" WHEN is_error THEN '{RunStatus.ERROR.value}' ELSE '{RunStatus.SUCCESS.value}' END"
)
_KEPT = (
    *("trace_id", "span_id", "parent_span_id", "start_ns", "end_ns", "service_name", "environment", "kind", "status"),
    *("agent", "tool", "session", "user_id", "provider", "request_model", "response_model", "error_category"),
    *("error_message", "replay_of", "abandoned", *TOKEN_FIELDS),
    "CASE WHEN kind = 'tool' THEN arguments END AS arguments",
)
_ERROR_TYPE = (
    f"CASE WHEN error_type <> '{semconv.ERROR_TYPE_OTHER}' OR error_message <> '' OR error_category IS NOT NULL"
    " THEN error_type END AS failure_type"
)
"""Without any word about it, an error is no more than a status."""
_RESULT_IN_MESSAGES = "kind = 'model' AND sent LIKE '%tool_call_response%'"
_ROOT = "max(CASE WHEN fact.parent_span_id = '' THEN {} END)"
_OF_ROOT = {
    "status": "fact.status",
    "agent_name": "fact.agent",
    "started_at_ns": "fact.start_ns",
    "ended_at_ns": "fact.end_ns",
    "error_type": "fact.failure_type",
    "error_category": "fact.error_category",
    "error_message": "fact.error_message",
    "replay_of": "fact.replay_of",
    "user_id": "fact.user_id",
    "session_id": "fact.session",
    "service_name": "fact.service_name",
    "environment": "fact.environment",
    "model": "coalesce(fact.response_model, fact.request_model)",
}
_IS_ROOT_NAMED = (
    "min(named_parent) = max(named_parent) AND max(named_parent) = max(CASE WHEN parent_span_id = '' THEN run_id END)"
)
_HAS_WHOLE_TOKENS = f"count(CASE WHEN parent_span_id = '' AND ({COUNTED_TOKENS}) THEN 1 END) > 0"
_HAS_CALLS = f"count(CASE WHEN kind = 'model' AND ({COUNTED_TOKENS}) THEN 1 END) > 0"
_NO_ANSWER = "max(CASE WHEN parent_span_id = '' AND status = 'success' AND NOT has_answer THEN 1 ELSE 0 END)"
ODD_TRACE = " OR ".join(
    (
        "max(CASE WHEN odd THEN 1 ELSE 0 END) = 1",
        "count(CASE WHEN parent_span_id = '' THEN 1 END) <> 1",
        f"count(CASE WHEN kind = 'agent' THEN 1 END) > {_MOST_AGENTS}",
        f"count(named_parent) > 0 AND NOT coalesce({_IS_ROOT_NAMED}, false)",
        f"{_HAS_WHOLE_TOKENS} AND NOT {_HAS_CALLS}",
        f"coalesce(sum(input_tokens), 0) > {MOST_TOKENS} OR coalesce(sum(output_tokens), 0) > {MOST_TOKENS}",
        f"{_NO_ANSWER} = 1 AND count(CASE WHEN kind = 'model' THEN 1 END) > 0",
    )
)
"""Condition for a trace of ``facts`` that has to be read, apart from the places of its spans and repeated ones."""
MAY_RESUME = (
    "max(CASE WHEN has_result THEN 1 ELSE 0 END) = 1 OR (max(CASE WHEN parent_span_id = '' THEN session END) IS NOT NULL"
    " AND min(CASE WHEN kind = 'tool' THEN start_ns END) <= min(CASE WHEN parent_span_id <> '' THEN start_ns END))"
)
"""Condition for a trace of ``facts`` that may resume another one: it has to be read if any was interrupted."""


GIVEN = "CASE WHEN kind = 'tool' AND arguments NOT LIKE '\"%' THEN arguments ELSE '' END"
"""Expression for what a tool was given, in which texts count as the same: they may be references to others."""
REPEATING = (
    f"SELECT trace_id FROM (SELECT trace_id, kind, tool, failure_type, {GIVEN} AS given"
    " FROM facts WHERE kind IN ('tool', 'model')) AS calls"
    " GROUP BY trace_id, kind, tool, given HAVING (kind = 'tool' AND count(*) >= "
    f"{LOOP}) OR (count(*) > 1 AND count(failure_type) > 0)"
)
"""Traces of ``facts`` that may have loops or retries: those, and some in which nothing but texts was given, or nothing."""
_CALLED = f"coalesce(nullif(fact.request_model, ''), nullif(fact.response_model, ''), '{UNKNOWN}')"


def facts_of(dialect: Dialect) -> str:
    """Return the rows of ``raw`` with what attributes mean, and `odd`: whether readers have to read the trace."""
    texts = ", ".join(
        f"{(dialect.attribute if column in _EXACT else dialect.text).format(key)} AS {column}"
        for column, key in COLUMNS.items()
    )
    tokens = ", ".join(f"{dialect.integer.format(column)} AS {column[:-5]}" for column in _TOKENS)
    odd = dialect.has_key.format(", ".join(f"'{key}'" for key in sorted(_ODD_ATTRIBUTES)))
    named = (
        "SELECT trace_id, span_id, parent_span_id, start_ns, end_ns, scope_name, is_error, status_message,"
        f" service_name, environment, has_scores, has_exception, (is_odd OR {odd}) AS is_odd, {texts} FROM raw"
    )
    read = (
        f"SELECT *, {_KIND} AS kind, {_STATUS} AS status, {tokens}, answer IS NOT NULL AS has_answer,"
        f" {dialect.double.format('probability_text')} AS sampling_probability,"
        " coalesce(error_text, status_message) AS error_message, coalesce(nullif(pseudonym, ''), plain_user) AS user_id,"
        f" coalesce(abandoned_text, '') = 'true' AS abandoned FROM ({named}) AS named"
    )
    is_here = dialect.starts.format("parent_run_id", "trace_id")
    is_odd = " OR ".join(f"coalesce({condition}, false)" for condition in _IS_ODD)
    return (
        f"SELECT {', '.join(_KEPT)}, {_ERROR_TYPE}, has_answer, coalesce({_RESULT_IN_MESSAGES}, false) AS has_result, run_id,"
        f" CASE WHEN NOT {is_here} THEN parent_run_id END AS named_parent,"
        f" ({is_odd}) AS odd FROM ({read}) AS read"
    )


def runs_of(dialect: Dialect) -> str:
    """Return the runs in ``usual_facts``, with the columns of ``runs.parquet`` that are counted and filtered by."""
    roots = ", ".join(f"{_ROOT.format(value)} AS {column}" for column, value in _OF_ROOT.items())
    tokens = ", ".join(f"sum(CASE WHEN fact.kind = 'model' THEN fact.{field} END) AS {field}" for field in TOKEN_FIELDS)
    names = {
        "tools": ("fact.tool", "fact.kind = 'tool'"),
        "failed_tools": ("fact.tool", "fact.kind = 'tool' AND fact.failure_type IS NOT NULL"),
        "requested_models": ("fact.request_model", "fact.request_model IS NOT NULL"),
        "answering_models": ("fact.response_model", "fact.response_model IS NOT NULL"),
        "called_models": (dialect.name_of(_CALLED, NAME_CHARACTERS), "fact.kind = 'model'"),
        "services": ("fact.service_name", "fact.service_name IS NOT NULL"),
    }
    lists = ", ".join(f"{dialect.names.format(*parts)} AS {column}" for column, parts in names.items())
    return (
        f"SELECT fact.trace_id AS run_number, fact.trace_id AS trace_id, {roots}, {tokens}, {lists},"
        " max(CASE WHEN fact.kind = 'tool' AND fact.failure_type IS NOT NULL AND NOT fact.abandoned THEN 1 ELSE 0 END) = 1"
        " AS has_tool_errors, false AS has_loop, 0 AS retries,"
        " coalesce(sum(fact.cost), 0) AS cost_pico_usd, count(fact.cost) AS priced_calls,"
        " nullif(0, 0) AS first_chunk_at_ns, count(*) - 1 AS step_count, false AS interrupted, NULL AS interrupted_for"
        " FROM usual_facts AS fact GROUP BY fact.trace_id"
    )


def failures_of() -> str:
    """Return the errors of the runs in ``usual_facts``: for them, runs need not be made out of all their spans."""
    columns = ("status", "error_type", "error_category", "error_message", "replay_of")
    return (
        f"SELECT {', '.join(f'{_OF_ROOT[column]} AS {column}' for column in columns)}"
        " FROM usual_facts AS fact WHERE fact.parent_span_id = ''"
    )


def for_steps(dialect: Dialect) -> Dialect:
    """Return a dialect by which calls without a price are found among the steps."""
    model = "coalesce(nullif(request_model, ''), nullif(model, ''), '')"
    unpriced = (
        f"SELECT CASE WHEN {model} = '' THEN '{UNKNOWN}' ELSE {dialect.name_of(model, NAME_CHARACTERS)} END AS model"
        f" FROM (SELECT * FROM chosen_spans) AS span WHERE kind = 'model' AND priced_calls = 0 AND ({COUNTED_TOKENS})"
    )
    return replace(dialect, unpriced=unpriced)


def steps_of() -> str:
    """Return the steps in ``usual_facts``, with the columns of ``spans.parquet`` that are counted."""
    return (
        "SELECT fact.trace_id AS run_number, fact.kind AS kind,"
        " fact.tool AS name, CASE WHEN fact.kind = 'agent' THEN coalesce(fact.agent, '') END AS agent_name,"
        " fact.start_ns AS started_at_ns, fact.end_ns AS ended_at_ns, fact.abandoned AS abandoned, false AS paused,"
        " fact.failure_type AS error_type, fact.error_category AS error_category, fact.error_message AS error_message,"
        f" fact.request_model AS request_model, fact.response_model AS model, true AS is_innermost,"
        " false AS is_loop, false AS is_retry, coalesce(fact.cost, 0) AS cost_pico_usd,"
        " CASE WHEN fact.cost IS NULL THEN 0 ELSE 1 END AS priced_calls, nullif(0, 0) AS first_chunk_at_ns,"
        f" {', '.join(f'fact.{field} AS {field}' for field in TOKEN_FIELDS)}"
        " FROM usual_facts AS fact WHERE fact.parent_span_id <> ''"
    )
