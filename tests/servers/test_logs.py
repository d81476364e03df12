"""Logs of runs in the file of a real Collector, and beside spans that a real Jaeger takes."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, configure, load_run
from otel_agent_trace.tracing import logs
from tests.support.running_servers import RunningCollector, RunningJaeger
from tests.support.waiting import wait_until

LOG = logging.getLogger("weather")


@pytest.fixture(autouse=True)
def loggers_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop to watch the loggers of this process after each test."""
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    monkeypatch.setattr(logs._WATCHED, "lowest", None)


def log_in_a_run(server: Any, kind: str, memory: InMemoryBackend) -> AgentTracer:
    settings: dict[str, Any] = {"protocol": "grpc"} if kind == "grpc" else {}
    provider = configure(backends=memory, otlp=server.url(f"otlp_{kind}"), logs="WARNING", **settings)
    tracer = AgentTracer(tracer_provider=provider, agent_name="weather")
    with tracer.run(user_input="Rain?") as run:
        LOG.warning("in the run")
        with run.step("search"):
            try:
                raise TimeoutError("slow")
            except TimeoutError:
                LOG.exception("stale %s", "Paris", extra={"age_s": 90, "place": {"city": "Paris"}})
    assert tracer.flush(30)
    return tracer


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_the_file_of_the_collector(collector_server: RunningCollector, kind: str) -> None:
    """It has the same run as memory."""
    memory = InMemoryBackend()
    tracer = log_in_a_run(collector_server, kind, memory)
    (run,) = memory.runs()
    assert (len(run.logs), len(run.steps[0].logs)) == (1, 1)
    wait_until(lambda: collector_server.file.exists() and run.run_id in collector_server.file.read_text(), "the spans")
    wait_until(lambda: load_run(collector_server.file, run.run_id) == run, "the same run")
    assert tracer.stats()["OtlpBackend: logs sent"] == 2


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_jaeger_takes_no_logs(jaeger_server: RunningJaeger, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It gets the spans, and there is one warning."""
    tracer = log_in_a_run(jaeger_server, kind, InMemoryBackend())
    stats = tracer.stats()
    assert stats["OtlpBackend: sent"] == 2
    assert stats["OtlpBackend: logs dropped: the receiver takes no logs"] == 2
    assert caplog.text.count("log records are not sent any more") == 1
