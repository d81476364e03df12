"""Spans sent in the background: what becomes of them whatever the receiver answers, the spans are, and the settings say."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode, Tracer

from otel_agent_trace import AgentSpanProcessor, AgentTracer, InMemoryBackend, configure
from otel_agent_trace.backends.otlp import OtlpBackend
from otel_agent_trace.otlp import Schedule, settings_of
from otel_agent_trace.otlp.http_transport import HttpTransport
from tests.support.fake_receivers import OK, RESET, Answer, FakeReceiver, Request, first, html, partial, poisoned
from tests.support.otlp_receivers import free_ports
from tests.support.providers import emit, stats
from tests.support.waiting import DEADLOCK_S, PROMPT_S, wait_until

Code = grpc.StatusCode
PROTOCOLS = ("http/protobuf", "grpc")
LOST, REFUSED, REJECTED = "OtlpBackend: lost: sending", "OtlpBackend: refused", "OtlpBackend: rejected"
SENT, FAILED = "OtlpBackend: sent", "OtlpBackend: failed: span that cannot be sent"
FULL, TOO_LARGE = "OtlpBackend: dropped: queue full", "OtlpBackend: dropped: queue too large"
NOWHERE = "OtlpBackend: dropped: nowhere to send"


@pytest.fixture
def sending() -> Iterator[Callable[..., TracerProvider]]:
    """Providers that send to a receiver, shut down at the end of the test."""
    made: list[TracerProvider] = []

    def make(endpoint: str, protocol: Any = "http/protobuf", **schedule: Any) -> TracerProvider:
        provider = TracerProvider(shutdown_on_exit=False)
        settings = settings_of(endpoint, protocol=protocol, timeout_s=schedule.pop("timeout_s", 10))
        provider.add_span_processor(AgentSpanProcessor(OtlpBackend(settings, schedule=Schedule(**schedule))))
        made.append(provider)
        return provider

    yield make
    for provider in made:
        provider.shutdown()


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "counts", "expected_message"),
    [
        (Answer(200), {SENT: 3}, None),
        (Answer(200, partial(2, "two were old")), {SENT: 1, REJECTED: 2}, "two were old"),
        (html(), {LOST: 3}, "a web page"),
        (Answer(200, b"OK", {}, "text/plain"), {LOST: 3}, "text/plain"),
        (Answer(302, b"", {"Location": "https://login.example.org/"}), {LOST: 3}, "login.example.org"),
        (Answer(307, b"", {"Location": "/elsewhere"}), {LOST: 3}, "/elsewhere"),
        (Answer(400, b"never"), {REFUSED: 3}, "never"),
        (Answer(401, b"bad key"), {LOST: 3}, "bad key"),
        (Answer(404), {LOST: 3}, "answered 404"),
        (Answer(408, b"", {"Retry-After": "3600"}), {LOST: 3}, "answered 408"),
        (Answer(413), {REFUSED: 3}, "answered 413"),
        (Answer(500, b"broken"), {REFUSED: 3}, "broken"),
        (Answer(429, b"", {"Retry-After": "3600"}), {LOST: 3}, "answered 429"),
    ],
)
def test_answers(
    http_receiver: FakeReceiver,
    answer: Answer,
    counts: dict[str, int],
    expected_message: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only what a receiver of OTLP says it has taken is sent; all else is counted, reported once, and flushing says so."""
    http_receiver.answer = lambda request: answer
    provider = configure(otlp=http_receiver.endpoint)
    emit(provider, 3)
    assert provider.force_flush(600_000) is (counts == {SENT: 3})
    assert stats(provider) == counts
    assert [record.levelname for record in caplog.records] == ([] if expected_message is None else ["WARNING"])
    assert expected_message is None or expected_message in caplog.text
    emit(provider, 3)
    provider.force_flush(600_000)
    assert stats(provider) == {reason: 2 * number for reason, number in counts.items()}
    assert len(caplog.records) == (expected_message is not None)
    provider.shutdown()


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (Answer(Code.OK, partial(2, "two were old")), {SENT: 1, REJECTED: 2}),
        (Answer(Code.INVALID_ARGUMENT, "never"), {REFUSED: 3}),
        (Answer(Code.UNAUTHENTICATED, "bad key"), {LOST: 3}),
        (Answer(Code.RESOURCE_EXHAUSTED, "larger than max (9 vs. 4)"), {REFUSED: 3}),
    ],
)
def test_answers_of_grpc(grpc_receiver: FakeReceiver, answer: Answer, counts: dict[str, int]) -> None:
    """The same in the words of gRPC."""
    grpc_receiver.answer = lambda request: answer
    provider = configure(otlp=grpc_receiver.http_endpoint, protocol="grpc")
    emit(provider, 3)
    assert provider.force_flush(600_000) is False
    assert stats(provider) == counts
    provider.shutdown()


