"""Whole runs are told to a tracer; what was told comes back from everywhere, field by field."""

from __future__ import annotations

import dataclasses
import datetime
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
from exact import assert_alike, difference
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import Run, Step, ToldError, runs, values

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    load_runs,
    pseudonymize_user_id,
    runs_from_spans,
)
from otel_agent_trace.model import TOKEN_FIELDS, AgentStep, Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.runs import run_to_spans
from otel_agent_trace.sources import files
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.tracing import ActiveRun, ActiveStep
from otel_agent_trace.values import Limits, Truncated

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
STEP_ERROR = StepError(type="E", message="m")
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"


# ── what should come back ────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class Known:
    """What was told of a run or a step, as the fields that should come back."""

    fields: dict[str, Any]
    steps: list[Known] = dataclasses.field(default_factory=list)
    run: Known | None = None
    error: ToldError | None = None


def assert_told(run: AgentRun, told: Known) -> None:
    """Every field of the run, of its steps and of what is below is what was told."""
    assert_fields(run, told)
    assert run.truncated == ()
    assert run.trace_id is not None
    assert run.trace_ids == (run.trace_id,)
    assert run.resource["telemetry.sdk.language"] == "python"
    assert run.service_name == run.resource["service.name"]
    assert run.span_id is not None
    by_index = {step.index: step for step in run.steps}
    assert sorted(by_index) == list(range(len(told.steps))) == sorted(step.index for step in run.steps)
    assert list(run.steps) == sorted(run.steps, key=lambda step: (step.started_at_ns, step.index))
    for index, expected in enumerate(told.steps):
        assert_step(by_index[index], expected)
    assert_alike(run.usage, told.fields.get("usage") or summed(run.steps))


def assert_step(step: AgentStep, told: Known) -> None:
    assert_fields(step, told)
    assert step.truncated == ()
    tool = (step.name, step.input, step.output) if step.kind is StepKind.TOOL else (None, None, None)
    assert_alike((step.tool_name, step.tool_input, step.tool_output), tool)
    assert (step.run is None) == (told.run is None)
    if step.run is not None and told.run is not None:
        assert_told(step.run, told.run)


def assert_fields(item: AgentRun | AgentStep, told: Known) -> None:
    for name, value in told.fields.items():
        found = difference(getattr(item, name), value, name) if name != "usage" or isinstance(item, AgentStep) else None
        assert found is None, found
    if told.error is None:
        assert item.error is None
        return
    assert item.error is not None
    assert (item.error.type, item.error.message, item.error.category) == told.error[1:4]
    if told.error.stacktrace is not None:
        assert item.error.stacktrace == told.error.stacktrace


def summed(steps: tuple[AgentStep, ...]) -> Usage | None:
    """The tokens of the model calls and of the sub-agents."""
    known = [s.usage for s in steps if s.kind in (StepKind.MODEL, StepKind.AGENT) and s.usage is not None]
    if not known:
        return None
    counts = {name: [count for use in known if (count := getattr(use, name)) is not None] for name in TOKEN_FIELDS}
    return Usage(**{name: sum(items) if items else None for name, items in counts.items()})


# ── carrying a script out ────────────────────────────────────────────────────────────────────────────────────────────


