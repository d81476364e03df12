"""Metrics of the GenAI conventions: what is measured, how, and what never is."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    InMemoryBackend,
    StepKind,
    Usage,
    __version__,
    configure,
    current_run,
)
from tests.support.requirements import needs_fork

B1 = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
B2 = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
B3 = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6)
B5 = (1, 2, 4, 8, 16, 32, 64, 128)
CLIENT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "acme",
    "gen_ai.request.model": "m",
    "gen_ai.response.model": "m-1",
    "server.address": "acme.example",
    "server.port": 443,
}
BILLED = {**CLIENT, "gen_ai.token.modality": "unknown"}
TOOL = {"gen_ai.tool.name": "search", "gen_ai.tool.type": "function", "gen_ai.agent.name": "weather"}
AGENT = {"gen_ai.agent.name": "weather"}
RETRIEVAL = {"gen_ai.operation.name": "retrieval"}
TABLE: dict[str, tuple[str, tuple[float, ...] | None, dict[str, Any]]] = {
    "gen_ai.invoke_agent.duration": ("s", B3, {**AGENT, "gen_ai.request.model": "m"}),
    "gen_ai.invoke_agent.inference_calls": ("{inference_call}", B5, AGENT),
    "gen_ai.invoke_agent.tool_calls": ("{tool_call}", B5, AGENT),
    "gen_ai.execute_tool.duration": ("s", B1, TOOL),
    "gen_ai.client.inference.duration": ("s", B1, CLIENT),
    "gen_ai.client.inference.time_to_first_chunk": ("s", B1, CLIENT),
    "gen_ai.client.inference.usage.input_tokens": ("{token}", None, BILLED),
    "gen_ai.client.inference.usage.output_tokens": ("{token}", None, BILLED),
    "gen_ai.client.inference.usage.cache_read.input_tokens": ("{token}", None, BILLED),
    "gen_ai.client.inference.usage.cache_write.input_tokens": ("{token}", None, BILLED),
    "gen_ai.client.inference.usage.reasoning.output_tokens": ("{token}", None, BILLED),
    "gen_ai.client.inference.operation.input_tokens": ("{token}", B2, CLIENT),
    "gen_ai.client.inference.operation.output_tokens": ("{token}", B2, CLIENT),
    "gen_ai.client.operation.duration": ("s", B1, RETRIEVAL),
}
USAGE = Usage(
    input_tokens=100,
    output_tokens=20,
    cache_read_input_tokens=40,
    cache_write_input_tokens=25,
    reasoning_output_tokens=5,
)


class Measured:
    """A meter provider, and what was measured with it."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def scopes(self) -> list[Any]:
        data = self.reader.get_metrics_data()
        return [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []

    def metrics(self) -> dict[str, Any]:
        """Those of the conventions."""
        of_all = (metric for scope in self.scopes() for metric in scope.metrics)
        return {metric.name: metric for metric in of_all if metric.name.startswith("gen_ai.")}

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        metric = self.metrics().get(name)
        return [(dict(point.attributes), point) for point in metric.data.data_points] if metric else []

    def by(self, name: str, key: str) -> dict[Any, tuple[int, float]]:
        """Number and sum of the measurements of a histogram, by the value of an attribute."""
        found: dict[Any, tuple[int, float]] = {}
        for attributes, point in self.points(name):
            count, total = found.get(attributes.get(key), (0, 0))
            found[attributes.get(key)] = count + point.count, total + point.sum
        return found

    def totals(self) -> dict[str, float]:
        """The counters."""
        return {
            name: sum(point.value for point in metric.data.data_points)
            for name, metric in self.metrics().items()
            if isinstance(metric.data, sdk.export.Sum)
        }


@pytest.fixture
def measured() -> Iterator[Measured]:
    measured = Measured()
    yield measured
    measured.provider.shutdown()


@pytest.fixture
def tracer(memory: InMemoryBackend, measured: Measured) -> AgentTracer:
    """A tracer whose runs are measured as well."""
    return AgentTracer(backend=memory, agent_name="weather", meter_provider=measured.provider)


def all_there_is(tracer: AgentTracer) -> None:
    """A run that has something for every metric but the times of further chunks."""
    with tracer.run(model="m") as run:
        with run.model_call("m", provider="acme") as call:
            call.set_attribute("server.address", "acme.example")
            call.set_attribute("server.port", 443)
            call.mark_first_chunk()
            call.model, call.usage = "m-1", USAGE
        with run.step("search", {"q": "secret"}) as step:
            step.output = "secret"
        with run.step("docs", "secret", kind="retrieval"):
            pass
        with run.step("thought", kind="other"):
            pass


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_units_buckets_and_attributes(tracer: AgentTracer, measured: Measured) -> None:
    """They are those of the conventions; nothing else is measured, and no id, content or user is an attribute."""
    all_there_is(tracer)
    found = measured.metrics()
    assert {
        name: (
            metric.unit,
            getattr(metric.data.data_points[0], "explicit_bounds", None),
            dict(metric.data.data_points[0].attributes),
        )
        for name, metric in found.items()
    } == TABLE
    assert all(len(metric.data.data_points) == 1 for metric in found.values())
    assert all(metric.description.endswith(".") for metric in found.values())
    ((scope),) = {(each.scope.name, each.scope.version) for each in measured.scopes()}
    assert scope == ("otel_agent_trace", __version__)


def test_counts_are_integers_and_counters_only_grow(tracer: AgentTracer, measured: Measured) -> None:
    all_there_is(tracer)
    for name in ("gen_ai.invoke_agent.inference_calls", "gen_ai.invoke_agent.tool_calls"):
        ((_, point),) = measured.points(name)
        assert (point.sum, type(point.sum)) == (1, int)
    sums = [metric.data for metric in measured.metrics().values() if isinstance(metric.data, sdk.export.Sum)]
    assert len(sums) == 5
    assert all(data.is_monotonic and type(data.data_points[0].value) is int for data in sums)


# ── durations ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_duration_is_the_span_s(tracer: AgentTracer, measured: Measured, the_run: Callable[[], AgentRun]) -> None:
    """Of the run and of each kind of step, however it came about."""
    all_there_is(tracer)
    run = the_run()
    by_kind = {step.kind: step for step in run.steps}
    assert {
        "gen_ai.invoke_agent.duration": run.duration_s,
        "gen_ai.client.inference.duration": by_kind[StepKind.MODEL].duration_s,
        "gen_ai.execute_tool.duration": by_kind[StepKind.TOOL].duration_s,
        "gen_ai.client.operation.duration": by_kind[StepKind.RETRIEVAL].duration_s,
    } == {name: measured.points(name)[0][1].sum for name in TABLE if name.endswith("duration")}


def test_times_given_by_the_caller(tracer: AgentTracer, measured: Measured) -> None:
    """log_step with times of its own is measured by them."""
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="search", started_at=100.0, ended_at=100.25)
    tracer.log_step(run_id, tool_name="search", started_at=100.0, duration_s=0.5, error="no")
    tracer.log_step(run_id, kind="model", model="m", started_at=100.0, ended_at=102.0, usage={"input_tokens": 7})
    tracer.end_run(run_id)
    assert measured.by("gen_ai.execute_tool.duration", "error.type") == {None: (1, 0.25), "_OTHER": (1, 0.5)}
    assert measured.by("gen_ai.client.inference.duration", "gen_ai.request.model") == {"m": (1, 2.0)}
    assert measured.by("gen_ai.client.inference.operation.input_tokens", "gen_ai.request.model") == {"m": (1, 7)}
    assert measured.by("gen_ai.client.inference.operation.output_tokens", "gen_ai.request.model") == {}


