"""Whole runs are traced; what was recorded comes back from everywhere, field by field."""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    load_runs,
    runs_from_spans,
)
from otel_agent_trace.model import AgentStep, Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.runs import run_to_spans
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import Limits, Truncated
from tests.support.exact_comparison import assert_alike
from tests.support.reading_limits import set_block_bytes
from tests.support.script_stage import Known, Stage, assert_expected
from tests.support.strategies import Run, runs, values

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP_ERROR = StepError(type="E", message="m")
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"


@contextmanager
def stage(limits: Limits = Limits()) -> Iterator[tuple[Stage, InMemoryBackend, Path]]:
    """A tracer that keeps its runs in memory and in a file."""
    with tempfile.TemporaryDirectory() as folder:
        memory, path = InMemoryBackend(), Path(folder) / "traces.jsonl"
        # Made-up names may be names of secrets: Hypothesis makes some of the constants in our code.
        with AgentTracer([memory, FileBackend(path)], limits=limits, redact=False) as tracer:
            yield Stage(tracer), memory, path
            failed = {reason: number for reason, number in tracer.stats().items() if "failed" in reason}
            assert failed == {}


scripts = st.lists(runs(), min_size=1, max_size=2)


def kept_runs(stage_: Stage, memory: InMemoryBackend, plan: list[Run]) -> list[AgentRun]:
    """Carry the scripts out, and get the runs in the order in which they were recorded."""
    for script in plan:
        stage_.carry_out(script)
    kept = {run.run_id: run for run in memory.runs()}
    return [kept[expected.fields["run_id"]] for expected in stage_.expected]


def by_id(found: list[AgentRun]) -> list[AgentRun]:
    return sorted(found, key=lambda run: run.run_id)


def assert_same_runs(found: list[AgentRun], expected: list[AgentRun]) -> None:
    """Equal to the library, and to a comparison that knows nothing of it."""
    found, expected = by_id(found), by_id(expected)
    assert_alike(found, expected)
    assert found == expected


# ── there and back ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(scripts)
def test_memory_and_a_file_give_back_what_was_recorded(plan: list[Run]) -> None:
    """Every field of every run and step is what the tracer was given, and the runs in the file equal those in memory."""
    with stage() as (stage_, memory, path):
        kept = kept_runs(stage_, memory, plan)
        for run, expected in zip(kept, stage_.expected, strict=True):
            assert_expected(run, expected)
        assert_same_runs(load_runs(path, strict=True), kept)
        for run, expected in zip(by_id(load_runs(path)), sorted(stage_.expected, key=run_id_of), strict=True):
            assert_expected(run, expected)


def run_id_of(expected: Known) -> str:
    return str(expected.fields["run_id"])


@given(scripts)
def test_dictionaries_give_back_what_was_recorded(plan: list[Run]) -> None:
    """A run that went through standard JSON is equal."""
    with stage() as (stage_, memory, _):
        kept = kept_runs(stage_, memory, plan)
        texts = [json.dumps(run.to_dict(), allow_nan=False) for run in kept]
        for text in texts:
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        assert_same_runs([AgentRun.from_dict(json.loads(text)) for text in texts], kept)


@given(scripts)
def test_spans_of_runs_give_back_the_runs(plan: list[Run]) -> None:
    """The spans that are written for a run read as that run, and are written again the same."""
    with stage() as (stage_, memory, _):
        kept = kept_runs(stage_, memory, plan)
        spans = [span for run in kept for span in run_to_spans(run)]
        again = runs_from_spans(spans)
        assert_same_runs(again, kept)
        for below in (below for run in kept for below in run.walk()):
            assert_same_runs(runs_from_spans(run_to_spans(below)), [below])
        third = [span for run in again for span in run_to_spans(run)]
        assert_same_runs(runs_from_spans(third), kept)
        assert {span.span_id for span in third} == {span.span_id for span in spans}
        for run in kept:
            assert_a_fixpoint(run)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=10))
