"""Find the spans of other tracers that are runs, and merge those that are one agent."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.signals import resumes_another
from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.calls import has_just_answered
from otel_agent_trace.runs.node import Node, end_of, start_of
from otel_agent_trace.runs.passes.duplicates import merge_siblings
from otel_agent_trace.runs.passes.loose_calls import joined_by_messages
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span import FLAG_REMOTE_PARENT, SpanRecord
from otel_agent_trace.span_facts import SpanFacts

_TURN = re.compile(r"(agent[_ ])?(step|turn|cycle|iteration|round|loop|node|model|tools)\b", re.IGNORECASE)
"""Names of a run's parts: smolagents' ``Step 1``, turns of OpenAI Agents, nodes of LangGraph's agents."""
_STEPS = (StepKind.MODEL, StepKind.TOOL, StepKind.RETRIEVAL)


def separate_resumed(tree: TraceTree) -> None:
    """Move agents that resume an interrupted one to the roots: they are below a span of that one, which had ended.

    Takes any roots. Mastra resumes a run, after minutes or days, in its trace, below a model call.
    """
    for node in [*tree.walk()]:
        resumed = [child for child in node.children if _is_resumed_below(child, node)]
        if resumed:
            node.children = [child for child in node.children if child not in resumed]
            tree.roots = sorted([*tree.roots, *resumed], key=start_of)


def _is_resumed_below(agent: Node, above: Node) -> bool:
    has_ended = end_of(above) <= agent.span.start_ns
    return has_ended and agent.kind is StepKind.AGENT and agent.is_third_party and resumes_another(agent.span)


def find_runs(tree: TraceTree) -> None:
    """Leave as roots the runs, calls outside any run, and what our own tracer wrote; each run gets its agent's facts.

    Takes any roots. Those of other tracers with neither a step nor an agent below are dropped: LangGraph's
    `create_agent`, the building of Agent Framework's workflows, MCP's notifications. Tops below the same span, known or
    missing, are decided together: agents and whole chains below a request or a job are a run each, anything else below
    it is one run (model calls below ``POST /ask``; what smolagents leaves of a failed run), whose node is inferred where the span is
    missing. A span that is only the shell of an agent (OpenAI Agents' `workflow` and `task`, Traceloop's
    `NAME.workflow`, Google ADK's `invocation`) is merged with the agent; an agent after it, to which it handed over, is
    its sub-agent.
    """
    groups = joined_by_messages(_groups(tree), tree)
    runs = [run for group in groups for run in _runs_of(group, tree)]
    ours = [root for root in tree.roots if not root.is_third_party]
    tree.roots = sorted([*ours, *runs], key=start_of)


def merge_shells_in_our_runs(tree: TraceTree) -> None:
    """Merge agents of other tracers within runs of ours with the spans that are only their shell.

    Leaves the outermost agents of other tracers, each with its agent's facts, as `find_runs` does for runs. Needed
    where a framework with an instrumentation of its own is called from a run or a tool of our tracer.
    """
    pending = [root for root in tree.roots if not root.is_third_party]
    while pending:
        for child in pending.pop().steps_below():
            if child.kind is StepKind.AGENT and child.is_third_party:
                _merge_shells(child)
            else:
                pending.append(child)


def describe_called_agents(tree: TraceTree) -> None:
    """Give agents that a tool calls their name, question and answer from the call, where their own spans have none.

    Takes runs without frames. Claude's Agent SDK calls them by its tool ``Task`` (or ``Agent``), whose name is all that
    OpenInference records on the span of the sub-agent; deepagents' is ``task``. Where other steps are directly below
    such a tool, the sub-agent has no span, and its node is inferred.
    """
    for tool in tree.walk():
        given = tool.facts.input
        if tool.kind is StepKind.TOOL and isinstance(given, dict) and isinstance(given.get(_SUBAGENT), str):
            if tool.is_third_party and _has_steps_of_lost_agent(tool):
                tool.children = [_inferred_agent(tool.children)]
            for agent in tool.steps_below():
                if agent.kind is StepKind.AGENT and agent.is_third_party:
                    _describe_called_agent(agent, tool, given)


_SUBAGENT = "subagent_type"


def _has_steps_of_lost_agent(tool: Node) -> bool:
    kinds = {step.kind for step in tool.children}
    return StepKind.AGENT not in kinds and not kinds.isdisjoint(_STEPS)


def _inferred_agent(steps: list[Node]) -> Node:
    """Return a node for an agent without a span, around its steps, with a run id that the first of them gives."""
    agent = _node_around(steps, None)
    agent.kind, agent.is_run = StepKind.AGENT, True
    agent.facts.run_id = f"{steps[0].span.trace_id}-{steps[0].span.span_id}"
    return agent


def _describe_called_agent(agent: Node, tool: Node, given: dict[Any, Any]) -> None:
    if agent.facts.name in (None, tool.facts.name):
        agent.facts.name = given[_SUBAGENT]
        agent.set_origins("name", *tool.origins("input"))
    prompt = given.get("prompt", given.get("description"))
    if agent.facts.input is None and prompt is not None:
        agent.facts.input = prompt
        agent.set_origins("input", *tool.origins("input"))
    agent.default_fact("output", tool)


