"""What agents did, through the real chain: SDK, Collector, Jaeger and the Collector's file, and back as runs."""

from __future__ import annotations

import contextvars
import datetime
import http.client
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    AgentTracer,
    InMemoryBackend,
    JaegerSource,
    configure,
    load_runs,
    open_source,
)
from otel_agent_trace.model import RunStatus
from otel_agent_trace.span import Problem, SpanRecord
from tests.support.exact_comparison import difference
from tests.support.older_jaeger import OlderJaeger
from tests.support.running_servers import COLLECTOR_CONFIG, RunningCollector, RunningJaeger
from tests.support.script_stage import Places, Stage
from tests.support.server_fixtures import StartCollector, StartJaeger
from tests.support.strategies import Run, runs
from tests.support.waiting import DEADLOCK_S, wait_until

_EXAMPLES = settings().max_examples
FINISHED, UNFINISHED = _EXAMPLES * 5 // 7, max(_EXAMPLES // 4, 7)
"""Numbers of runs of each protocol; of fewer unfinished ones, none may have a step that ended."""
PROTOCOLS = {"http/protobuf": "otlp_http", "grpc": "otlp_grpc"}


class Chain:
    """A traced program before the Collector, and what it traced."""

    def __init__(self, collector: RunningCollector, jaeger: RunningJaeger, protocol: Any) -> None:
        self.collector, self.jaeger = collector, jaeger
        self.service = f"chain-{secrets.token_hex(4)}"
        self.memory = InMemoryBackend()
        endpoint = collector.url(PROTOCOLS[protocol])
        self.provider: TracerProvider = configure(
            otlp=endpoint, protocol=protocol, backends=[self.memory], resource={"service.name": self.service}
        )
        self.stage = Stage(AgentTracer(tracer_provider=self.provider))
        self.unfinished: list[Any] = []

    def carry_out(self, script: Run) -> None:
        self.stage.carry_out(script)
        self.flush()

    def begin(self, script: Run) -> None:
        """A run that never ends, in a context of its own; nor does the agent that it has called last."""
        contextvars.copy_context().run(self._begin, script, None)
        self.flush()

    def _begin(self, script: Run, above: Any) -> None:
        handle = self.stage.tracer.run(self.stage.start_fields(script))
        self.unfinished.append(handle)
        handle.__enter__()
        places = Places([])
        for event in script.events:
            if event is script.events[-1] and isinstance(event, Run):
                self._begin(event, handle)
            else:
                self.stage.event(event, handle, places, None)

    def flush(self) -> None:
        assert self.provider.force_flush(600_000)

    def wait(self) -> None:
        """Until all that has ended has arrived, everywhere."""
        sent = {(span.trace_id, span.span_id) for span in self.memory.spans()}
        for source in (self.folder, self.v3):
            wait_until(partial(lambda source: sent <= ids_in(source), source), f"the spans in {source}")

    @property
    def folder(self) -> str:
        return str(self.collector.file.parent)

    @property
    def v3(self) -> JaegerSource:
        return JaegerSource(self.jaeger.url("query"), service=self.service)

    @property
    def older(self) -> JaegerSource:
        return OlderJaeger(self.jaeger.url("query"), service=self.service)


def ids_in(source: Any, on_problem: Any = str) -> set[tuple[str, str]]:
    spans: list[SpanRecord] = []
    for trace in open_source(source).traces(on_problem):
        spans += trace
    return {(span.trace_id, span.span_id) for span in spans}


@pytest.fixture(params=PROTOCOLS)
def chain(
    request: pytest.FixtureRequest, collector_server: RunningCollector, jaeger_server: RunningJaeger
) -> Iterator[Chain]:
    """The shared servers, with a traced program of this test before them."""
    made = Chain(collector_server, jaeger_server, request.param)
    yield made
    made.provider.shutdown()


@pytest.mark.slow
def test_runs_come_back_equal_from_the_file_and_from_jaeger(chain: Chain) -> None:
    """All that hypothesis thinks of is traced first, and then read at once."""

    @settings(max_examples=FINISHED)
    @given(runs())
    def trace(script: Run) -> None:
        chain.carry_out(script)

    trace()
    chain.wait()
    expected = by_trace(chain.memory.runs())
    assert_equal(by_trace(load_runs(chain.folder, service=chain.service, strict=True)), expected)
    assert_equal(by_trace(load_runs(chain.v3, strict=True)), expected)
    older = {trace_id: in_microseconds(run) for trace_id, run in by_trace(load_runs(chain.older, strict=True)).items()}
    assert_equal(older, {trace_id: in_microseconds(run) for trace_id, run in expected.items()})