@example([(0, 0, 0, False), (1, 3, 1, False), (0, 0, 2, False)])
@example([(0, 1, 0, False), (1, 0, 1, False), (1, 0, 1, False), (0, 1, 2, False)])
@example([(0, 0, 0, False), (0, 1, 0, True), (1, 2, 1, False)])
def test_steps_that_share_their_ids_stay_one_run(plan: list[tuple[int, int, int, bool]]) -> None:
    """Whoever is meant by an id that several steps have: no step is lost, and what was written reads the same again."""
    ids = [format(place + 1, "016x") for place in range(len(plan) + 1)]
    start_ns = 1_700_000_000 * 10**9
    root = SpanRecord(
        "1" * 32, ids[0], None, "invoke_agent", start_ns, start_ns + 9, {"gen_ai.operation.name": "invoke_agent"}
    )
    spans = [root]
    for place, (step_id, start, above, is_agent) in enumerate(plan, 1):
        operation = "invoke_agent" if is_agent else "execute_tool"
        attributes = {"gen_ai.operation.name": operation, "agent_trace.step.id": step_id}
        span = (ids[place], ids[above % place], f"{operation} x", start_ns + start, start_ns + 9)
        spans.append(SpanRecord("1" * 32, *span, attributes))
    runs_ = runs_from_spans(spans)
    assert [sum(len(below.steps) for below in run.walk()) for run in runs_] == [len(plan)]
    assert_same_runs(runs_from_spans(run_to_spans(runs_[0])), runs_)


def assert_a_fixpoint(run: AgentRun) -> None:
    """What is written for a run that was read from such spans is the very same, where no sets are in it."""
    spans = run_to_spans(run)
    read = runs_from_spans(spans)[0]
    for one, other in zip(spans, run_to_spans(read), strict=True):
        assert {k: len(str(v)) for k, v in one.attributes.items()} == {
            k: len(str(v)) for k, v in other.attributes.items()
        }
        assert (one.name, one.status_code, one.status_message) == (other.name, other.status_code, other.status_message)


# ── any order, any file ──────────────────────────────────────────────────────────────────────────────────────────────