def _groups(tree: TraceTree) -> list[list[Node]]:
    """Group the roots of other tracers by the outermost span above them, or by a parent that is missing."""
    groups: dict[str, list[Node]] = {}
    for place, root in enumerate(tree.roots):
        if root.is_third_party:
            outermost = tree.outermost(root.span)
            above = root.span.parent_span_id if outermost is root.span else outermost.span_id
            if (
                above is None or not root.span.span_id
            ):  # an inferred node is a run already: the pass has been run before
                above = f"\0{place}"
            groups.setdefault(above, []).append(root)
    return list(groups.values())


def _runs_of(group: list[Node], tree: TraceTree) -> list[Node]:
    """Return the runs in roots that share the outermost span above them."""
    with_steps = [root for root in group if any(map(_shows_run, root.walk()))]
    if not with_steps:
        return []
    if len(with_steps) == 1 and (with_steps[0].kind in (None, StepKind.AGENT)):
        run = _as_run(with_steps[0], is_part=_is_part_of_lost_run(with_steps[0], tree))
        _default_question(run, group)
        return [run]
    outermost: SpanRecord | None = tree.outermost(with_steps[0].span)
    if outermost is with_steps[0].span:
        outermost = None  # the call itself, among other spans
    is_known = outermost is not None or all(root.span.flags & FLAG_REMOTE_PARENT for root in with_steps)
    whole = _whole_runs(with_steps) if is_known else []
    others = [root for root in with_steps if root not in whole]
    if len(whole) == 1 and all(root.kind is StepKind.RETRIEVAL for root in others):
        whole[0].add_children(others)
        others = []
    return [*map(_as_run, whole), *_run_around(others, outermost)]


def _shows_run(node: Node) -> bool:
    """Return whether a node shows that there was a run: an agent, a step, an interruption, or a command to go on after one.

    A graph may be interrupted before its first step, and call neither a model nor a tool after a person approved.
    """
    if node.kind in (*_STEPS, StepKind.AGENT) or node.facts.interrupted_for is not None:
        return True
    return node.facts.input is not None and node.facts.output is not None and resumes_another(node.span)


def _whole_runs(roots: list[Node]) -> list[Node]:
    """Return the roots that are runs by themselves; none where a tool beside them shows that all are one agent's work."""
    return [root for root in roots if _is_whole(root)] if all(root.kind is not StepKind.TOOL for root in roots) else []


def _run_around(roots: list[Node], outermost: SpanRecord | None) -> list[Node]:
    """Return the run of which roots are parts, or a single call that is none."""
    if not roots:
        return []
    is_model = roots[0].kind is StepKind.MODEL
    if len(roots) == 1 and not (is_model and (outermost is not None or has_just_answered(roots[0]))):
        return roots
    return [_as_run(_node_around(roots, outermost))]


def _default_question(run: Node, group: list[Node]) -> None:
    """Set a missing question of a run to the one asked just before in the same conversation (`session_id`)."""
    facts = run.facts
    if facts.input is None and facts.session_id is not None:
        for node in reversed([node for node in group if node.span.start_ns < run.span.start_ns]):
            if node.facts.session_id == facts.session_id:
                run.default_fact("input", node)


def _node_around(nodes: list[Node], span: SpanRecord | None) -> Node:
    """Return a node for the span above others: one without facts, or an inferred one where it is missing."""
    first = nodes[0]
    if span is None:
        ends = [node.span.end_ns for node in nodes]
        end_ns = None if None in ends else max(end for end in ends if end is not None)
        span = msgspec.structs.replace(
            first.span, span_id="", parent_span_id=None, name="", start_ns=first.span.start_ns, end_ns=end_ns, events=()
        )
    facts = SpanFacts(kind=None, dialect=first.facts.dialect)
    if span.span_id:
        facts.error = Attributes(span).error()
    node = Node(span, facts)
    node.add_children(nodes)
    merge_siblings(node)
    return node


def _is_whole(root: Node) -> bool:
    """Return whether a root is a run by itself: an agent, or a chain with its question and its answer, or its error."""
    facts = root.facts
    has_answered = facts.output is not None or facts.error is not None
    return root.kind is StepKind.AGENT or (root.kind is None and facts.input is not None and has_answered)


def _is_part_of_lost_run(root: Node, tree: TraceTree) -> bool:
    """Return whether a frame is a turn of a run whose own span is missing, rather than what a request called."""
    span = root.span
    if root.kind is not None or span.parent_span_id is None or span.flags & FLAG_REMOTE_PARENT or _is_shell(root):
        return False
    is_lost = tree.outermost_id(span) not in tree.records
    return is_lost and _TURN.match(root.facts.label or span.name) is not None


def _as_run(node: Node, *, is_part: bool = False) -> Node:
    """Turn a node into a run: a shell gets the facts of the agent in it; question and answer of a part are not the run's."""
    if is_part:
        node.facts.label = node.facts.input = node.facts.output = None
    _merge_shells(node)
    node.kind, node.is_run = StepKind.AGENT, True
    return node