@pytest.mark.parametrize(
    ("protocol", "answer"),
    [
        *(("http/protobuf", Answer(status)) for status in (429, 500, 502, 503, 504)),
        ("http/protobuf", Answer(429, b"", {"Retry-After": "0"})),
        ("http/protobuf", RESET),
        ("grpc", Answer(Code.UNAVAILABLE, "busy")),
        ("grpc", Answer(Code.RESOURCE_EXHAUSTED, "too many")),
    ],
)
def test_what_passes_is_tried_again(
    receivers: dict[str, FakeReceiver], protocol: Any, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """What a receiver cannot do now it does a moment later, and nothing is reported."""
    receiver = receivers[protocol]
    receiver.answer = first(answer)
    provider = configure(otlp=receiver.http_endpoint, protocol=protocol)
    emit(provider, 3)
    assert provider.force_flush(600_000)
    assert (len(receiver.requests), len(receiver.accepted), stats(provider)) == (2, 3, {SENT: 3})
    assert caplog.records == []
    provider.shutdown()


def test_one_that_is_refused_costs_itself(http_receiver: FakeReceiver) -> None:
    """The receiver refuses every request with a certain span: the others arrive, once each."""
    http_receiver.answer = poisoned(Answer(400, b"never"), "s100")
    provider = configure(otlp=http_receiver.endpoint)
    emit(provider, 512)
    assert provider.force_flush(600_000) is False
    assert sorted(span.name for span in http_receiver.accepted) == sorted(f"s{i}" for i in range(512) if i != 100)
    assert stats(provider) == {SENT: 511, REFUSED: 1}
    provider.shutdown()


@contextlib.contextmanager
def raw_server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that does with each connection what its test sets."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                talk(connection, stop)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)


def hang(connection: socket.socket, stop: threading.Event) -> None:
    stop.wait(DEADLOCK_S)


def close(connection: socket.socket, stop: threading.Event) -> None:
    connection.recv(100)


def drip(connection: socket.socket, stop: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 6000\r\n\r\n")
    while not stop.wait(0.02):
        connection.sendall(b"\x0a")


@pytest.mark.parametrize("talk", [hang, close, drip])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_answer(sending: Callable[..., TracerProvider], talk: Any, protocol: Any) -> None:
    """A flush takes the time that it was given; what cannot be delivered in time is given up and counted."""
    with raw_server(talk) as endpoint:
        patient = sending(endpoint, protocol, timeout_s=DEADLOCK_S, retry_timeout_s=DEADLOCK_S)
        emit(patient, 3)
        began = time.monotonic()
        assert patient.force_flush(100) is False
        assert time.monotonic() - began < PROMPT_S
        assert stats(patient) == {}  # nothing is given up yet
        impatient = sending(endpoint, protocol, timeout_s=0.4, retry_timeout_s=0.6)
        emit(impatient, 3)
        wait_until(lambda: LOST in stats(impatient), "the loss is counted")
        assert stats(impatient) == {LOST: 3}


def test_nobody_there(sending: Callable[..., TracerProvider]) -> None:
    """With nobody listening spans are lost when patience is at its end, and later ones are tried anew."""
    [port] = free_ports(1)
    provider = sending(f"http://127.0.0.1:{port}", retry_timeout_s=0.1)
    for round_ in (1, 2):
        emit(provider, 3)
        assert provider.force_flush(600_000) is False
        assert stats(provider) == {LOST: 3 * round_}


# ── spans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def nested(depth: int, *, kind: type = dict) -> Any:
    value: Any = "innermost"
    for _ in range(depth):
        value = {"k": value} if kind is dict else [value]
    return value


def _plain(tracer: Tracer, name: Any = "poison", **more: Any) -> Any:
    return tracer.start_span(name, **more)


def _deep(kind: type, depth: int) -> Callable[[Tracer], Any]:
    return lambda tracer: _plain(tracer, attributes={"k": nested(depth, kind=kind)}).end()


POISONS: dict[str, Callable[[Tracer], Any]] = {
    "surrogate in a value": lambda tracer: _plain(tracer, attributes={"k": "\udcff"}).end(),
    "surrogate in a nested key": lambda tracer: _plain(tracer, attributes={"k": {"\udcff": 1}}).end(),
    "surrogate in the name": lambda tracer: _plain(tracer, "poison\udcff").end(),
    "surrogate in an event": lambda tracer: [span := _plain(tracer), span.add_event("\udcff"), span.end()],
    "surrogate in the status": lambda tracer: [
        span := _plain(tracer),
        span.set_status(StatusCode.ERROR, "\udcff"),
        span.end(),
    ],
    "status that is no text": lambda tracer: [span := _plain(tracer), span.set_status(StatusCode.ERROR, 5), span.end()],
    "2**63": lambda tracer: _plain(tracer, attributes={"k": 2**63, "nested": {"k": [-(2**70)]}}).end(),
    "name that is a number": lambda tracer: _plain(tracer, 123).end(),
    "name None": lambda tracer: _plain(tracer, None).end(),
    "start that is a float": lambda tracer: _plain(tracer, start_time=1.5e18).end(),
    "start that is nan": lambda tracer: _plain(tracer, start_time=float("nan")).end(),
    "start below zero": lambda tracer: _plain(tracer, start_time=-1).end(),
    "end that is a float": lambda tracer: _plain(tracer).end(1.9e18),
    "end above 64 bits": lambda tracer: _plain(tracer).end(2**64),
    "end before start": lambda tracer: _plain(tracer, start_time=2_000).end(1_000),
    "event at a float": lambda tracer: [
        span := _plain(tracer),
        span.add_event("e", timestamp=1.5e18),
        span.end(),
    ],
    **{f"maps to depth {depth}": _deep(dict, depth) for depth in (31, 32, 33, 49, 150, 400)},
    **{f"lists to depth {depth}": _deep(list, depth) for depth in (46, 47, 48, 49, 150)},
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.filterwarnings("ignore")
def test_poison(http_sink: Any, grpc_sink: Any, protocol: Any, poison: str) -> None:
    """512 spans of the plain SDK, one of them poisoned, arrive as 512 at a receiver that reads Protobuf as all do."""
    sink = grpc_sink if protocol == "grpc" else http_sink
    provider = configure(otlp=sink.endpoint, protocol=protocol)
    emit(provider, 200)
    POISONS[poison](provider.get_tracer("poison"))
    emit(provider, 311)
    assert provider.force_flush(600_000)
    records = sink.records()
    assert len(records) == len({span.span_id for span in records}) == 512
    assert stats(provider) == {SENT: 512}
    [bad] = [span for span in records if span.scope.name == "poison"]
    assert bad.attributes.keys() <= {"k", "nested"}
    assert ("k" in bad.attributes) is (
        poison.startswith(("maps", "lists", "2**63")) or "value" in poison or "key" in poison
    )
    provider.shutdown()


def test_a_span_that_ends_the_thread(http_receiver: FakeReceiver, caplog: pytest.LogCaptureFixture) -> None:
    """What would end a program, raised by something in a span, costs no more than the span; sending goes on."""

    class Exits:
        def __init__(self, error: type[BaseException]) -> None:
            self.error = error

        def __str__(self) -> str:
            raise self.error

    provider = configure(otlp=http_receiver.endpoint)
    for error in (SystemExit, KeyboardInterrupt, GeneratorExit, ValueError):
        emit(provider, 2)
        span: Any = provider.get_tracer("t").start_span("x")
        span.update_name(Exits(error))
        span.end()
        emit(provider, 2)
        provider.force_flush(600_000)
    counts = stats(provider)
    assert counts[SENT] + counts.get(FAILED, 0) == 20
    assert len(http_receiver.accepted) == counts[SENT] >= 16
    provider.shutdown()


def test_spans_of_the_sending_are_not_sent(http_receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """An HTTP client that is traced by somebody who heeds no suppression does not feed what it sends."""
    provider = configure(otlp=http_receiver.endpoint)
    send = HttpTransport.send

    def traced(self: HttpTransport, body: bytes) -> Any:
        with provider.get_tracer("client").start_as_current_span("POST"):
            return send(self, body)

    monkeypatch.setattr(HttpTransport, "send", traced)
    emit(provider)
    for _ in range(3):
        assert provider.force_flush(600_000)
    assert [span.name for span in http_receiver.accepted] == ["s0"]
    assert stats(provider) == {SENT: 1}
    provider.shutdown()


# ── the queue ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Gate:
    """Lets answers wait until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, request: Request) -> Answer:
        self.opened.wait(DEADLOCK_S)
        return OK


def test_a_full_queue(
    http_receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What finds no room is dropped, counted, and reported once; all else arrives."""
    http_receiver.answer = gate = Gate()
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    provider = configure(otlp=http_receiver.endpoint)
    emit(provider, 10)
    http_receiver.wait_for_requests(1)  # those are on their way: half of a full queue goes at once
    emit(provider, 100)
    assert stats(provider) == {FULL: 80}
    assert [record.getMessage() for record in caplog.records] == [
        f"spans for {http_receiver.endpoint}/v1/traces are dropped: queue full (logged once)"
    ]
    gate.opened.set()
    assert provider.force_flush(600_000)
    assert stats(provider) == {FULL: 80, SENT: 30}
    assert len(http_receiver.accepted) == 30
    provider.shutdown()


@pytest.mark.parametrize("where", ["text", "bytes", "nested", "event", "link"])
def test_a_queue_that_is_too_large(
    http_receiver: FakeReceiver, sending: Callable[..., TracerProvider], where: str
) -> None:
    """The memory of what waits is bounded, wherever in a span it is; one that is larger by itself still goes."""
    http_receiver.answer = gate = Gate()
    provider = sending(http_receiver.endpoint, max_waiting_bytes=2_000_000)
    tracer = provider.get_tracer("t")

    def one(size: int) -> None:
        text = "x" * size
        span = tracer.start_span("s")
        if where == "event":
            span.add_event("e", {"k": text})
        elif where == "link":
            span.add_link(span.get_span_context(), {"k": text})
        else:
            values: dict[str, Any] = {"text": text, "bytes": text.encode(), "nested": {"k": [text]}}
            span.set_attribute("k", values[where])
        span.end()

    one(1_100_000)
    http_receiver.wait_for_requests(1)  # it is on its way, and counts until it is answered
    for _ in range(20):
        one(100_000)
    assert stats(provider) == {TOO_LARGE: 12}
    gate.opened.set()
    assert provider.force_flush(600_000)
    one(3_000_000)
    assert provider.force_flush(600_000)
    assert stats(provider) == {TOO_LARGE: 12, SENT: 10}


def test_half_a_queue_goes_at_once(http_receiver: FakeReceiver, sending: Callable[..., TracerProvider]) -> None:
    """Nobody waits for the time of sending when many spans come; few do."""
    provider = sending(http_receiver.endpoint, max_waiting_spans=100, batch_spans=30, delay_s=3600)
    emit(provider, 49)
    assert provider.force_flush(600_000)
    assert [len(request.spans) for request in http_receiver.requests] == [30, 19]
    emit(provider, 50)
    wait_until(lambda: len(http_receiver.accepted) == 99, "the half that was not flushed")


def test_few_spans_go_after_the_delay(http_receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single span is sent without anybody's doing, when the delay is over."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    provider = configure(otlp=http_receiver.endpoint)
    emit(provider)
    wait_until(lambda: len(http_receiver.accepted) == 1, "the span")
    provider.shutdown()


def test_shutdown(http_receiver: FakeReceiver) -> None:
    """It sends what waits; what ends later is counted; twice is once; no thread stays."""
    provider = configure(otlp=http_receiver.endpoint)
    tracer = provider.get_tracer("t")
    late = tracer.start_span("late")
    emit(provider, 3)
    [backend] = provider._active_span_processor._span_processors[0].pipeline.sinks  # type: ignore[attr-defined]
    provider.shutdown()
    backend.shutdown()
    assert backend.stats() == {"sent": 3}
    assert len(http_receiver.accepted) == 3
    backend.export([late])
    assert backend.stats() == {"sent": 3, "dropped: after the end": 1}
    wait_until(lambda: "otel_agent_trace.otlp" not in [t.name for t in threading.enumerate()], "the thread's end")


def test_as_an_exporter(http_receiver: FakeReceiver) -> None:
    """Under the SDK's own processors it takes what they give, after the policies."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OtlpBackend(settings_of(http_receiver.endpoint))))
    emit(provider, 2, **{"user.id": "alice"})
    provider.shutdown()
    assert [list(span.attributes) for span in http_receiver.accepted] == [["enduser.pseudo.id"]] * 2


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no pair"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "bad name=1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "k=%0a"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1e3"),
    ],
)
def test_broken_variables(
    http_receiver: FakeReceiver, name: str, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be meant is one warning that names it, and spans are sent as if it were not there."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", http_receiver.endpoint)
    monkeypatch.setenv(name, text)
    provider = configure()
    emit(provider)
    provider.shutdown()
    assert len(http_receiver.accepted) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert name in caplog.text or text in caplog.text


def test_headers_of_which_one_is_broken(
    http_receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are sent, and the broken one, which may be a secret, is not shown."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=1,secret,x-other=2")
    provider = configure(otlp=http_receiver.endpoint)
    emit(provider)
    provider.shutdown()
    [request] = http_receiver.requests
    assert (request.headers["x-key"], request.headers["x-other"]) == ("1", "2")
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:port"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "file:///tmp/x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://localhost:1", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file"},
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://localhost:1",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/no/such/file",
        },
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "HTTP_PROXY": "nonsense://x"},
    ],
)
def test_nowhere_to_send(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the environment leaves no way to send, that is one warning, the program goes on, and spans are counted."""
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    memory = InMemoryBackend()
    provider = configure(backends=[memory])
    emit(provider, 2)
    assert provider.force_flush(600_000)
    assert stats(provider) == {NOWHERE: 2, "InMemoryBackend: kept": 2}
    assert len(memory.spans()) == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    provider.shutdown()


def test_a_queue_smaller_than_a_batch(
    http_receiver: FakeReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A small queue makes the batches small; that is no mistake, and does not keep a program from starting."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    provider = configure(otlp=http_receiver.endpoint)
    emit(provider, 40)
    provider.shutdown()
    assert len(http_receiver.accepted) == 40
    assert caplog.records == []


@contextlib.contextmanager
def far_away(receiver: FakeReceiver, latency_s: float) -> Iterator[tuple[str, list[socket.socket]]]:
    """An address at which the receiver answers late, and the connections that were made to it."""
    port = int(receiver.endpoint.rpartition(":")[2])
    connections: list[socket.socket] = []

    def relay(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(latency_s)
                target.sendall(data)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
                connections.append(near)
                stack.enter_context(near)
                stack.enter_context(far)
                threading.Thread(target=relay, args=(near, far), daemon=True).start()
                threading.Thread(target=relay, args=(far, near), daemon=True).start()

    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_receiver_far_away(
    receivers: dict[str, FakeReceiver], sending: Callable[..., TracerProvider], protocol: Any
) -> None:
    """A connection may take as long as a request to come: it is not given up and made again meanwhile."""
    with far_away(receivers[protocol], latency_s=0.3) as (endpoint, connections):
        provider = sending(endpoint, protocol)
        emit(provider)
        assert provider.force_flush(600_000)
        assert len(connections) == 1
    assert stats(provider) == {SENT: 1}


# ── stats ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stats_of_a_given_provider(http_receiver: FakeReceiver, tmp_path: Any) -> None:
    """A tracer tells what all processors of ours count, whoever made the provider; those of a kind are added."""
    provider = TracerProvider(shutdown_on_exit=False)
    for _ in range(2):
        configure(provider=provider, otlp=http_receiver.endpoint)
    provider.add_span_processor(AgentSpanProcessor([InMemoryBackend(max_runs=1), InMemoryBackend(max_runs=1)]))
    tracer = AgentTracer(tracer_provider=provider)
    for _ in range(2):
        with tracer.run():
            pass
    assert tracer.flush(DEADLOCK_S)
    assert tracer.stats() == {"runs": 2, SENT: 4, "InMemoryBackend: kept": 4, "InMemoryBackend: dropped: max_runs": 2}
    provider.shutdown()
