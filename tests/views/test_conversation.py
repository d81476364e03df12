"""A run as one conversation: each message once, calls with their results, the conversations of sub-agents inside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from otel_agent_trace import AgentRun, AgentStep, Message, RunStatus, StepError, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.views.conversation import Conversation, conversation_of
from otel_agent_trace.views.items import RunItems
from otel_agent_trace.views.run_page import RunPage
from tests.support.handwritten_spans import numbered_span, only_run
from tests.support.long_runs import deep_run, failed, long_run, nested_run, run_of, step, text
from tests.support.run_strategies import agent_runs

SYSTEM, QUESTION = text("system", "be brief"), text("user", "Will it rain?")
NO = StepError(type="ValueError", message="no")


def call(name: str, call_id: str | None = None, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}


def asks(*calls: dict[str, Any]) -> Message:
    return Message(role="assistant", parts=calls)


def result(content: Any, call_id: str | None = None) -> Message:
    return Message(role="tool", parts=({"type": "tool_call_response", "id": call_id, "response": content},))


def model(index: int, *messages: Message, **facts: Any) -> AgentStep:
    return step(index, kind=StepKind.MODEL, name="gpt", messages=messages, **facts)


def tool(index: int, arguments: Any, output: Any, name: str = "search", **facts: Any) -> AgentStep:
    return step(index, name=name, input=arguments, output=output, **facts)


def lines(run: AgentRun, number: int = 0) -> list[str]:
    """Each block on a line: depth, role, texts or call, and the step."""
    return [line(block) for block in Conversation(run).page(number)["blocks"]]


def line(block: dict[str, Any]) -> str:
    found = block["tool"]
    if found is None:
        shown = " ".join(str(part.get("text", json.dumps(part.get("value")))) for part in block["parts"])
    else:
        sides = (found["arguments"] and found["arguments"]["json"], found["result"] and found["result"]["json"])
        shown = f"{found['name']}({sides[0]}) = {sides[1]} {found['status']}"
    repeated = f" +{block['repeated']}" if block["repeated"] else ""
    role = f"{block['role']} prefilled" if block["prefilled"] else block["role"]
    return f"{'  ' * block['depth']}{role}: {shown} [{block['step']}]{repeated}"


# ── messages once ────────────────────────────────────────────────────────────────────────────────────────────────────

FIRST = (SYSTEM, QUESTION, asks(call("search", "c1", q="rain")))


def test_a_call_shows_the_messages_that_are_new() -> None:
    second = model(2, *FIRST, result("wet", "c1"), text("assistant", "Yes."))
    run = run_of(
        (model(0, *FIRST), tool(1, {"q": "rain"}, "wet"), second), user_input="Will it rain?", final_output="Yes."
    )
    assert lines(run) == [
        "system: be brief [1]",
        "user: Will it rain? [1]",
        "tool: search({'q': 'rain'}) = wet ok [2]",
        "assistant: Yes. [3] +3",
    ]


def test_the_system_prompt_is_folded() -> None:
    blocks = conversation_of(run_of((model(0, SYSTEM, QUESTION, text("assistant", "Yes.")),)))
    assert [block["folded"] for block in blocks] == [True, False, False]


def test_a_history_that_was_cut() -> None:
    answers = [text("assistant", str(number)) for number in range(3)]
    questions = [text("user", f"and {number}?") for number in range(3)]
    calls = (
        model(0, SYSTEM, questions[0], answers[0]),
        model(1, SYSTEM, questions[0], answers[0], questions[1], answers[1]),
        model(2, SYSTEM, questions[1], answers[1], questions[2], answers[2]),
    )
    shown = [entry.split(":", 1)[1] for entry in lines(run_of(calls))]
    assert shown == [" be brief [1]", " and 0? [1]", " 0 [1]", " and 1? [2] +3", " 1 [2]", " and 2? [3] +3", " 2 [3]"]


def test_words_that_come_again_are_shown_again() -> None:
    yes = text("user", "yes")
    ok = text("assistant", "ok")
    run = run_of((model(0, yes, ok), model(1, yes, ok, yes, ok), model(2, yes, ok, yes, ok, yes, ok)))
    assert lines(run) == [
        "user: yes [1]",
        "assistant: ok [1]",
        "user: yes [2] +2",
        "assistant: ok [2]",
        "user: yes [3] +4",
        "assistant: ok [3]",
    ]


def chat(number: int, sent: list[tuple[str, str]], *answers: str, **attributes: Any) -> SpanRecord:
    """A span of a call of a model, as instrumentations of Anthropic's client write it."""
    written = [{"role": role, "parts": [{"type": "text", "content": content}]} for role, content in sent]
    choices = [{"role": "assistant", "parts": [{"type": "text", "content": each}]} for each in answers]
    known = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude"}
    messages = {"gen_ai.input.messages": written, "gen_ai.output.messages": choices}
    return numbered_span(number, 1, (number * 10, number * 10 + 5), "chat claude", {**known, **messages, **attributes})


