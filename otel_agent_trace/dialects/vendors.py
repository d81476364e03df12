"""Schemes of several vendors that are alike: ``VENDOR.span.type`` says what a span is, values stand beside it.

So write Laminar (``lmnr``), Weave, Mastra, Braintrust, DeepEval (``confident``), agentUniverse (``au``) and more.
"""

from __future__ import annotations

import re

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "vendors"
_KNOWN = frozenset({"lmnr", "weave", "mastra", "braintrust", "confident"})
"""Vendors whose spans are believed to be part of an agent also where they are neither agent, tool nor model."""
_ELSEWHERE = ("openinference.", "traceloop.", "agentops.", "langsmith.", "logfire.")
_MARKS = (".span.type", ".span.kind", ".span_attributes")
_KINDS = {
    **dict.fromkeys(("agent", "agent_run", "invoke_agent"), StepKind.AGENT),
    **dict.fromkeys(
        ("tool", "tool_call", "mcp_tool_call", "provider_tool_call", "function_call", "execute_tool"), StepKind.TOOL
    ),
    **dict.fromkeys(("llm", "generation", "model_generation", "model_step", "chat_model"), StepKind.MODEL),
    **dict.fromkeys(("retriever", "retrieval"), StepKind.RETRIEVAL),
    **dict.fromkeys(("embedding", "embeddings"), StepKind.OTHER),
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span in which an attribute such as ``VENDOR.span.type`` says what it is; None where none does."""
    mark = next((key for key in span.attributes if key.endswith(_MARKS)), None)
    if mark is None or mark.startswith(_ELSEWHERE):
        return None
    given = Attributes(span)
    vendor = mark.partition(".")[0]
    sort, name = _said(given, mark)
    kind = _KINDS.get(sort)
    if kind is None and vendor not in _KNOWN:
        return None
    facts = SpanFacts(kind=kind, dialect=vendor, label=span.name if kind is not StepKind.AGENT else None)
    facts.session_id = given.text(*(f"{vendor}.{key}" for key in _SESSIONS), "wandb.thread_id", "session.id")
    facts.user_id = given.text(*(f"{vendor}.{key}" for key in _USERS), "user.id")
    facts.tags = given.tags(f"{vendor}.association.properties.tags")
    asked, told = (
        given.take(
            f"{vendor}.span.{way}", f"{vendor}.{sort}.{way}", f"{vendor}.{way}_json", f"{vendor}.{way}", f"{way}.value"
        )
        for way in ("input", "output")
    )
    name = given.text(f"{vendor}.{sort}.name", f"{vendor}.span.name") or name or _name(given)
    if kind is StepKind.MODEL:
        facts.messages = conversation(asked) + conversation(told, "assistant")
        facts.model = given.text(f"{vendor}.{sort}.model", f"{vendor}.span.model") or _model(given, vendor)
        facts.usage = given.usage_of(f"{vendor}.metrics") or given.usage(**_usage_names(f"{vendor}.{sort}"))
        facts.label = facts.model or span.name
    elif kind in (StepKind.AGENT, None):
        facts.name = name if kind is not None or name != span.name else None
        facts.input, facts.output = question_in(asked), answer_in(told)
    else:
        facts.name, facts.input, facts.output = name, asked, told
    facts.error = given.error()
    facts.attributes = given.rest
    return facts


_QUOTED = re.compile(r"[a-z ]+: '(.+)'")
_SESSIONS = ("association.properties.session_id", "metadata.threadId", "metadata.sessionId", "trace.thread_id")
_USERS = ("association.properties.user_id", "metadata.userId", "trace.user_id")


def _said(given: Attributes, mark: str) -> tuple[str, str | None]:
    """The kind that is said, in lower case, and the name that may stand beside it."""
    said = parsed(given.take(mark))
    if not isinstance(said, dict):
        return str(said).lower(), None
    name = said.get("name")
    return str(said.get("type")).lower(), name if isinstance(name, str) else None


def _name(given: Attributes) -> str:
    """The name in the conventions' words, else the span's: that in its quotes, as in ``tool: 'search'``."""
    known = given.text(semconv.TOOL_NAME, semconv.AGENT_NAME)
    quoted = _QUOTED.fullmatch(given.span.name)
    return known or (quoted[1] if quoted else given.span.name)


def _usage_names(prefix: str) -> dict[str, tuple[str, ...]]:
    """Where tokens stand: in the conventions' words, or in the vendor's."""
    return {
        field: (f"gen_ai.usage.{field}", f"{prefix}.{field[:-1]}_count", f"{prefix}.usage.{older}")
        for field, older in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
    }


def _model(given: Attributes, vendor: str) -> str | None:
    metadata = parsed(given.rest.get(f"{vendor}.metadata"))
    model = metadata.get("model") if isinstance(metadata, dict) else None
    return model if isinstance(model, str) else None
