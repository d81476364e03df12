"""Sessions of agent programs, out of their log records, and runs whose spans are traces of their own in a session."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, SpanRecord, load_run, load_runs
from otel_agent_trace.cli import main
from otel_agent_trace.formats import otlp_json, otlp_proto
from otel_agent_trace.model import RunStatus
from otel_agent_trace.reading import explain_run
from otel_agent_trace.span import LogRecord, Resource, Scope
from tests.support.handwritten_spans import summary_of

SECOND = 10**9
START = 1_700_000_000 * SECOND
ASKED, ANSWERED = "Rain in Lyon?", "Yes, rain."
LYON, RAIN = {"city": "Lyon"}, {"sky": "rain"}
TOOL = ("tool", "forecast", LYON, RAIN)


def at(seconds: float) -> int:
    return START + int(seconds * SECOND)


def log(program: str, name: str, at_s: float, session: str = "s1", **attributes: Any) -> LogRecord:
    """A record as the program writes it: Claude Code has its own name in the body, Codex a place in its source as name."""
    given = {key.replace("__", "."): value for key, value in attributes.items()}
    full, session_key, body, event = f"{program}.{name}", "session.id", None, ""
    if program == "claude_code":
        given["event.name"], body = name, full
    elif program == "codex":
        given["event.name"], session_key, event = full, "conversation.id", "event otel/src/events.rs:1"
    else:
        given["event.name"], body = full, "What happened, in words."
    resource = Resource({"service.name": program})
    given[session_key] = session
    return LogRecord(
        "", "", event or given["event.name"], at(at_s), given, body, resource=resource, scope=Scope(program)
    )


def claude_code(first_s: float, session: str = "s1") -> list[LogRecord]:
    """Its cached tokens stand beside the input."""

    def event(name: str, at_s: float, **attributes: Any) -> LogRecord:
        return log("claude_code", name, first_s + at_s, session, **attributes)

    used = {"model": "m", "cache_read_tokens": "70", "cache_creation_tokens": "10"}
    called = {
        "tool_name": "forecast",
        "tool_use_id": "t1",
        "tool_input": json.dumps(LYON),
        "tool_output": json.dumps(RAIN),
    }
    return [
        event("user_prompt", 0, prompt=ASKED, prompt_length=13),
        event("api_request", 2, duration_ms="1000", input_tokens="20", output_tokens="20", **used),
        event("tool_decision", 2.1, tool_name="forecast", decision="accept"),
        event("tool_result", 3, success="true", duration_ms=500, **called),
        event("api_request", 5, duration_ms="1000", input_tokens="70", output_tokens="30", **used),
        event("assistant_response", 5.1, response=ANSWERED),
    ]


def codex(first_s: float, session: str = "s1") -> list[LogRecord]:
    """Its model calls are the ends of streams; its tools have a header before what they gave."""

    def event(name: str, at_s: float, **attributes: Any) -> LogRecord:
        return log("codex", name, first_s + at_s, session, model="m", **attributes)

    def completed(at_s: float, sent: str, answered: str) -> LogRecord:
        counts = {"input_token_count": sent, "output_token_count": answered, "cached_token_count": "70"}
        return event("sse_event", at_s, event__kind="response.completed", **counts)

    output = f"Exit code: 0\nWall time: 0.1 seconds\nOutput:\n{json.dumps(RAIN)}"
    called = {"tool_name": "forecast", "call_id": "t1", "arguments": json.dumps(LYON), "output": output}
    return [
        event("conversation_starts", -1, provider_name="openai"),
        event("user_prompt", 0, prompt=ASKED),
        event("api_request", 1, duration_ms="1000", http__response__status_code=200),
        event("sse_event", 1.5, event__kind="response.created"),
        completed(2, "100", "20"),
        event("tool_result", 3, success="true", duration_ms="500", **called),
        completed(5, "150", "30"),
        event("agent_response", 5.1, response=ANSWERED),
    ]


def gemini_cli(first_s: float, session: str = "s1", program: str = "gemini_cli") -> list[LogRecord]:
    """Its answers are in pieces, and its tools without results."""

    def event(name: str, at_s: float, **attributes: Any) -> LogRecord:
        return log(program, name, first_s + at_s, session, **attributes)

    def pieces(*parts: dict[str, Any]) -> str:
        return json.dumps([{"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in parts])

    call = {"functionCall": {"name": "forecast", "args": LYON, "id": "t1"}}
    answer = pieces({"text": "Yes"}, {"text": "Hm", "thought": True}, {"text": ", rain."})
    return [
        event("user_prompt", 0, prompt=ASKED),
        event("api_request", 1, model="m", request_text="[]"),
        event(
            "api_response",
            2,
            model="m",
            duration_ms=1000,
            input_token_count=100,
            output_token_count=20,
            response_text=pieces(call),
        ),
        event("tool_call", 3, function_name="forecast", function_args=json.dumps(LYON), success=True, duration_ms=500),
        event("api_response", 5, model="m", input_token_count=150, output_token_count=30, response_text=answer),
    ]


def qwen_code(first_s: float, session: str = "s1") -> list[LogRecord]:
    return gemini_cli(first_s, session, "qwen-code")


def write(path: Path, records: Sequence[LogRecord] = (), spans: Sequence[SpanRecord] = ()) -> Path:
    lines = [otlp_json.encode_log(record) for record in records] + [otlp_json.encode([span]) for span in spans]
    path.write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in lines))
    return path


Program = Callable[..., list[LogRecord]]
PROGRAMS = (claude_code, codex, gemini_cli, qwen_code)


def truth_of(program: Program, session: str = "s1") -> dict[str, Any]:
    name = program(0)[0].scope.name
    has_result = program in (claude_code, codex)
    return {
        "agent": name,
        "asked": ASKED,
        "answered": ANSWERED,
        "session": session,
        "tokens": (250, 50),
        "steps": [("model", "m", 100, 20), TOOL if has_result else (*TOOL[:3], None), ("model", "m", 150, 30)],
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_prompt_of_a_session_is_a_run(program: Program, tmp_path: Path) -> None:
    records = [*program(0), *program(60), *program(1, "s2")] * 2  # lines may be repeated
    random.Random(1).shuffle(records)
    first, other, second = load_runs(write(tmp_path / "t.jsonl", records))
    assert [summary_of(run) for run in (first, second)] == [truth_of(program)] * 2
    assert summary_of(other) == truth_of(program, "s2")
    assert (first.started_at_ns, second.started_at_ns) == (at(0), at(60))
    assert first.status is RunStatus.SUCCESS
    assert [step.started_at_ns for step in first.tool_steps] == [at(2.5)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_protobuf_gives_the_same(program: Program, tmp_path: Path) -> None:
    groups = [(each.resource, each.scope, [otlp_proto.encode_log_record(each)]) for each in program(0)]
    (tmp_path / "t.pb").write_bytes(otlp_proto.join_logs(groups))
    (run,) = load_runs(tmp_path / "t.pb")
    assert summary_of(run) == truth_of(program)


def test_a_prompt_after_which_tools_were_called_has_not_ended(tmp_path: Path) -> None:
    (run,) = load_runs(write(tmp_path / "t.jsonl", claude_code(0)[:4]))
    assert (run.status, run.ended_at_ns, run.final_output) == (RunStatus.RUNNING, None, None)


def test_a_request_that_failed_is_the_error_of_the_run(tmp_path: Path) -> None:
    failed = log("claude_code", "api_error", 2, model="m", error="Overloaded", status_code="529")
    (run,) = load_runs(write(tmp_path / "t.jsonl", [claude_code(0)[0], failed]))
    assert run.error is not None
    assert (run.status, run.error.message) == (RunStatus.ERROR, "Overloaded")


def test_a_tool_that_failed_is_an_error_of_the_step(tmp_path: Path) -> None:
    records = codex(0)
    failed = {**records[5].attributes, "success": "false", "output": "Wall time: 0.1 seconds\nOutput:\nno such city"}
    records[5] = log("codex", "tool_result", 3, **{key.replace(".", "__"): item for key, item in failed.items()})
    (run,) = load_runs(write(tmp_path / "t.jsonl", records))
    assert run.status is RunStatus.SUCCESS
    assert summary_of(run)["steps"][1] == ("tool", "forecast", LYON, None, "no such city")


def test_what_was_logged_before_any_prompt_is_a_run_without_a_question(tmp_path: Path) -> None:
    (run,) = load_runs(write(tmp_path / "t.jsonl", codex(0)[2:]))
    assert run.user_input is None
    assert [step.name for step in run.steps] == ["m", "forecast", "m"]


def test_other_log_records_of_a_session_make_no_run(tmp_path: Path) -> None:
    others = [log("shop", "page_view", 0), log("shop", "order", 1, input_tokens=5)]
    assert load_runs(write(tmp_path / "t.jsonl", others)) == []


def test_an_agent_with_spans_is_not_read_again_from_its_log(tmp_path: Path) -> None:
    attributes = {"span.type": "interaction", "session.id": "s1", "user_prompt": ASKED}
    resource = Resource({"service.name": "claude_code"})
    agent = SpanRecord("a" * 32, "b" * 16, None, "claude_code.interaction", at(0), at(6), attributes, resource=resource)
    call = SpanRecord(
        "a" * 32,
        "c" * 16,
        "b" * 16,
        "claude_code.llm_request",
        at(1),
        at(2),
        {"span.type": "llm_request", "model": "m", "input_tokens": 1, "output_tokens": 1},
        resource=resource,
    )
    assert [run.trace_id for run in load_runs(write(tmp_path / "t.jsonl", claude_code(0), [agent, call]))] == ["a" * 32]


# ── turns that are traces of their own ───────────────────────────────────────────────────────────────────────────────


def turn(number: int, times: tuple[float, float], operation: str, **attributes: Any) -> SpanRecord:
    """A span of Gemini CLI, which is all of its trace."""
    given = {
        key.replace("__", "."): json.dumps(item) if isinstance(item, list | dict) else item
        for key, item in attributes.items()
    }
    return SpanRecord(
        f"{number:032x}",
        f"{number:016x}",
        None,
        operation,
        at(times[0]),
        at(times[1]),
        {
            "gen_ai.operation.name": operation,
            "gen_ai.conversation.id": "s1",
            "gen_ai.agent.name": "gemini_cli",
            **given,
        },
        resource=Resource({"service.name": "gemini_cli"}),
        scope=Scope("gemini-cli"),
    )


def turns_of_gemini_cli() -> list[SpanRecord]:
    context = {"text": "<session_context>\nToday is Monday.\n</session_context>"}
    asked = {"role": "user", "parts": [context, {"text": ASKED}]}
    sent_back = {"output": f"<untrusted_context>\n{json.dumps(RAIN)}\n</untrusted_context>"}
    called = {"role": "model", "parts": [{"functionCall": {"name": "forecast", "args": LYON, "id": "t1"}}]}
    result = {"functionResponse": {"name": "forecast", "response": sent_back, "id": "t1"}}
    marked = {"functionCall": {"name": "forecast", "args": LYON, "id": "forecast__t1"}}
    usage = {"gen_ai__request__model": "m", "gen_ai__usage__input_tokens": 100, "gen_ai__usage__output_tokens": 20}
    later = {**usage, "gen_ai__usage__input_tokens": 150, "gen_ai__usage__output_tokens": 30}
    pieces = [{"role": "model", "parts": [{"text": text}]} for text in ("Yes", ", rain.")]
    return [
        turn(
            1,
            (1, 2),
            "llm_call",
            gen_ai__input__messages=[asked],
            gen_ai__output__messages=[{"role": "model", "parts": [marked]}],
            **usage,
        ),
        turn(
            2,
            (2.5, 3),
            "tool_call",
            gen_ai__tool__name="forecast",
            gen_ai__tool__call_id="forecast__t1",
            gen_ai__input__messages={"callId": "forecast__t1", "name": "forecast", "args": LYON},
            gen_ai__output__messages={"status": "success", "response": {"responseParts": [result]}},
        ),
        turn(
            3,
            (4, 5),
            "llm_call",
            gen_ai__input__messages=[asked, called, {"role": "user", "parts": [result]}],
            gen_ai__output__messages=pieces,
            **later,
        ),
    ]


@pytest.mark.parametrize("has_log", [False, True])
def test_turns_of_a_session_are_one_run_which_its_log_does_not_repeat(has_log: bool, tmp_path: Path) -> None:
    records = gemini_cli(0) if has_log else []
    (run,) = load_runs(write(tmp_path / "t.jsonl", records, turns_of_gemini_cli()))
    assert summary_of(run) == {**truth_of(gemini_cli), "steps": truth_of(codex)["steps"]}
    assert len(run.trace_ids) == 3 + has_log
    assert explain_run(tmp_path / "t.jsonl").run == run


def test_the_turns_of_the_next_prompt_belong_to_that(tmp_path: Path) -> None:
    later = gemini_cli(60)
    first, second = load_runs(write(tmp_path / "t.jsonl", [*gemini_cli(0), *later], turns_of_gemini_cli()))
    assert [step.output for step in first.tool_steps + second.tool_steps] == [RAIN, None]


# ── spans that lost their context ────────────────────────────────────────────────────────────────────────────────────


def lost(number: int, times: tuple[float, float], name: str, session: str = "s1", **attributes: Any) -> SpanRecord:
    """A span of LangChain in JavaScript under Traceloop, which is all of its trace."""
    given = {
        key.replace("__", "."): json.dumps(item) if isinstance(item, list | dict) else item
        for key, item in attributes.items()
    }
    given["traceloop.association.properties.session_id"] = session
    resource = Resource({"service.name": "app"})
    ids = f"{number:032x}", f"{number:016x}"
    return SpanRecord(*ids, None, name, at(times[0]), at(times[1]), given, resource=resource)


def lost_run(number: int, at_s: float, session: str = "s1") -> list[SpanRecord]:
    answer = {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": ANSWERED, "name": "weather"}}
    sent_back = {"content": json.dumps(RAIN), "tool_call_id": "t1", "name": "forecast"}
    result = {"lc": 1, "type": "constructor", "id": ["ToolMessage"], "kwargs": sent_back}
    graph = {"traceloop__span__kind": "workflow", "traceloop__workflow__name": "CompiledStateGraph"}
    model = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "m"}
    tool = {"gen_ai__operation__name": "execute_tool", "traceloop__span__kind": "task"}
    usage = [{"gen_ai__usage__input_tokens": sent, "gen_ai__usage__output_tokens": 20} for sent in (100, 150)]
    arguments = json.dumps({"args": [json.dumps(LYON)]}, separators=(",", ":"))
    return [
        lost(number + 1, (at_s + 1, at_s + 2), "chat m", session, **model, **usage[0]),
        lost(
            number + 2,
            (at_s + 3, at_s + 4),
            "execute_tool DynamicStructuredTool",
            session,
            **tool,
            traceloop__entity__name="DynamicStructuredTool",
            traceloop__entity__input=arguments,
            traceloop__entity__output=result,
        ),
        lost(number + 3, (at_s + 5, at_s + 6), "chat m", session, **model, **usage[1]),
        lost(number + 4, (at_s + 4.9, at_s + 6.1), "workflow RunnableSequence", session, **graph),
        lost(
            number,
            (at_s, at_s + 7),
            "workflow CompiledStateGraph",
            session,
            **graph,
            traceloop__entity__input={"messages": [{"role": "user", "content": ASKED}]},
            traceloop__entity__output={"messages": [answer]},
        ),
    ]


LOST_RUN = {
    "agent": "weather",
    "asked": ASKED,
    "answered": ANSWERED,
    "session": "s1",
    "tokens": (250, 40),
    "steps": [("model", "m", 100, 20), TOOL, ("model", "m", 150, 20)],
}


def test_spans_that_are_traces_of_their_own_belong_to_the_one_around_them(tmp_path: Path) -> None:
    spans = [*lost_run(10, 0), *lost_run(20, 60), *lost_run(30, 1, "s2")]
    random.Random(2).shuffle(spans)
    runs = load_runs(write(tmp_path / "t.jsonl", (), spans))
    assert [summary_of(run) for run in runs if run.session_id == "s1"] == [LOST_RUN, LOST_RUN]
    assert [run.run_id for run in runs] == [f"{number:032x}" for number in (10, 30, 20)]
    assert load_run(tmp_path / "t.jsonl", f"{12:032x}").run_id == f"{10:032x}"


def test_concurrent_runs_of_a_session_take_nothing_from_each_other(tmp_path: Path) -> None:
    spans = [*lost_run(10, 0), *lost_run(20, 3)]
    runs = load_runs(write(tmp_path / "t.jsonl", (), spans))
    assert all(len(run.steps) == 1 for run in runs)
    assert len(runs) == 6


def test_a_run_out_of_a_session_is_written_and_read_back_equal(tmp_path: Path) -> None:
    written: list[AgentRun] = []
    for source, target in (("t.jsonl", "u.jsonl"), ("u.jsonl", "v.jsonl")):
        if source == "t.jsonl":
            write(
                tmp_path / source, [*gemini_cli(0), *codex(0, "s3")], [*turns_of_gemini_cli(), *lost_run(10, 0, "s2")]
            )
        assert main(["export", str(tmp_path / source), "--to", "otlp-json", "--output", str(tmp_path / target)]) == 0
        written = written or load_runs(tmp_path / target)
    assert len(written) == 3
    assert load_runs(tmp_path / "v.jsonl") == written
    assert [summary_of(run) for run in written] == [summary_of(run) for run in load_runs(tmp_path / "t.jsonl")]