def agent_of(*calls: SpanRecord) -> AgentRun:
    return only_run(numbered_span(1, None, (1, 99), "invoke_agent", {"gen_ai.operation.name": "invoke_agent"}), *calls)


@pytest.mark.parametrize("later", [['{"a": 1}'], ["{", '"a": 1}']])
def test_an_answer_that_goes_on_from_its_beginning(later: list[str]) -> None:
    asked = [("user", "Give JSON"), ("assistant", "{")]
    again = [asked[0], *(("assistant", each) for each in later), ("user", "again"), asked[1]]
    run = agent_of(chat(2, asked, '"a": 1}'), chat(3, again, '"b": 2}'))
    assert lines(run) == [
        "user: Give JSON [1]",
        "assistant prefilled: { [1]",
        'assistant: "a": 1} [1]',
        f"user: again [2] +{1 + len(later)}",
        "assistant prefilled: { [2]",
        'assistant: "b": 2} [2]',
    ]
    assert RunPage(run).step(2)["new_from"] == 1 + len(later)


def test_choices_are_answers_of_their_own() -> None:
    found = lines(agent_of(chat(2, [("user", "Pick")], "A", "B", **{"gen_ai.request.choice.count": 2})))
    assert found == ["user: Pick [1]", "assistant: A [1]", "assistant: B [1]"]


def test_a_text_before_a_call_is_part_of_the_answer() -> None:
    asked = asks(call("search", "c1", q="rain"))
    reasons = {"gen_ai.response.finish_reasons": ["tool_calls"]}
    found = lines(run_of((model(0, QUESTION, text("assistant", "Let me see."), asked, attributes=reasons),)))
    assert found[1] == "assistant: Let me see. [1]"


def test_a_retry_shows_its_answer_though_it_is_the_same() -> None:
    answer = text("assistant", "Yes.")
    run = run_of((model(0, QUESTION, answer), model(1, QUESTION, answer)))
    assert lines(run) == ["user: Will it rain? [1]", "assistant: Yes. [1]", "assistant: Yes. [2] +1"]


def test_a_call_that_two_spans_recorded_is_shown_once() -> None:
    answer = text("assistant", "Yes.")
    run = run_of((model(0, QUESTION, answer), model(1, QUESTION, answer, parent_step_id=1)))
    assert lines(run) == ["user: Will it rain? [1]", "assistant: Yes. [1]"]


def test_conversations_that_take_turns() -> None:
    """A judge between the calls of the agent does not make their history new."""
    judge = (text("system", "judge"), text("user", "Is it good?"), text("assistant", "no"))
    calls = (
        model(0, SYSTEM, QUESTION, text("assistant", "Yes.")),
        model(1, *judge),
        model(2, SYSTEM, QUESTION, text("assistant", "Yes."), text("user", "Sure?"), text("assistant", "No.")),
    )
    assert lines(run_of(calls))[-2:] == ["user: Sure? [3] +3", "assistant: No. [3]"]


def test_an_answer_that_is_sent_again_in_another_form() -> None:
    thinks = {"type": "reasoning", "content": "hm"}
    answer = Message(role="assistant", parts=(thinks, {"type": "text", "content": "Yes. "}))
    again = (QUESTION, text("assistant", "Yes."), text("user", "Sure?"), text("assistant", "No."))
    split = (asks(call("a", "1")), asks(call("b", "2")))
    joined = asks(call("a", "1"), call("b", "2"))
    assert lines(run_of((model(0, QUESTION, answer), model(1, *again))))[-2:] == [
        "user: Sure? [2] +2",
        "assistant: No. [2]",
    ]
    run = run_of((model(0, QUESTION, joined), model(1, QUESTION, *split, result("x", "1"), text("assistant", "done"))))
    assert [entry for entry in lines(run) if "a(" in entry or "b(" in entry] == [
        "tool: a({}) = x ok [1]",
        "tool: b({}) = None no result [1]",
    ]


def test_instructions_that_are_recorded_twice() -> None:
    assert lines(run_of((model(0, SYSTEM, SYSTEM, QUESTION),))) == [
        "system: be brief [1] +1",
        "user: Will it rain? [1]",
    ]


