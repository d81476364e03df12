"""What is huge, or never ends: memory and time are bounded, identity survives, and what was cut says so."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentStep,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    Truncated,
    load_runs,
    pseudonymize_user_id,
)
from otel_agent_trace.backends import dispatcher
from otel_agent_trace.tracing import active
from tests.support.processes import RunPython

MEASURE = """
    import json, resource, time
    from otel_agent_trace import *
    def peak_mb():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    def now_mb():
        return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
    """
"""The most memory that the process has had, and what it has."""


def last_line_of(result: subprocess.CompletedProcess[str]) -> Any:
    """What a program says as its last line."""
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


# ── 50 MB ────────────────────────────────────────────────────────────────────────────────────────────────────────────

HUGE = {
    "text": '"x" * 50_000_000',
    "other text": '"ü" * 25_000_000',
    "text with a surrogate": '"x" * 50_000_000 + chr(0xDCFF)',
    "bytes": 'b"x" * 50_000_000',
    "list": "[[str(i) * 150] for i in range(60_000)]",
    "numbers": "list(range(1_500_000))",
    "dict": "{str(i): i for i in range(10**6)}",
}


@pytest.mark.parametrize("name", HUGE)
def test_an_output_of_50_mb(run_python: RunPython, tmp_path: Path, name: str) -> None:
    """It costs the host less than 40 MB and little time, is cut at 1 MiB, and says so."""
    result = run_python(
        f"""{MEASURE}
    value = {HUGE[name]}
    tracer = AgentTracer(backend=FileBackend("t.jsonl"))
    tool = tracer.tool(lambda: value)
    before, began = peak_mb(), time.process_time()
    with tracer.run(run_id="r"):
        assert tool() is value
    print(json.dumps([peak_mb() - before, time.process_time() - began, tracer.stats()["cut"]]))
    """
    )
    grown_mb, took_s, cut = last_line_of(result)
    assert grown_mb < 40
    assert took_s < 60
    assert cut >= 1
    assert (tmp_path / "t.jsonl").stat().st_size < 8_000_000
    (run,) = load_runs(tmp_path / "t.jsonl")
    (step,) = run.steps
    assert any(path.startswith("output") for path in step.truncated)
    if name != "list":
        assert isinstance(step.output, Truncated)


def test_what_is_cut_off_is_not_looked_at(run_python: RunPython) -> None:
    """A text of 400 MB costs about as much time as one of 4 MB, not a hundred times: of both 1 MiB is kept."""
    result = run_python(
        f"""{MEASURE}
    from otel_agent_trace.values import Limits, encode_text
    def best_s(value):
        times = []
        for _ in range(7):
            began = time.process_time()
            encode_text(value, Limits())
            times.append(time.process_time() - began)
        return min(times)
    print(json.dumps([best_s(size * letter) for letter in ("x", "ü") for size in (4_000_000, 400_000_000)]))
    """
    )
    small, large, small_other, large_other = last_line_of(result)
    assert large < 20 * small
    assert large_other < 20 * small_other


def test_50_mb_of_everything_that_has_a_name(run_python: RunPython, tmp_path: Path) -> None:
    """Names, ids, a user, an error and an exception of 50 MB: each is cut, and the run and its steps are there."""
    result = run_python(
        f"""{MEASURE}
    value = "x" * 50_000_000
    tracer = AgentTracer(backend=FileBackend("t.jsonl"))
    before, began = peak_mb(), time.process_time()
    with tracer.run(run_id="names", agent_name=value, model=value, user_id=value, session_id=value) as run:
        run.set_attribute(value, 1)
        run.metadata["m"] = value
        with run.step(value, step_id=value):
            pass
        with run.model_call(value):
            pass
        with run.step("error") as step:
            step.error = value
        try:
            with run.step("exception"):
                raise ValueError(value)
        except ValueError:
            pass
    with tracer.run(run_id=value) as run:
        pass
    print(json.dumps([peak_mb() - before, time.process_time() - began]))
    """
    )
    grown_mb, took_s = last_line_of(result)
    assert grown_mb < 90  # of which 50 are the user id as bytes, for its pseudonym
    assert took_s < 60
    assert (tmp_path / "t.jsonl").stat().st_size < 20_000_000
    named, other = load_runs(tmp_path / "t.jsonl")
    assert named.run_id == "names"
    assert named.user_id == pseudonymize_user_id("x" * 50_000_000)
    assert {"name", "model", "session_id", "attributes", "metadata.m"} <= set(named.truncated)
    assert [len(key) for key in named.attributes] == [1024]
    assert len(named.steps) == 4
    assert {"name", "step_id"} <= set(named.steps[0].truncated)
    assert len(named.steps[1].name) <= 1 << 20
    assert [len(step.error.message) <= 16_384 for step in named.steps[2:] if step.error] == [True, True]
    assert "error.stacktrace" in named.steps[3].truncated
    assert len(other.run_id) == 1 << 20


def test_a_finish_reason_of_another_world(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """What a client's result says is bounded and repaired as all else is: OTLP would lose the whole batch."""

    @tracer.model
    def complete() -> Any:
        return {
            "choices": [
                {"message": {"role": "assistant", "content": "yes"}, "finish_reason": "\udcff" + "x" * 5_000_000}
            ]
        }

    complete()
    (span,) = memory.spans()
    (reason,) = span.attributes["gen_ai.response.finish_reasons"]
    assert len(reason) <= 1 << 21
    assert reason.encode().startswith(b"\\udcffxxx")
    assert tracer.stats()["cut"] == 2  # the message has it as well


