"""Define every attribute, event and metric name that the library writes or reads, and the numbers of OTLP.

The ``gen_ai.*`` names are those of the OpenTelemetry GenAI conventions of late 2026. They have development status, and
the published constants package ends at an older state, so they are written out here. Facts without a standard name are
under ``agent_trace.*``.
"""

from __future__ import annotations

from typing import NamedTuple

SCOPE_NAME = "otel_agent_trace"
"""Instrumentation scope of the spans and metrics that our tracer emits."""

FORMAT = "agent_trace.format"
"""Attribute of that scope, and of the scope of journals: the number of the format, int."""
FORMAT_NUMBER = 1
"""Number of the format that is written now. It grows when older versions of this library would read spans wrongly."""

# ── GenAI conventions ────────────────────────────────────────────────────────────────────────────────────────────────

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
PROVIDERS = (PROVIDER_NAME, "gen_ai.system", "llm.provider", "llm.system")
"""Attributes that name the provider of a model call, the present one first; the last two are OpenInference's."""
AGENT_NAME = "gen_ai.agent.name"
CONVERSATION_ID = "gen_ai.conversation.id"
SESSION_IDS = (CONVERSATION_ID, "session.id", "conversation.id")
"""Attributes that hold the id of a conversation: of the conventions, of OpenTelemetry in general, and of Codex."""
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
"""Seconds, as a double."""
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
EVALUATION_EVENT = "gen_ai.evaluation.result"
EVALUATION_EVENTS = "gen_ai.evaluation."
"""Beginning of the names of events: Azure's SDK named events after the metric (``gen_ai.evaluation.Relevance``)."""
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_SCORE = "gen_ai.evaluation.score.value"
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"
RETRIEVAL_QUERY = "gen_ai.retrieval.query.text"
RETRIEVAL_DOCUMENTS = "gen_ai.retrieval.documents"
MODALITY = "gen_ai.token.modality"
PROMPT_NAME = "gen_ai.prompt.name"
PROMPT_VERSION = "gen_ai.prompt.version"

USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_input_tokens": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_output_tokens": "gen_ai.usage.reasoning.output_tokens",
}
"""Field of `Usage` → attribute; tokens, int."""

OPERATION_INVOKE_AGENT = "invoke_agent"
OPERATION_EXECUTE_TOOL = "execute_tool"
OPERATION_CHAT = "chat"
OPERATION_RETRIEVAL = "retrieval"
MODEL_OPERATIONS = frozenset({"chat", "generate_content", "text_completion"})

# ── general conventions ──────────────────────────────────────────────────────────────────────────────────────────────

ERROR_TYPE = "error.type"
ERROR_TYPE_OTHER = "_OTHER"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
EXCEPTION_EVENT = "exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"
EVENT_NAME = "event.name"
CODE_FILE_PATH = "code.file.path"
CODE_FUNCTION_NAME = "code.function.name"
CODE_LINE_NUMBER = "code.line.number"
CODE_STACKTRACE = "code.stacktrace"
USER_ID = "user.id"
ENDUSER_ID = "enduser.id"
ENDUSER_PSEUDO_ID = "enduser.pseudo.id"
SERVICE_NAME = "service.name"
SERVICE_VERSION = "service.version"
ENVIRONMENTS = ("deployment.environment.name", "deployment.environment")
"""Resource attributes for the deployment environment: the current name, and the one before 2024."""
PLAIN_USER_IDS = (USER_ID, ENDUSER_ID)
"""Attributes of the conventions that hold a plain user id."""

# ── our own ──────────────────────────────────────────────────────────────────────────────────────────────────────────

