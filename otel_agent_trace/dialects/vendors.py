"""Read spans of vendors whose schemes are alike: ``VENDOR.span.type`` holds the kind, the values are beside it.

Recognised by an attribute that ends in ``.span.type``, ``.span.kind`` or ``.span_attributes``, as Laminar (``lmnr``),
Weave, Mastra, Braintrust, DeepEval (``confident``), agentUniverse (``au``) and others write it.
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
"""Vendors whose spans are read as frames of an agent even where their kind is unknown to `_KINDS`."""
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
    """Read a span with an attribute like ``VENDOR.span.type``; return None where there is none, or of no known kind."""
    mark = next((key for key in span.attributes if key.endswith(_MARKS)), None)
    if mark is None or mark.startswith(_ELSEWHERE):
        return None
    attributes = Attributes(span)
    vendor = mark.partition(".")[0]
    span_type, name = _kind_and_name(attributes, mark)
    kind = _KINDS.get(span_type)
    is_entity = f"{vendor}.entity.name" in attributes.rest  # as OpenLLMetry writes it, and what was made after it
    if kind is None and vendor not in _KNOWN and not is_entity:
        return None
    facts = SpanFacts(kind=kind, dialect=vendor, label=span.name if kind is not StepKind.AGENT else None)
    facts.session_id = attributes.text(*(f"{vendor}.{key}" for key in _SESSIONS), "wandb.thread_id", "session.id")
    facts.user_id = attributes.text(*(f"{vendor}.{key}" for key in _USERS), "user.id")
    facts.tags = attributes.tags(f"{vendor}.association.properties.tags")
    recorded_input, recorded_output = (
        attributes.parsed(
            f"{vendor}.span.{way}",
            f"{vendor}.entity.{way}",
            f"{vendor}.{span_type}.{way}",
            f"{vendor}.{way}_json",
            f"{vendor}.{way}",
            f"{way}.value",
        )
        for way in ("input", "output")
    )
    named = attributes.text(f"{vendor}.{span_type}.name", f"{vendor}.span.name", f"{vendor}.entity.name") or name
    name = (named or _conventional_or_quoted_name(attributes)).removesuffix(f".{span_type}")
    if kind is StepKind.MODEL:
        facts.set_messages(conversation(recorded_input), conversation(recorded_output, "assistant"))
        facts.model = attributes.text(f"{vendor}.{span_type}.model", f"{vendor}.span.model") or _model_in_metadata(
            attributes, vendor
        )
        facts.usage = attributes.usage_of(f"{vendor}.metrics") or attributes.usage(
            **_usage_names(f"{vendor}.{span_type}")
        )
        facts.label = facts.model
    elif kind in (StepKind.AGENT, None):
        is_name = kind is not None or (name != span.name and not is_entity)
        facts.name, facts.label = (name, facts.label) if is_name else (None, name)
        facts.input, facts.output = question_in(recorded_input), answer_in(recorded_output)
    else:
        facts.name, facts.input, facts.output = name, recorded_input, recorded_output
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts


_QUOTED = re.compile(r"[a-z ]+: '(.+)'")
_SESSIONS = ("association.properties.session_id", "metadata.threadId", "metadata.sessionId", "trace.thread_id")
_USERS = ("association.properties.user_id", "metadata.userId", "trace.user_id")


def _kind_and_name(attributes: Attributes, mark: str) -> tuple[str, str | None]:
    """Return the recorded kind in lower case, and the name beside it in Braintrust's ``span_attributes``, if any."""
    recorded_kind = parsed(attributes.take(mark))
    if not isinstance(recorded_kind, dict):
        return str(recorded_kind).lower(), None
    name = recorded_kind.get("name")
    return str(recorded_kind.get("type")).lower(), name if isinstance(name, str) else None


def _conventional_or_quoted_name(attributes: Attributes) -> str:
    """Return the name in an attribute of the conventions, else the span's name or its quoted part (``tool: 'f'``)."""
    known = attributes.text(semconv.TOOL_NAME, semconv.AGENT_NAME)
    quoted = _QUOTED.fullmatch(attributes.span.name)
    return known or (quoted[1] if quoted else attributes.span.name)


def _usage_names(prefix: str) -> dict[str, tuple[str, ...]]:
    """Return the attributes that may hold each token count: of the GenAI conventions first, then of the vendor."""
    return {
        field: (f"gen_ai.usage.{field}", f"{prefix}.{field[:-1]}_count", f"{prefix}.usage.{older}")
        for field, older in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
    }


def _model_in_metadata(attributes: Attributes, vendor: str) -> str | None:
    metadata = parsed(attributes.rest.get(f"{vendor}.metadata"))
    model = metadata.get("model") if isinstance(metadata, dict) else None
    return model if isinstance(model, str) else None