# ── many attributes and events ───────────────────────────────────────────────────────────────────────────────────────

MANY = 10_000


@pytest.fixture
def quiet_sdk() -> Any:
    """The SDK tells of every attribute that it drops."""
    log = logging.getLogger("opentelemetry")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


@pytest.mark.parametrize(
    ("limits", "own", "attributes"),
    [
        ({}, True, 4096),
        ({}, False, 128),
        ({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "32"}, False, 32),
        ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "40"}, False, 40),
        ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "100", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "48"}, False, 48),
    ],
)
@pytest.mark.parametrize("behind_the_back", [False, True])
@pytest.mark.usefixtures("quiet_sdk")
def test_identity_survives_many_attributes(
    limits: dict[str, str],
    own: bool,
    attributes: int,
    behind_the_back: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After 10,000 attributes on a span, whoever set them, it still says what it is, and that some are missing."""
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    memory = InMemoryBackend()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(memory))
    tracer = AgentTracer(backend=memory) if own else AgentTracer(tracer_provider=provider)

    def fill(handle: Any) -> None:
        put = handle.span.set_attribute if behind_the_back else handle.set_attribute
        for number in range(MANY):
            put(f"k{number}", number)

    with tracer.run(agent_name="weather", user_id="alice", user_input="q") as outer:
        outer.session_id = "s"
        fill(outer)
        with tracer.run(agent_name="inner") as inner:
            fill(inner)
        with outer.step("search", {"a": (1,)}, step_id="mine") as step:
            fill(step)
            step.output = 5
        with outer.model_call("gpt", [{"role": "user", "content": "hi"}]) as call:
            fill(call)
            call.output = "yes"
        outer.final_output = "done"
    (run,) = memory.runs()
    assert (run.run_id, run.agent_name, run.user_id, run.session_id) == (
        outer.run_id,
        "weather",
        pseudonymize_user_id("alice"),
        "s",
    )
    assert (run.user_input, run.final_output) == ("q", "done") or "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT" in limits
    assert [(step.index, step.step_id, step.kind.value, step.name) for step in run.steps] == [
        (0, 1, "agent", "inner"),
        (1, "mine", "tool", "search"),
        (2, 3, "model", "gpt"),
    ]
    assert run.steps[0].run is not None
    assert (run.steps[0].run.run_id, run.steps[0].run.parent_run_id) == (inner.run_id, outer.run_id)
    assert (run.steps[1].input, run.steps[1].output) == ({"a": (1,)}, 5)
    for part in (run, run.steps[0].run, *run.steps[1:]):
        assert "attributes" in part.truncated
    sizes = [len(span.attributes) for span in memory.spans()]
    assert sizes == [attributes] * 4 if behind_the_back else all(size <= attributes for size in sizes)
    assert tracer.stats()["cut: by the provider's limits"] == 4
    assert [record.getMessage() for record in caplog.records if record.name == "otel_agent_trace"] == [
        "the provider's SpanLimits have cut attributes of a span"
    ]


@pytest.mark.parametrize("own", [True, False])
def test_many_attributes_are_one_warning(own: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The SDK, which tells of each attribute too many, is given no more of the caller's own than a span takes: the newest."""
    memory = InMemoryBackend()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(memory))
    tracer = AgentTracer(backend=memory) if own else AgentTracer(tracer_provider=provider)
    with tracer.run() as run, run.step("search", {"q": 1}) as step:
        for number in range(MANY):
            step.set_attribute(f"k{number}", number)
        step.output = 5
    (read,) = memory.runs()[0].steps
    assert (read.name, read.input, read.output, read.truncated) == ("search", {"q": 1}, 5, ("attributes",))
    assert f"k{MANY - 1}" in read.attributes
    assert "k0" not in read.attributes
    assert [record.getMessage() for record in caplog.records] == [
        "the provider's SpanLimits have cut attributes of a span"
    ]