def write_plain(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def write_gzip(path: Path, lines: list[bytes]) -> Path:
    target = path.with_suffix(".jsonl.gz")
    target.write_bytes(b"".join(gzip.compress(line) for line in lines))
    return target


def write_zstd(path: Path, lines: list[bytes]) -> Path:
    target = path.with_suffix(".jsonl.zst")
    target.write_bytes(zstd.compress(b"".join(lines)))
    return target


WRITERS: list[Callable[[Path, list[bytes]], Path]] = [write_plain, write_gzip, write_zstd]


@given(
    scripts,
    st.randoms(use_true_random=False),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from((128 << 10, 96, 500)),
)
def test_lines_in_any_order_in_any_files(
    plan: list[Run], chance: random.Random, pieces: int, copies: int, block: int
) -> None:
    """Lines that are shuffled, doubled, and spread over plain and compressed files are the same runs, each once."""
    with stage() as (stage_, memory, path):
        kept = kept_runs(stage_, memory, plan)
        lines = path.read_bytes().splitlines(keepends=True) * copies
        chance.shuffle(lines)
        spread = [chance.choice(WRITERS)(path.with_name(f"part{n}"), lines[n::pieces]) for n in range(pieces)]
        with pytest.MonkeyPatch.context() as patch:
            set_block_bytes(patch, block)
            assert_same_runs(load_runs(spread, strict=True), kept)


@given(runs())
def test_without_its_own_span_a_run_is_still_running(script: Run) -> None:
    """A run whose root span was never written has its id, its steps, and the status running."""
    with stage() as (stage_, memory, path):
        (run,) = kept_runs(stage_, memory, [script])
        lines = [line for line in path.read_bytes().splitlines() if f'"spanId":"{run.span_id}"'.encode() not in line]
        path.write_bytes(b"\n".join(lines))
        found = load_runs(path)
        if not run.steps:
            assert found == []
            return
        (headless,) = found
        assert (headless.run_id, headless.status, headless.ended_at_ns) == (run.run_id, RunStatus.RUNNING, None)
        assert_alike(headless.steps, run.steps)
        assert_same_runs(runs_from_spans(run_to_spans(headless)), [headless])
        assert_same_runs([AgentRun.from_dict(json.loads(json.dumps(headless.to_dict())))], [headless])


@given(runs(how="block"), st.randoms(use_true_random=False))
def test_without_a_line_the_others_stay(script: Run, chance: random.Random) -> None:
    """A line that is lost costs its step; the steps below it stay in the run."""
    with stage() as (stage_, memory, path):
        (run,) = kept_runs(stage_, memory, [script])
        inner = [step for step in run.steps if step.run is None]
        if not inner:
            return
        lost = chance.choice(inner)
        lines = [line for line in path.read_bytes().splitlines() if f'"spanId":"{lost.span_id}"'.encode() not in line]
        path.write_bytes(b"\n".join(lines))
        (found,) = load_runs(path)
        assert [step.span_id for step in found.steps] == [s.span_id for s in run.steps if s is not lost]


@given(runs())
def test_a_run_in_flight_is_readable(script: Run) -> None:
    """While a run goes on, memory has its steps and the status running."""
    with stage() as (stage_, memory, _):
        handle = stage_.tracer.run(stage_.start_fields(script))
        with handle:
            expected = Known(stage_.known_run(script))
            stage_.inside(script, handle, expected)
            (run,) = memory.runs()
            assert (run.run_id, run.status, run.ended_at_ns) == (handle.run_id, RunStatus.RUNNING, None)
            assert len(run.steps) == len(expected.steps)
            assert_same_runs([AgentRun.from_dict(run.to_dict())], [run])
            assert_same_runs(runs_from_spans(run_to_spans(run)), [run])


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    scripts,
    st.builds(Limits, value_bytes=st.integers(64, 200), depth=st.integers(1, 5), error_bytes=st.integers(0, 40)),
)
def test_small_limits_cut_and_say_so(plan: list[Run], limits: Limits) -> None:
    """With small limits nothing fails, and a run or step without a cut is whole."""
    with stage(limits) as (stage_, memory, path):
        for script in plan:
            stage_.carry_out(script)
        kept = memory.runs()
        assert_same_runs(load_runs(path, strict=True), kept)
        assert_same_runs([AgentRun.from_dict(json.loads(json.dumps(run.to_dict()))) for run in kept], kept)
        assert_same_runs(runs_from_spans([span for run in kept for span in run_to_spans(run)]), kept)
        assert len(kept) == len(plan)
        for run in kept:
            for below in run.walk():
                assert_cuts_listed(below)
                assert "Truncated(" not in repr([message.role for step in below.steps for message in step.messages])


VALUE_FIELDS = (
    "user_input",
    "final_output",
    "input",
    "output",
    "config",
    "metadata",
    "attributes",
    "messages",
    "usage",
)


def assert_cuts_listed(item: AgentRun | AgentStep) -> None:
    """Where there is a `Truncated` there is a path, and no path twice."""
    assert len(set(item.truncated)) == len(item.truncated)
    if not item.truncated:
        assert not any(has_cut(getattr(item, name, None)) for name in VALUE_FIELDS)
    for step in getattr(item, "steps", ()):
        assert_cuts_listed(step)


def has_cut(value: Any) -> bool:
    if isinstance(value, Truncated):
        return True
    if isinstance(value, dict):
        return any(map(has_cut, [*value, *value.values()]))
    if isinstance(value, Message):
        return has_cut(value.parts) or has_cut(value.extra)
    if isinstance(value, Usage):
        return has_cut(value.details)
    return isinstance(value, list | tuple | set | frozenset) and any(map(has_cut, value))


