"""Decide by the name of an attribute what its value is: an input, an output, structure, or anything else.

Names of ours and of the conventions are known. Those of other instrumentations are many, and new ones come with each
release, so that their words decide: ``traceloop.entity.input``, ``llm.prompts.0.user``, ``mlflow.spanOutputs``,
``gcp.vertex.agent.tool_call_args``.
"""

from __future__ import annotations

import functools
import re
from enum import Flag

from otel_agent_trace import semconv


class Content(Flag):
    """Classes of what a value may be."""

    STRUCTURE = 0
    """Ids, names of operations, tools and models, counts, times, classes of errors."""
    INPUT = 1
    OUTPUT = 2
    BOTH = 3
    """Messages of a conversation, or a text whose name has no direction."""
    OTHER = 4
    """Anything else that a program or a person may have written: metadata, configuration, texts of errors."""


_KNOWN = {
    semconv.INPUT: Content.INPUT,
    semconv.INPUT_AFTER: Content.INPUT,
    semconv.OUTPUT: Content.OUTPUT,
    semconv.CHUNKS: Content.OUTPUT,
    semconv.MESSAGES: Content.BOTH,
    semconv.INPUT_MESSAGES: Content.INPUT,
    semconv.OUTPUT_MESSAGES: Content.OUTPUT,
    semconv.TOOL_ARGUMENTS: Content.INPUT,
    semconv.TOOL_RESULT: Content.OUTPUT,
    semconv.RETRIEVAL_QUERY: Content.INPUT,
    semconv.RETRIEVAL_DOCUMENTS: Content.OUTPUT,
    semconv.INTERRUPTED_FOR: Content.OUTPUT,
    semconv.EXCEPTION_MESSAGE: Content.OTHER,
    semconv.EXCEPTION_STACKTRACE: Content.OTHER,
    semconv.ERROR_MESSAGE: Content.OTHER,
    semconv.EXCEPTION: Content.OTHER,
    semconv.EVALUATION_EXPLANATION: Content.BOTH,  # it quotes what was asked and answered
    semconv.CONFIG: Content.OTHER,
    semconv.METADATA: Content.OTHER,
    semconv.TAGS: Content.OTHER,
    semconv.LOG_BODY: Content.OTHER,
    semconv.MEDIA: Content.BOTH,
    semconv.TRUNCATED: Content.OTHER,  # paths, of which keys of dictionaries are a part
    "llm.invocation_parameters": Content.OTHER,
    "client.address": Content.OTHER,
    "network.peer.address": Content.OTHER,
    "source.address": Content.OTHER,
    "http.url": Content.OTHER,
    "http.target": Content.OTHER,
    "url.full": Content.OTHER,
    "url.query": Content.OTHER,
    "db.statement": Content.OTHER,
    "db.query.text": Content.OTHER,
    "gen_ai.tool.definitions": Content.INPUT,
    "gen_ai.tool.description": Content.INPUT,
    "tool.description": Content.INPUT,
    "gen_ai.tool.message": Content.BOTH,  # events of the conventions before 1.37; a result, sent to a model
    "gen_ai.user.message": Content.INPUT,
    "gen_ai.system.message": Content.INPUT,
    "gen_ai.assistant.message": Content.BOTH,
    "gen_ai.choice": Content.OUTPUT,
}
_OF_OURS = frozenset(name for name in vars(semconv).values() if type(name) is str).union(semconv.USAGE.values())
_DIRECTION = dict.fromkeys(
    [
        "input",
        "inputs",
        "prompt",
        "prompts",
        "argument",
        "arguments",
        "args",
        "kwargs",
        "parameters",
        "query",
        "queries",
        "question",
        "instruction",
        "instructions",
        "request",
        "task",
        "tasks",
        "goal",
        "payload",
        "variables",
        "tools",
        "functions",
        "definitions",
    ],
    Content.INPUT,
) | dict.fromkeys(
    [
        "output",
        "outputs",
        "completion",
        "completions",
        "response",
        "responses",
        "result",
        "results",
        "answer",
        "answers",
        "reply",
        "replies",
        "choice",
        "choices",
        "generation",
        "generations",
        "candidates",
        "thoughts",
        "thinking",
    ],
    Content.OUTPUT,
)
"""Words of which the first in a name is its direction: `llm.output_messages.0.message.tool_calls.0.arguments`."""
_UNDIRECTED = frozenset(
    [
        "message",
        "messages",
        "content",
        "contents",
        "conversation",
        "history",
        "transcript",
        "chat",
        "document",
        "documents",
        "text",
        "texts",
        "image",
        "images",
        "audio",
    ]
)
_STRUCTURE = frozenset(
    [
        *("id", "ids", "name", "type", "subtype", "types", "kind", "role", "class", "category"),
        *("model", "agent", "provider", "system", "method", "operation", "modality", "language", "version", "format"),
        *("tokens", "token", "usage", "count", "counts", "number", "index", "length", "size", "bytes", "dimensions"),
        *("duration", "time", "timestamp", "ms", "ns", "cost", "price", "score", "temperature"),
        *("status", "success", "code", "reason", "reasons", "address", "port", "host"),
    ]
)
"""Last words of names of structure: `gen_ai.output.type`, `ai.response.finishReason`."""
_TERMS = _STRUCTURE.union(
    [
        *("gen", "ai", "llm", "tool", "tools", "function", "call", "request", "response", "finish", "choice"),
        *("input", "output", "prompt", "completion", "cached", "cache", "read", "write", "creation", "reasoning"),
        *("thoughts", "total", "details", "latency", "ttft", "error", "exception", "retry", "cancellation"),
        *("turn", "step", "flow", "workflow", "pipeline", "component", "graph", "node", "executor", "cycle", "loop"),
        *("span", "trace", "observation", "run", "sdk", "api", "mcp", "server", "transport", "from", "to", "handoff"),
        *("invocation", "start", "end", "max", "steps", "evaluator", "embedding"),
        *("langfuse", "mlflow", "mastra", "genkit", "haystack", "gcp", "vertex", "pydantic", "logfire", "crew"),
        *("smolagents", "strands", "codex", "gemini", "openai", "anthropic", "litellm", "langsmith", "langgraph"),
        *("openlit", "agentops", "autogen", "llamaindex", "dspy", "agno", "weave"),
    ]
).difference(["class", "category", "address", "host", "price"])
"""Words of which frameworks make the names of structure: `tool_name`, `graph.node.id`, `mlflow.spanType`.

A name that has another word is somebody else's, as `customer_name`; so is one of words that programs use, as `client_name`.
"""
_OF_FRAMEWORKS = frozenset(
    {
        *("model", "usage", "input.mime_type", "output.mime_type", *semconv.ENVIRONMENTS, *semconv.SESSION_IDS),
        *("code.filepath", "code.function", "code.lineno", "code.namespace"),
        *("genkit:metadata:subtype", "genkit:path", "genkit:state", "logfire.msg_template", "logfire.json_schema"),
    }
)
"""Names of structure that no rule recognises."""
_COUNT_PREFIXES = ("gen_ai.usage.", "llm.token_count.", "llm.usage.", "ai.usage.")
_CALL_PREFIXES = ("gen_ai.request.", "gen_ai.response.")
"""Namespaces of parameters and figures of model calls, in which some instrumentations have messages too."""
_NAMESPACES = (
    "agent_trace.",
    "gen_ai.",
    "llm.",
    "ai.",
    "openinference.",
    "traceloop.",
    "mcp.",
    "error.",
    "exception.",
    "service.",
    "telemetry.",
    "server.",
    "client.",
    "network.",
    "http.",
    "rpc.",
    "messaging.",
    "db.",
    "code.",
    "thread.",
    "k8s.",
    "cloud.",
    "container.",
    "deployment.",
    "faas.",
    "otel.",
    "haystack.",
    "mlflow.",
    "genkit:",
    "gcp.vertex.agent.",
    "mastra.",
    "pydantic_ai.",
    "codex.",
    "event_loop.",
    "smolagents.",
    "spring.ai.",
    "openlit.",
    "langfuse.",
    "langsmith.",
    "logfire.",
    "graph.",
)
"""Namespaces in which numbers, and names that end in a word of structure, are no one's data."""
_ARGUMENTS = frozenset({"arguments", "args"})
"""Last words of names of the arguments of tool calls, which are inputs of a tool also in the answer of a model."""
_COUNTED = frozenset({"token", "tokens", "usage"})
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


