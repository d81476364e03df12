"""One agent, two gateways, a Jaeger behind each: the files of examples/deploy do what its page says, also when one dies."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import re
import signal
import subprocess
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import pytest
import yaml
from msgspec.structs import replace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_agent_trace import AgentTracer, InMemoryBackend
from otel_agent_trace.formats import otlp_proto
from otel_agent_trace.sampling import randomness_of, threshold_of
from otel_agent_trace.span import SpanRecord
from tests.support.processes import ROOT
from tests.support.running_servers import (
    COLLECTOR_CONFIG,
    WITH_TRACE_STATE,
    RunningCollector,
    RunningJaeger,
    RunningServer,
    opened,
)
from tests.support.server_fixtures import StartCollector, StartJaeger
from tests.support.waiting import DEADLOCK_S, wait_until

AGENT = ROOT / "examples" / "deploy" / "agent.yaml"
GATEWAY = ROOT / "examples" / "deploy" / "gateway.yaml"

RUNS = 1_000
STEPS = 10  # and the run itself: 11 spans
SPANS = RUNS * (STEPS + 1)
ONE_IN_FAILS = 20
ONE_IN_FAILS_IN_A_STEP = 10  # while the run itself goes well
WINDOW = 50  # runs at a time, whose spans are mixed
SPANS_PER_REQUEST = 5  # so that the load lasts for seconds
SENDERS = 4
ERROR = 2

Window = Sequence[SpanRecord]
Spans = dict[str, set[str]]
"""Ids of spans by the id of their trace."""


# ── what runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


class RunningAgent(RunningCollector):
    """The Collector of one machine, with the other end that the agent tier has."""

    def command(self) -> list[str]:
        return [*super().command(), "--config", str(AGENT)]


class MetricsReceiver(ThreadingHTTPServer):
    """Takes metrics over OTLP, and knows the last value of each series."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _TakeMetrics)
        self.values: dict[str, tuple[dict[str, str], int]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, request: ExportMetricsServiceRequest) -> None:
        metrics = [m for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics]
        for point in (point for m in metrics if m.name == "traces.span.metrics.calls" for point in m.sum.data_points):
            attributes = {pair.key: pair.value.string_value for pair in point.attributes}
            self.values[json.dumps(sorted(attributes.items()))] = attributes, point.as_int

    def calls(self, key: str = "", value: str = "") -> int:
        """How many spans were counted, of those with such an attribute."""
        return sum(calls for attributes, calls in [*self.values.values()] if attributes.get(key, "") == value)

    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _TakeMetrics(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, MetricsReceiver)
        self.server.take(ExportMetricsServiceRequest.FromString(gzip.decompress(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Tiers(NamedTuple):
    """An agent, its gateways, and what stands behind each of them."""

    agent: RunningCollector
    gateways: list[RunningCollector]
    jaegers: list[RunningJaeger]
    metrics: MetricsReceiver

    def kept(self) -> list[Spans]:
        """The spans that came through each gateway."""
        return [stored(jaeger) for jaeger in self.jaegers]

    def kept_by_all(self) -> Spans:
        return {trace: spans for part in self.kept() for trace, spans in part.items()}

    def decided(self, decision: str = "") -> int:
        """How many traces the gateways have decided about since they started last."""
        return sum(decided(gateway, decision) for gateway in self.gateways)

    def has_delivered(self, spans: int) -> bool:
        return number(self.agent, "otelcol_exporter_sent_spans") == spans

    def is_idle(self) -> bool:
        """Whether the gateways have nothing more to decide or to store."""
        queued = [number(gateway, "otelcol_exporter_queue_size", 'data_type="traces"') for gateway in self.gateways]
        return not any(map(undecided, self.gateways)) and not any(queued)


class StartTiers(Protocol):
    """Start one agent and two gateways with the variables that are given."""

    def __call__(self, env: Mapping[str, str]) -> Tiers: ...


@pytest.fixture
def start_tiers(
    collector_binary: Path, start_collector: StartCollector, start_jaeger: StartJaeger, tmp_path: Path
) -> Iterator[StartTiers]:
    agents = []
    metrics = MetricsReceiver()

    def start(env: Mapping[str, str]) -> Tiers:
        jaegers = [start_jaeger() for _ in range(2)]
        shared = {"COLLECTOR_STORES": "[otlp_grpc/jaeger]", "METRICS_OTLP_HTTP": metrics.url(), **env}
        gateways = [
            start_collector(
                GATEWAY, {**shared, "JAEGER_OTLP_GRPC": jaeger.address("otlp_grpc")}, options=[WITH_TRACE_STATE]
            )
            for jaeger in jaegers
        ]
        names = ", ".join(gateway.address("otlp_grpc") for gateway in gateways)
        agents.append(opened(RunningAgent(collector_binary, tmp_path / "agent", {"COLLECTOR_GATEWAYS": f"[{names}]"})))
        return Tiers(agents[0], gateways, jaegers, metrics)

    yield start
    for agent in agents:
        agent.close()
    metrics.shutdown()
    metrics.server_close()


# ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────────────


def number(collector: RunningServer, name: str, label: str = "") -> int:
    """The sum of one of a Collector's own numbers."""
    text = collector.get("metrics", "/metrics")[1].decode()
    found = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return int(sum(float(value) for labels, value in found if label in labels))


def decided(gateway: RunningCollector, decision: str = "") -> int:
    label = f'decision="{decision}"' if decision else ""
    return number(gateway, "otelcol_processor_tail_sampling_global_count_traces_sampled", label)


def undecided(gateway: RunningCollector) -> int:
    """How many traces wait for a decision; late spans of a trace that was dropped count as one more."""
    return number(gateway, "otelcol_processor_tail_sampling_new_trace_id_received") - decided(gateway)


def stored(jaeger: RunningJaeger) -> Spans:
    """All that a Jaeger has."""
    limits = {
        "start_time_min": "2020-01-01T00:00:00Z",
        "start_time_max": "2100-01-01T00:00:00Z",
        "num_traces": "50000",
        "raw_traces": "true",
    }
    query = urlencode({"query.service_name": "tiers", **{f"query.{name}": value for name, value in limits.items()}})
    status, body = jaeger.get("query", f"/api/v3/traces?{query}", 30)
    if status == http.client.NOT_FOUND:  # Jaeger has no trace of that service, or none yet
        return {}
    assert status == http.client.OK, body
    found = defaultdict(set)
    for group in json.loads(body)["result"].get("resourceSpans", ()):
        for each in (each for part in group["scopeSpans"] for each in part["spans"]):
            found[each["traceId"]].add(each["spanId"])
    return found


def count(spans: Spans) -> int:
    return sum(map(len, spans.values()))


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """The spans of 1,000 runs, those of 50 runs at a time mixed."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tiers")
    backend = InMemoryBackend()
    with AgentTracer(backend=backend, agent_name="weather") as tracer:
        for run in range(RUNS):
            with suppress(LookupError):
                trace(tracer, run)
    spans = backend.spans()
    assert len(spans) == SPANS
    size = WINDOW * (STEPS + 1)
    return [random.Random(0).sample(spans[start : start + size], size) for start in range(0, SPANS, size)]


def trace(tracer: AgentTracer, number_of_run: int) -> None:
    with tracer.run(user_input="Which way?") as run:
        for number_ in range(STEPS):
            with run.step("search", {"n": number_}) as step:
                step.output = "north"
                if number_of_run % ONE_IN_FAILS_IN_A_STEP == 1 and number_ == STEPS // 2:
                    step.error = LookupError("no such way")
        if number_of_run % ONE_IN_FAILS == 0:
            raise LookupError


def sent(spans: Iterable[SpanRecord]) -> Spans:
    by_trace = defaultdict(set)
    for each in spans:
        by_trace[each.trace_id].add(each.span_id)
    return by_trace


def everything(windows: Iterable[Window]) -> list[SpanRecord]:
    return [each for window in windows for each in window]


def post(agent: RunningServer, spans: Window) -> None:
    """Send one request until it is acknowledged."""
    body = otlp_proto.encode(spans)
    wait_until(lambda: answer(agent, body) == http.client.OK, "an acknowledgement")


def answer(agent: RunningServer, body: bytes) -> int:
    """The status of the answer; 0 if there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", agent.port("otlp_http"), timeout=DEADLOCK_S)
    try:
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def send(agent: RunningServer, windows: Iterable[Window], during: Mapping[int, Callable[[], object]] = {}) -> None:
    """Send requests, some at a time; when so many are acknowledged, call what `during` has for that number, while the others are sent."""
    requests = [
        window[start : start + SPANS_PER_REQUEST]
        for window in windows
        for start in range(0, len(window), SPANS_PER_REQUEST)
    ]
    acknowledged = threading.Semaphore(0)

    def send_one(request: Window) -> None:
        post(agent, request)
        acknowledged.release()

    with ThreadPoolExecutor(SENDERS) as pool:
        futures = [pool.submit(send_one, request) for request in requests]
        done = 0
        for number_, action in sorted(during.items()):
            while done < number_:
                assert acknowledged.acquire(timeout=DEADLOCK_S)
                done += 1
            action()
            assert not all(future.done() for future in futures), "the load was over"
        for future in futures:
            future.result()


# ── the tests ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("files", [(GATEWAY,), (COLLECTOR_CONFIG, AGENT)], ids=["gateway", "agent"])
def test_files_are_valid_without_any_variable(collector_binary: Path, tmp_path: Path, files: tuple[Path, ...]) -> None:
    """With ClickHouse, which no test runs."""
    options = [option for file in files for option in ("--config", str(file))]
    command = [str(collector_binary), "validate", *options]
    done = subprocess.run(
        command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=DEADLOCK_S, check=False
    )
    assert done.returncode == 0, done.stderr


def test_gateway_uses_all_that_it_defines() -> None:
    defaults = re.sub(r"\$\{env:\w+:-([^}]*)\}", r"\1", GATEWAY.read_text(encoding="utf-8"))
    config: dict[str, Any] = yaml.safe_load(defaults)
    pipelines = config["service"]["pipelines"].values()
    connectors = set(config["connectors"])
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in pipelines for name in pipeline.get(kind, ())}
        assert used - connectors == set(config[kind])
    assert set(config["service"]["extensions"]) == set(config["extensions"])


@pytest.mark.slow
def test_without_sampling_nothing_acknowledged_is_missing(start_tiers: StartTiers, windows: list[Window]) -> None:
    """Although a gateway is killed under load, the agent too, and both are started again.

    And each trace is whole, at one gateway.
    """
    tiers = start_tiers({"COLLECTOR_SAMPLING": "[]"})
    killed = tiers.gateways[0]

    def kill_gateway() -> None:
        wait_until(lambda: number(killed, "otelcol_receiver_accepted_spans"), "spans at the gateway")
        killed.kill()

    def kill_agent() -> None:
        """While it holds what the gateway does not take."""
        wait_until(lambda: number(tiers.agent, "otelcol_exporter_in_flight_requests"), "spans on their way")
        tiers.agent.kill()
        tiers.agent.start()

    send(tiers.agent, windows, {500: kill_gateway, 1_000: kill_agent, 1_500: killed.start})
    wait_until(lambda: sum(map(count, tiers.kept())) >= SPANS, "all spans in Jaeger")
    first, second = tiers.kept()
    assert first.keys() & second.keys() == set()
    assert {**first, **second} == sent(everything(windows))
    assert min(len(first), len(second)) > RUNS / 4


@pytest.mark.slow
def test_sampling_keeps_every_error_and_counts_every_span(start_tiers: StartTiers, windows: list[Window]) -> None:
    waits = {"COLLECTOR_DECISION_WAIT": "20s", "COLLECTOR_DECISION_WAIT_AFTER_ROOT": "10s"}
    tiers = start_tiers({**waits, "COLLECTOR_METRICS_INTERVAL": "1s"})
    send(tiers.agent, windows)
    wait_until(lambda: tiers.decided() >= RUNS and tiers.is_idle(), "all decisions")
    assert tiers.decided() == RUNS  # each once, so each trace was whole at one gateway

    spans = everything(windows)
    kept, whole = tiers.kept_by_all(), sent(spans)
    errors = [each for each in spans if each.status_code == ERROR]
    failed = {each.trace_id for each in errors if each.parent_span_id is None}
    assert (len(failed), len(errors)) == (RUNS // ONE_IN_FAILS, RUNS // ONE_IN_FAILS + RUNS // ONE_IN_FAILS_IN_A_STEP)
    assert kept == {trace_id: whole[trace_id] for trace_id in kept}
    tenth = threshold_of(0.1)
    assert kept.keys() == failed | {trace_id for trace_id in whole if randomness_of(int(trace_id, 16)) >= tenth}

    wait_until(lambda: tiers.metrics.calls() >= SPANS, "the counts")
    assert tiers.metrics.calls() == SPANS
    assert tiers.metrics.calls("status.code", "STATUS_CODE_ERROR") == len(errors)
    assert tiers.metrics.calls("gen_ai.operation.name", "invoke_agent") == RUNS

    late = next(each for each in spans if each.trace_id not in kept)
    below = like(late, "00000000000000e2", 0)
    post(tiers.agent, [replace(like(late, "00000000000000e1", ERROR), parent_span_id=None), below])
    wait_until(lambda: late.trace_id in tiers.kept_by_all(), "the late error")
    assert tiers.kept_by_all() == {**kept, late.trace_id: {"00000000000000e1", "00000000000000e2"}}


def like(span: SpanRecord, span_id: str, status_code: int) -> SpanRecord:
    """A step of the same trace that ended later."""
    return SpanRecord(
        trace_id=span.trace_id,
        span_id=span_id,
        parent_span_id=span.span_id,
        name="execute_tool search",
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        status_code=status_code,
        resource=span.resource,
        scope=span.scope,
    )


@pytest.mark.slow
def test_gateway_that_dies_loses_undecided_traces_only(
    start_tiers: StartTiers, windows: list[Window], record_property: Callable[[str, object], None]
) -> None:
    """All traces are to be kept, so what is missing was lost: exactly the traces that waited for their decision."""
    waits = {"COLLECTOR_DECISION_WAIT": "12s", "COLLECTOR_DECISION_WAIT_AFTER_ROOT": "8s"}
    tiers = start_tiers({**waits, "COLLECTOR_KEPT_PERCENTAGE": "100"})
    killed = tiers.gateways[0]
    before, during, after = windows[:6], windows[6:14], windows[14:]
    send(tiers.agent, before)
    wait_until(lambda: tiers.decided() == len(before) * WINDOW, "the first decisions")

    waited: list[int] = []
    decided_before = decided(killed)
    send(tiers.agent, during, {200: lambda: waited.append(kill_counted(tiers.agent, killed)), 500: killed.start})
    send(tiers.agent, after)
    wait_until(lambda: tiers.has_delivered(SPANS), "all spans at the gateways")
    wait_until(tiers.is_idle, "all decisions")

    first, second = tiers.kept()
    assert first.keys() & second.keys() == set()
    kept, whole = {**first, **second}, sent(everything(windows))
    lost = {trace_id: spans - kept.get(trace_id, set()) for trace_id, spans in whole.items()}
    lost = {trace_id: spans for trace_id, spans in lost.items() if spans}
    record_property("undecided traces", waited[0])
    record_property("traces that lost spans", len(lost))
    record_property("spans lost", count(lost))
    print(f"{waited[0]} traces were undecided; {len(lost)} of {RUNS} traces lost {count(lost)} of {SPANS} spans")
    assert decided_before > 0
    assert lost.keys() <= sent(everything(during)).keys()
    assert len(lost) == waited[0] > 0
    assert Counter(trace_id in second for trace_id in lost)[True] == 0


@pytest.mark.slow
def test_gateway_that_is_stopped_decides_about_all_it_has(start_tiers: StartTiers, windows: list[Window]) -> None:
    tiers = start_tiers({"COLLECTOR_DECISION_WAIT_AFTER_ROOT": "600s", "COLLECTOR_KEPT_PERCENTAGE": "100"})
    some = everything(windows[:4])
    send(tiers.agent, windows[:4])
    wait_until(lambda: tiers.has_delivered(len(some)), "all spans at the gateways")
    assert sum(map(undecided, tiers.gateways)) == 4 * WINDOW
    for gateway in tiers.gateways:
        gateway.stop()
        gateway.start()
    wait_until(tiers.is_idle, "all spans in Jaeger")
    assert tiers.kept_by_all() == sent(some)


def kill_counted(agent: RunningCollector, gateway: RunningCollector) -> int:
    """Kill a gateway at a moment when it is known how many traces wait for its decision.

    The agent stands still meanwhile, so that the gateway works off what it has been sent.
    """
    wait_until(lambda: undecided(gateway), "spans at the gateway")
    os.killpg(agent.pid, signal.SIGSTOP)
    try:
        seen = [-1]
        wait_until(lambda: seen.append(undecided(gateway)) or seen[-5:] == seen[-1:] * 5, "its numbers to stand still")
        gateway.kill()
    finally:
        os.killpg(agent.pid, signal.SIGCONT)
    return seen[-1]