def test_a_step_outside_of_its_parent_keeps_its_time(chain: Chain) -> None:
    """Jaeger's older search moves it into the parent, as if a clock were wrong."""
    tracer = chain.stage.tracer
    run_id = tracer.start_run(user_input="q")
    noon = datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.timezone.utc)
    for begin_ms, took_s, parent in ((0, 0.2, None), (300, 0.1, 1)):
        began = noon + datetime.timedelta(milliseconds=begin_ms)
        tracer.log_step(run_id, name="s", started_at=began, duration_s=took_s, parent_step_id=parent)
    tracer.end_run(run_id, "a")
    chain.flush()
    chain.wait()
    [expected] = chain.memory.runs()
    assert [step.started_at.microsecond for step in expected.steps] == [0, 300_000]
    for source in (chain.v3, chain.older):
        [found] = load_runs(source, strict=True)
        assert in_microseconds(found) == in_microseconds(expected)


@pytest.mark.slow
def test_of_unfinished_runs_their_finished_spans_come_back(chain: Chain) -> None:
    """Under the id of the run, which is running."""

    @settings(max_examples=UNFINISHED)
    @given(runs(how="block"))
    def trace(script: Run) -> None:
        chain.begin(script)

    trace()
    chain.wait()
    sent: set[str | None] = {span.span_id for span in chain.memory.spans()}
    expected = {key(run): steps for run in unfinished(chain) if (steps := ended(run, sent))}
    assert expected
    for source in (chain.folder, chain.v3, chain.older):
        found = load_runs(source, service=chain.service, strict=True)
        assert {(run.status, run.ended_at_ns) for run in found} == {(RunStatus.RUNNING, None)}
        assert_equal(
            {key(run): alike(run.steps, source) for run in found},
            {run_id: alike(steps, source) for run_id, steps in expected.items()},
        )


def key(run: AgentRun) -> tuple[str | None, str]:
    return run.trace_id, run.run_id


def unfinished(chain: Chain) -> Iterator[AgentRun]:
    """The runs that go on, and those in them."""
    for outer in chain.memory.runs():
        yield from (run for run in outer.walk() if run.ended_at_ns is None)


def ended(run: AgentRun, sent: set[str | None]) -> tuple[AgentStep, ...]:
    return tuple(step for step in run.steps if step.span_id in sent)


def alike(steps: tuple[AgentStep, ...], source: Any) -> tuple[Any, ...]:
    return tuple(in_microseconds(step) for step in steps) if isinstance(source, OlderJaeger) else steps


