"""Infer what a run of another tracer does not record itself from its steps: name, question, answer, error, tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.categories import CANCELLED, TIMEOUT
from otel_agent_trace.dialects.parsing.conversation import answer_of, is_content, last_content
from otel_agent_trace.dialects.parsing.payloads import kept_of
from otel_agent_trace.model import RunStatus, StepKind
from otel_agent_trace.runs.node import Node, end_of
from otel_agent_trace.runs.passes.graphs import are_in_same_step
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import Truncated, same

_IDENTIFIER = re.compile(r"[A-Za-z]\w*(?:-\w+)*")

_AROUND_OTHERS = ("ExceptionGroup", semconv.ERROR_TYPE_OTHER)
"""Ends of the types of errors that may only be around another one."""


def identify_agents(tree: TraceTree) -> None:
    """Name agents without a name after the only agent that their steps name, else after their span.

    Leaves name, conversation and user of each agent, as far as a step has them. `gen_ai.agent.name` is only on model
    and tool spans in OpenAI Agents' hand-written loops and older OpenLLMetry; smolagents and Langfuse have the name in
    the span's name; instrumentations of clients put `session.id` and `user.id` on the calls. An agent that has no name
    in Spring AI's chat client is named after the observation that the application made right around it.
    """
    for run in tree.agents_of_others():
        own = run.own_steps()
        for node in own:
            run.default_fact("session_id", node)
            run.default_fact("user_id", node)
        if run.facts.name is None:
            _take_name(run, own)
        if run.facts.name is None:
            run.facts.name = _name_around(run.span, tree)
        run.facts.agent_name = run.facts.name


def infer_questions(tree: TraceTree) -> None:
    """Set the question of a run, where it is no text, to the last user text that its first model was sent.

    Else to the question of its first sub-agent. The agent's span has no question in OpenAI Agents (OpenInference,
    OpenLLMetry, Logfire), AutoGen, Google ADK, Semantic Kernel and MLflow's conventions; in CrewAI and LangGraph a
    state or a task with more.
    """
    for run in tree.agents_of_others():
        _infer_question(run, [node for node in run.own_steps() if node.kind is StepKind.MODEL])


def infer_interruptions(tree: TraceTree) -> None:
    """Set what a run was interrupted for to what its last steps, and frames, ask for; its answer is what its models wrote.

    Takes runs with frames. LangGraph's signal is recorded on the tool and on the nodes around it, or on a node that
    calls no tool, but not on the agent, whose state has the answers of earlier turns; pydantic-ai's and Strands' agents
    have the calls to approve in place of an answer. Several tools or nodes may be interrupted at once.
    """
    for run in tree.agents_of_others():
        if run.facts.interrupted_for is None and run.facts.error is None:
            _take_interruptions(run)
        if run.facts.interrupted_for is not None:
            run.facts.output = None


def infer_errors(tree: TraceTree) -> None:
    """Set the error of a run, where its span does not record it, and the run's status.

    An answer that is nothing but the message of the last error is that error (pydantic-ai, Agno). Without an answer,
    the run failed if its last step did (OpenAI Agents, smolagents, and where an ExceptionGroup is around the error). An
    error of a tool is none of the model that answers after it, nor of the run (OpenInference's processor for the AI SDK
    marks all of them).
    """
    for run in tree.agents_of_others():
        facts = run.facts
        own = [node for node in run.own_steps() if node.span.span_id]  # when inferred steps ended is not known
        _drop_errors_of_tools(run, own)
        _turn_answer_into_error(run, own)
        if facts.error is None or facts.error.type.endswith(_AROUND_OTHERS):
            _take_error_of_last_step(run, own)
        if facts.error is not None and facts.error.category == CANCELLED:
            _cancel_last_tool(run, own)
        facts.status = _status(run)


def infer_answers(tree: TraceTree) -> None:
    """Set the answer of a run that did not fail to the last text of its own models, or of the agent it handed over to.

    The agent's span has no answer in OpenAI Agents (OpenInference, OpenLLMetry, Logfire), AutoGen, Google ADK, Strands,
    MLflow and traceloop-sdk. Of LangGraph's, which is a whole conversation, a limit may have kept the beginning of
    something that a model wrote, then or before.
    """
    for run in tree.agents_of_others():
        is_known = run.facts.output is not None and not _is_beginning_of_answer(run.facts.output, run)
        if not is_known and run.facts.error is None:
            _take_last_text(run)


def drop_usage_sums(tree: TraceTree) -> None:
    """Remove an agent's own tokens where its steps have theirs.

    Agent Framework, Strands, pydantic-ai, smolagents and the AI SDK write the sum of the calls on the agent's span,
    under the same names; Strands the sum over the agent's whole life.
    """
    for run in tree.agents_of_others():
        if any(node.facts.usage for node in run.own_steps() if node.kind in (StepKind.MODEL, StepKind.AGENT)):
            run.facts.usage = None


def record_requested_models(tree: TraceTree) -> None:
    """Set ``gen_ai.request.model`` among the attributes of each step for which another model answered than requested.

    It is where our own spans have it, for a request for "gpt-4o" that "gpt-4o-2024-08-06" answered.
    """
    for node in tree.walk():
        facts = node.facts
        if facts.requested_model is not None and facts.requested_model != facts.model:
            facts.attributes = {**facts.attributes, semconv.REQUEST_MODEL: facts.requested_model}


def _take_interruptions(run: Node) -> None:
    """Set what a run was interrupted for to the value of its only signal, or the values of several."""
    own = run.own_steps()
    signals = [node for node in own if node.facts.interrupted_for is not None]
    if not signals or _has_gone_on(own, max(signals, key=end_of)):
        return
    innermost = [node for node in signals if not any(below in signals for below in node.walk() if below is not node)]
    values = _distinct([node.facts.interrupted_for for node in innermost])
    run.facts.interrupted_for = values[0] if len(values) == 1 else values
    run.set_origins("interrupted_for", *(origin for node in innermost for origin in node.origins("interrupted_for")))


def _has_gone_on(own: list[Node], signal: Node) -> bool:
    """Return whether a model was called after a signal, other than by a node of the graph at the same time."""
    models = (node for node in own if node.kind is StepKind.MODEL and node.span.start_ns >= end_of(signal))
    return any(not are_in_same_step(model, signal) for model in models)


def _distinct(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if not any(same(value, other) for other in found):
            found.append(value)
    return found


def _take_name(run: Node, own: list[Node]) -> None:
    if run.facts.agent_name is not None:
        run.copy_fact("name", run, "agent_name")
        return
    named = [node for node in own if node.kind is not StepKind.AGENT and node.facts.agent_name is not None]
    if len({node.facts.agent_name for node in named}) == 1:
        run.copy_fact("name", named[0], "agent_name")
    else:
        run.copy_fact("name", run, "label")


def _name_around(span: SpanRecord, tree: TraceTree) -> str | None:
    """Return the name of a root right above a span, if it has the same scope and nothing but a name; else None."""
    above = tree.records.get(span.parent_span_id or "")
    if above is None or above.parent_span_id is not None or (above.scope.name or None) != span.scope.name:
        return None
    return above.name if not above.attributes and _IDENTIFIER.fullmatch(above.name) else None


def _infer_question(run: Node, models: list[Node]) -> None:
    facts = run.facts
    asked = ((model, last_content(model.facts.messages, "user")) for model in models)
    model, question = next(((model, content) for model, content in asked if content is not None), (run, None))
    if type(question) is Truncated and _begins_with(question, facts.input):  # the agent's span has more of it
        return
    if question is not None and (not is_content(facts.input) or _has_more_parts(question, facts.input)):
        facts.input = question
        run.set_origins("input", *model.origins("messages"))
    if facts.input is None:
        first = next((node for node in run.children if node.kind is StepKind.AGENT), None)
        if first is not None:
            run.copy_fact("input", first)


def _has_more_parts(question: Any, text: Any) -> bool:
    """Return whether a question has the same text and media beside it, which an agent's span does not have."""
    return type(question) is list and type(text) is str and text == "".join(_texts_in(question))