@pytest.mark.parametrize(
    "value", ["x" * 5000, "é" * 5000, "\udc80" * 5000, [1] * 5000, {"k": ("x" * 5000,)}, b"x" * 5000]
)
def test_every_field_is_bounded(value: Any) -> None:
    """Whatever field a large value is given to, the spans stay small and the field is listed."""
    with stage(Limits(value_bytes=100, error_bytes=100)) as (stage_, memory, path):
        tracer = stage_.tracer
        with tracer.run(user_input=value, config=value, metadata={"m": value}, model=value, session_id=value) as run:
            run.set_attribute("mine", value)
            run.final_output = value
            run.usage = {"input_tokens": 1, "x": value}
            with run.step(str(value), value, step_id=str(value)) as step:
                step.output = value
                step.error = str(value)
                step.messages = [{"role": "user", "content": value}]
                step.set_attribute("mine", value)
        assert path.stat().st_size < 40_000
        (kept,) = memory.runs()
        for name in (
            "user_input",
            "config",
            "metadata",
            "model",
            "session_id",
            "attributes.mine",
            "final_output",
            "usage",
        ):
            assert any(path.startswith(name) for path in kept.truncated), (name, kept.truncated)
        for name in ("name", "input", "step_id", "output", "error.message", "messages", "attributes.mine"):
            assert any(path.startswith(name) for path in kept.steps[0].truncated), (name, kept.steps[0].truncated)
        assert_cuts_listed(kept)


# ── one bug each ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("field", ["user_input", "config"])
@pytest.mark.parametrize(
    ("first", "second"), [((1, 2), "[1, 2]"), ((1,), [1]), ("\ud800", "x"), ([1], None), ("x", None)]
)
def test_the_last_value_counts(field: str, first: Any, second: Any) -> None:
    """A field that is set again holds the second value, and no trace of the first one's type."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run(**{field: first}) as run:
            setattr(run, field, second)
        assert_alike(getattr(memory.runs()[0], field), second)


def test_standard_attributes_of_the_callers_stay() -> None:
    """An attribute that the caller writes is not taken back by a field that nobody set."""
    attribute = '[{"role":"assistant","parts":[{"type":"text","content":"x"}]}]'
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run:
            run.set_attribute("gen_ai.output.messages", attribute)
            with run.model_call() as call:
                call.set_attribute("gen_ai.output.messages", attribute)
                call.set_attribute("gen_ai.response.id", "r")
        (kept,) = memory.runs()
        assert kept.final_output == kept.steps[0].messages[0].text == "x"
        assert kept.steps[0].attributes == {"gen_ai.response.id": "r"}


@pytest.mark.parametrize("field", ["session_id", "model"])
@pytest.mark.parametrize("first", ["x", "\ud800"])
def test_texts_that_are_taken_back_are_gone(field: Any, first: Any) -> None:
    """A text that is set to None is None, in the run as in what is written for it."""
    with stage() as (stage_, memory, path):
        with stage_.tracer.run(**{field: first}) as run:
            setattr(run, field, None)
        (kept,) = memory.runs()
        assert getattr(kept, field) is None
        assert kept.attributes == {}
        assert_same_runs(load_runs(path), [kept])
        assert_same_runs(runs_from_spans(run_to_spans(kept)), [kept])


@pytest.mark.parametrize("kind", StepKind)
@pytest.mark.parametrize(("first", "second"), [("text", {"q": 1}), ({"q": 1}, "text"), ((1, 2), [1, 2]), ([1], None)])
def test_inputs_that_are_set_again_count(kind: StepKind, first: Any, second: Any) -> None:
    """A step's input that is set again within the block is the second one."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run, run.step("s", first, kind=kind) as step:
            step.input = second
        (kept,) = memory.runs()[0].steps
        assert_alike(kept.input, second)
        assert kept.attributes == {}


def test_a_cut_that_was_replaced_is_not_listed() -> None:
    """A value that was too large and is set again in small leaves no cut behind."""
    with stage(Limits(value_bytes=50)) as (stage_, memory, _):
        with stage_.tracer.run(user_input="x" * 100, config=["x" * 100], metadata={"a": ["x" * 100]}) as run:
            run.user_input = "short"
        assert memory.runs()[0].truncated == ("config[0]", "metadata.a[0]")


def test_steps_with_one_id_stay_apart() -> None:
    """Two steps that were given the same id are two, also when the run is written again."""
    with stage() as (stage_, memory, _):
        run_id = stage_.tracer.start_run()
        for number in range(3):
            stage_.tracer.log_step(run_id, step_id="same", name=f"n{number}", parent_step_id="same" if number else None)
        stage_.tracer.end_run(run_id)
        kept = memory.runs()
        assert [step.name for step in kept[0].steps] == ["n0", "n1", "n2"]
        assert_same_runs(runs_from_spans(run_to_spans(kept[0])), kept)


