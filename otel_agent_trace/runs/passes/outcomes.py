"""What a run of another tracer does not say itself, out of its steps: name, question, answer, end, tokens."""

from __future__ import annotations

import msgspec

from otel_agent_trace.categories import TIMEOUT
from otel_agent_trace.dialects.parsing.conversation import last_text
from otel_agent_trace.model import Message, RunStatus, StepKind
from otel_agent_trace.runs.node import Node, end_of
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span_facts import SpanFacts


def identify_agents(tree: TraceTree) -> None:
    """Name agents without a name after the one agent that steps say they belong to, else after their span.

    Leaves name, conversation and user of each agent, as far as a step knows them. `gen_ai.agent.name` stands on model
    and tool spans alone in OpenAI Agents' hand-written loops and older OpenLLMetry; smolagents and Langfuse have the
    name in the span's name; instrumentations of clients put `session.id` and `user.id` on the calls.
    """
    for run in tree.agents_of_others():
        own = run.own_steps()
        for node in own:
            run.default_fact("session_id", node)
            run.default_fact("user_id", node)
        if run.facts.name is None:
            _take_name(run, own)
        run.facts.agent_name = run.facts.name


def infer_questions(tree: TraceTree) -> None:
    """Take for the question of a run, where it is no text, the last words of the user that its first model was sent.

    Else what the first sub-agent was asked. The agent's span has no question in OpenAI Agents (OpenInference,
    OpenLLMetry, Logfire), AutoGen, Google ADK, Semantic Kernel, MLflow's conventions; a state or a task with more in
    CrewAI, LangGraph.
    """
    for run in tree.agents_of_others():
        _infer_question(run, [node for node in run.own_steps() if node.kind is StepKind.MODEL])


def infer_errors(tree: TraceTree) -> None:
    """Set the error that a run ended with, where its span does not say so, and its status.

    An answer that is nothing but the words of the last error is that error (PydanticAI, Agno). Without an answer, the
    run failed if its last step did (OpenAI Agents, smolagents, and where an ExceptionGroup is around the error).
    """
    for run in tree.agents_of_others():
        facts = run.facts
        own = [node for node in run.own_steps() if node.span.span_id]  # nobody knows when made-up ones ended
        _turn_answer_into_error(run, own)
        if facts.error is None or facts.error.type.endswith("ExceptionGroup"):
            _take_error_at_the_end(run, own)
        facts.status = _status(run)


def infer_answers(tree: TraceTree) -> None:
    """Take for the answer of a run that did not fail the last words of its own models, or of the agent it handed over
    to.

    The agent's span has no answer in OpenAI Agents (OpenInference, OpenLLMetry, Logfire), AutoGen, Google ADK, Strands,
    MLflow, traceloop-sdk.
    """
    for run in tree.agents_of_others():
        if run.facts.output is None and run.facts.error is None:
            _take_last_text(run)


def drop_usage_sums(tree: TraceTree) -> None:
    """Forget an agent's own tokens where its steps have theirs.

    Agent Framework, Strands, PydanticAI, smolagents and AI SDK write the sum of the calls on the agent's span, under
    the same names; Strands that of the agent's whole life.
    """
    for run in tree.agents_of_others():
        if any(node.facts.usage for node in run.own_steps() if node.kind in (StepKind.MODEL, StepKind.AGENT)):
            run.facts.usage = None


def _take_name(run: Node, own: list[Node]) -> None:
    if run.facts.agent_name is not None:
        run.copy_fact("name", run, "agent_name")
        return
    named = [node for node in own if node.kind is not StepKind.AGENT and node.facts.agent_name is not None]
    if len({node.facts.agent_name for node in named}) == 1:
        run.copy_fact("name", named[0], "agent_name")
    else:
        run.copy_fact("name", run, "label")


def _infer_question(run: Node, models: list[Node]) -> None:
    facts = run.facts
    if type(facts.input) is not str:
        for model in models:
            asked = last_text(model.facts.messages, "user")
            if asked is not None:
                facts.input = asked
                run.set_origins("input", *model.origins("messages"))
                break
    if facts.input is None:
        first = next((node for node in run.below if node.kind is StepKind.AGENT), None)
        if first is not None:
            run.copy_fact("input", first)


def _turn_answer_into_error(run: Node, own: list[Node]) -> None:
    """An answer that is nothing but the words of the error that the run ended with, or those and more, is that error."""
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


def _take_error_at_the_end(run: Node, own: list[Node]) -> None:
    """The error that a run ended with, though its span does not say so."""
    steps = [node for node in own if node.kind in (StepKind.MODEL, StepKind.TOOL, StepKind.AGENT)]
    if not steps or run.facts.output is not None:
        return
    last = max(steps, key=end_of)
    is_last_seen = any(node.kind is not StepKind.TOOL for node in steps)  # else a model may have heard of it untraced
    if last.facts.error and is_last_seen:
        run.copy_fact("error", last)


def _take_last_text(run: Node) -> None:
    """What was said last in a run: by its own model, or by the agent that it handed over to."""
    for node in sorted(run.below, key=end_of):
        if node.kind is StepKind.MODEL:
            words = last_text(_answer(node.facts), "assistant")
            if words:
                run.facts.output = words
                run.set_origins("output", *node.origins("messages"))
        elif node.kind is StepKind.AGENT and node.facts.output is not None:
            run.copy_fact("output", node)


def _answer(facts: SpanFacts) -> tuple[Message, ...]:
    messages = facts.messages
    return messages[-1:] if messages and messages[-1].role == "assistant" else ()


def _status(run: Node) -> RunStatus:
    error = run.facts.error
    if error is not None:
        return RunStatus.TIMEOUT if error.category == TIMEOUT else RunStatus.ERROR
    return RunStatus.RUNNING if run.span.end_ns is None else RunStatus.SUCCESS
