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
    semconv.OUTPUT: Content.OUTPUT,
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
    semconv.EVALUATION_EXPLANATION: Content.OTHER,
    semconv.CONFIG: Content.OTHER,
    semconv.METADATA: Content.OTHER,
    semconv.TAGS: Content.OTHER,
    semconv.LOG_BODY: Content.OTHER,
    semconv.TRUNCATED: Content.OTHER,  # paths, of which keys of dictionaries are a part
    "llm.invocation_parameters": Content.OTHER,
    "http.url": Content.OTHER,
    "http.target": Content.OTHER,
    "url.full": Content.OTHER,
    "url.query": Content.OTHER,
    "db.statement": Content.OTHER,
    "db.query.text": Content.OTHER,
    "gen_ai.tool.definitions": Content.INPUT,
    "gen_ai.tool.message": Content.INPUT,  # events of the conventions before 1.37
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
        "goal",
        "payload",
        "variables",
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
        "id",
        "ids",
        "name",
        "type",
        "types",
        "kind",
        "role",
        "model",
        "provider",
        "system",
        "tokens",
        "token",
        "usage",
        "count",
        "counts",
        "number",
        "length",
        "size",
        "bytes",
        "duration",
        "time",
        "timestamp",
        "status",
        "code",
        "format",
        "version",
        "reason",
        "reasons",
        "temperature",
        "index",
        "cost",
        "price",
        "score",
        "dimensions",
        "address",
        "port",
        "host",
        "method",
        "modality",
        "language",
    ]
)
"""Last words of names of structure: `gen_ai.output.type`, `ai.response.finishReason`."""
_STRUCTURE_PREFIXES = (
    "gen_ai.request.",
    "gen_ai.response.",
    "gen_ai.usage.",
    "llm.token_count.",
    "llm.usage.",
    "ai.usage.",
)
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
)
"""Namespaces in which numbers, and names that end in a word of structure, are no one's data."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@functools.lru_cache(maxsize=4096)
def content_of(name: str) -> Content:
    """Return what the attribute or event of a name holds."""
    known = _KNOWN.get(name)
    if known is not None:
        return known
    if name in _OF_OURS or name.startswith(_STRUCTURE_PREFIXES):
        return Content.STRUCTURE
    words = [word.lower() for word in _WORD.findall(name)]
    is_structure = bool(words) and words[-1] in _STRUCTURE
    if not is_structure:
        directions = (_DIRECTION[word] for word in words if word in _DIRECTION)
        found = next(directions, None) or (Content.BOTH if _UNDIRECTED.intersection(words) else None)
        if found is not None:
            return found
    return Content.STRUCTURE if is_structure and is_of_convention(name) else Content.OTHER


def is_of_convention(name: str) -> bool:
    """Return whether a name is in a namespace of the conventions or of an instrumentation."""
    return name.startswith(_NAMESPACES)