def _merge_shells(node: Node) -> None:
    """Merge a node with the agent it is only the shell of, and so on inwards, until none is a shell."""
    is_done = False
    while not is_done:
        while _is_shell(node):
            _merge_with_inner_agents(node)
        is_done = not _merge_doubled_agents(node)  # else the names of those in it may be known now


def _is_shell(node: Node) -> bool:
    """Return whether a node is only the shell of the agents in it.

    It calls no model itself, and is neither a different agent nor a workflow of several agents with a name of its own.
    """
    inner = [child for child in node.steps_below() if child.kind in (StepKind.AGENT, StepKind.MODEL)]
    if not inner or any(child.kind is StepKind.MODEL for child in inner):
        return False
    name, own_name = inner[0].facts.name, node.facts.name
    if node.kind is None:
        return len(inner) == 1 or own_name in (None, name)
    if name is None:
        return own_name is None and len(inner) == 1 and inner[0].facts.input == node.facts.input is not None
    return own_name in (None, name) and not _was_called(inner[0], node)


def _merge_with_inner_agents(shell: Node) -> None:
    """Merge a shell with its first agent; those it handed over to are its sub-agents, and the last of them answers.

    Further turns of the first agent are merged, too: Monocle writes a span for each turn of OpenAI Agents.
    """
    inner = [child for child in shell.steps_below() if child.kind is StepKind.AGENT]
    outer, first, last = Node(shell.span, msgspec.structs.replace(shell.facts)), inner[0], max(inner, key=end_of)
    outer.sources = shell.sources
    several = len(inner) > 1
    turns = _turns_of(first, inner[1:])
    shell.absorb(first)
    first.fill_from(outer)
    shell.replace_facts(first)
    for turn in turns:
        shell.absorb(turn)
    if not first.facts.name:
        shell.copy_fact("name", first, "label")
    if several:
        shell.copy_fact("output", last if outer.facts.output is None else outer)
    if type(outer.facts.input) is str and (several or type(first.facts.input) is not str):
        shell.copy_fact("input", outer)
    shell.copy_fact("error", outer if outer.facts.error else last)
    shell.kind = StepKind.AGENT


def _turns_of(first: Node, later: list[Node]) -> list[Node]:
    """Return the agents that are the first one again: of its name, with its question, one after the other."""
    turns: list[Node] = []
    end_ns = end_of(first)
    for agent in later if first.facts.name is not None and first.facts.input is not None else ():
        is_same = (agent.facts.name, agent.facts.input) == (first.facts.name, first.facts.input)
        if is_same and agent.span.start_ns >= end_ns:
            turns.append(agent)
            end_ns = end_of(agent)
    return turns


def _merge_doubled_agents(run: Node) -> bool:
    """Merge agents with those of the same name directly within them, and return whether there were any.

    Traceloop writes LangGraph's agents twice (`invoke_agent NAME` and `NAME.workflow`), as does Agent Framework with
    streams; LangChain's callbacks and OpenInference write a graph and the agent that it is. An agent that calls itself,
    through a tool or directly, has another question.
    """
    has_merged = False
    pending = [run]
    while pending:
        node = pending.pop()
        while (inner := _same_agent_within(node, is_outermost=node is run)) is not None:
            has_merged = True
            node.absorb(inner)
        pending.extend(node.children)
    return has_merged


def _same_agent_within(node: Node, *, is_outermost: bool) -> Node | None:
    """Return an agent directly within an agent that is the same: by name, or as the only one in a sub-agent without one."""
    if node.kind is not StepKind.AGENT:
        return None
    inner = [child for child in node.steps_below() if child.kind is StepKind.AGENT]
    named = (child for child in inner if child.facts.name == node.facts.name is not None)
    same = next((child for child in named if not _was_called(child, node)), None)
    if same is None and not is_outermost and len(inner) == 1:
        same = inner[0] if (node.facts.name is None) is not (inner[0].facts.name is None) else None
    return same


def _was_called(inner: Node, outer: Node) -> bool:
    """Return whether an agent was called by the one around it, rather than being recorded twice.

    A model of the outer one asked for it by name; or it answered another question, differently. Two instrumentations
    may record one question in different words, but then all that the outer agent does is in the inner one: it calls no
    model itself, and their answers are the same.
    """
    models = [child for child in outer.steps_below() if child.kind is StepKind.MODEL]
    if any(_asked_for(model, inner) for model in models):
        return True
    is_other_answer = _differ(inner.facts.output, outer.facts.output)
    return _differ(inner.facts.input, outer.facts.input) and (is_other_answer or bool(models))


def _asked_for(model: Node, agent: Node) -> bool:
    """Return whether a model call that ended before an agent began asked for a tool of the agent's name."""
    answer = model.facts.messages[-1:] if end_of(model) <= agent.span.start_ns else ()
    return any(call.get("name") == agent.facts.name for message in answer for call in message.tool_calls)


def _differ(one: Any, other: Any) -> bool:
    return type(one) is type(other) is str and one != other
