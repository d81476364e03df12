"""Runs out of the real Jaeger."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    InMemoryBackend,
    JaegerSource,
    SourceError,
    iter_runs,
    load_run,
    load_runs,
    run_to_spans,
)
from otel_agent_trace.cli import main
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.testing import check_source
from tests.support.exact_comparison import difference
from tests.support.older_jaeger import OlderJaeger
from tests.support.requirements import OLDER
from tests.support.running_servers import RunningJaeger
from tests.support.sample_runs import BEGAN_NS, fail_on_problem, make_run, of_service
from tests.support.strategies import Run, runs
from tests.support.waiting import DEADLOCK_S, wait_until

LEGACY_LOST = ("flags", "links", "attributes", "events")
"""What the legacy interface changes: arrays become texts, links gain an attribute and lose theirs."""
LOST = LEGACY_LOST if OLDER else ()
"""What Jaeger changes: until 1.62 its memory held what the legacy interface can express."""


def send(jaeger: RunningJaeger, spans: Sequence[SpanRecord]) -> None:
    """Send them, and wait until Jaeger has them all."""
    connection = http.client.HTTPConnection("127.0.0.1", jaeger.port("otlp_http"), timeout=DEADLOCK_S)
    for first in range(0, len(spans), 500):
        body = otlp_json.encode(spans[first : first + 500])
        connection.request("POST", "/v1/traces", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == http.client.OK, answer.read()
        answer.read()
    connection.close()
    sent: dict[str, int] = {}
    for span in spans:
        sent[span.trace_id] = sent.get(span.trace_id, 0) + 1 + len(span.links)  # links have span ids too
    for trace_id, count in sent.items():
        wait_until(lambda: _count(jaeger, trace_id) >= count, "the spans in Jaeger")


def _count(jaeger: RunningJaeger, trace_id: str) -> int:
    return jaeger.get("query", f"/api/v3/traces/{trace_id}?raw_traces=true")[1].count(b'"spanId":"')


@pytest.fixture
def service() -> str:
    """A name that no other test uses."""
    return f"service-{secrets.token_hex(4)}"


def url(jaeger: RunningJaeger, service: str = "") -> str:
    return jaeger.url("query", f"?service={service}" if service else "")


def sample_runs(number: int, **fields: Any) -> list[AgentRun]:
    """Runs with ids that no other test uses, a second apart."""
    first = secrets.randbelow(2**31)
    return [make_run(first + place, **{"started_at_ns": BEGAN_NS + place * 10**9, **fields}) for place in range(number)]


# ── what comes back ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(script=runs())
@settings(suppress_health_check=list(HealthCheck))
def test_what_was_traced_comes_back_equal(
    jaeger_server: RunningJaeger, carry_out: Callable[[Run], tuple[AgentRun, list[SpanRecord]]], script: Run
) -> None:
    """Every value that there is; from the older interface but for the last three digits of times."""
    run, spans = carry_out(script)
    send(jaeger_server, spans)
    read = load_run(url(jaeger_server), run.trace_id)
    assert difference(read, run, "run") is None
    assert read == run
    older = load_run(OlderJaeger(url(jaeger_server)), run.trace_id)
    assert difference(without_times(older), without_times(run), "run") is None


def without_times(item: Any) -> Any:
    """The run with beginnings and durations (in place of ends) cut to microseconds, as Jaeger has them."""
    if not isinstance(item, AgentRun):
        return item
    return _cut(item, steps=tuple(_cut(step, run=without_times(step.run)) for step in item.steps))


def _cut(item: Any, **fields: Any) -> Any:
    took_us = None if item.ended_at_ns is None else (item.ended_at_ns - item.started_at_ns) // 1000
    return msgspec.structs.replace(item, started_at_ns=item.started_at_ns // 1000, ended_at_ns=took_us, **fields)


@pytest.fixture
def carry_out() -> Callable[[Run], tuple[AgentRun, list[SpanRecord]]]:
    """Carry a script out on a tracer; gives the run and its spans."""
    from tests.support.script_stage import Stage

    def call(script: Run) -> tuple[AgentRun, list[SpanRecord]]:
        memory = InMemoryBackend()
        with AgentTracer(backend=memory) as tracer:
            Stage(tracer).carry_out(script)
        [run] = memory.runs()
        return run, memory.spans()

    return call


@pytest.mark.parametrize("source", [JaegerSource, OlderJaeger], ids=["v3", "legacy"])
def test_conformance(start_jaeger: Callable[[], RunningJaeger], source: type[JaegerSource]) -> None:
    """The contract of sources, each case in a Jaeger of its own."""

    def make_source(spans: Sequence[SpanRecord]) -> JaegerSource:
        jaeger = start_jaeger()
        send(jaeger, spans)
        return source(url(jaeger))

    check_source(make_source, ignoring=LOST if source is JaegerSource else (*LEGACY_LOST, "start_ns", "end_ns"))


@pytest.mark.skipif(OLDER, reason="Jaeger 1.62 keeps such ends, and changes arrays")
@pytest.mark.parametrize("took_ns", [0, -1, -123_000_000, -BEGAN_NS, 1])
@pytest.mark.parametrize("attributes", [{}, {"@jaeger@warnings": ("mine",), "a": ("b",)}], ids=["none", "warnings"])
def test_a_span_that_ends_at_its_start_or_before(
    jaeger_server: RunningJaeger, took_ns: int, attributes: dict[str, Any]
) -> None:
    """Jaeger 1.76 moves such an end, and says so in an attribute."""
    [sent, *_] = run_to_spans(make_run(secrets.randbelow(2**31)))
    sent = msgspec.structs.replace(sent, end_ns=sent.start_ns + took_ns, attributes={**sent.attributes, **attributes})
    send(jaeger_server, [sent])
    [[read]] = JaegerSource(jaeger_server.url("query", f"/trace/{sent.trace_id}")).traces(fail_on_problem)
    assert (read.start_ns, read.end_ns) == (sent.start_ns, sent.end_ns)
    assert _as_lists(read.attributes) == _as_lists(sent.attributes)


def _as_lists(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in attributes.items()}


# ── searching ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def many(jaeger_server: RunningJaeger, service: str) -> list[AgentRun]:
    """More runs than one answer gives, a second apart; the service is the fixture's."""
    sent = sample_runs(250)
    send(jaeger_server, [of_service(span, service) for run in sent for span in run_to_spans(run)])
    return sent