# ── calls and results ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_without_a_step_is_shown_with_its_result() -> None:
    first = (QUESTION, asks(call("search", "c1", q=1), call("fetch", "c2")))
    second = (*first, result("second", "c2"), result({"deep": 1}, "c1"), text("assistant", "done"))
    assert lines(run_of((model(0, *first), model(1, *second)))) == [
        "user: Will it rain? [1]",
        "tool: search({'q': 1}) = {'deep': 1} ok [1]",
        "tool: fetch({}) = second ok [1]",
        "assistant: done [2] +2",
    ]


def test_parallel_calls_without_ids_belong_to_the_steps_with_their_arguments() -> None:
    first = (QUESTION, asks(call("search", q=1), call("search", q=2)))
    run = run_of(
        (
            model(0, *first),
            tool(1, {"q": 2}, None),
            tool(2, {"q": 1}, None),
            model(3, *first, result("one"), result("two")),
        )
    )
    assert lines(run)[1:] == ["tool: search({'q': 2}) = two ok [2]", "tool: search({'q': 1}) = one ok [3]"]


def test_a_step_takes_arguments_and_result_from_the_messages_where_its_span_has_none() -> None:
    first = (QUESTION, asks(call("search", "c1", q=1)))
    run = run_of((model(0, *first), tool(1, None, None), model(2, *first, result("wet", "c1"))))
    assert lines(run)[1] == "tool: search({'q': 1}) = wet ok [2]"
    conversation = Conversation(
        run_of((model(0, QUESTION, asks(call("search", "c", q="x" * 99_999))), tool(1, None, None)))
    )
    cut = conversation.page()["blocks"][1]["tool"]["arguments"]
    assert json.loads(RunPage(conversation.items.run).value(2, cut["path"])) == {"q": "x" * 99_999}


def test_steps_may_come_before_the_messages_with_their_calls() -> None:
    """Some instrumentations record no answers, which are known from the next call."""
    asked = (QUESTION, asks(call("search", "c1", q=1)), result("wet", "c1"), text("assistant", "Yes."))
    assert lines(run_of((model(0, QUESTION), tool(1, {"q": 1}, "wet"), model(2, *asked)))) == [
        "user: Will it rain? [1]",
        "tool: search({'q': 1}) = wet ok [2]",
        "assistant: Yes. [3] +1",
    ]


def test_errors_are_shown_once() -> None:
    steps = (
        model(0, QUESTION, error=NO),
        failed(1, NO, input={"q": 1}),
        failed(2, StepError(type="KeyError", message="x")),
    )
    blocks = conversation_of(run_of(steps, status=RunStatus.ERROR, error=StepError(type="KeyError", message="x")))
    assert [(block["role"], block["step"]) for block in blocks] == [("user", 1), ("error", 1), ("tool", 2), ("tool", 3)]
    assert blocks[3]["tool"]["result"] == {"json": "KeyError: x"}
    own = conversation_of(run_of((step(0),), status=RunStatus.ERROR, error=NO))
    assert [block["role"] for block in own] == ["tool", "error"]


# ── runs of any kind ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_without_messages() -> None:
    steps = (
        tool(0, {"q": 1}, "wet"),
        step(1, kind=StepKind.RETRIEVAL, name="docs", input="rain", output=["a"]),
        step(2, kind=StepKind.MODEL, name="gpt", input="wet?", output="yes"),
        step(3, kind=StepKind.OTHER, name="node"),
        step(4, kind=StepKind.OTHER, name="save", input=1, parent_step_id=4),
    )
    assert lines(run_of(steps, user_input={"question": "Will it rain?"}, final_output={"answer": 1, "sure": True})) == [
        "user: Will it rain? [0]",
        "tool: search({'q': 1}) = wet ok [1]",
        "retrieval: docs(rain) = ['a'] ok [2]",
        "user: wet? [3]",
        "assistant: yes [3]",
        "other: save(1) = None ok [5]",
        'assistant: {"json": {"answer": 1, "sure": true}} [0]',
    ]


