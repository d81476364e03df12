"""What is kept and lost, as OpenTelemetry metrics."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace import AgentSpanProcessor, AgentTracer, FileBackend, InMemoryBackend, configure
from otel_agent_trace.closer import CLOSER
from tests.support.waiting import DEADLOCK_S

Points = dict[tuple[Any, ...], Any]


class Full(SpanExporter):
    """An exporter that accepts nothing."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.FAILURE


class Reading:
    """A meter provider, and its counters of what was kept and lost."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def kept(self) -> Points:
        return self._points("agent_trace.spans.kept", "{span}", "agent_trace.sink")

    def lost(self) -> Points:
        return self._points("agent_trace.losses", "{loss}", "agent_trace.sink", "agent_trace.reason")

    def _points(self, name: str, unit: str, *keys: str) -> Points:
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        found = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        for metric in found:
            assert isinstance(metric.data, Sum)
            assert (metric.unit, metric.data.is_monotonic) == (unit, True)
        points = [(dict(point.attributes or {}), point.value) for metric in found for point in metric.data.data_points]
        assert all(attributes.keys() <= set(keys) for attributes, _ in points)
        return {tuple(map(attributes.get, keys)): number for attributes, number in points}


@pytest.fixture
def reading() -> Iterator[Reading]:
    made = Reading()
    yield made
    made.provider.shutdown()


def runs(tracer: AgentTracer, number: int = 1) -> None:
    for _ in range(number):
        with tracer.run():
            pass


def collected() -> None:
    """Wait until whatever was dropped is closed."""
    gc.collect()
    assert CLOSER.wait(DEADLOCK_S)


# ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_counts_are_those_of_the_statistics(reading: Reading) -> None:
    """By backend and reason; what the tracer and its policies lose has no backend, and what is no loss is left out."""

    def drop(record: Any) -> Any:
        return None if record.attributes.get("drop") else record

    backends = [InMemoryBackend(max_runs=2), Full()]
    tracer = AgentTracer(backend=backends, policies=[drop], meter_provider=reading.provider)
    runs(tracer, 3)
    with tracer.run() as run:
        run.set_attribute("drop", True)
    tracer.log_step(run.run_id, tool_name="late")
    stats = tracer.stats()
    assert reading.kept() == {("InMemoryBackend",): 3} == {("InMemoryBackend",): stats["InMemoryBackend: kept"]}
    assert reading.lost() == {
        (None, "dropped: by a policy"): 1,
        (None, "dropped: step after the end of its run"): 1,
        (None, "failed: Full"): 3,
        ("InMemoryBackend", "dropped: max_runs"): 1,
    }
    assert all(stats[": ".join(filter(None, key))] == number for key, number in reading.lost().items())


def test_nothing_lost_is_no_point(reading: Reading) -> None:
    """A counter of losses appears with the first one."""
    runs(AgentTracer(backend=InMemoryBackend(), meter_provider=reading.provider))
    assert reading.lost() == {}


def test_tracers_of_a_provider_share_its_backends(reading: Reading) -> None:
    """The provider's backends count once, also those that were added after the tracers were made."""
    provider = configure(backends=[InMemoryBackend()], meter_provider=reading.provider, set_global=False)
    one, two = AgentTracer(tracer_provider=provider), AgentTracer(tracer_provider=provider)
    runs(one)
    provider.add_span_processor(AgentSpanProcessor([Full()]))
    runs(two)
    assert (reading.kept(), reading.lost()) == ({("InMemoryBackend",): 2}, {(None, "failed: Full"): 1})


def test_a_backend_of_two_tracers_counts_once(reading: Reading) -> None:
    """However many tracers come and go with it."""
    memory = InMemoryBackend()
    for _ in range(3):
        runs(AgentTracer(backend=memory, meter_provider=reading.provider))
        collected()
    tracers = [AgentTracer(backend=memory, meter_provider=reading.provider) for _ in range(2)]
    runs(tracers[0])
    assert reading.kept() == {("InMemoryBackend",): 4}


def test_statistics_that_raise_hurt_nobody(reading: Reading) -> None:
    """They are missing, which is counted."""

    class Broken(InMemoryBackend):
        def stats(self) -> dict[str, int]:
            raise OSError

    tracer = AgentTracer(backend=[Broken(), InMemoryBackend()], meter_provider=reading.provider)
    runs(tracer)
    assert reading.kept() == {("InMemoryBackend",): 1}
    assert (None, "failed: Broken.stats") in reading.lost()


# ── tracers that are dropped ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("close", [True, False], ids=["closed", "dropped"])
@pytest.mark.parametrize("kind", ["memory", "file", "exporter"])
def test_counts_of_dropped_tracers_stay(reading: Reading, tmp_path: Any, kind: str, close: bool) -> None:
    """No counter ever falls, though nobody collected the metrics while the tracer lived; and no tracer is kept for that."""
    for number in range(3):
        backend = {
            "memory": InMemoryBackend,
            "file": lambda: FileBackend(tmp_path / f"{number}.jsonl"),
            "exporter": Full,
        }
        tracer = AgentTracer(backend=backend[kind](), meter_provider=reading.provider)
        provider = weakref.ref(tracer._state.provider)
        runs(tracer)
        tracer.end_run(tracer.start_run())
        with pytest.raises(LookupError):
            tracer.end_run("nobody knows it")
        tracer.log_step(tracer.start_run(), tool_name="t")
        if close:
            tracer.close()
        del tracer
        collected()
        assert provider() is None
    if kind == "exporter":
        assert reading.lost() == {(None, "failed: Full"): 9}
    else:
        name = "InMemoryBackend" if kind == "memory" else "FileBackend"
        assert reading.kept() == {(name,): 9}


def test_a_meter_provider_is_collected_with_its_counters() -> None:
    """Neither the tracers that use it, nor what watches them, keep it."""
    reading = Reading()
    tracer = AgentTracer(backend=InMemoryBackend(), meter_provider=reading.provider)
    runs(tracer)
    assert reading.kept() == {("InMemoryBackend",): 1}
    provider = weakref.ref(reading.provider)
    reading.provider.shutdown()
    del reading, tracer
    collected()
    assert provider() is None


def test_what_nobody_collects_does_not_grow(reading: Reading) -> None:
    """The counts of dropped tracers are summed up although no metric is ever read."""
    from otel_agent_trace.tracing.meters import meters_of

    losses = meters_of(reading.provider).losses
    for _ in range(20):
        runs(AgentTracer(backend=InMemoryBackend(), meter_provider=reading.provider))
        collected()
    kept = AgentTracer(backend=InMemoryBackend(), meter_provider=reading.provider)
    assert len(losses._counted) <= 4
    assert len(losses._tracers) == 1
    runs(kept)
    assert reading.kept() == {("InMemoryBackend",): 21}