class Stage:
    """Carries scripts out on a tracer, and keeps what it told."""

    def __init__(self, tracer: AgentTracer) -> None:
        self.tracer = tracer
        self.told: list[Known] = []

    def carry_out(self, script: Run) -> None:
        """An outermost run."""
        self.told.append(self.imperative(script) if script.how == "imperative" else self.block(script, None)[0])

    # runs

    def start_fields(self, script: Run) -> dict[str, Any]:
        fields = {**script.fields, **script.unknown}
        return {**fields, "metadata": script.metadata} if script.metadata else fields

    def known_run(self, script: Run) -> dict[str, Any]:
        given = script.fields
        known = {
            "agent_name": given.get("agent_name"),
            "user_input": given.get("user_input"),
            "user_id": pseudonymize_user_id(str(given["user_id"])) if "user_id" in given else None,
            "session_id": str(given["session_id"]) if "session_id" in given else None,
            "model": given.get("model"),
            "config": given.get("config"),
            "tags": tuple(given.get("tags", ())),
            "prompt_name": given.get("prompt_name"),
            "prompt_version": given.get("prompt_version"),
            "metadata": {**script.metadata, **script.unknown},
            "attributes": {},
            "final_output": script.final_output,
            "usage": script.usage.meant,
        }
        return {**known, "run_id": given["run_id"]} if given.get("run_id") else known

    def imperative(self, script: Run) -> Known:
        run_id = self.tracer.start_run(self.start_fields(script))
        told = Known({**self.known_run(script), "run_id": run_id}, error=script.error)
        places = Places(told.steps)
        for event in script.events:
            assert isinstance(event, Step)
            self.logged(event, run_id, places)
        told.fields["status"] = end_status(script.status, script.error)
        if script.error is not None and script.raises:  # the one call that has no more to say
            self.tracer.log_error(run_id, script.error.given, status=script.status)
            told.fields.update(final_output=None, usage=None)
        elif script.error is not None:
            run = self.tracer._state.find(run_id)
            run.error = script.error.given
            self.end(script, run_id)
        else:
            self.end(script, run_id)
        return told

    def end(self, script: Run, run_id: str) -> None:
        self.tracer.end_run(run_id, script.final_output, status=script.status, usage=script.usage.given)

    def block(self, script: Run, above: tuple[ActiveRun, Places] | None) -> tuple[Known, str]:
        """A run as a block; below another one it is a step of that as well."""
        handle = self.tracer.run(self.start_fields(script))
        told = Known(self.known_run(script), error=script.error)
        try:
            with handle:
                if above is not None:
                    assert handle.parent_run_id == above[0].run_id
                self.inside(script, handle, told)
                if script.error is not None:
                    raise script.error.given
        except BaseException as error:
            if script.error is None or error is not script.error.given:
                raise
        told.fields["run_id"] = handle.run_id
        told.fields["parent_run_id"] = above[0].run_id if above else None
        return told, told.fields["agent_name"] if told.fields["agent_name"] is not None else "invoke_agent"

    def inside(self, script: Run, handle: ActiveRun, told: Known) -> None:
        for name, value in script.changed.items():
            setattr(handle, name, value)
            told.fields[name] = value
        if "user_id" in script.changed:
            told.fields["user_id"] = pseudonymize_user_id(script.changed["user_id"])
        if "tags" in script.changed:
            told.fields["tags"] = tuple(script.changed["tags"])
        self.set_attributes(handle, script.attributes, told.fields)
        places = Places(told.steps)
        for event in script.events:
            self.event(event, handle, places, None)
        handle.final_output = script.final_output
        handle.usage = script.usage.given
        if script.status is not None:
            handle.status = script.status
        overruled = script.status == "success" and script.error is not None  # by what is raised afterwards
        told.fields["status"] = end_status(None if overruled else script.status, script.error)

    def set_attributes(
        self, handle: ActiveRun | ActiveStep, attributes: dict[str, Any], fields: dict[str, Any]
    ) -> None:
        for key, value in attributes.items():
            handle.set_attribute(key, value)
        fields["attributes"] = {**fields.get("attributes", {}), **attributes}

    # steps

    def event(self, event: Step | Run, run: ActiveRun, places: Places, above: int | str | None) -> None:
        if isinstance(event, Run):
            position = places.reserve()
            known, name = self.block(event, (run, places))
            step = {
                "kind": StepKind.AGENT,
                "name": name,
                "step_id": places.number(position, None),
                "input": known.fields["user_input"],
                "output": known.fields["final_output"],
                "metadata": known.fields["metadata"],
                "attributes": known.fields["attributes"],
                "model": known.fields["model"],
                "prompt_name": known.fields["prompt_name"],
                "prompt_version": known.fields["prompt_version"],
                "messages": (),
                "parent_step_id": above,
            }
            places.fill(position, Known(step, run=known, error=known.error))
        elif event.how == "logged":
            self.logged(event, run.run_id, places)
        else:
            self.around(event, run, places, above)

    def around(self, script: Step, run: ActiveRun, places: Places, above: int | str | None) -> None:
        position = places.reserve()
        told = Known(self.known_step(script, places.number(position, script.step_id)), error=script.error)
        told.fields["parent_step_id"] = above
        step = self.step_handle(script, run, told.fields)
        try:
            with step:
                places.started(told.fields["step_id"])
                self.inside_step(script, run, step, told, places)
        except BaseException as error:
            if script.error is None or error is not script.error.given:
                raise
        places.fill(position, told)

    def step_handle(self, script: Step, run: ActiveRun, fields: dict[str, Any]) -> ActiveStep:
        common: dict[str, Any] = {"input": script.input, "step_id": script.step_id, "metadata": script.metadata}
        common.update(script.prompt)
        if script.how == "model":
            fields["name"] = script.name or script.model or "chat"
            if script.model is None and script.raises:
                common["provider"] = "someone"
                fields["attributes"] = {"gen_ai.provider.name": "someone"}
            return run.model_call(script.model, script.messages.given, name=script.name, **common)
        fields["name"] = script.name
        return run.step(script.name or "", kind=script.kind, **common)

    def inside_step(self, script: Step, run: ActiveRun, step: ActiveStep, told: Known, places: Places) -> None:
        if script.how != "model":
            step.messages = script.messages.given
            told.fields["model"] = None
        self.set_attributes(step, script.attributes, told.fields)
        for event in script.inside:
            self.event(event, run, places, told.fields["step_id"])
        step.output = script.output
        step.usage = script.usage.given
        if script.how == "model":
            answer = script.output if isinstance(script.output, str) else None
            meant = script.messages.meant
            if answer is not None and not (meant and meant[-1].role == "assistant"):
                said = Message(role="assistant", parts=({"type": "text", "content": answer},))
                told.fields["messages"] = (*meant, said)
        if script.error is not None:
            if script.raises:
                raise script.error.given
            step.error = script.error.given

    def known_step(self, script: Step, step_id: int | str) -> dict[str, Any]:
        return {
            "step_id": step_id,
            "kind": script.kind,
            "input": script.input,
            "output": script.output,
            "messages": script.messages.meant,
            "model": script.model,
            "usage": script.usage.meant,
            "prompt_name": script.prompt.get("prompt_name"),
            "prompt_version": script.prompt.get("prompt_version"),
            "metadata": {**script.metadata, **script.unknown},
            "attributes": {},
            "abandoned": False,
        }

    def logged(self, script: Step, run_id: str, places: Places) -> None:
        position = places.reserve()
        told = Known(self.known_step(script, places.number(position, script.step_id)), error=script.error)
        default = script.model or "chat" if script.kind is StepKind.MODEL else script.kind.value
        told.fields["name"] = script.name or default
        fields = self.logged_fields(script)
        told.fields["parent_step_id"] = None
        if script.parent_of_last is not None and places.ids:
            fields["parent_step_id"] = places.ids[-1 - script.parent_of_last % len(places.ids)]
            told.fields["parent_step_id"] = fields["parent_step_id"]
        if script.when is not None:
            start, end = script.when
            told.fields["started_at_ns"], told.fields["ended_at_ns"] = start * 1000, max(start, end) * 1000
            fields.update(time_fields(start, end, script.time_form))
        assert self.tracer.log_step(run_id, fields) == told.fields["step_id"]
        places.started(told.fields["step_id"])
        places.fill(position, told)

    def logged_fields(self, script: Step) -> dict[str, Any]:
        prefix = "tool_" if script.kind is StepKind.TOOL and script.raises else ""
        fields = {
            f"{prefix}name": script.name,
            f"{prefix}input": script.input,
            f"{prefix}output": script.output,
            "kind": script.kind.value if script.raises else script.kind,
            "step_id": script.step_id,
            "messages": script.messages.given,
            "model": script.model,
            "usage": script.usage.given,
            "metadata": script.metadata,
            **script.prompt,
            "error": script.error.given if script.error is not None else None,
        }
        return {**{name: value for name, value in fields.items() if value is not None}, **script.unknown}