def test_a_sub_agent_keeps_that_it_was_abandoned() -> None:
    """What only the step of a sub-agent says survives being written again."""
    below = AgentRun(
        run_id="below",
        trace_id="1" * 32,
        parent_run_id="r",
        span_id="2" * 16,
        status=RunStatus.SUCCESS,
        abandoned=True,
        first_chunk_at_ns=1,
        ended_at_ns=2,
    )
    step = AgentStep(
        step_id=1,
        kind=StepKind.AGENT,
        name="invoke_agent",
        run=below,
        span_id="2" * 16,
        abandoned=True,
        first_chunk_at_ns=1,
        ended_at_ns=2,
    )
    run = AgentRun(
        run_id="r", trace_id="1" * 32, span_id="1" * 16, status=RunStatus.SUCCESS, ended_at_ns=3, steps=(step,)
    )
    assert_alike(runs_from_spans(run_to_spans(run)), [run])


def test_a_call_is_named_by_its_model_as_it_was_given() -> None:
    """A model whose name UTF-8 cannot say names its call, unrepaired."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run, run.model_call("\ud800"):
            pass
        (step,) = memory.runs()[0].steps
        assert (step.name, step.model) == ("\ud800", "\ud800")


@pytest.mark.parametrize("name", ["s", "chat", "retrieval"])
@pytest.mark.parametrize("kind", StepKind)
def test_the_model_of_a_step_is_set_inside(kind: StepKind, name: str) -> None:
    """The model that a block says of its step comes back, and the step keeps its name."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run, run.step(name, kind=kind) as step:
            step.model = "m"
        (run_back,) = memory.runs()
        assert (run_back.steps[0].name, run_back.steps[0].model) == (name, "m")
        assert_same_runs(runs_from_spans(run_to_spans(run_back)), [run_back])


@pytest.mark.parametrize("answer", [None, {"model": "m", "choices": []}])
def test_a_call_without_a_model_keeps_its_name(answer: Any) -> None:
    """A call whose model only its result, or the block, tells is still called as it was."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run, run.model_call() as call:
            call.output = answer
            if answer is None:
                call.model = "m"
        assert (call.name, call.model) == ("chat", "m")
        (step,) = memory.runs()[0].steps
        assert (step.name, step.model) == ("chat", "m")


def test_the_stack_of_an_error_in_a_success() -> None:
    """An error keeps its stack trace, also where the run is called a success in spite of it."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run:
            run.error = StepError(type="E", message="m", stacktrace="where")
            run.status = "success"
        assert memory.runs()[0].error == StepError(type="E", message="m", stacktrace="where")


@pytest.mark.parametrize("limit", [0, 1, 6, 100, 1001])
@pytest.mark.parametrize("stack", ["x" * 100_000, "é" * 100_000, "\udc80" * 100_000])
def test_stack_traces_that_are_given_are_bounded(stack: str, limit: int) -> None:
    """A stack trace that the caller gives is bounded like one that we take, and is listed; both its ends are kept."""
    with stage(Limits(error_bytes=limit)) as (stage_, memory, path):
        with stage_.tracer.run() as run:
            run.error = StepError(type="E", message="m", stacktrace=f"first{stack}last")
        (kept,) = memory.runs()
        assert kept.truncated[-1:] == ("error.stacktrace",)
        assert len(kept.error.stacktrace.encode()) <= limit
        if limit > 20:
            assert kept.error.stacktrace.startswith("first")
            assert kept.error.stacktrace.endswith("last")
        assert_same_runs(load_runs(path), [kept])
        assert_same_runs(runs_from_spans(run_to_spans(kept)), [kept])


