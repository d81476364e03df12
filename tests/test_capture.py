"""`capture_runs`: whatever runs inside comes back as runs, and nothing is written elsewhere."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    RunStatus,
    configure,
    load_runs,
    pseudonymize_user_id,
)
from otel_agent_trace.testing import capture_runs


def test_a_tracer_with_a_file_that_was_made_before(tmp_path: Path) -> None:
    """The runs of decorated functions are captured, the file is not even made; afterwards it is."""
    path = tmp_path / "traces.jsonl"
    tracer = AgentTracer(backend=FileBackend(path))

    @tracer.tool
    def search(q: str) -> str:
        return q.upper()

    @tracer.agent
    def answer(question: str) -> str:
        return search(question)

    with capture_runs() as runs:
        assert answer("a") == "A"
        assert not path.exists()
        (run,) = runs
        assert (run.agent_name, run.user_input, run.final_output) == ("answer", "a", "A")
        assert [(step.name, step.output) for step in run.steps] == [("search", "A")]
    assert not path.exists()
    assert answer("b") == "B"
    assert [run.user_input for run in load_runs(path)] == ["b"]
    assert [run.user_input for run in runs] == ["a"]


def test_runs_are_a_sequence_that_grows() -> None:
    """Length, places, slices, equality; a run that is going on is among them."""
    tracer = AgentTracer(backend=InMemoryBackend())
    with capture_runs() as runs:
        assert (len(runs), list(runs), runs == []) == (0, [], True)
        with tracer.run(run_id="1"):
            assert [run.status for run in runs] == [RunStatus.RUNNING]
        with tracer.run(run_id="2"):
            pass
    assert isinstance(runs, Sequence)
    assert (len(runs), runs[0].run_id, runs[-1].run_id, [run.run_id for run in runs[1:]]) == (2, "1", "2", ["2"])
    assert runs == list(runs)
    with pytest.raises(IndexError):
        runs[2]


def test_every_tracer_of_the_process_and_every_thread() -> None:
    """Tracers with backends, on providers of others, of configure() and without any are captured, in other threads too."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    memory, configured = InMemoryBackend(), InMemoryBackend()
    tracers = [
        AgentTracer(backend=memory),
        AgentTracer(tracer_provider=provider),
        AgentTracer(tracer_provider=configure(backends=[configured])),
        AgentTracer(tracer_provider=trace.NoOpTracerProvider()),
    ]

    def run_all() -> None:
        for number, tracer in enumerate(tracers):
            with tracer.run(agent_name=f"{threading.current_thread().name} {number}"):
                pass

    with capture_runs() as runs:
        run_all()
        thread = threading.Thread(target=run_all, name="thread")
        thread.start()
        thread.join()
    names = {run.agent_name for run in runs}
    assert names == {f"{name} {number}" for name in ("MainThread", "thread") for number in range(4)}
    assert (memory.spans(), configured.spans(), exporter.get_finished_spans()) == ([], [], ())


def test_blocks_within_each_other() -> None:
    """The inner block captures; the outer one goes on when it ends."""
    tracer = AgentTracer(backend=InMemoryBackend())
    with capture_runs() as outer:
        with tracer.run(agent_name="1"):
            pass
        with capture_runs() as inner, tracer.run(agent_name="2"):
            pass
        with tracer.run(agent_name="3"):
            pass
    assert [[run.agent_name for run in runs] for runs in (outer, inner)] == [["1", "3"], ["2"]]


def test_user_ids_are_recorded_as_the_tracer_says() -> None:
    """A tracer that records pseudonyms does so inside, one that records plain ids likewise."""
    hashing, plain = AgentTracer(backend=InMemoryBackend()), AgentTracer(backend=InMemoryBackend(), user_ids="plain")
    with capture_runs() as runs:
        for tracer in (hashing, plain):
            with tracer.run(user_id="u1"):
                pass
    assert [run.user_id for run in runs] == [pseudonymize_user_id("u1"), "u1"]


def test_nothing_is_measured_meanwhile() -> None:
    """The tracer's meter provider sees none of the runs inside, and those after it."""
    reader = InMemoryMetricReader()
    tracer = AgentTracer(backend=InMemoryBackend(), meter_provider=MeterProvider([reader]))
    with capture_runs(), tracer.run():
        pass
    assert reader.get_metrics_data() is None
    with tracer.run():
        pass
    assert reader.get_metrics_data() is not None