class Places:
    """The steps of one run by their ordinal, and the ids that later steps may name as their parents."""

    def __init__(self, steps: list[Known]) -> None:
        self.steps = steps
        self.ids: list[int | str] = []
        self.largest: int | None = None

    def reserve(self) -> int:
        self.steps.append(Known({}))
        return len(self.steps) - 1

    def number(self, position: int, step_id: int | str | None) -> int | str:
        """The id of a step: the given one, else its number, from where one out of turn was given the next after all."""
        if step_id is None and self.largest is None:
            return position + 1
        if step_id is None and self.largest is not None:
            step_id = self.largest + 1
        if isinstance(step_id, int) and (self.largest is not None or step_id != position + 1):
            self.largest = max(position if self.largest is None else self.largest, step_id)
        assert step_id is not None
        return step_id

    def fill(self, position: int, told: Known) -> None:
        self.steps[position] = told

    def started(self, step_id: int | str) -> None:
        self.ids.append(step_id)


def end_status(said: str | None, error: ToldError | None) -> RunStatus:
    if said is not None:
        return RunStatus(said)
    if error is None:
        return RunStatus.SUCCESS
    return RunStatus.TIMEOUT if error.category == "timeout" else RunStatus.ERROR


def time_fields(start_us: int, end_us: int, form: str) -> dict[str, Any]:
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=45)) if form == "zone" else datetime.timezone.utc
    start, end = (at(moment).astimezone(zone) for moment in (start_us, end_us))
    if form == "duration" and end_us % 1_000_000 == start_us % 1_000_000:
        return {"started_at": start, "duration_s": (end_us - start_us) // 1_000_000}
    return {"started_at": start, "ended_at": end}


def at(unix_us: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(microseconds=unix_us)


@contextmanager
def stage(limits: Limits = Limits()) -> Iterator[tuple[Stage, InMemoryBackend, Path]]:
    """A tracer that keeps what it is told in memory and in a file."""
    with tempfile.TemporaryDirectory() as folder:
        memory, path = InMemoryBackend(), Path(folder) / "traces.jsonl"
        with AgentTracer([memory, FileBackend(path)], limits=limits) as tracer:
            yield Stage(tracer), memory, path
            failed = {reason: number for reason, number in tracer.stats().items() if "failed" in reason}
            assert failed == {}


scripts = st.lists(runs(), min_size=1, max_size=2)


def told_and_kept(stage_: Stage, memory: InMemoryBackend, plan: list[Run]) -> list[AgentRun]:
    """Carry the scripts out, and get the runs in the order in which they were told."""
    for script in plan:
        stage_.carry_out(script)
    kept = {run.run_id: run for run in memory.runs()}
    return [kept[told.fields["run_id"]] for told in stage_.told]


def by_id(found: list[AgentRun]) -> list[AgentRun]:
    return sorted(found, key=lambda run: run.run_id)


def assert_same_runs(found: list[AgentRun], expected: list[AgentRun]) -> None:
    """Equal to the library, and to a comparison that knows nothing of it."""
    found, expected = by_id(found), by_id(expected)
    assert_alike(found, expected)
    assert found == expected


# ── there and back ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(scripts)
def test_memory_and_a_file_give_back_what_was_told(plan: list[Run]) -> None:
    """Every field of every run and step is what the tracer was told, and the runs in the file equal those in memory."""
    with stage() as (stage_, memory, path):
        kept = told_and_kept(stage_, memory, plan)
        for run, told in zip(kept, stage_.told, strict=True):
            assert_told(run, told)
        assert_same_runs(load_runs(path, strict=True), kept)
        for run, told in zip(by_id(load_runs(path)), sorted(stage_.told, key=run_id_of), strict=True):
            assert_told(run, told)


def run_id_of(told: Known) -> str:
    return str(told.fields["run_id"])


@given(scripts)
def test_dictionaries_give_back_what_was_told(plan: list[Run]) -> None:
    """A run that went through standard JSON is equal."""
    with stage() as (stage_, memory, _):
        kept = told_and_kept(stage_, memory, plan)
        texts = [json.dumps(run.to_dict(), allow_nan=False) for run in kept]
        for text in texts:
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        assert_same_runs([AgentRun.from_dict(json.loads(text)) for text in texts], kept)


@given(scripts)
def test_spans_of_runs_give_back_the_runs(plan: list[Run]) -> None:
    """The spans that are written for a run read as that run, and are written again the same."""
    with stage() as (stage_, memory, _):
        kept = told_and_kept(stage_, memory, plan)
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


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9)), max_size=10))
@example([(0, 0, 0), (1, 3, 1), (0, 0, 2)])
@example([(0, 1, 0), (1, 0, 1), (1, 0, 1), (0, 1, 2)])
def test_steps_that_share_their_ids_stay_one_run(plan: list[tuple[int, int, int]]) -> None:
    """Whoever is meant by an id that several steps have: no step is lost, and what was written reads the same again."""
    ids = [format(place + 1, "016x") for place in range(len(plan) + 1)]
    start_ns = 1_700_000_000 * 10**9
    root = SpanRecord(
        "1" * 32, ids[0], None, "invoke_agent", start_ns, start_ns + 9, {"gen_ai.operation.name": "invoke_agent"}
    )
    spans = [root]
    for place, (step_id, start, above) in enumerate(plan, 1):
        attributes = {"gen_ai.operation.name": "execute_tool", "agent_trace.step.id": step_id}
        span = (ids[place], ids[above % place], "execute_tool x", start_ns + start, start_ns + 9)
        spans.append(SpanRecord("1" * 32, *span, attributes))
    runs_ = runs_from_spans(spans)
    assert [len(run.steps) for run in runs_] == [len(plan)]
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
        kept = told_and_kept(stage_, memory, plan)
        lines = path.read_bytes().splitlines(keepends=True) * copies
        chance.shuffle(lines)
        spread = [chance.choice(WRITERS)(path.with_name(f"part{n}"), lines[n::pieces]) for n in range(pieces)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "BLOCK_BYTES", block)
            assert_same_runs(load_runs(spread, strict=True), kept)