@pytest.mark.parametrize("stack", ["", "\ud800", "é" * 8192, "x" * 16_384])
def test_stack_traces_come_back_as_they_are(stack: str) -> None:
    """A stack trace within the limits is not changed, also where UTF-8 cannot say it."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run, run.step("s") as step:
            step.error = StepError(type="E", message="m", stacktrace=stack)
        (kept,) = memory.runs()[0].steps
        assert (kept.error.stacktrace, kept.truncated) == (stack, ())


def test_unknown_keys_without_a_value_are_kept_as_well() -> None:
    """An unknown key goes to the metadata, whatever it holds."""
    with stage() as (stage_, memory, _):
        run_id = stage_.tracer.start_run({"mine": None})
        stage_.tracer.log_step(run_id, {"mine": None})
        stage_.tracer.end_run(run_id)
        (run,) = memory.runs()
        assert (run.metadata, run.steps[0].metadata) == ({"mine": None}, {"mine": None})


def test_answers_carry_a_finish_reason_that_nobody_reads() -> None:
    """Readers of the conventions up to 1.41 drop answers without one; empty, it is nothing that was recorded."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run:
            with run.model_call(messages=[{"role": "user", "content": "q"}]) as call:
                call.output = "a"
            with run.model_call(messages=[{"role": "assistant", "content": "b", "finish_reason": "length"}]):
                pass
            run.final_output = "c"
        *calls, root = memory.spans()
        answers = [json.loads(span.attributes["gen_ai.output.messages"]) for span in (*calls, root)]
        assert answers == [
            [{"role": "assistant", "parts": [{"type": "text", "content": "a"}], "finish_reason": ""}],
            [{"role": "assistant", "parts": [{"type": "text", "content": "b"}], "finish_reason": "length"}],
            [{"role": "assistant", "parts": [{"type": "text", "content": "c"}], "finish_reason": ""}],
        ]
        (kept,) = memory.runs()
        assert [step.messages[-1].extra for step in kept.steps] == [{}, {"finish_reason": "length"}]
        assert kept.final_output == "c"


@pytest.mark.parametrize(
    "message",
    [
        Message(role="user", parts=({"type": "text", "text": "x"},), extra={"finish_reason": None}),
        Message(role="user", parts=({"type": "text", "content": "x"},), extra={"finish_reason": ""}),
        Message(
            role="user", parts=({"type": "text", "content": "x"},), extra={"finish_reason": "stop", "refusal": "no"}
        ),
        Message(role="user", parts=({"type": "text", "content": "x"},), extra={PurePosixPath("finish_reason"): "a"}),
        Message(role="user", parts=({"type": "thinking", "thinking": "x"}, {"type": "tool_use"}, {"type": ["text"]})),
        Message(role="user", parts=({"type": "text", "content": "x"}, {1: 2, "1": 3}, {})),
        Message(role="user", extra={"role": 1, "name": "x", "parts": {}, "content": "y", "tool_calls": [], 5: (6,)}),
        Message(role="tool", name="", extra={"tool_call_id": "x", "content": "y"}),
        Message(role="user", parts=({"type": "text", "content": "x"},), extra={"agent_trace.extra": {"a": 1}}),
    ],
)
def test_messages_of_the_model_come_back_as_they_are(message: Message) -> None:
    """A `Message` is not changed on its way, whatever its parts look like."""
    answer = msgspec.structs.replace(message, role="assistant")
    with stage() as (stage_, memory, path):
        with stage_.tracer.run() as run, run.model_call(messages=[message, answer]):
            pass
        (kept,) = memory.runs()
        assert_alike(kept.steps[0].messages, (message, answer))
        assert_same_runs(load_runs(path), [kept])
        assert_same_runs([AgentRun.from_dict(json.loads(json.dumps(kept.to_dict())))], [kept])
        assert_same_runs(runs_from_spans(run_to_spans(kept)), [kept])