@pytest.mark.usefixtures("quiet_sdk")
def test_texts_that_the_provider_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a limit of 50 characters a run is one still, with its id, name and steps; and says that it was cut."""
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "50")
    memory = InMemoryBackend()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(AgentSpanProcessor(memory))
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run(agent_name="weather", user_id="alice", session_id="s") as outer:
        with outer.step("long") as step:
            step.output = "y" * 100
        with outer.step("short") as step:
            step.output = 1
    (run,) = memory.runs()
    assert (run.run_id, run.agent_name, run.session_id) == (outer.run_id, "weather", "s")
    assert pseudonymize_user_id("alice").startswith(run.user_id or "?")
    assert [(step.name, step.index, step.truncated) for step in run.steps] == [
        ("long", 0, ("attributes",)),
        ("short", 1, ("attributes",)),  # the user id, which is longer
    ]
    assert run.truncated == ("attributes",)
    assert tracer.stats()["cut: by the provider's limits"] == 3


@pytest.mark.usefixtures("quiet_sdk")
def test_many_events(tracer: AgentTracer, the_run: Callable[[], AgentRun]) -> None:
    """Of 10,000 events the SDK keeps the last; the stack of the error is among them, and the step says it."""
    with pytest.raises(ValueError, match="boom"):
        with tracer.run() as run, run.step("s") as step:
            for number in range(MANY):
                step.span.add_event(str(number))
            raise ValueError("boom")
    (read,) = the_run().steps
    assert read.truncated == ("events",)
    assert read.error is not None
    assert "boom" in (read.error.stacktrace or "")


# ── many runs and steps ──────────────────────────────────────────────────────────────────────────────────────────────


def test_many_steps(tmp_path: Path) -> None:
    """A run of 10,000 steps is read back with each of them."""
    tracer = AgentTracer(backend=FileBackend(tmp_path / "t.jsonl"))
    with tracer.run() as run:
        for number in range(MANY):
            with run.step("s", {"number": number}):
                pass
    (read,) = load_runs(tmp_path / "t.jsonl")
    assert [step.input["number"] for step in read.steps] == [step.index for step in read.steps] == list(range(MANY))
    assert tracer.stats() == {"runs": 1, "steps": MANY, "FileBackend: kept": MANY + 1}


def test_many_runs_at_once(tracer: AgentTracer, memory: InMemoryBackend, caplog: pytest.LogCaptureFixture) -> None:
    """10,001 open runs are each found again by id; how many there are is counted, and so many are warned of once."""
    ids = [tracer.start_run(user_input=number) for number in range(MANY + 2)]
    assert tracer.stats()["runs open"] == MANY + 2
    assert [record.getMessage() for record in caplog.records] == [
        "more than 10000 runs are open at once; each is held until it ends"
    ]
    for number, run_id in enumerate(ids):
        tracer.end_run(run_id, number)
    assert "runs open" not in tracer.stats()
    assert [(run.user_input, run.final_output) for run in memory.runs()] == [(n, n) for n in range(MANY + 2)]


def test_many_nested_agents(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    """1,000 agents within each other are one run, in which each stands."""
    with ExitStack() as stack:
        handles = [stack.enter_context(tracer.run(agent_name=f"a{number}")) for number in range(1000)]
    (run,) = memory.runs()
    names = [run.agent_name]
    for inner in run.walk():
        names += [step.name for step in inner.steps]
    assert sorted(names) == sorted(f"a{number}" for number in range(1000))
    assert [handle.parent_run_id for handle in handles[1:]] == [handle.run_id for handle in handles[:-1]]


def test_steps_are_remembered_as_parents_for_a_while(
    tracer: AgentTracer, the_run: Callable[[], AgentRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run without end only the last steps are known as parents; below another one a step is one of the run."""
    monkeypatch.setattr(active, "_KEPT_STEPS", 3)
    run_id = tracer.start_run()
    for _ in range(5):
        tracer.log_step(run_id, name="s")
    tracer.log_step(run_id, name="of a known one", parent_step_id=4)
    tracer.log_step(run_id, name="of an old one", parent_step_id=1)
    tracer.end_run(run_id)
    assert [step.parent_step_id for step in the_run().steps] == [None] * 5 + [4, None]