def test_a_clock_that_is_put_back(tracer: AgentTracer, measured: Measured, caplog: pytest.LogCaptureFixture) -> None:
    """An end before the start lasts no time, and nobody complains."""
    with tracer.run() as run:
        step = run.step("search").start(start_ns=2_000_000_000)
        step.end(1_000_000_000)
        call = run.model_call("m").start(start_ns=2**62)
        call.mark_first_chunk()
        call.end(2**62)
    assert measured.by("gen_ai.execute_tool.duration", "gen_ai.tool.name") == {"search": (1, 0)}
    assert measured.by("gen_ai.client.inference.time_to_first_chunk", "gen_ai.request.model") == {"m": (1, 0)}
    assert caplog.records == []


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class HttpError(Exception):
    """As clients of providers raise it."""

    code, status_code = "rate_limited", 429


@pytest.mark.parametrize(
    ("error", "expected_type"),
    [
        (ValueError("x"), "ValueError"),
        (HttpError(), "rate_limited"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_error_type_is_the_span_s(
    tracer: AgentTracer, measured: Measured, memory: InMemoryBackend, error: BaseException, expected_type: str
) -> None:
    """Of a tool, a model call and a run that raise."""

    @tracer.tool
    def search() -> None:
        raise error

    @tracer.model(model="m")
    def ask() -> None:
        search()

    @tracer.agent("weather")
    def answer() -> None:
        ask()

    with pytest.raises(type(error)):
        answer()
    names = ("gen_ai.execute_tool.duration", "gen_ai.client.inference.duration", "gen_ai.invoke_agent.duration")
    assert [list(measured.by(name, "error.type")) for name in names] == [[expected_type]] * 3
    assert {span.attributes["error.type"] for span in memory.spans()} == {expected_type}


def test_errors_given_as_text_or_status(tracer: AgentTracer, measured: Measured) -> None:
    """A text is `_OTHER`; so is a status without an error; a run that the caller calls a success is none."""
    tracer.log_error(tracer.start_run(agent_name="text"), "broken")
    tracer.end_run(tracer.start_run(agent_name="status"), status="error")
    in_spite = tracer.start_run(agent_name="in spite")
    tracer.log_error(in_spite, ValueError("x"), status="success")
    tracer.log_error(tracer.start_run(agent_name="timeout"), TimeoutError())
    types = {
        attributes["gen_ai.agent.name"]: attributes.get("error.type")
        for attributes, _ in measured.points("gen_ai.invoke_agent.duration")
    }
    assert types == {"text": "_OTHER", "status": "_OTHER", "in spite": None, "timeout": "TimeoutError"}


def test_a_task_that_is_cancelled(tracer: AgentTracer, measured: Measured) -> None:
    """A cancelled agent, and the tool in which it waited, are measured as failures."""

    @tracer.tool
    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    @tracer.agent
    async def answer() -> None:
        await wait()

    async def main() -> None:
        task = asyncio.create_task(answer())
        await asyncio.wait_for(started.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = asyncio.Event()
    asyncio.run(main())
    for name in ("gen_ai.execute_tool.duration", "gen_ai.invoke_agent.duration"):
        assert list(measured.by(name, "error.type")) == ["asyncio.exceptions.CancelledError"]
    assert measured.by("gen_ai.invoke_agent.tool_calls", "gen_ai.agent.name") == {"weather": (1, 1)}


# ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def calls(measured: Measured) -> dict[Any, tuple[float, float]]:
    """Model and tool calls, by agent."""
    models = measured.by("gen_ai.invoke_agent.inference_calls", "gen_ai.agent.name")
    tools = measured.by("gen_ai.invoke_agent.tool_calls", "gen_ai.agent.name")
    assert models.keys() == tools.keys()
    return {agent: (models[agent][1], tools[agent][1]) for agent in models}


def test_calls_are_the_agent_s_own(tracer: AgentTracer, measured: Measured) -> None:
    """Those of a sub-agent are its own; tools within tools and failed calls count; none is counted as well."""

    @tracer.tool
    def inner() -> None:
        raise ValueError

    @tracer.tool
    def outer() -> None:
        with pytest.raises(ValueError):
            inner()

    @tracer.model(model="m")
    def ask() -> str:
        return "x"

    @tracer.agent("sub")
    def sub() -> None:
        ask()
        ask()
        inner_most()

    @tracer.agent("idle")
    def inner_most() -> None:
        pass

    @tracer.agent("top")
    def top() -> None:
        outer()
        ask()
        sub()
        outer()

    top()
    assert calls(measured) == {"top": (1, 4), "sub": (2, 0), "idle": (0, 0)}


def test_a_step_of_kind_agent(tracer: AgentTracer, measured: Measured) -> None:
    """It has the calls below it, as it has when read; one that is logged says nothing of calls."""
    with tracer.run() as run:
        with run.step("block", kind="agent"):
            with run.step("t"), run.model_call("m"):
                pass
        with run.step("t"):
            pass
        tracer.log_step(run.run_id, kind="agent", name="logged", duration_s=1.0)
    assert calls(measured) == {"weather": (0, 1), "block": (1, 1)}
    durations = measured.by("gen_ai.invoke_agent.duration", "gen_ai.agent.name")
    assert durations.keys() == {"weather", "block", "logged"}
    assert durations["logged"] == (1, 1.0)


def test_calls_in_parallel(tracer: AgentTracer, measured: Measured) -> None:
    """Eight threads with 250 steps of one run each lose none, of a run that waits and one that does not."""
    with tracer.run() as run:

        def work(_: int) -> None:
            for _ in range(250):
                with run.step("t"):
                    pass

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    assert calls(measured) == {"weather": (0, 2000)}
    assert measured.by("gen_ai.execute_tool.duration", "gen_ai.tool.name")["t"][0] == 2000


def test_agents_in_parallel(tracer: AgentTracer, measured: Measured) -> None:
    """Each of several sub-agents that run at the same time has its own calls."""

    @tracer.tool
    async def look() -> None:
        await asyncio.sleep(0)

    @tracer.agent("main")
    async def main() -> None:
        await asyncio.gather(*(tracer.agent(f"sub {number}")(sub)(number) for number in range(5)))

    async def sub(number: int) -> None:
        await asyncio.gather(*(look() for _ in range(number)))

    asyncio.run(main())
    assert calls(measured) == {"main": (0, 0), **{f"sub {number}": (0, number) for number in range(5)}}


def test_a_step_that_never_ends_was_a_call(tracer: AgentTracer, measured: Measured) -> None:
    with tracer.run() as run:
        run.step("t").start()
    assert calls(measured) == {"weather": (0, 1)}
    assert measured.points("gen_ai.execute_tool.duration") == []


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream(tracer: AgentTracer, measured: Measured, memory: InMemoryBackend) -> None:
    """The time to the first chunk is the span's; each further chunk is measured."""

    @tracer.model(model="m")
    def ask() -> Iterator[str]:
        yield from "abcd"

    assert list(ask()) == list("abcd")
    (span,) = memory.spans()
    ((_, first),) = measured.points("gen_ai.client.inference.time_to_first_chunk")
    ((attributes, further),) = measured.points("gen_ai.client.inference.time_per_output_chunk")
    ((_, whole),) = measured.points("gen_ai.client.inference.duration")
    assert (first.count, first.sum) == (1, span.attributes["gen_ai.response.time_to_first_chunk"])
    assert (further.count, further.explicit_bounds) == (3, B1)
    assert 0 < further.sum <= whole.sum
    assert attributes == {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


@pytest.mark.parametrize(("taken", "gaps"), [(1, {}), (2, {"m": 1}), (3, {"m": 2})])
def test_a_stream_that_is_abandoned(tracer: AgentTracer, measured: Measured, taken: int, gaps: dict[str, int]) -> None:
    """What came until then is measured, and it is no error."""

    @tracer.model(model="m")
    async def ask() -> Any:
        for letter in "abcd":
            yield letter

    async def main() -> None:
        stream = ask()
        for _ in range(taken):
            await anext_(stream)
        await stream.aclose()

    async def anext_(stream: Any) -> Any:
        return await stream.__anext__()

    asyncio.run(main())
    further = measured.by("gen_ai.client.inference.time_per_output_chunk", "gen_ai.request.model")
    assert {model: count for model, (count, _) in further.items()} == gaps
    assert list(measured.by("gen_ai.client.inference.time_to_first_chunk", "gen_ai.request.model")) == ["m"]
    assert list(measured.by("gen_ai.client.inference.duration", "error.type")) == [None]


def test_an_endless_stream(tracer: AgentTracer, measured: Measured) -> None:
    """So many pieces are measured, and no more."""

    @tracer.model(model="m")
    def ask() -> Iterator[int]:
        yield from range(10_005)

    assert sum(1 for _ in ask()) == 10_005
    ((_, further),) = measured.points("gen_ai.client.inference.time_per_output_chunk")
    assert further.count == 9_999


def test_only_streamed_model_calls_have_chunks(tracer: AgentTracer, measured: Measured) -> None:
    """A tool that gives its result in pieces has none, nor has a model call that does not."""

    @tracer.tool
    def search() -> Iterator[int]:
        yield 1
        yield 2

    @tracer.model(model="m")
    def ask() -> str:
        return "x"

    list(search())
    ask()
    assert [name for name in measured.metrics() if "chunk" in name] == []


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tokens(tracer: AgentTracer, measured: Measured) -> None:
    """The counters hold each kind of tokens; each call is in the histograms once."""
    for _ in range(2):
        all_there_is(tracer)
    prefix = "gen_ai.client.inference"
    assert measured.totals() == {
        f"{prefix}.usage.input_tokens": 200,
        f"{prefix}.usage.output_tokens": 40,
        f"{prefix}.usage.cache_read.input_tokens": 80,
        f"{prefix}.usage.cache_write.input_tokens": 50,
        f"{prefix}.usage.reasoning.output_tokens": 10,
    }
    assert measured.by(f"{prefix}.operation.input_tokens", "gen_ai.request.model") == {"m": (2, 200)}
    assert measured.by(f"{prefix}.operation.output_tokens", "gen_ai.request.model") == {"m": (2, 40)}


def test_tokens_of_a_client_s_result(tracer: AgentTracer, measured: Measured) -> None:
    """Tokens and model are taken from what a client gave, as they are for the span."""

    @tracer.model(provider="openai")
    def ask(model: str) -> dict[str, Any]:
        return {"model": "m-2026", "usage": {"prompt_tokens": 3, "completion_tokens": 4}, "choices": []}

    ask("m")
    ((attributes, point),) = measured.points("gen_ai.client.inference.operation.output_tokens")
    assert (point.count, point.sum) == (1, 4)
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-2026",
    }


INPUT, OUTPUT = (f"gen_ai.client.inference.usage.{side}_tokens" for side in ("input", "output"))


@pytest.mark.parametrize(
    ("error", "usage", "totals", "histograms"),
    [
        (None, None, {}, 0),
        ("broken", None, {INPUT: 0, OUTPUT: 0}, 0),
        ("broken", {"input_tokens": 5}, {INPUT: 5}, 1),
        (None, {"input_tokens": 0, "output_tokens": 0}, {INPUT: 0, OUTPUT: 0}, 2),
        (None, {"input_tokens": 2**70, "output_tokens": 1}, {OUTPUT: 1}, 1),
        (None, {"input_tokens": -1, "output_tokens": 1}, {OUTPUT: 1}, 1),
    ],
)
def test_tokens_that_nobody_reported(
    tracer: AgentTracer,
    measured: Measured,
    caplog: pytest.LogCaptureFixture,
    error: str | None,
    usage: Any,
    totals: dict[str, int],
    histograms: int,
) -> None:
    """A call that failed without a word has used none; of one that succeeded nothing is known. Nonsense is left out."""
    with tracer.run() as run, run.model_call("m") as call:
        call.error, call.usage = error, usage
    assert measured.totals() == totals
    assert len([name for name in measured.metrics() if ".operation." in name]) == histograms
    assert caplog.records == []


# ── all of them, once ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_sampler_leaves_out(measured: Measured) -> None:
    """Metrics count all, also what no trace has, with the same attributes; there is no exemplar then."""
    tracer = AgentTracer(
        tracer_provider=TracerProvider(sampler=ALWAYS_OFF), agent_name="weather", meter_provider=measured.provider
    )
    all_there_is(tracer)
    found = measured.metrics()
    assert {name: dict(metric.data.data_points[0].attributes) for name, metric in found.items()} == {
        name: attributes for name, (_, _, attributes) in TABLE.items()
    }
    assert not any(metric.data.data_points[0].exemplars for metric in found.values())
    assert measured.totals()["gen_ai.client.inference.usage.input_tokens"] == 100
    assert tracer.stats() == {"runs": 1, "steps": 4, "dropped: not recorded": 5}


def test_without_a_tracer_provider(measured: Measured) -> None:
    """Nor is a configured provider of spans needed."""
    tracer = AgentTracer(agent_name="weather", meter_provider=measured.provider)
    all_there_is(tracer)
    assert measured.metrics().keys() == TABLE.keys()


def test_exemplars_lead_to_the_span(tracer: AgentTracer, measured: Measured, memory: InMemoryBackend) -> None:
    all_there_is(tracer)
    spans = {span.span_id: span for span in memory.spans()}
    operations = {}
    for name, metric in measured.metrics().items():
        (exemplar,) = metric.data.data_points[0].exemplars
        span = spans[format(exemplar.span_id, "016x")]
        assert format(exemplar.trace_id, "032x") == span.trace_id
        operations[name] = span.attributes["gen_ai.operation.name"]
    assert {name: what for name, what in operations.items() if "client" not in name} == {
        "gen_ai.invoke_agent.duration": "invoke_agent",
        "gen_ai.invoke_agent.inference_calls": "invoke_agent",
        "gen_ai.invoke_agent.tool_calls": "invoke_agent",
        "gen_ai.execute_tool.duration": "execute_tool",
    }
    assert operations.pop("gen_ai.client.operation.duration") == "retrieval"
    assert {what for name, what in operations.items() if "client" in name} == {"chat"}


def test_ended_twice(tracer: AgentTracer, measured: Measured) -> None:
    run_id = tracer.start_run()
    tracer.end_run(run_id)
    tracer.end_run(run_id)
    with tracer.run() as run, run.step("t") as step:
        step.end()
    run.end()
    assert measured.by("gen_ai.invoke_agent.duration", "gen_ai.agent.name")["weather"][0] == 2
    assert measured.by("gen_ai.execute_tool.duration", "gen_ai.tool.name")["t"][0] == 1


def test_what_never_started(tracer: AgentTracer, measured: Measured) -> None:
    """A run or a step that is ended without a start, and the run outside of any, are none."""
    with tracer.run() as run:
        run.step("t").end()
    tracer.run().end()
    current_run().end()
    with current_run().step("t"):
        pass
    assert measured.by("gen_ai.invoke_agent.duration", "gen_ai.agent.name")["weather"][0] == 1
    assert calls(measured) == {"weather": (0, 0)}
    assert measured.points("gen_ai.execute_tool.duration") == []


def test_a_step_outside_of_a_run(tracer: AgentTracer, measured: Measured) -> None:
    @tracer.tool
    def search() -> None:
        pass

    search()
    ((attributes, point),) = measured.points("gen_ai.execute_tool.duration")
    assert (attributes, point.count) == ({"gen_ai.tool.name": "search", "gen_ai.tool.type": "function"}, 1)
    assert list(measured.metrics()) == ["gen_ai.execute_tool.duration"]


def test_names_that_change(tracer: AgentTracer, measured: Measured) -> None:
    """The last word counts, as it does in the span; a name that is taken back is left out."""
    with tracer.run(model="m") as run:
        run.agent_name, run.model = "other", None
        with run.step("t") as step:
            step.name = "u"
    assert [attributes for attributes, _ in measured.points("gen_ai.invoke_agent.duration")] == [
        {"gen_ai.agent.name": "other"}
    ]
    assert list(measured.by("gen_ai.execute_tool.duration", "gen_ai.tool.name")) == ["u"]


def test_names_that_no_carrier_takes(tracer: AgentTracer, measured: Measured) -> None:
    """They are repaired as in the span: a batch of metrics with one of them can be sent."""
    poisoned = HttpError()
    poisoned.code = "c\udcff"
    with tracer.run(agent_name="a\udcff", model="m\udcff") as run:
        with run.step("t\udcff") as step:
            step.error = poisoned
        with run.model_call("m\udcff", provider="p\udcff") as call:
            call.set_attribute("server.address", ["a\udcff"])
            call.set_attribute("server.port", object())
    data = measured.reader.get_metrics_data()
    assert data is not None
    assert b"invoke_agent" in encode_metrics(data).SerializeToString()
    ((attributes, _),) = measured.points("gen_ai.execute_tool.duration")
    assert attributes == {
        "gen_ai.agent.name": "a\\udcff",
        "gen_ai.tool.name": "t\\udcff",
        "gen_ai.tool.type": "function",
        "error.type": "c\\udcff",
    }
    assert tracer.stats() == {"runs": 1, "steps": 2, "InMemoryBackend: kept": 3}


KINDS = ("tool", "model", "retrieval", "other")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from(["a", "b"]),
        st.sampled_from([None, ValueError("x"), "text"]),
        st.none() | st.builds(Usage, input_tokens=st.none() | st.integers(0, 99), output_tokens=st.integers(0, 99)),
    ),
    max_size=6,
)
RUNS = st.recursive(STEPS, lambda inner: st.tuples(STEPS, st.lists(inner, max_size=3)), max_leaves=5)


def play(tracer: AgentTracer, script: Any, depth: int = 0) -> None:
    steps, below = script if isinstance(script, tuple) else (script, [])
    with tracer.run(agent_name=f"agent {depth}") as run:
        for number, (kind, name, error, usage) in enumerate(steps):
            if number % 2:
                tracer.log_step(run.run_id, kind=kind, name=name, model=name, error=error, usage=usage)
                continue
            step = run.model_call(name) if kind == "model" else run.step(name, kind=kind)
            with step:
                step.error, step.usage = error, usage
        for inner in below:
            play(tracer, inner, depth + 1)


@given(st.lists(RUNS, min_size=1, max_size=3))
def test_the_metrics_tell_what_the_runs_tell(scripts: list[Any]) -> None:
    """Numbers of runs and calls, errors, tokens and durations are those of the runs that are read back."""
    memory, measured = InMemoryBackend(), Measured()
    tracer = AgentTracer(backend=memory, meter_provider=measured.provider)
    for script in scripts:
        play(tracer, script)
    runs = [run for outermost in memory.runs() for run in outermost.walk()]
    steps = [step for run in runs for step in run.steps]
    tools = [step for step in steps if step.kind is StepKind.TOOL]
    models = [step for step in steps if step.kind is StepKind.MODEL]
    assert counted(measured, "gen_ai.invoke_agent.duration", "gen_ai.agent.name") == Counter(
        run.agent_name for run in runs
    )
    assert counted(measured, "gen_ai.execute_tool.duration", "gen_ai.tool.name", "error.type") == Counter(
        (step.name, step.error and step.error.type) for step in tools
    )
    assert counted(measured, "gen_ai.client.inference.duration", "gen_ai.request.model", "error.type") == Counter(
        (step.name, step.error and step.error.type) for step in models
    )
    expected = {
        name: (sum(len(run.model_steps) for run in own), sum(len(run.tool_steps) for run in own))
        for name in {run.agent_name for run in runs}
        for own in [[run for run in runs if run.agent_name == name]]
    }
    assert calls(measured) == expected
    totals = measured.totals()
    for side, name in (("input_tokens", INPUT), ("output_tokens", OUTPUT)):
        assert totals.get(name, 0) == sum(getattr(step.usage, side) or 0 for step in models if step.usage)
    spent = measured.by("gen_ai.invoke_agent.duration", "gen_ai.agent.name")
    assert sum(total for _, total in spent.values()) == pytest.approx(sum(run.duration_s or 0 for run in runs))
    measured.provider.shutdown()


def counted(measured: Measured, name: str, *keys: str) -> Counter[Any]:
    """Numbers of measurements, by the values of some attributes."""
    found: Counter[Any] = Counter()
    for attributes, point in measured.points(name):
        found[attributes.get(keys[0]) if len(keys) == 1 else tuple(map(attributes.get, keys))] += point.count
    return found


# ── where ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_configure_says_where(memory: InMemoryBackend, measured: Measured) -> None:
    """It holds for all tracers on that provider, but for one that is set otherwise."""
    provider = configure(backends=[memory], otlp=False, meter_provider=measured.provider)
    own, none = Measured(), configure(backends=[memory], otlp=False)
    for number in range(2):
        with AgentTracer(tracer_provider=provider).run(agent_name=f"{number}"):
            pass
    with AgentTracer(tracer_provider=provider, meter_provider=own.provider).run(agent_name="own"):
        pass
    with AgentTracer(tracer_provider=none).run(agent_name="none"):
        pass
    assert calls(measured) == {"0": (0, 0), "1": (0, 0)}
    assert calls(own) == {"own": (0, 0)}
    assert len(memory.runs()) == 4
    own.provider.shutdown()


def test_a_tool_that_records_with_the_run_around_it(tracer: AgentTracer, measured: Measured) -> None:
    """A tracer that has no provider is measured where the run is."""

    @AgentTracer().tool
    def search() -> None:
        pass

    with tracer.run():
        search()
    assert calls(measured) == {"weather": (0, 1)}
    assert list(measured.by("gen_ai.execute_tool.duration", "gen_ai.tool.name")) == ["search"]


class Asked(MeterProvider):
    """Notes how often it is asked for a meter."""

    times = 0

    def get_meter(self, *args: Any, **kwargs: Any) -> Any:
        self.times += 1
        return super().get_meter(*args, **kwargs)


def test_instruments_are_made_once(memory: InMemoryBackend, caplog: pytest.LogCaptureFixture) -> None:
    """Several tracers share those of a meter provider, which may go when nobody needs it."""
    provider = Asked(shutdown_on_exit=False)
    for _ in range(3):
        with AgentTracer(backend=memory, meter_provider=provider).run() as run, run.step("t"):
            pass
    assert provider.times == 1
    assert caplog.records == []
    gone = weakref.ref(provider)
    provider.shutdown()
    del provider, run
    gc.collect()
    assert gone() is None


def test_without_a_meter_provider(memory: InMemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured, whatever is OpenTelemetry's global meter provider."""
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", pytest.fail)
    monkeypatch.setattr("opentelemetry.metrics.get_meter", pytest.fail)
    tracer = AgentTracer(backend=memory)
    with tracer.run() as run, run.step("t") as step:
        pass
    assert (run.destination.meters, run.calls, step.calls) == (None, None, None)


# ── harmless ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Broken:
    """A meter provider, meter and instrument in one, that raises at the place that it is given."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == self._place:
                raise OSError(name)
            return self

        return call


@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ("get_meter", {"failed: meter provider": 1}),
        ("create_histogram", {"failed: meter provider": 1}),
        ("create_counter", {"failed: meter provider": 1}),
        ("create_observable_counter", {"failed: meter provider": 1}),
        ("record", {"failed: metrics": 8}),
        ("add", {"failed: metrics": 2}),
        ("nothing", {}),
    ],
)
def test_a_meter_provider_that_raises(
    memory: InMemoryBackend, caplog: pytest.LogCaptureFixture, place: str, counts: dict[str, int]
) -> None:
    """It costs measurements, which is counted and reported once, and nothing else."""
    tracer = AgentTracer(backend=memory, meter_provider=cast("Any", Broken(place)))
    for _ in range(2):
        all_there_is(tracer)
    assert [len(run.steps) for run in memory.runs()] == [4, 4]
    assert tracer.stats() == {"runs": 2, "steps": 8, "InMemoryBackend: kept": 10, **counts}
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * len(counts)


@pytest.mark.parametrize("given", [object(), "metrics", 5])
def test_what_is_no_meter_provider(memory: InMemoryBackend, given: Any, caplog: pytest.LogCaptureFixture) -> None:
    with AgentTracer(backend=memory, meter_provider=given).run():
        pass
    assert len(memory.runs()) == 1
    assert len(caplog.records) == 1


@needs_fork
def test_a_forked_child(run_python: Callable[..., Any]) -> None:
    """It measures on with the instruments that it has, apart from its parent."""
    result = run_python(
        """
        import os, sys
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from otel_agent_trace import AgentTracer, InMemoryBackend

        reader = InMemoryMetricReader()
        tracer = AgentTracer(backend=InMemoryBackend(), meter_provider=MeterProvider([reader]))

        def counts_now():
            (resource,) = reader.get_metrics_data().resource_metrics
            (scope,) = resource.scope_metrics
            of_runs = [metric for metric in scope.metrics if metric.name.startswith("gen_ai.")]
            return {metric.name: metric.data.data_points[0].count for metric in of_runs}

        with tracer.run():
            pass
        child = os.fork()
        for _ in range(2 if child else 5):
            with tracer.run() as run, run.step("t"):
                pass
        if child:
            assert os.waitpid(child, 0)[1] == 0
        counts = counts_now()
        print(counts["gen_ai.invoke_agent.duration"], counts["gen_ai.execute_tool.duration"], flush=True)
        os._exit(0)
        """,
        PYTHONWARNINGS="ignore",  # of the fork in a process with threads
    )
    assert (result.stdout, result.stderr) == ("6 5\n3 2\n", "")


LOCKED = """
import os, threading, time
from otel_agent_trace import AgentTracer, InMemoryBackend

class Locked:
    # A meter provider, meter and instrument in one, with a lock as the SDK's instruments have it.
    def __init__(self):
        self.lock, self.recorded, self.inside = threading.Lock(), 0, lambda: None

    def get_meter(self, *args, **kwargs):
        return self

    create_histogram = create_counter = create_observable_counter = get_meter

    def record(self, *args):
        with self.lock:
            self.recorded += 1
            self.inside()

locked = Locked()
tracer = AgentTracer(backend=InMemoryBackend(), meter_provider=locked)
with tracer.run():
    pass
assert locked.recorded == 3
"""


def test_a_run_that_ends_while_another_is_measured(run_python: Callable[..., Any]) -> None:
    """As one whose generator is collected just then: it is measured afterwards, instead of waiting for itself."""
    program = """
def end_another():
    locked.inside = lambda: None
    with tracer.run():
        pass
    assert locked.recorded == 4

locked.inside = end_another
with tracer.run():
    pass
assert locked.recorded == 9
"""
    result = run_python(LOCKED + program)
    assert (result.returncode, result.stderr) == (0, "")


@needs_fork
def test_a_fork_while_another_thread_measures(run_python: Callable[..., Any]) -> None:
    """The child does not wait for a lock that nobody in it will give back."""
    program = """
inside, forking = threading.Event(), threading.Event()

def wait_for_the_fork():
    locked.inside = lambda: None
    inside.set()
    forking.wait()

def work():
    with tracer.run():
        pass

locked.inside = wait_for_the_fork
os.register_at_fork(before=forking.set)
thread = threading.Thread(target=work)
thread.start()
inside.wait()
child = os.fork()
if not child:
    with tracer.run():
        pass
    os._exit(locked.recorded)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), locked.recorded)
"""
    result = run_python(LOCKED + program, PYTHONWARNINGS="ignore")
    assert (result.stdout, result.stderr) == ("9 6\n", "")


# ── through a Collector ──────────────────────────────────────────────────────────────────────────────────────────────

COLLECTOR = """
extensions: {health_check: {endpoint: "${env:COLLECTOR_HEALTH}"}}
receivers: {otlp: {protocols: {http: {endpoint: "${env:COLLECTOR_OTLP_HTTP}"}}}}
exporters: {file: {path: "${env:METRICS_FILE}"}}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines: {metrics: {receivers: [otlp], exporters: [file]}}
"""


@pytest.mark.slow
def test_a_collector_takes_them(start_collector: Any, tmp_path: Path) -> None:
    """A real Collector receives each metric as it is, buckets and exemplars included."""
    from tests.support.waiting import wait_until

    config, kept = tmp_path / "metrics.yaml", tmp_path / "metrics.jsonl"
    config.write_text(COLLECTOR)
    collector = start_collector(config, {"METRICS_FILE": str(kept)})
    exporter = OTLPMetricExporter(f"http://{collector.address('otlp_http')}/v1/metrics")
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], shutdown_on_exit=False)
    memory = InMemoryBackend()
    all_there_is(AgentTracer(backend=memory, agent_name="weather", meter_provider=provider))
    provider.shutdown()
    line = wait_until(lambda: kept.exists() and kept.read_text().endswith("\n") and kept.read_text(), "the metrics")
    (resource,) = json.loads(line.splitlines()[0])["resourceMetrics"]
    (scope,) = resource["scopeMetrics"]
    assert scope["scope"] == {"name": "otel_agent_trace", "version": __version__}
    came = {metric["name"]: (metric["unit"], metric.get("histogram", metric.get("sum"))) for metric in scope["metrics"]}
    assert {
        name: (unit, tuple(data["dataPoints"][0]["explicitBounds"]) if "isMonotonic" not in data else None)
        for name, (unit, data) in came.items()
    } == {name: (unit, buckets) for name, (unit, buckets, _) in TABLE.items()}
    (run,) = memory.runs()
    (point,) = came["gen_ai.invoke_agent.duration"][1]["dataPoints"]
    assert (point["count"], point["sum"]) == ("1", run.duration_s)
    assert [(each["traceId"], each["spanId"]) for each in point["exemplars"]] == [(run.trace_id, run.span_id)]