@given(runs())
def test_without_its_own_span_a_run_is_still_running(script: Run) -> None:
    """A run whose root span was never written has its id, its steps, and the status running."""
    with stage() as (stage_, memory, path):
        (run,) = told_and_kept(stage_, memory, [script])
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
        (run,) = told_and_kept(stage_, memory, [script])
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
            told = Known(stage_.known_run(script))
            stage_.inside(script, handle, told)
            (run,) = memory.runs()
            assert (run.run_id, run.status, run.ended_at_ns) == (handle.run_id, RunStatus.RUNNING, None)
            assert len(run.steps) == len(told.steps)
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
    """Whatever field a large value is told to, the spans stay small and the field is listed."""
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
def test_what_is_told_last_counts(field: str, first: Any, second: Any) -> None:
    """A field that is told again holds the second value, and no trace of the first one's type."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run(**{field: first}) as run:
            setattr(run, field, second)
        assert_alike(getattr(memory.runs()[0], field), second)


def test_standard_attributes_of_the_callers_stay() -> None:
    """An attribute that the caller writes is not taken back by a field that nobody told."""
    said = '[{"role":"assistant","parts":[{"type":"text","content":"x"}]}]'
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run:
            run.set_attribute("gen_ai.output.messages", said)
            with run.model_call() as call:
                call.set_attribute("gen_ai.output.messages", said)
                call.set_attribute("gen_ai.response.id", "r")
        (kept,) = memory.runs()
        assert kept.final_output == kept.steps[0].messages[0].text == "x"
        assert kept.steps[0].attributes == {"gen_ai.response.id": "r"}


@pytest.mark.parametrize("field", ["session_id", "model"])
@pytest.mark.parametrize("first", ["x", "\ud800"])
def test_texts_that_are_taken_back_are_gone(field: str, first: str) -> None:
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
def test_inputs_that_are_told_again_count(kind: StepKind, first: Any, second: Any) -> None:
    """A step's input that is told again within the block is the second one."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run, run.step("s", first, kind=kind) as step:
            step.input = second
        (kept,) = memory.runs()[0].steps
        assert_alike(kept.input, second)
        assert kept.attributes == {}