@pytest.mark.parametrize("kind", StepKind)
@pytest.mark.parametrize("first", [("user",), ("assistant",), ("user", "assistant")])
@pytest.mark.parametrize("last", [(), ("user",), ("assistant",), ("user", "assistant")])
def test_messages_that_are_set_again_count(kind: StepKind, first: tuple[str, ...], last: tuple[str, ...]) -> None:
    """Messages that replace others leave nothing of them."""
    messages = [Message(role=role, parts=({"type": "text", "content": "x"},)) for role in first]
    again = tuple(Message(role=role, parts=({"type": "text", "content": "y"},)) for role in last)
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run:
            step = run.model_call(messages=messages) if kind is StepKind.MODEL else run.step("s", kind=kind)
            with step:
                step.messages = messages
                step.messages = again
        assert memory.runs()[0].steps[0].messages == again


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("extra", [{}, {"name": [[1]]}])
def test_messages_that_are_cut_are_messages(depth: int, extra: dict[str, Any]) -> None:
    """Of messages that are nested too deep something is left that is a message."""
    part = {"type": "tool_result", "content": [[1]]}
    messages = [Message(role="user", parts=(part, {"type": "odd", 1: [2]}), extra=extra)]
    with stage(Limits(depth=depth)) as (stage_, memory, _):
        with stage_.tracer.run() as run, run.model_call(messages=messages):
            pass
        (kept,) = memory.runs()
        assert kept.steps[0].truncated != () or depth == 6
        assert "'None'" not in repr(kept.steps[0].messages)
        assert_same_runs([AgentRun.from_dict(json.loads(json.dumps(kept.to_dict())))], [kept])
        assert_same_runs(runs_from_spans(run_to_spans(kept)), [kept])


def test_cuts_of_messages_are_listed_where_they_are() -> None:
    """The path of a cut in the answer is its place among all messages."""
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x" * 200 + "[0]"}]
    with stage(Limits(value_bytes=100)) as (stage_, memory, _):
        with stage_.tracer.run() as run, run.model_call(messages=messages):
            pass
        assert memory.runs()[0].steps[0].truncated == ("messages[1].parts[0].content",)


def test_counts_that_attributes_cannot_hold() -> None:
    """Token counts beyond 64 bits come back, and stand in no integer attribute, which carriers would refuse."""
    usage = Usage(input_tokens=2**70, output_tokens=-(2**63) - 1, cache_read_input_tokens=10**5000)
    with stage() as (stage_, memory, path):
        with stage_.tracer.run() as run:
            run.usage = usage
        (kept,) = memory.runs()
        assert_alike(kept.usage, usage)
        assert_same_runs(load_runs(path), [kept])
        assert_same_runs(runs_from_spans(run_to_spans(kept)), [kept])
        (span,) = memory.spans()
        assert type(span.attributes["gen_ai.usage.input_tokens"]) is str


def test_a_count_beyond_the_limits_is_cut() -> None:
    """A token count of more digits than a value may have is listed as cut."""
    with stage(Limits(value_bytes=1000)) as (stage_, memory, _):
        with stage_.tracer.run() as run:
            run.usage = Usage(input_tokens=10**5000, output_tokens=1)
        (kept,) = memory.runs()
        assert (kept.usage, kept.truncated) == (Usage(output_tokens=1), ("usage.input_tokens",))


def test_what_is_no_count_is_a_detail() -> None:
    """A `Usage` that holds something else than counts keeps it, as a mapping's does."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run:
            run.usage = Usage(input_tokens=1.5, output_tokens=False, details={"x": None})  # type: ignore[arg-type]
        assert_alike(memory.runs()[0].usage, Usage(details={"x": None, "input_tokens": 1.5, "output_tokens": False}))


def test_empty_texts_of_tools_are_no_nothing() -> None:
    """A tool that answered with an empty text answered."""
    step = AgentStep(name="t", input="", output="")
    assert (step.input, step.output, step.tool_output) == ("", "", "")
    run = AgentRun(run_id="r", steps=(step,))
    assert AgentRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_texts_of_the_model_survive_json() -> None:
    """Two halves of a character in an id or a name stay two halves in dictionaries."""
    run = AgentRun(run_id="\ud83d\ude00", agent_name="\ud800", error=StepError(type="\udc80", message="\ud83d\ude00"))
    text = json.dumps(run.to_dict())
    json.dumps(json.loads(text), ensure_ascii=False).encode()
    assert_alike(AgentRun.from_dict(json.loads(text)), run)


@given(st.dictionaries(st.sampled_from(sorted(AgentRun.__struct_fields__)), values(4)))
def test_damaged_dictionaries_raise_value_errors(data: dict[str, Any]) -> None:
    """What is no run's dictionary is refused with one kind of error."""
    try:
        AgentRun.from_dict({"run_id": "r", **data})
    except ValueError:
        pass