def test_a_run_around_the_block_is_measured() -> None:
    """It ends where it began, for its meters too, though a run was captured meanwhile."""
    reader = InMemoryMetricReader()
    tracer = AgentTracer(InMemoryBackend(), meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    with tracer.run(user_input="outer"), capture_runs(), tracer.run(user_input="inner"):
        pass
    data = json.loads(reader.get_metrics_data().to_json())  # type: ignore[union-attr]
    (scope,) = data["resource_metrics"][0]["scope_metrics"]
    durations = next(one for one in scope["metrics"] if "duration" in one["name"])
    assert [point["count"] for point in durations["data"]["data_points"]] == [1]


def test_a_run_below_one_that_is_not_captured_is_captured_as_itself() -> None:
    """The run around it is elsewhere."""
    tracer = AgentTracer(InMemoryBackend())
    with tracer.run(user_input="outer"), capture_runs() as runs, tracer.run(user_input="inner"):
        pass
    assert [run.user_input for run in runs] == ["inner"]


def test_a_run_that_goes_on_after_the_block_is_captured_whole() -> None:
    """None of its steps turn up elsewhere."""
    memory = InMemoryBackend()
    tracer = AgentTracer(memory)
    with capture_runs() as runs:
        run_id = tracer.start_run(user_input="open")
        tracer.log_step(run_id, tool_name="inside")
    tracer.log_step(run_id, tool_name="after")
    tracer.end_run(run_id, "done")
    assert [[step.name for step in run.steps] for run in runs] == [["inside", "after"]]
    assert memory.spans() == []


def test_nothing_is_held_of_a_capture_that_is_over() -> None:
    """Suites that capture a thousand times do not grow."""
    tracer = AgentTracer(InMemoryBackend())
    backends = []
    for _ in range(5):
        with capture_runs() as runs, tracer.run(user_input="question"):
            pass
        backends.append(weakref.ref(runs._backend))  # type: ignore[attr-defined]
        del runs
    with tracer.run():
        pass
    gc.collect()
    assert [backend() for backend in backends] == [None] * 5


def test_runs_are_captured_whatever_the_sampler_of_the_environment_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite is not silent because nothing is sampled where it runs."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with capture_runs() as runs, AgentTracer(InMemoryBackend()).run(user_input="question"):
        pass
    assert [run.user_input for run in runs] == ["question"]


def test_a_run_that_began_before_ends_where_it_began() -> None:
    """Its span goes to its own backend, the steps that start inside do not."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    run = tracer.run(agent_name="before").start()
    with capture_runs() as runs:
        run.step("inside").start().end()
        run.end()
    assert [span.name for span in memory.spans()] == ["invoke_agent before"]
    assert [[step.name for step in run.steps] for run in runs] == [["inside"]]


@pytest.fixture
def captured() -> Iterator[Sequence[AgentRun]]:
    """As a fixture."""
    with capture_runs() as runs:
        yield runs


def test_as_a_fixture(captured: Sequence[AgentRun]) -> None:
    """A fixture gives the runs of the test that uses it."""
    with AgentTracer(backend=InMemoryBackend()).run(agent_name="a"):
        pass
    assert [run.agent_name for run in captured] == ["a"]


def test_a_module_with_a_tracer_is_imported_first(tmp_path: Path) -> None:
    """A program's module whose decorators have a FileBackend writes nothing while its runs are captured."""
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        from otel_agent_trace import AgentTracer, FileBackend
        tracer = AgentTracer(backend=FileBackend("traces.jsonl"))
        @tracer.agent
        async def answer(question): return question * 2
        """)
    )
    script = textwrap.dedent("""
        import asyncio, os, program
        from otel_agent_trace.testing import capture_runs
        with capture_runs() as runs:
            asyncio.run(program.answer("ab"))
        print([run.final_output for run in runs], os.path.exists("traces.jsonl"))
    """)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['abab'] False\n", "")


def test_other_instrumentations_are_diverted_as_well(tmp_path: Path) -> None:
    """A span of another tracer on a configured provider joins the captured run, after the policies, and is not written."""
    path = tmp_path / "traces.jsonl"
    provider = configure(file=path, policies=[without_secret])
    tracer, other = AgentTracer(tracer_provider=provider), provider.get_tracer("other")
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "theirs", "secret": "x"}
    outside = other.start_span("began before")
    with capture_runs() as runs:
        with tracer.run(agent_name="ours"), other.start_as_current_span("execute_tool theirs", attributes=tool):
            pass
        late = other.start_span("execute_tool late", attributes=tool)
        outside.end()
    late.end()
    assert [[(run.agent_name, step.name, step.attributes) for step in run.steps] for run in runs] == [
        [("ours", "theirs", {})],
        [(None, "theirs", {})],
    ]
    assert [span["name"] for span in spans_of(path)] == ["began before"]


def test_policies_hold_inside(tmp_path: Path) -> None:
    """What a policy takes out of spans is not captured either, of a tracer with backends as of one with a provider."""
    tracers = [
        AgentTracer(backend=InMemoryBackend(), policies=[without_secret]),
        AgentTracer(tracer_provider=configure(backends=[InMemoryBackend()], policies=[without_secret])),
        AgentTracer(tracer_provider=TracerProvider(shutdown_on_exit=False), policies=[without_secret]),
    ]
    for tracer in tracers:
        with capture_runs() as runs, tracer.run() as run:
            run.set_attribute("secret", "x")
            run.set_attribute("open", "y")
        assert [run.attributes for run in runs] == [{"open": "y"}]


def without_secret(record: Any) -> Any:
    """A policy."""
    kept = {key: value for key, value in record.attributes.items() if key != "secret"}
    return msgspec.structs.replace(record, attributes=kept)


def spans_of(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        span
        for line in lines
        for group in line["resourceSpans"]
        for scope in group["scopeSpans"]
        for span in scope["spans"]
    ]