# ── a tracer that lives long ─────────────────────────────────────────────────────────────────────────────────────────


class Nothing:
    """A `TracerBackend` that keeps nothing."""

    def start_run(self, run: AgentRun) -> None:
        pass

    def log_step(self, run_id: str, step: AgentStep) -> None:
        pass

    end_run = start_run


def test_parents_of_other_providers_are_forgotten() -> None:
    """What a `TracerBackend` is fed from holds a bounded number of spans, also of runs below spans that it never sees."""
    backend = Nothing()
    processor = AgentSpanProcessor(backend)
    provider, other = TracerProvider(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = AgentTracer(tracer_provider=provider)
    for _ in range(1000):
        with other.get_tracer("x").start_as_current_span("not seen"), tracer.run() as run, run.step("s"):
            pass
    (keeper,) = processor.pipeline.sinks
    assert isinstance(keeper, dispatcher.RunDispatcher)
    assert len(keeper._closed_trees) <= dispatcher._KEPT_TREES
    assert len(keeper._nodes) <= 3 * dispatcher._KEPT_TREES
    assert len(keeper._runs) <= dispatcher._KEPT_TREES


@pytest.mark.slow
@pytest.mark.parametrize("backend", ['FileBackend("t.jsonl")', "InMemoryBackend(max_runs=10)", "Nothing()"])
def test_20_000_runs(run_python: RunPython, backend: str) -> None:
    """Beyond the ids of the last runs, of which fewer are remembered here, memory does not grow."""
    result = run_python(
        f"""{MEASURE}
    class Nothing:
        def start_run(self, run): pass
        def log_step(self, run_id, step): pass
        def end_run(self, run): pass
    from otel_agent_trace.tracing import state
    state._KEPT_ENDS = 2_500
    tracer = AgentTracer(backend={backend})
    def runs(count):
        for number in range(count):
            with tracer.run() as run:
                pass
        return now_mb()
    warm = runs(10_000)
    print(json.dumps([runs(10_000) - warm, len(tracer._state._ended), tracer.stats()["runs"]]))
    """
    )
    grown_mb, remembered, count = last_line_of(result)
    assert grown_mb < 2  # 200 bytes a run
    assert (remembered, count) == (2_500, 20_000)
