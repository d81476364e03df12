"""What stands around a run, and the same agent or call once more: requests, jobs, chains, wrappers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from otel_agent_trace import SpanRecord, load_run, run_to_spans, runs_from_spans
from tests.support.handwritten_spans import only_run, span, summary_of

REMOTE = 0x300
ASKED, ANSWERED = "Which lamp?", "The Firefly."
PROMPT = "Answer from the context only. Question: Which lamp?"


def chain(asked: Any = ASKED, answered: Any = ANSWERED, kind: str = "CHAIN", **more: Any) -> dict[str, Any]:
    return {"openinference.span.kind": kind, "input.value": asked, "output.value": answered, **more}


def llm(asked: str = PROMPT, answered: str | None = ANSWERED, model: str = "m", **more: Any) -> dict[str, Any]:
    sent = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": asked}
    answer = {"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": answered}
    named = {"openinference.span.kind": "LLM", "llm.model_name": model}
    return {**named, **sent, **(answer if answered is not None else {}), **more}


def agent(name: str, asked: str | None = None, answered: str | None = None) -> dict[str, Any]:
    sent = {} if asked is None else {"gen_ai.input.messages": [text("user", asked)]}
    answer = {} if answered is None else {"gen_ai.output.messages": [text("assistant", answered)]}
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, **sent, **answer}


def chat(asked: str | None = None, **more: Any) -> dict[str, Any]:
    sent = {} if asked is None else {"gen_ai.input.messages": [text("user", asked)]}
    return {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **sent, **more}


def tool(name: str) -> dict[str, Any]:
    return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}


def text(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def request(times: tuple[int, int] = (0, 100), span_id: str = "1", parent: str | None = None) -> SpanRecord:
    return span(span_id, parent, times, "POST /ask", {"http.request.method": "POST"}, scope="asgi")


def lamp_chain(parent: str, **more: Any) -> tuple[SpanRecord, SpanRecord]:
    return span("2", parent, (1, 40), "lamp_chain", chain(), **more), span("3", "2", (2, 30), "Chat", llm())


class OneTrace:
    """A source that holds the spans of one trace."""

    def __init__(self, spans: list[SpanRecord]) -> None:
        self._spans = spans

    def traces(self, on_problem: Any) -> Iterator[list[SpanRecord]]:
        return iter([self._spans])


def facts_of(*spans: SpanRecord) -> list[tuple[Any, Any, Any]]:
    runs = runs_from_spans(spans)
    assert runs_from_spans([record for run in runs for record in run_to_spans(run)]) == runs
    assert len({part.run_id for run in runs for part in run.walk()}) == len([p for run in runs for p in run.walk()])
    return [(run.agent_name, run.user_input, run.final_output) for run in runs]


# ── requests and jobs ────────────────────────────────────────────────────────────────────────────────────────────────

LAMP = ("lamp_chain", ASKED, ANSWERED)


def test_a_chain_below_a_request_keeps_its_name_question_and_answer() -> None:
    assert facts_of(request(), *lamp_chain("1")) == [LAMP]


def test_a_chain_below_a_request_that_somebody_else_sent_keeps_them() -> None:
    assert facts_of(request(parent="9"), *lamp_chain("1")) == [LAMP]


def test_a_chain_below_a_job_below_a_request_keeps_them() -> None:
    job = span("4", "1", (1, 50), "run/tasks.ask", {"messaging.system": "celery"}, scope="celery")
    assert facts_of(request(), job, *lamp_chain("4")) == [LAMP]


def test_a_chain_below_a_request_that_was_lost_keeps_them() -> None:
    assert facts_of(*lamp_chain("1")) == [LAMP]


def test_a_chain_below_a_span_of_another_process_keeps_them() -> None:
    above, below = lamp_chain("1")
    assert facts_of(msgspec.structs.replace(above, flags=REMOTE), below) == [LAMP]


@pytest.mark.parametrize("name", ["Step 1", "turn", "agent_step", "tools"])
def test_a_turn_of_a_run_that_was_lost_does_not_name_it(name: str) -> None:
    run = only_run(span("2", "1", (1, 40), name, chain("{state}", "{more}")), span("3", "2", (2, 30), "Chat", llm()))
    assert (run.agent_name, run.user_input, run.final_output) == (None, PROMPT, ANSWERED)


@pytest.mark.parametrize("kind", ["CHAIN", "AGENT"])
def test_each_chain_or_agent_below_a_request_is_a_run(kind: str) -> None:
    spans = (
        request(),
        span("2", "1", (1, 40), "one", chain("1?", "1.", kind)),
        span("3", "2", (2, 30), "Chat", llm()),
        span("4", "1", (50, 90), "two", chain("2?", "2.", kind)),
        span("5", "4", (51, 80), "Chat", llm()),
    )
    assert facts_of(*spans) == [("one", "1?", "1."), ("two", "2?", "2.")]


def test_requests_of_one_caller_who_is_elsewhere_are_not_one_run() -> None:
    spans = (
        request(span_id="1", parent="9"),
        span("2", "1", (1, 40), "one", agent("one", "1?", "1.")),
        span("3", "2", (2, 30), "chat m", chat()),
        request(span_id="4", parent="9", times=(110, 200)),
        span("5", "4", (111, 140), "two", agent("two", "2?", "2.")),
        span("6", "5", (112, 130), "chat m", chat()),
    )
    assert facts_of(*spans) == [("one", "1?", "1."), ("two", "2?", "2.")]


def test_a_model_call_beside_an_agent_below_a_request_is_not_the_agents() -> None:
    spans = (
        request(),
        span("2", "1", (1, 40), "clerk", agent("clerk", "1?", "1.")),
        span("3", "2", (2, 30), "chat m", chat()),
        span("4", "1", (50, 90), "chat m", chat("A title for: 1?")),
    )
    assert ("clerk", "1?", "1.") in facts_of(*spans)


def test_a_retrieval_beside_the_only_chain_below_a_request_is_a_step_of_it() -> None:
    found = span("4", "1", (0, 1), "Retriever", {"openinference.span.kind": "RETRIEVER", "input.value": ASKED})
    run = only_run(request(), found, *lamp_chain("1"))
    assert (run.agent_name, run.user_input) == ("lamp_chain", ASKED)
    assert [step.kind.value for step in run.steps] == ["retrieval", "model"]


def test_calls_without_parents_in_one_trace_have_ids_of_their_own() -> None:
    calls = [span(str(n), None, (n * 10, n * 10 + 5), "chat m", chat(f"{n}?")) for n in (1, 2, 3)]
    found = span("4", None, (50, 55), "execute_tool find", tool("find"))
    assert [asked for _, asked, _ in facts_of(*calls, found)] == ["1?", "2?", "3?", None]
    runs = runs_from_spans([*calls, found])
    assert [load_run(OneTrace([*calls, found]), run.run_id) for run in runs] == runs


# ── one agent, twice ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_beside_its_own_calls_within_itself_is_one() -> None:
    spans = (
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk", "Late?", "Yes.")),
        span("2", "1", (1, 89), "invoke_agent clerk", agent("clerk", "Late?", "Yes.")),
        span("3", "1", (2, 80), "chat m", chat("Late?")),
    )
    assert facts_of(*spans) == [("clerk", "Late?", "Yes.")]
    assert [step.kind.value for step in only_run(*spans).steps] == ["model"]


def test_two_instrumentations_of_an_agent_with_a_chain_between_are_one() -> None:
    run = only_run(
        span("1", None, (0, 90), "clerk", chain("Late?", "Yes.", "AGENT", **{"agent.name": "clerk"}), scope="outer"),
        span("2", "1", (1, 89), "turn", chain(None, None), scope="outer"),
        span("3", "2", (2, 88), "invoke_agent clerk", agent("clerk", "Late?"), scope="native"),
        span("4", "3", (3, 30), "chat m", chat("Late?"), scope="native"),
        span("5", "2", (40, 50), "execute_tool clock", tool("clock"), scope="outer"),
    )
    assert summary_of(run)["steps"] == [("model", "m", None, None), ("tool", "clock", None, None)]


def test_an_agent_within_itself_has_its_other_sub_agents() -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk")),
        span("2", "1", (1, 20), "invoke_agent clerk", agent("clerk", "Late?")),
        span("3", "2", (2, 10), "chat m", chat("Late?")),
        span("4", "1", (30, 80), "invoke_agent watch", agent("watch", "Time?")),
        span("5", "4", (31, 70), "chat m", chat("Time?")),
    )
    assert [part.agent_name for part in run.walk()] == ["clerk", "watch"]


@pytest.mark.parametrize("is_tool_lost", [False, True])
def test_an_agent_that_calls_itself_through_a_tool_stays_two(is_tool_lost: bool) -> None:
    asks = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "ask", "arguments": {"q": "2?"}}]}
    outer = span("1", None, (0, 90), "invoke_agent clerk", agent("clerk", "1?", "1."))
    call = span("2", "1", (1, 20), "chat m", chat("1?", **{"gen_ai.output.messages": [asks]}))
    called = span("3", "1", (21, 80), "execute_tool ask", tool("ask"))
    inner = span("4", "1" if is_tool_lost else "3", (22, 79), "invoke_agent clerk", agent("clerk", "2?", "2."))
    spans = [outer, call, *([] if is_tool_lost else [called]), inner, span("5", "4", (23, 70), "chat m", chat("2?"))]
    assert [part.user_input for part in only_run(*spans).walk()] == ["1?", "2?"]


def test_an_agent_that_calls_itself_directly_stays_two() -> None:
    spans = (
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk", "1?", "1.")),
        span("2", "1", (10, 40), "invoke_agent clerk", agent("clerk", "2?", "2.")),
        span("3", "2", (11, 39), "chat m", chat("2?")),
        span("4", "1", (50, 80), "chat m", chat("1?")),
    )
    assert [part.user_input for part in only_run(*spans).walk()] == ["1?", "2?"]


def test_an_agent_that_only_divides_its_question_among_itself_is_above_them() -> None:
    spans = (
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk", "1 and 2?", "Both.")),
        span("2", "1", (10, 40), "invoke_agent clerk", agent("clerk", "1?", "1.")),
        span("3", "2", (11, 39), "chat m", chat("1?")),
        span("4", "1", (50, 80), "invoke_agent clerk", agent("clerk", "2?", "2.")),
        span("5", "4", (51, 79), "chat m", chat("2?")),
    )
    assert [part.user_input for part in only_run(*spans).walk()] == ["1 and 2?", "1?", "2?"]


def test_an_agent_without_questions_that_calls_itself_by_name_stays_two() -> None:
    asks = {"role": "assistant", "parts": [{"type": "tool_call", "id": "c", "name": "clerk", "arguments": {"q": "2?"}}]}
    spans = (
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk")),
        span("2", "1", (1, 20), "chat m", chat("1?", **{"gen_ai.output.messages": [asks]})),
        span("3", "1", (22, 79), "invoke_agent clerk", agent("clerk")),
        span("4", "3", (23, 70), "chat m", chat("2?")),
    )
    assert [part.user_input for part in only_run(*spans).walk()] == ["1?", "2?"]


def test_one_question_in_the_words_of_two_instrumentations() -> None:
    spans = (
        span("1", None, (0, 90), "clerk", agent("clerk", "Late?", "Yes."), scope="outer"),
        span("2", "1", (1, 89), "invoke_agent clerk", agent("clerk", "user: Late?", "Yes."), scope="native"),
        span("3", "2", (2, 80), "chat m", chat("Late?"), scope="native"),
    )
    assert len([*only_run(*spans).walk()]) == 1


# ── one call, twice ──────────────────────────────────────────────────────────────────────────────────────────────────


def doubled(framework: dict[str, Any], client: dict[str, Any], client_parent: str = "1") -> list[Any]:
    run = only_run(
        span("1", None, (0, 90), "main", {}),
        span("2", "1", (1, 80), "clerk", chain("Late?", "Yes.", "AGENT"), scope="openinference.instrumentation.a"),
        span("3", "2", (2, 70), "Chat", framework, scope="openinference.instrumentation.a"),
        span("4", client_parent, (3, 69), "ChatCompletion", client, scope="openinference.instrumentation.b"),
    )
    assert run.agent_name == "clerk"
    return [(call.model, call.usage and call.usage.total_tokens, call.messages) for call in run.model_steps]


TOKENS = {"llm.token_count.prompt": 3, "llm.token_count.completion": 2}
NO_CONTENT = {"openinference.span.kind": "LLM", "llm.model_name": "m-2026-01-01", **TOKENS}


@pytest.mark.parametrize("client_parent", ["1", "2", "3"])
@pytest.mark.parametrize("without", ["tokens", "tokens in one", "messages"])
def test_a_clients_span_beside_the_frameworks_is_the_same_call(without: str, client_parent: str) -> None:
    framework = llm("Late?", "Yes.")
    client = {
        "tokens": llm("Late?", "Yes.", "m-2026-01-01"),
        "tokens in one": llm("Late?", "Yes.", "m-2026-01-01", **TOKENS),
        "messages": NO_CONTENT,
    }[without]
    ((_, tokens, messages),) = doubled(framework, client, client_parent)
    assert tokens == (None if without == "tokens" else 5)
    assert [message.text for message in messages] == ["Late?", "Yes."]


def test_another_call_in_the_time_of_one_is_not_the_same() -> None:
    assert len(doubled(llm("Late?", "Yes."), llm("Is it rude?", "No."), "2")) == 2
    assert len(doubled(llm("Late?", "Yes."), {**NO_CONTENT, "llm.model_name": "guard"}, "2")) == 2


def test_the_answer_may_be_in_the_inner_of_two_spans_of_a_call() -> None:
    run = only_run(
        span("1", None, (0, 10), "chat", chat("Which is taller?")),
        span("2", "1", (11, 20), "execute_tool find", tool("find")),
        span("3", "1", (30, 40), "chat", {"gen_ai.operation.name": "chat", "gen_ai.completion": "The oak."}),
    )
    assert (run.user_input, run.final_output) == ("Which is taller?", "The oak.")


# ── calls by what they record ────────────────────────────────────────────────────────────────────────────────────────

CALL = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 2}
OPERATIONS = [
    "call_llm",
    "llm_call",
    "LLM.inference",
    "messages",
    "responses",
    "text",
    "inference",
    "acme/predict",
    None,
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_span_with_model_and_tokens_is_a_model_call_whatever_it_is_called(operation: str | None) -> None:
    named = {} if operation is None else {"gen_ai.operation.name": operation}
    run = only_run(
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk", "1?", "1.")),
        span("2", "1", (1, 20), "work", {**named, **CALL}),
    )
    assert summary_of(run)["steps"] == [("model", "m", 3, 2)]


@pytest.mark.parametrize(
    "operation", ["agent_step", "chain", "run_workflow", "text_embedding", "guardrail.check", "rerank_v2"]
)
def test_other_operations_are_none_although_they_have_a_model_and_tokens(operation: str) -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk", "1?", "1.")),
        span("2", "1", (1, 20), "work", {"gen_ai.operation.name": operation, **CALL}),
        span("3", "1", (21, 30), "chat m", chat()),
    )
    assert len(run.model_steps) == 1


def test_a_span_around_steps_is_no_call_although_it_has_a_model_and_tokens() -> None:
    run = only_run(
        span("1", None, (0, 90), "work", {**CALL, "gen_ai.input.messages": [text("user", "1?")]}),
        span("2", "1", (1, 20), "chat m", chat("You are a clerk. 1?", **CALL)),
        span("3", "1", (21, 30), "execute_tool find", tool("find")),
    )
    assert (run.user_input, run.usage and run.usage.total_tokens) == ("1?", 5)
    assert [step.kind.value for step in run.steps] == ["model", "tool"]


@pytest.mark.parametrize("operation", ["run_agent", "agent.invoke", "agent"])
def test_an_operation_that_runs_an_agent_with_a_name_is_an_agent(operation: str) -> None:
    run = only_run(
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk", "1?", "1.")),
        span("2", "1", (1, 20), "work", {"gen_ai.operation.name": operation, "gen_ai.agent.name": "watch"}),
        span("3", "2", (2, 10), "chat m", chat()),
    )
    assert [part.agent_name for part in run.walk()] == ["clerk", "watch"]


def test_what_an_sdks_limit_dropped_is_known_from_what_is_left() -> None:
    question = json.dumps([text("user", "1?")])
    run = only_run(
        span("1", None, (0, 90), "invoke_agent weather clerk", {"gen_ai.input.messages": question}),
        span("2", "1", (1, 20), "chat m", {"gen_ai.usage.output_tokens": 2, "gen_ai.input.messages": question}),
        span("3", "1", (21, 30), "execute_tool find", {"gen_ai.tool.call.result": "found"}),
        span("4", "1", (31, 40), "chat m", {"gen_ai.output.messages": [text("assistant", "1.")]}),
    )
    assert (run.agent_name, run.user_input, run.final_output) == ("weather clerk", "1?", "1.")
    assert summary_of(run)["steps"] == [
        ("model", "m", None, 2),
        ("tool", "find", None, "found"),
        ("model", "m", None, None),
    ]


PARTS_OF_CHAINS = ["AgentOutputParser", "ToolsAgentOutputParser", "RunnableAgent", "RunnableAssign<agent_scratchpad>"]


@pytest.mark.parametrize("name", [*PARTS_OF_CHAINS, "AgentPromptTemplate", "RunnableSequence"])
def test_parts_of_a_chain_are_no_agents_although_they_are_marked_so(name: str) -> None:
    run = only_run(
        span("1", None, (0, 90), "clerk", chain("1?", "1.", "AGENT")),
        span("2", "1", (1, 20), name, chain("{state}", "{more}", "AGENT")),
        span("3", "2", (2, 10), "Chat", llm()),
        span("4", "1", (21, 30), name, chain("{state}", "{more}", "AGENT")),
    )
    assert [part.agent_name for part in run.walk()] == ["clerk"]
    assert [step.kind.value for step in run.steps] == ["model"]


def test_spans_of_openinference_whose_kind_a_limit_dropped() -> None:
    scope = "openinference.instrumentation.langchain"
    call = {key: value for key, value in llm("1?", "1.").items() if key != "openinference.span.kind"}
    run = only_run(
        span("1", None, (0, 90), "clerk", {"output.value": "1.", "session.id": "s"}, scope=scope),
        span("2", "1", (1, 20), "Chat", call, scope=scope),
        span("3", "1", (21, 30), "find", {"tool.name": "find", "output.value": "found"}, scope=scope),
    )
    assert (run.agent_name, run.user_input, run.final_output, run.session_id) == ("clerk", "1?", "1.", "s")
    assert summary_of(run)["steps"] == [("model", "m", None, None), ("tool", "find", None, "found")]


def test_a_call_of_a_model_that_answers_nothing_is_no_model_call() -> None:
    used = {"gen_ai.request.model": "text-embedding-3-small", "gen_ai.usage.input_tokens": 3}
    run = only_run(
        span("1", None, (0, 90), "invoke_agent clerk", agent("clerk", "1?", "1.")), span("2", "1", (1, 20), "x", used)
    )
    assert run.model_steps == ()