@pytest.mark.parametrize("source", [JaegerSource, OlderJaeger], ids=["v3", "legacy"])
def test_all_runs_of_a_service(
    jaeger_server: RunningJaeger, many: list[AgentRun], service: str, source: type[JaegerSource]
) -> None:
    """Each once, the newest first, with filters."""
    there = source(url(jaeger_server, service))
    assert [run.run_id for run in load_runs(there)] == [run.run_id for run in many]
    newest = iter_runs(there, newest_first=True, limit=3)
    assert [run.run_id for run in newest] == [run.run_id for run in many[:-4:-1]]
    since, until = BEGAN_NS // 10**9 + 10, BEGAN_NS // 10**9 + 20
    assert [run.run_id for run in load_runs(there, since=since, until=until)] == [run.run_id for run in many[10:20]]


def test_the_service_as_a_filter(jaeger_server: RunningJaeger, many: list[AgentRun], service: str) -> None:
    assert len(load_runs(url(jaeger_server), service=service, limit=500)) == 250
    assert load_run(url(jaeger_server), "last", service=service).run_id == many[-1].run_id
    assert load_runs(url(jaeger_server), service=f"no-{service}") == []


def test_a_run_by_its_own_id(start_jaeger: Callable[[], RunningJaeger], service: str) -> None:
    jaeger = start_jaeger()
    run = sample_runs(1, run_id=f"order-{service}")[0]
    send(jaeger, [of_service(span, service) for span in run_to_spans(run)])
    assert load_run(url(jaeger), run.run_id).trace_id == run.trace_id
    assert load_run(url(jaeger, service), run.run_id[:-2]).trace_id == run.trace_id


def test_a_trace_whose_root_has_not_arrived(jaeger_server: RunningJaeger, service: str) -> None:
    run = sample_runs(1)[0]
    root, *below = run_to_spans(run)
    send(jaeger_server, [of_service(span, service) for span in below])
    assert load_runs(url(jaeger_server, service))[0].status.value == "running"
    send(jaeger_server, [of_service(root, service)])
    assert load_runs(url(jaeger_server, service))[0].status.value == "success"


def test_the_command(jaeger_server: RunningJaeger, service: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = sample_runs(1)[0]
    send(jaeger_server, [of_service(span, service) for span in run_to_spans(run)])
    assert main(["list", url(jaeger_server, service)]) == 0
    assert "question" in capsys.readouterr().out
    assert main(["show", jaeger_server.url("query", f"/trace/{run.trace_id}")]) == 0
    assert "search" in capsys.readouterr().out
    assert main(["show", f"{url(jaeger_server)}#{run.run_id}", "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["run_id"] == run.run_id


def test_it_is_gone(start_jaeger: Callable[[], RunningJaeger]) -> None:
    jaeger = start_jaeger()
    jaeger.kill()
    with pytest.raises(SourceError, match="the connection was refused"):
        load_runs(url(jaeger))


@pytest.mark.parametrize("role", ["query_grpc", "otlp_http", "otlp_grpc", "health"])
def test_another_port_of_it(jaeger_server: RunningJaeger, role: str) -> None:
    with pytest.raises(SourceError, match="Jaeger's API is at the port of its web interface"):
        load_runs(jaeger_server.url(role))
