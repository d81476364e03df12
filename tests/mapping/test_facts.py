"""The facts of runs and steps: the table says all that is written and read, and each comes back from everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource as SdkResource
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    load_run,
    load_runs,
    run_to_spans,
    runs_from_spans,
    semconv,
)
from otel_agent_trace.mapping.facts import FACTS, READ, RUNS, STEPS, TABLE, TAKEN_NAMES
from otel_agent_trace.model import AgentStep, Facts, RunFacts, RunStatus, StepKind
from otel_agent_trace.runs.explain import explain
from otel_agent_trace.span import Resource, SpanRecord
from otel_agent_trace.span_facts import SpanFacts
from tests.support.strategies import texts

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER_TRACE = "0af7651916cd43dd8448eb211c80319c"


def again(run: AgentRun) -> AgentRun:
    (back,) = runs_from_spans(run_to_spans(run))
    return back


def through_json(run: AgentRun) -> AgentRun:
    return AgentRun.from_dict(json.loads(json.dumps(run.to_dict())))


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_fact_that_models_and_dialects_share_has_a_row() -> None:
    without = {name for name in RunFacts.__struct_fields__ if name not in {fact.field for fact in TABLE}}
    assert without == {"attributes"}


@pytest.mark.parametrize("fact", TABLE, ids=lambda fact: f"{fact.field}: {fact.attribute}")
def test_every_row_names_a_field(fact: Any) -> None:
    assert (fact.read_as or fact.field) in SpanFacts.__struct_fields__
    owners = {*AgentRun.__struct_fields__, *AgentStep.__struct_fields__, "is_inferred"}
    assert fact.field in owners


@pytest.mark.parametrize("kind", StepKind)
def test_an_attribute_that_a_codec_reads_says_one_fact_of_a_kind(kind: StepKind) -> None:
    rows = [fact.attribute for fact in TABLE if fact.codec is not None and kind in fact.kinds]
    assert sorted(rows) == sorted(set(rows)) == sorted(READ[kind])


def test_no_attribute_of_our_own_can_be_set_by_callers() -> None:
    ours = {fact.attribute for fact in TABLE if fact.attribute.startswith("agent_trace.")}
    assert ours <= TAKEN_NAMES
    backend = InMemoryBackend()
    with AgentTracer(backend).run(tags=["a"]) as run:
        for name in sorted(ours):
            run.set_attribute(name, "mine")
    (kept,) = backend.runs()
    assert (kept.tags, kept.parent_run_id, kept.abandoned) == (("a",), None, False)
    assert kept.attributes == dict.fromkeys(ours, "mine")
    assert again(kept) == kept


def test_steps_have_no_facts_of_runs() -> None:
    assert {fact.field for fact in FACTS if not fact.kinds & STEPS} & {*Facts.__struct_fields__} == set()
    assert {fact.field for fact in TABLE if fact.kinds == RUNS} >= {"tags", "config", "replay_of"}


# ── tags and prompts ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def kept(tmp_path: Path) -> tuple[AgentTracer, InMemoryBackend, Path]:
    """A tracer, and where it keeps its runs."""
    memory, path = InMemoryBackend(), tmp_path / "traces.jsonl"
    return AgentTracer(backend=[memory, FileBackend(path)]), memory, path


def the_run(memory: InMemoryBackend, path: Path) -> AgentRun:
    """The one run, the same from memory and file, and after being written as spans or data."""
    (run,) = memory.runs()
    assert load_runs(path, strict=True) == [run]
    assert again(run) == run
    assert through_json(run) == run
    return run


def test_tags_and_prompts_come_back(kept: tuple[AgentTracer, InMemoryBackend, Path]) -> None:
    tracer, memory, path = kept
    with tracer.run(tags=["beta", "é"], prompt_name="answer", prompt_version=3) as run:  # type: ignore[arg-type]
        with run.step("search", prompt_name="query"):
            pass
        with run.model_call("m", prompt_name="chat", prompt_version="1.2") as call:
            assert (call.prompt_name, call.prompt_version) == ("chat", "1.2")
        tracer.log_step(run.run_id, tool_name="t", prompt_name="logged", prompt_version="0")
        assert (run.tags, run.prompt_version) == (("beta", "é"), "3")
    found = the_run(memory, path)
    assert (found.tags, found.prompt_name, found.prompt_version, found.metadata) == (("beta", "é"), "answer", "3", {})
    assert [(step.prompt_name, step.prompt_version, step.metadata) for step in found.steps] == [
        ("query", None, {}),
        ("chat", "1.2", {}),
        ("logged", "0", {}),
    ]
    root = next(span for span in memory.spans() if span.parent_span_id is None)
    assert root.attributes["agent_trace.tags"] == '["beta","é"]'
    assert root.attributes["gen_ai.prompt.name"] == "answer"


def test_tags_and_prompts_are_changed_and_taken_back_while_it_runs(
    kept: tuple[AgentTracer, InMemoryBackend, Path],
) -> None:
    tracer, memory, path = kept
    with tracer.run(tags=["a"], prompt_name="x", prompt_version="1") as run:
        run.tags, run.prompt_name, run.prompt_version = None, None, "2"
        with run.step("s", prompt_name="y") as step:
            step.prompt_name, step.prompt_version = None, "3"
    found = the_run(memory, path)
    assert (found.tags, found.prompt_name, found.prompt_version) == ((), None, "2")
    assert (found.steps[0].prompt_name, found.steps[0].prompt_version) == (None, "3")
    assert (found.attributes, found.steps[0].attributes) == ({}, {})


@pytest.mark.parametrize(
    ("given_tags", "tags"), [("one", ("one",)), ([1, None], ("1", "None")), ((), ()), ({"x"}, ("x",))]
)
def test_tags_are_texts(
    kept: tuple[AgentTracer, InMemoryBackend, Path], given_tags: Any, tags: tuple[str, ...]
) -> None:
    tracer, memory, path = kept
    with tracer.run(tags=given_tags):
        pass
    assert the_run(memory, path).tags == tags


def test_an_iterator_that_is_given_as_tags_is_not_consumed(kept: tuple[AgentTracer, InMemoryBackend, Path]) -> None:
    tracer, _, _ = kept
    iterator = iter(["a", "b"])
    with tracer.run(tags=iterator):
        pass
    assert next(iterator) == "a"


def test_tags_of_a_block_are_those_of_its_runs_unless_they_have_others(
    kept: tuple[AgentTracer, InMemoryBackend, Path],
) -> None:
    tracer, memory, _ = kept
    with tracer.bind(tags=["outer"], prompt_name="p"):
        with tracer.run(run_id="a"):
            pass
        with tracer.run(run_id="b", tags=["own"]):
            pass
    assert {run.run_id: (run.tags, run.prompt_name) for run in memory.runs()} == {
        "a": (("outer",), "p"),
        "b": (("own",), "p"),
    }


def test_explain_tells_tags_and_prompts_with_their_attributes(
    kept: tuple[AgentTracer, InMemoryBackend, Path],
) -> None:
    tracer, memory, _ = kept
    with tracer.run(tags=["a"], prompt_name="p") as run, run.step("s", prompt_version="2"):
        pass
    (explanation,) = explain(memory.spans())
    places = {fact.name: (fact.value, fact.sources[0].places) for fact in explanation.facts if fact.sources}
    assert places["tags"] == (("a",), ("agent_trace.tags",))
    assert places["prompt_name"] == ("p", ("gen_ai.prompt.name",))
    (step,) = explanation.steps
    assert [fact.sources[0].places for fact in step.facts if fact.name == "prompt_version"] == [
        ("gen_ai.prompt.version",)
    ]


def test_a_stream_that_was_left_says_so_where_no_caller_can(kept: tuple[AgentTracer, InMemoryBackend, Path]) -> None:
    tracer, memory, path = kept
    with tracer.run() as run:
        run.mark_first_chunk()
        with run.step("s") as step:
            step.abandon()
        run.abandon()
    found = the_run(memory, path)
    assert (found.abandoned, found.steps[0].abandoned, found.attributes) == (True, True, {})
    assert found.first_chunk_at_ns is not None
    assert found.started_at_ns <= found.first_chunk_at_ns <= (found.ended_at_ns or 0)


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────────────────

SHOP: dict[str, Any] = {
    "service.name": "shop",
    "service.version": "1.2",
    "deployment.environment.name": "prod",
    "replicas": 3,
}


def test_the_resource_of_a_run_comes_back(tmp_path: Path) -> None:
    memory, path = InMemoryBackend(), tmp_path / "traces.jsonl"
    provider = TracerProvider(resource=SdkResource(SHOP))
    provider.add_span_processor(AgentSpanProcessor([memory, FileBackend(path)]))
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run() as run, tracer.run(agent_name="inner"), run.step("s"):
        pass
    found = the_run(memory, path)
    assert found.resource == SHOP
    assert (found.service_name, found.service_version, found.environment) == ("shop", "1.2", "prod")
    assert [step.run.resource for step in found.steps if step.run is not None] == [SHOP]
    assert {json.dumps(span.resource.attributes) for span in run_to_spans(found)} == {json.dumps(SHOP)}
    data = found.to_dict()
    assert (data["service_name"], data["service_version"], data["environment"]) == ("shop", "1.2", "prod")


@pytest.mark.parametrize(
    ("attributes", "environment"),
    [
        ({}, None),
        ({"deployment.environment": "old"}, "old"),
        ({"deployment.environment": "old", "deployment.environment.name": "new"}, "new"),
        ({"deployment.environment.name": 5}, "5"),
    ],
)
def test_where_a_program_is_deployed_by_either_name(attributes: dict[str, Any], environment: str | None) -> None:
    assert AgentRun(run_id="r", resource=attributes).environment == environment


def test_runs_of_other_tracers_have_their_resource_and_lone_calls_too() -> None:
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}
    spans = [
        SpanRecord(TRACE, "1" * 16, None, "a", 1, 2, agent, resource=Resource(SHOP)),
        SpanRecord(OTHER_TRACE, "2" * 16, None, "t", 3, 4, tool, resource=Resource(SHOP)),
    ]
    runs = runs_from_spans(spans)
    assert [(run.resource, run.service_version) for run in runs] == [(SHOP, "1.2"), (SHOP, "1.2")]
    assert [again(run) for run in runs] == runs


def test_a_sub_agent_of_the_same_program_repeats_no_resource_in_data() -> None:
    below = AgentRun(run_id="b", resource=dict(SHOP), status=RunStatus.SUCCESS)
    elsewhere = AgentRun(run_id="c", resource={"service.name": "other", "raw": b"\x00"})
    steps = tuple(AgentStep(index=place, kind=StepKind.AGENT, run=run) for place, run in enumerate((below, elsewhere)))
    run = AgentRun(run_id="a", resource=SHOP, steps=steps)
    first, second = (step["run"] for step in run.to_dict()["steps"])
    assert ("resource" in first, first["service_name"], "resource" in second) == (False, "shop", True)
    assert through_json(run) == run
    assert AgentStep.from_dict(steps[0].to_dict()) == steps[0]


def test_data_that_only_names_the_service_is_a_run_of_that_service() -> None:
    run = AgentRun.from_dict({"run_id": "r", "service_name": "shop", "service_version": "1"})
    assert (run.service_name, run.service_version, run.resource) == (
        "shop",
        "1",
        {"service.name": "shop", "service.version": "1"},
    )


@given(st.dictionaries(st.sampled_from(["service.name", "x", "deployment.environment"]), texts() | st.integers()))
def test_any_resource_survives_data_and_spans(attributes: dict[str, Any]) -> None:
    run = AgentRun(run_id="r", trace_id=TRACE, span_id="1" * 16, resource=attributes, ended_at_ns=1)
    assert through_json(run) == run
    assert again(run).resource == attributes


# ── traces ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_knows_its_trace_and_one_of_several_all_of_them() -> None:
    run = AgentRun(run_id="r", trace_id=TRACE, span_id="1" * 16, status=RunStatus.SUCCESS, ended_at_ns=2)
    assert (run.trace_ids, AgentRun(run_id="r").trace_ids) == ((TRACE,), ())
    assert [span for span in run_to_spans(run) if semconv.RUN_TRACE_IDS in span.attributes] == []
    joined = AgentRun(
        **{**{name: getattr(run, name) for name in run.__struct_fields__}, "trace_ids": (TRACE, OTHER_TRACE)}
    )
    (span,) = run_to_spans(joined)
    assert span.attributes["agent_trace.run.trace_ids"] == json.dumps([TRACE, OTHER_TRACE], separators=(",", ":"))
    assert again(joined) == joined
    assert through_json(joined) == joined


def test_a_run_without_a_span_that_was_joined_keeps_its_traces() -> None:
    call = AgentStep(kind=StepKind.MODEL, name="m", step_id=1, span_id="1" * 16, started_at_ns=5, ended_at_ns=6)
    run = AgentRun(
        run_id=TRACE,
        trace_id=TRACE,
        trace_ids=(TRACE, OTHER_TRACE),
        status=RunStatus.SUCCESS,
        started_at_ns=5,
        ended_at_ns=6,
        steps=(call,),
    )
    assert again(run) == run


# ── tool steps ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", StepKind)
def test_name_input_and_output_of_tools_have_names_of_their_own(kind: StepKind) -> None:
    step = AgentStep(kind=kind, name="n", input=[1], output=0)
    expected = ("n", [1], 0) if kind is StepKind.TOOL else (None, None, None)
    assert (step.tool_name, step.tool_input, step.tool_output) == expected
    data = step.to_dict()
    assert (data["tool_name"], data["tool_input"], data["tool_output"]) == expected
    assert AgentStep.from_dict(data) == step
    assert {"tool_name", "tool_input", "tool_output"}.isdisjoint(step.__struct_fields__)


def test_data_may_give_a_tool_step_by_its_own_names_alone() -> None:
    step = AgentStep.from_dict({"tool_name": "search", "tool_input": {"q": 1}, "tool_output": "x"})
    assert (step.name, step.input, step.output) == ("search", {"q": 1}, "x")
    other = AgentStep.from_dict({"kind": "model", "tool_name": "search"})
    assert (other.name, other.tool_name) == ("", None)
    with pytest.raises(TypeError):
        AgentStep(tool_name="search")  # type: ignore[call-arg]


def test_a_logged_step_takes_them(kept: tuple[AgentTracer, InMemoryBackend, Path]) -> None:
    tracer, _, path = kept
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="search", tool_input={"q": 1}, tool_output="x")
    tracer.end_run(run_id)
    (step,) = load_run(path).steps
    assert (step.name, step.tool_input, step.output) == ("search", {"q": 1}, "x")


@pytest.mark.parametrize("tag", ["\ud800", "\ud83d\ude00", "😀", "plain"])
def test_tags_of_any_text_come_back_from_dictionaries_and_spans(tag: str) -> None:
    """Lone surrogates too, which not every writer of JSON takes, and pairs of them, which some readers join."""
    run = AgentRun(
        run_id="r", tags=(tag,), resource={"service.name": tag}, started_at_ns=1, ended_at_ns=2, trace_id="a" * 32
    )
    text = json.dumps(run.to_dict(), allow_nan=False)
    json.dumps(json.loads(text), ensure_ascii=False).encode()
    assert AgentRun.from_dict(json.loads(text)) == run
    assert runs_from_spans(run_to_spans(run))[0].tags == (tag,)


def test_a_run_with_a_number_of_too_many_digits_is_shown() -> None:
    backend = InMemoryBackend()
    with AgentTracer([backend]) as tracer, tracer.run(user_input="how many?") as run:
        run.final_output = 10**5000
    (kept,) = backend.runs()

    assert "user_input='how many?'" in repr(kept)
    assert "final_output=" in repr(kept)