def _texts_in(parts: list[dict[str, Any]]) -> Iterator[str]:
    return (str(part.get("content")) for part in parts if part.get("type") == "text")


def _drop_errors_of_tools(run: Node, own: list[Node]) -> None:
    """Remove the errors of models, and of a run with an answer, that are those of tools before a model's answer."""
    for tool in own:
        if tool.kind is not StepKind.TOOL or tool.facts.error is None:
            continue
        later = [node for node in own if node.kind is StepKind.MODEL and node.span.start_ns >= end_of(tool)]
        answers = [model for model in later if answer_of(model.facts)]
        for node in [*answers, *([run] if answers and run.facts.output is not None else [])]:
            if node.facts.error is not None and node.facts.error.message == tool.facts.error.message:
                node.facts.error = None


def _turn_answer_into_error(run: Node, own: list[Node]) -> None:
    """Turn an answer that is only the message of the run's last error, or contains that of its own, into the error."""
    answer = run.facts.output
    last = max((node for node in own if node.kind is not StepKind.TOOL), key=end_of, default=None)
    if type(answer) is not str or not answer.strip():
        return
    if last is not None and last.facts.error is not None and answer.strip() in last.facts.error.message:
        run.facts.output = None
        run.copy_fact("error", last)
    elif run.facts.error is not None and run.facts.error.message and run.facts.error.message in answer:
        run.facts.output, run.facts.error = None, msgspec.structs.replace(run.facts.error, message=answer)
        run.set_origins("error", *run.origins("error"), *run.origins("output"))