OUR_PREFIX = "agent_trace."
RUN_ID = "agent_trace.run.id"
RUN_PARENT_ID = "agent_trace.run.parent_id"
RUN_STATUS = "agent_trace.run.status"
"""Written only where the span's status does not express it: ``timeout``, or ``error`` of a run without an end."""
RUN_TRACE_IDS = "agent_trace.run.trace_ids"
"""JSON array, written only for a run that was joined from several traces."""
TAGS = "agent_trace.tags"
"""JSON array of strings."""
CONFIG = "agent_trace.config"
METADATA = "agent_trace.metadata"
REPLAY_OF = "agent_trace.replay_of"
RUN_CONTINUES = "agent_trace.run.continues"
STEP_ID = "agent_trace.step.id"
"""Written only where it is not the index plus one."""
STEP_INDEX = "agent_trace.step.index"
STEP_NAME = "agent_trace.step.name"
"""Written only where no standard attribute holds the name; for a sub-agent without a name, the name of its step."""
STEP_KIND = "agent_trace.step.kind"
"""Written only for kind ``other``, which has no operation name."""
INPUT = "agent_trace.input"
OUTPUT = "agent_trace.output"
HISTORY_SPAN_ID = "agent_trace.history.span_id"
"""Span id of an earlier model call of the run, whose messages precede those recorded here."""
HISTORY_MESSAGES = "agent_trace.history.messages"
"""Number of preceding messages, int."""
ERROR_CATEGORY = "agent_trace.error.category"
ERROR_MESSAGE = "agent_trace.error.message"
"""Written only where the status description is not the message: empty, or repaired."""
EXCEPTION = "agent_trace.exception"
"""Exception of a run or a step that failed, as JSON: its classes, arguments, attributes (see `mapping.exceptions`)."""
USAGE_DETAILS = "agent_trace.usage.details"
INPUT_AFTER = "agent_trace.input_after"
"""Arguments of a call that had changed in place at its end, as JSON."""
CHUNKS = "agent_trace.chunks"
"""Items of a generator that also returned a value, as a JSON array."""
RETURNED_AS = "agent_trace.returned_as"
"""JSON array: kinds of the work that a function returned, outermost first."""
NOT_RECORDED = "agent_trace.not_recorded"
"""JSON array of ``input`` and ``output``, written only where a run is written again that lacked them."""
RECORDED_BY = "agent_trace.recorded_by"
"""Instrumentation scope that recorded a run, written only where a run of another one is written again."""
SIDE_EFFECTS = "agent_trace.tool.side_effects"
ABANDONED = "agent_trace.abandoned"
INTERRUPTED_FOR = "agent_trace.interrupted_for"
"""Value of the signal (control flow, not an error) that interrupted a run or a step, as JSON."""
INTERRUPTED = "agent_trace.interrupted"
"""Bool: True if the process of a run or a step that has not ended is known to be gone; absent where that is not known."""
FIRST_CHUNK_AT_NS = "agent_trace.first_chunk_at_ns"
"""Unix nanoseconds, int."""
MESSAGES = "agent_trace.messages"
"""Messages of a step whose standard message attributes hold something else: those of a sub-agent."""
MEDIA = "agent_trace.media"
"""Places of content that stands in a folder beside the store, as JSON (see `store.media_parts`); on spans in files only."""
INFERRED = "agent_trace.inferred"
"""True on a span that no tracer emitted: its step is known only from the messages of models."""
SAMPLING_PROBABILITY = "agent_trace.sampling_probability"
ATTRIBUTE_PREFIX = "agent_trace.attribute."
"""Prefix for names of attributes that stores use themselves, such as Jaeger's ``error`` tag (see `AWKWARD_NAMES`)."""
AWKWARD_NAMES = frozenset({"", "error", "span.kind"})
SCORE_SOURCE = "agent_trace.score.source"
"""Name of the evaluator that gave a score, or its kind."""
SCORE_TYPE = "agent_trace.score.type"
"""``bool`` or ``int`` for a value that was one, since the conventions' value is a double."""
SCORE_BY_ID = "agent_trace.score.by_id"
"""True on the event of a score for a run or a step without a span, which it names: that of its span is another one."""
LOG_EVENT = "log"
"""Name of the event of a span that stands for a line of a program's log."""
LOG_SEVERITY = "agent_trace.log.severity"
LOG_LOGGER = "agent_trace.log.logger"
LOG_BODY = "agent_trace.log.body"
CONTENT = "agent_trace.content"
"""Mode of recording content that a tracer or a decorator asked for: ``all``, ``no_inputs``, ``no_outputs``, ``none``."""
REDACTED = "agent_trace.redacted"
"""JSON array of the places of values that were masked: attribute name, and the path within."""
TYPES = "agent_trace.types"
"""JSON object: attribute name → type tag (see `otel_agent_trace.values`)."""
TRUNCATED = "agent_trace.truncated"
"""JSON array of the paths of values that limits truncated."""

# ── metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Metric(NamedTuple):
    """Define an instrument of the GenAI conventions: a histogram with these bucket boundaries, or else a counter."""

    name: str
    unit: str
    description: str
    buckets: tuple[float, ...] | None = None


_OPERATION_BUCKETS_S = tuple(0.01 * 2**power for power in range(14))
_AGENT_BUCKETS_S = tuple(0.1 * 2**power for power in range(13))
_CALL_BUCKETS = tuple(2**power for power in range(8))
_TOKEN_BUCKETS = tuple(4**power for power in range(14))

AGENT_DURATION = Metric("gen_ai.invoke_agent.duration", "s", "How long a run of an agent took.", _AGENT_BUCKETS_S)
AGENT_INFERENCE_CALLS = Metric(
    "gen_ai.invoke_agent.inference_calls",
    "{inference_call}",
    "How many model calls a run of an agent made itself.",
    _CALL_BUCKETS,
)
AGENT_TOOL_CALLS = Metric(
    "gen_ai.invoke_agent.tool_calls", "{tool_call}", "How many tool calls a run of an agent made itself.", _CALL_BUCKETS
)
TOOL_DURATION = Metric("gen_ai.execute_tool.duration", "s", "How long a tool call took.", _OPERATION_BUCKETS_S)
INFERENCE_DURATION = Metric(
    "gen_ai.client.inference.duration", "s", "How long a model call took.", _OPERATION_BUCKETS_S
)
FIRST_CHUNK_TIME = Metric(
    "gen_ai.client.inference.time_to_first_chunk",
    "s",
    "From the request to the first chunk of a streamed answer.",
    _OPERATION_BUCKETS_S,
)
OUTPUT_CHUNK_TIME = Metric(
    "gen_ai.client.inference.time_per_output_chunk",
    "s",
    "From each chunk of a streamed answer to the next.",
    _OPERATION_BUCKETS_S,
)
OPERATION_DURATION = Metric(
    "gen_ai.client.operation.duration",
    "s",
    "How long an operation of a client took that is no inference.",
    _OPERATION_BUCKETS_S,
)
TOKENS_USED = {
    USAGE["input_tokens"]: Metric("gen_ai.client.inference.usage.input_tokens", "{token}", "Input tokens."),
    USAGE["output_tokens"]: Metric("gen_ai.client.inference.usage.output_tokens", "{token}", "Output tokens."),
    USAGE["cache_read_input_tokens"]: Metric(
        "gen_ai.client.inference.usage.cache_read.input_tokens", "{token}", "Input tokens read from a cache."
    ),
    USAGE["cache_write_input_tokens"]: Metric(
        "gen_ai.client.inference.usage.cache_write.input_tokens", "{token}", "Input tokens written to a cache."
    ),
    USAGE["reasoning_output_tokens"]: Metric(
        "gen_ai.client.inference.usage.reasoning.output_tokens", "{token}", "Output tokens spent on reasoning."
    ),
}
"""Attribute of the span → counter."""
TOKENS_PER_CALL = {
    USAGE["input_tokens"]: Metric(
        "gen_ai.client.inference.operation.input_tokens", "{token}", "Input tokens of a model call.", _TOKEN_BUCKETS
    ),
    USAGE["output_tokens"]: Metric(
        "gen_ai.client.inference.operation.output_tokens", "{token}", "Output tokens of a model call.", _TOKEN_BUCKETS
    ),
}
"""Attribute of the span → histogram."""
MODALITY_UNKNOWN = "unknown"

# ── metrics of our own ───────────────────────────────────────────────────────────────────────────────────────────────

SPANS_KEPT = Metric("agent_trace.spans.kept", "{span}", "Spans that a backend has stored or sent.")
LOSSES = Metric("agent_trace.losses", "{loss}", "What was dropped, or failed, by reason.")
LOSS_SINK = "agent_trace.sink"
LOSS_REASON = "agent_trace.reason"

# ── the numbers of OTLP: span kinds, status codes, and the ports of its receivers ────────────────────────────────────

KIND_INTERNAL, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER = 1, 2, 3, 4, 5
STATUS_UNSET, STATUS_OK, STATUS_ERROR = 0, 1, 2
OTLP_GRPC_PORT, OTLP_HTTP_PORT = 4317, 4318