def test_a_cut_that_was_replaced_is_not_listed() -> None:
    """A value that was too large and is told again in small leaves no cut behind."""
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


def test_a_call_is_named_by_its_model_as_that_was_told() -> None:
    """A model whose name UTF-8 cannot say names its call, unrepaired."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run, run.model_call("\ud800"):
            pass
        (step,) = memory.runs()[0].steps
        assert (step.name, step.model) == ("\ud800", "\ud800")


@pytest.mark.parametrize("name", ["s", "chat", "retrieval"])
@pytest.mark.parametrize("kind", StepKind)
def test_the_model_of_a_step_is_told_inside(kind: StepKind, name: str) -> None:
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
def test_stack_traces_that_are_told_are_bounded(stack: str, limit: int) -> None:
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


def test_unknown_keys_of_nothing_are_told_as_well() -> None:
    """An unknown key goes to the metadata, whatever it holds."""
    with stage() as (stage_, memory, _):
        run_id = stage_.tracer.start_run({"mine": None})
        stage_.tracer.log_step(run_id, {"mine": None})
        stage_.tracer.end_run(run_id)
        (run,) = memory.runs()
        assert (run.metadata, run.steps[0].metadata) == ({"mine": None}, {"mine": None})


def test_answers_carry_a_finish_reason_that_nobody_reads() -> None:
    """Readers of the conventions up to 1.41 drop answers without one; empty, it is nothing that was told."""
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run:
            with run.model_call(messages=[{"role": "user", "content": "q"}]) as call:
                call.output = "a"
            with run.model_call(messages=[{"role": "assistant", "content": "b", "finish_reason": "length"}]):
                pass
            run.final_output = "c"
        *calls, root = memory.spans()
        said = [json.loads(span.attributes["gen_ai.output.messages"]) for span in (*calls, root)]
        assert said == [
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
def test_messages_that_are_told_again_count(kind: StepKind, first: tuple[str, ...], last: tuple[str, ...]) -> None:
    """Messages that replace others leave nothing of them."""
    told = [Message(role=role, parts=({"type": "text", "content": "x"},)) for role in first]
    again = tuple(Message(role=role, parts=({"type": "text", "content": "y"},)) for role in last)
    with stage() as (stage_, memory, _):
        with stage_.tracer.run() as run:
            step = run.model_call(messages=told) if kind is StepKind.MODEL else run.step("s", kind=kind)
            with step:
                step.messages = told
                step.messages = again
        assert memory.runs()[0].steps[0].messages == again


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("extra", [{}, {"name": [[1]]}])
def test_messages_that_are_cut_are_messages(depth: int, extra: dict[str, Any]) -> None:
    """Of messages that are nested too deep something is left that is a message."""
    part = {"type": "tool_result", "content": [[1]]}
    told = [Message(role="user", parts=(part, {"type": "odd", 1: [2]}), extra=extra)]
    with stage(Limits(depth=depth)) as (stage_, memory, _):
        with stage_.tracer.run() as run, run.model_call(messages=told):
            pass
        (kept,) = memory.runs()
        assert kept.steps[0].truncated != () or depth == 6
        assert "'None'" not in repr(kept.steps[0].messages)
        assert_same_runs([AgentRun.from_dict(json.loads(json.dumps(kept.to_dict())))], [kept])
        assert_same_runs(runs_from_spans(run_to_spans(kept)), [kept])


def test_cuts_of_messages_are_listed_where_they_are() -> None:
    """The path of a cut in the answer is its place among all messages."""
    told = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x" * 200 + "[0]"}]
    with stage(Limits(value_bytes=100)) as (stage_, memory, _):
        with stage_.tracer.run() as run, run.model_call(messages=told):
            pass
        assert memory.runs()[0].steps[0].truncated == ("messages[1].parts[0].content",)


def test_counts_that_attributes_cannot_hold() -> None:
    """Token counts beyond 64 bits come back, and stand in no integer attribute, which carriers would refuse."""
    told = Usage(input_tokens=2**70, output_tokens=-(2**63) - 1, cache_read_input_tokens=10**5000)
    with stage() as (stage_, memory, path):
        with stage_.tracer.run() as run:
            run.usage = told
        (kept,) = memory.runs()
        assert_alike(kept.usage, told)
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
            run.usage = Usage(input_tokens=1.5, output_tokens=False, details={"x": None})
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