_LISTED_FOR = frozenset({"metadata", "properties", "association", "context", "headers", "header", "baggage", "tags"})
"""Words of names under which instrumentations record what a program gave them, under names of its own."""
_IDS = frozenset((whose, "id") for whose in ("session", "conversation", "thread", "user", "run"))
"""Last words of the names of ids that are recorded wherever they stand."""
_GIVEN_BY_FRAMEWORKS = ("ls_", "lc_", "langgraph_")
"""Beginnings of the names that LangChain gives to its own metadata."""


@functools.lru_cache(maxsize=4096)
def content_of(name: str) -> Content:
    """Return what the attribute or event of a name holds."""
    known = _KNOWN.get(name)
    if known is not None:
        return known
    if name in _OF_OURS or name in _OF_FRAMEWORKS or name.startswith(_COUNT_PREFIXES):
        return Content.STRUCTURE
    words = _words_of(name)
    if is_listed_structure(name.rpartition(".")[2]) or tuple(words[-2:]) in _IDS:
        return Content.STRUCTURE
    if not _LISTED_FOR.isdisjoint(words[:-1]):
        return Content.OTHER
    found = _direction_of(words) or (Content.BOTH if _UNDIRECTED.intersection(words) else Content.STRUCTURE)
    if name.startswith(_CALL_PREFIXES):
        return found if content_of(name.split(".", 2)[2]) & Content.BOTH else Content.STRUCTURE
    if _names_structure(name, words):
        return Content.STRUCTURE
    if found and words[-1] not in _STRUCTURE:
        is_argument = words[-1] in _ARGUMENTS and found is Content.OUTPUT
        return Content.BOTH if is_argument else found
    return Content.OTHER