def _cancel_last_tool(run: Node, own: list[Node]) -> None:
    """Set the error of the tool that was running when its run was cancelled: the last step, which returned nothing."""
    last = max(own, key=end_of, default=None)
    if last is not None and last.kind is StepKind.TOOL and last.facts.error is None and last.facts.output is None:
        last.copy_fact("error", run)


def _take_error_of_last_step(run: Node, own: list[Node]) -> None:
    """Set the error of a run to that of its last step."""
    steps = [node for node in own if node.kind in (StepKind.MODEL, StepKind.TOOL, StepKind.AGENT)]
    if not steps or run.facts.output is not None:
        return
    last = max(steps, key=end_of)
    is_last_seen = any(
        node.kind is not StepKind.TOOL for node in steps
    )  # else an untraced model may have got the error
    own_error, error = run.facts.error, last.facts.error
    if error is None or not is_last_seen:
        return
    if own_error is None or own_error.type != semconv.ERROR_TYPE_OTHER:
        run.copy_fact("error", last)
    elif error.message and error.message in own_error.message:  # OpenAI Agents: the class is only on the call
        run.facts.error = msgspec.structs.replace(own_error, type=error.type, category=error.category)
        run.set_origins("error", *run.origins("error"), *last.origins("error"))


def _is_beginning_of_answer(output: Any, run: Node) -> bool:
    """Return whether a text that a limit has cut is the beginning of what one of the run's own models wrote."""
    return type(output) is Truncated and any(
        _begins_with(output, answer_of(node.facts)) for node in _answering_steps(run) if node.kind is StepKind.MODEL
    )


def _begins_with(cut: Truncated, content: Any) -> bool:
    """Return whether a text, which may have been cut as well, begins with what is kept of another and is not shorter."""
    whole = kept_of(content)
    return type(cut.kept) is str and type(whole) is str and whole.startswith(cut.kept)


def _take_last_text(run: Node) -> None:
    """Set the answer to the last text of the run's own models, or of the agent it handed over to."""
    for node in sorted(_answering_steps(run), key=end_of):
        if node.kind is StepKind.MODEL:
            answer = answer_of(node.facts)
            if answer is not None:
                run.facts.output = answer
                run.set_origins("output", *node.origins("messages"))
        elif node.kind is StepKind.AGENT and node.facts.output is not None:
            run.copy_fact("output", node)


def _answering_steps(run: Node) -> list[Node]:
    """Return the steps that may answer: those of the run, and those within its models (Google's ADK in JavaScript)."""
    found = list(run.children)
    for node in found:
        if node.kind is StepKind.MODEL:
            found.extend(node.children)
    return found


def _status(run: Node) -> RunStatus:
    error = run.facts.error
    if error is not None:
        return RunStatus.TIMEOUT if error.category == TIMEOUT else RunStatus.ERROR
    return RunStatus.RUNNING if run.span.end_ns is None else RunStatus.SUCCESS