def test_the_conversation_of_a_sub_agent_is_inside() -> None:
    inner = run_of((model(1, text("user", "rain?"), text("assistant", "wet")),), user_input="rain?", final_output="wet")
    helper = step(1, kind=StepKind.AGENT, name="helper", run=inner)
    first = (QUESTION, asks(call("helper", "c1", task="rain?")))
    after = model(4, *first, result("wet", "c1"), text("assistant", "Yes."))
    run = run_of((model(0, *first), helper, after), user_input="Will it rain?", final_output="Yes, it will.")
    assert lines(run) == [
        "user: Will it rain? [1]",
        "agent: helper({'task': 'rain?'}) = None ok [2]",
        "  user: rain? [3]",
        "  assistant: wet [3]",
        "assistant: Yes. [4] +2",
        "assistant: Yes, it will. [0]",
    ]
    assert lines(run, 2) == lines(run)[1:4]
    assert lines(run, 3) == lines(run)[2:4]
    assert lines(run, 4) == lines(run)[4:5]


def test_a_paused_run_shows_what_it_waits_for() -> None:
    assert lines(run_of((), user_input="go", interrupted_for="approve?")) == ["user: go [0]", "paused: approve? [0]"]


def test_a_call_in_flight_waits() -> None:
    steps = (model(0, QUESTION, asks(call("search", "c1"))),)
    assert lines(run_of(steps, status=RunStatus.RUNNING, ended_at_ns=None))[-1] == "tool: search({}) = None running [1]"


@given(agent_runs())
def test_pages_together_are_the_whole(run: AgentRun) -> None:
    conversation = Conversation(run)
    for number in range(len(RunItems(run))):
        whole = conversation.page(number)
        json.dumps(whole, allow_nan=False, ensure_ascii=False).encode()
        found: list[Any] = []
        begin: int | None = 0
        while begin is not None:
            page = conversation.page(number, begin, 2)
            found += page["blocks"]
            begin = page["next"]
        assert found == whole["blocks"]


def test_a_page_is_bounded() -> None:
    steps = tuple(tool(index, "x" * 20_000, "y" * 20_000) for index in range(200))
    page = Conversation(run_of(steps)).page()
    assert (len(json.dumps(page)) < 700_000, page["next"]) == (True, len(page["blocks"]))
    assert Conversation(run_of(steps)).page(begin=10_000) == {"blocks": [], "next": None}


def test_what_was_cut_can_be_had_from_any_item() -> None:
    """A conversation of the run shows values of all its steps."""
    long = "x" * 50_000
    error = StepError(type="ValueError", message=long)
    steps = (
        model(0, text("user", long), error=error),
        tool(1, [long, 1], long),
        step(2, kind=StepKind.MODEL, input=long),
    )
    page = RunPage(run_of((*steps, failed(3, error)), final_output=[long, long]))
    found = list(cut_values(page.conversation()["blocks"]))
    assert len(found) == 7
    assert all(len(page.value(0, cut["path"])) == cut["chars"] > len(cut["text"]) for cut in found)


def cut_values(data: Any) -> Any:
    """All texts and values in the blocks that are not whole."""
    if isinstance(data, dict) and "chars" in data:
        yield data
    elif isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            yield from cut_values(item)


def test_what_is_not_there() -> None:
    with pytest.raises(IndexError):
        Conversation(run_of(())).page(1)


# ── length ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_message_of_a_long_run_is_read_once_for_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as long a run takes twice as much."""
    counts = [keys_of(long_run(count), monkeypatch) for count in (1000, 2000)]
    assert counts[1] / counts[0] == pytest.approx(2, rel=0.02)


def keys_of(run: AgentRun, monkeypatch: pytest.MonkeyPatch) -> int:
    from otel_agent_trace.views import conversation_plan, histories

    calls = 0

    def counting(message: Message) -> Any:
        nonlocal calls
        calls += 1
        return original(message)

    original = histories.key_of
    with monkeypatch.context() as patch:
        patch.setattr(histories, "key_of", counting)
        patch.setattr(conversation_plan, "key_of", counting)
        Conversation(run)
    return calls


def test_a_step_of_a_long_run_is_shown_without_the_whole_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    from otel_agent_trace.views import histories

    calls = 0

    def counting(message: Message) -> Any:
        nonlocal calls
        calls += 1
        return original(message)

    original = histories.key_of
    monkeypatch.setattr(histories, "key_of", counting)
    assert RunPage(long_run(4000)).step(3999)["new_from"] == 3
    assert calls < 400


def test_a_run_of_fifty_thousand_steps_and_one_of_ten_thousand_levels() -> None:
    long = Conversation(long_run(50_000))
    assert long.page(begin=50_000)["blocks"][0]["role"] in ("assistant", "tool")
    assert len(Conversation(deep_run(10_000)).page()["blocks"]) == 0
    nested = Conversation(nested_run(10_000))
    assert nested.page(begin=10_000)["blocks"][0]["depth"] == 10_000