def is_listed_structure(key: str) -> bool:
    """Return whether a key among the metadata of a program is one of a framework, or that of an id that is recorded."""
    if tuple(_words_of(key)) in _IDS:
        return True
    return key.startswith(_GIVEN_BY_FRAMEWORKS) and "auth" not in key


def _names_structure(name: str, words: list[str]) -> bool:
    """Return whether a name ends in a word of structure, and is one of a convention or a framework."""
    if not words or (words[-1] not in _STRUCTURE and not (words[-1] == "details" and "usage" in words)):
        return False
    return is_of_convention(name) or (len(words) > 1 and _TERMS.issuperset(words))


@functools.lru_cache(maxsize=4096)
def direction_of(key: str) -> Content:
    """Return whether what a key of JSON holds is an input or an output, by its words; `Content.STRUCTURE` for neither."""
    words = _words_of(key)
    is_structure = not words or words[-1] in _STRUCTURE or not _COUNTED.isdisjoint(words)
    return Content.STRUCTURE if is_structure else _direction_of(words)


def is_of_convention(name: str) -> bool:
    """Return whether a name is in a namespace of the conventions or of an instrumentation."""
    return name.startswith(_NAMESPACES)


def _words_of(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _direction_of(words: list[str]) -> Content:
    return next((_DIRECTION[word] for word in words if word in _DIRECTION), Content.STRUCTURE)