def in_microseconds(item: Any) -> Any:
    """A run or a step with its beginning and duration (in place of its end) cut to microseconds, and all below it."""
    if item is None:
        return None
    took_us = None if item.ended_at_ns is None else (item.ended_at_ns - item.started_at_ns) // 1000
    below: dict[str, Any] = (
        {"steps": tuple(map(in_microseconds, item.steps))}
        if isinstance(item, AgentRun)
        else {"run": in_microseconds(item.run)}
    )
    return msgspec.structs.replace(item, started_at_ns=item.started_at_ns // 1000, ended_at_ns=took_us, **below)


def by_trace(found: list[AgentRun]) -> dict[str | None, AgentRun]:
    assert len({run.trace_id for run in found}) == len(found)
    return {run.trace_id: run for run in found}


def assert_equal(found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    """Equal to the library, and to a comparison that knows nothing of it."""
    assert found.keys() == expected.keys()
    differing = [where for name in expected if (where := difference(found[name], expected[name], str(name)))]
    assert differing == []
    assert found == expected


# ── death ────────────────────────────────────────────────────────────────────────────────────────────────────────────

KILLS, REQUESTS, SPANS_A_REQUEST, SENDERS = 20, 40, 10, 2
TEARING_KILLS = 5


class Load:
    """Requests without end, from several threads, and the ids of the spans that were acknowledged."""

    def __init__(self, collector: RunningCollector, service: str) -> None:
        self.collector, self.service = collector, service
        self.acknowledged: set[tuple[str, str]] = set()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._done.is_set():
            trace_id = secrets.token_hex(16)
            spans = [self._span(trace_id) for _ in range(SPANS_A_REQUEST)]
            if self._post(spans) == http.client.OK:
                self.acknowledged.update((trace_id, span["spanId"]) for span in spans)

    def _span(self, trace_id: str) -> dict[str, Any]:
        now = str(time.time_ns())
        text = {"stringValue": 'a "quoted" text ' * 20}
        return {
            "traceId": trace_id,
            "spanId": secrets.token_hex(8),
            "name": "execute_tool t",
            "startTimeUnixNano": now,
            "endTimeUnixNano": now,
            "attributes": [{"key": "gen_ai.tool.call.result", "value": text}],
        }

    def _post(self, spans: list[dict[str, Any]]) -> int:
        """The status of the answer; 0 if there is none."""
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": self.service}}]}
        body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})
        connection = http.client.HTTPConnection("127.0.0.1", self.collector.port("otlp_http"), timeout=DEADLOCK_S)
        try:
            connection.request("POST", "/v1/traces", body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


@pytest.mark.slow
def test_nothing_acknowledged_is_missing_in_jaeger_after_twenty_kills(
    start_collector: StartCollector, start_jaeger: StartJaeger, record_testsuite_property: Callable[[str, object], None]
) -> None:
    jaeger = start_jaeger()
    collector = start_collector(env={"JAEGER_OTLP_GRPC": jaeger.address("otlp_grpc")})
    service = f"killed-{secrets.token_hex(4)}"
    with Load(collector, service) as load:
        for _ in range(KILLS):
            known = len(load.acknowledged)
            wait_until(lambda: len(load.acknowledged) > known + REQUESTS * SPANS_A_REQUEST, "the load")
            collector.kill()
            collector.start()
    source = JaegerSource(jaeger.url("query"), service=service)
    wait_until(lambda: load.acknowledged <= ids_in(source), "what was acknowledged, in Jaeger")
    record_testsuite_property("acknowledged", len(load.acknowledged))
    record_testsuite_property("missing in the file", len(load.acknowledged - ids_in(str(collector.file.parent))))


@pytest.fixture
def buffered_config(tmp_path: Path) -> Path:
    """The configuration with a file that is not rotated: its writer keeps what it has for a second, and tears lines."""
    config = yaml.safe_load(COLLECTOR_CONFIG.read_text(encoding="utf-8"))
    exporter = config["exporters"]["file/traces"]
    del exporter["rotation"]
    exporter["append"] = True
    path = tmp_path / "buffered.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.mark.slow
def test_what_is_whole_in_lines_that_a_killed_collector_tore_is_read(
    start_collector: StartCollector, buffered_config: Path
) -> None:
    collector = start_collector(config=buffered_config)
    with Load(collector, "torn") as load:
        for _ in range(TEARING_KILLS):
            known = len(load.acknowledged)
            wait_until(lambda: len(load.acknowledged) > known + REQUESTS * SPANS_A_REQUEST, "the load")
            collector.kill()
            collector.start()
    collector.stop()
    lines = collector.file.read_bytes().splitlines()
    torn = [number for number, line in enumerate(lines, 1) if not is_json(line)]
    assert torn != []
    damaged = [number for number in torn if not all(map(is_json, pieces_of(lines[number - 1])))]
    problems: list[Problem] = []
    found = ids_in(collector.file, problems.append)
    assert [problem.line for problem in problems] == damaged  # of the others, only the line feed is missing
    assert ids_of_whole_objects(lines) <= found
    assert ids_of_whole_objects([lines[number - 1] for number in torn]) != set()


def is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def pieces_of(line: bytes) -> list[bytes]:
    """What stands between one beginning of a line and the next, wherever that is."""
    before, *pieces = line.split(BEGINNING)
    return [before] * bool(before) + [BEGINNING + piece for piece in pieces]


BEGINNING = b'{"resourceSpans":['


def ids_of_whole_objects(lines: list[bytes]) -> set[tuple[str, str]]:
    objects = [json.loads(piece) for line in lines for piece in pieces_of(line) if is_json(piece)]
    return {
        (span["traceId"], span["spanId"])
        for whole in objects
        for group in whole["resourceSpans"]
        for part in group["scopeSpans"]
        for span in part["spans"]
    }
