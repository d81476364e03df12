"""What receivers do wrong, or say no to, and what `export` makes of it."""

from __future__ import annotations

import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from tests.support.export_command import Exporter, ids, trace, write
from tests.support.fake_receivers import (
    OK,
    RESET,
    Answer,
    FakeReceiver,
    Request,
    fake_grpc_receiver,
    fake_http_receiver,
    first,
    html,
    partial,
    poisoned,
)
from tests.support.otlp_receivers import free_ports
from tests.support.waiting import DEADLOCK_S, PROMPT_S

Code = grpc.StatusCode
TRACES = [trace(number, names=("a", "b")) for number in range(1, 30)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "t.jsonl", TRACES)


@pytest.fixture
def poisoned_path(tmp_path: Path) -> Path:
    """The same with one bad span in the midst."""
    traces = [*TRACES]
    traces[17] = trace(18, names=("a", "poison"))
    return write(tmp_path / "t.jsonl", traces)


def retry_info(seconds: float) -> dict[str, bytes]:
    delay = Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    status = status_pb2.Status(code=8)
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return {"grpc-status-details-bin": status.SerializeToString()}


# ── what passes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        RESET,
        Answer(503),
        Answer(502, *html()[1:]),
        Answer(504, b"busy", {}, "text/plain"),
        Answer(408),
        Answer(429, b"", {"Retry-After": "0"}),
        Answer(503, b"", {"Retry-After": "nonsense"}),
        Answer(500, b"by chance"),
    ],
)
def test_what_passes_is_tried_again(http_receiver: FakeReceiver, export: Exporter, path: Path, answer: Answer) -> None:
    """A lost connection, and a receiver that asks to come later, cost a moment."""
    http_receiver.answer = first(answer)
    result = export(path, "--to", http_receiver.endpoint)
    assert result.code == 0
    assert http_receiver.ids() == ids(TRACES)
    assert len(http_receiver.requests) == 2
    assert result.err.count("trying again") == 1


@pytest.mark.parametrize("in_words", [str, lambda seconds: email.utils.formatdate(time.time() + seconds, usegmt=True)])
def test_retry_after_is_waited_for(
    http_receiver: FakeReceiver, export: Exporter, path: Path, in_words: Callable[[int], str]
) -> None:
    """Seconds or a date; not less, and not the own backoff's time."""
    busy = lambda request: Answer(429, b"", {"Retry-After": in_words(2)})  # a date two seconds after the request
    http_receiver.answer = lambda request: OK if request.number else busy(request)
    began = time.monotonic()
    assert export(path, "--to", http_receiver.endpoint).code == 0
    assert time.monotonic() - began > 0.9  # dates have whole seconds


def test_whoever_wants_too_long_a_wait_is_given_up_at_once(
    http_receiver: FakeReceiver, export: Exporter, path: Path
) -> None:
    """Nobody waits for an hour, only to be refused then."""
    http_receiver.answer = lambda request: Answer(503, b"", {"Retry-After": "3600"})
    began = time.monotonic()
    result = export(path, "--to", http_receiver.endpoint)
    assert result.code == 2
    assert "answered 503" in result.err
    assert time.monotonic() - began < PROMPT_S


@pytest.mark.parametrize(
    "answer",
    [
        Answer(Code.UNAVAILABLE, "busy"),
        Answer(Code.UNAVAILABLE, "busy", retry_info(0.1)),
        Answer(Code.RESOURCE_EXHAUSTED, "too many", retry_info(0.1)),
        Answer(Code.DEADLINE_EXCEEDED, ""),
        Answer(Code.INTERNAL, "by chance"),
    ],
)
def test_what_passes_is_tried_again_over_grpc(
    grpc_receiver: FakeReceiver, export: Exporter, path: Path, answer: Answer
) -> None:
    """The same in the words of gRPC."""
    grpc_receiver.answer = first(answer)
    assert export(path, "--to", grpc_receiver.endpoint).code == 0
    assert grpc_receiver.ids() == ids(TRACES)
    assert len(grpc_receiver.requests) == 2


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_receiver_that_comes_later_is_waited_for(export: Exporter, path: Path, scheme: str) -> None:
    """A refused connection is tried again."""
    [port] = free_ports(1)
    with export.start(path, "--to", f"{scheme}://localhost:{port}") as process:
        assert process.stderr is not None
        assert "trying again" in process.stderr.readline()
        with fake_grpc_receiver(port=port) if scheme == "grpc" else fake_http_receiver(port=port) as receiver:
            assert process.wait(DEADLOCK_S) == 0
    assert receiver.ids() == ids(TRACES)


# ── one bad span ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("body", [b'{"detail": "no bytes, please"}', b"no bytes, please"])
def test_a_bad_span_costs_itself(
    http_receiver: FakeReceiver, export: Exporter, poisoned_path: Path, status: int, body: bytes
) -> None:
    """It is found, named with the receiver's words, and all others arrive; status 1."""
    http_receiver.answer = poisoned(Answer(status, body, {}, "application/json" if b"{" in body else "text/plain"))
    result = export(poisoned_path, "--to", http_receiver.endpoint)
    assert result.code == 1
    assert http_receiver.ids() == [each for each in ids(TRACES) if each != f"{18:08x}{2:08x}"]
    [line] = [line for line in result.err.splitlines() if line.startswith("refused: ")]
    assert line == (
        f"refused: span {18:08x}{2:08x} (poison) of trace {18:032x}: "
        f"{http_receiver.endpoint}/v1/traces answered {status}: no bytes, please"
    )
    assert ", 1 refused" in result.out
    assert export.states() == []


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.INTERNAL, Code.UNKNOWN])
def test_a_bad_span_costs_itself_over_grpc(
    grpc_receiver: FakeReceiver, export: Exporter, poisoned_path: Path, code: grpc.StatusCode
) -> None:
    """The same in the words of gRPC."""
    grpc_receiver.answer = poisoned(Answer(code, "no bytes, please"))
    result = export(poisoned_path, "--to", grpc_receiver.endpoint)
    assert result.code == 1
    assert len(grpc_receiver.accepted) == len(ids(TRACES)) - 1
    assert f"{18:08x}{2:08x} (poison)" in result.err
    assert "no bytes, please" in result.err


def test_many_bad_spans_are_not_all_named(http_receiver: FakeReceiver, export: Exporter, tmp_path: Path) -> None:
    """The first are, the others counted."""
    traces = [trace(number, names=("poison", "b")) for number in range(1, 90)]
    http_receiver.answer = poisoned(Answer(400))
    result = export(write(tmp_path / "t.jsonl", traces), "--to", http_receiver.endpoint)
    assert result.code == 1
    assert result.err.count("refused: ") == 20
    assert "... and 69 more" in result.err
    assert len(http_receiver.accepted) == 2 * 89


def test_names_cannot_steer_the_terminal(http_receiver: FakeReceiver, export: Exporter, tmp_path: Path) -> None:
    """Neither those of spans nor what a receiver says."""
    http_receiver.answer = lambda request: Answer(400, "\x1b]0;evil\x07", {}, "text/plain") if request.number else OK
    path = write(tmp_path / "t.jsonl", [trace(1, names=("\x1b[31mred",), size=3_000_000)])
    result = export(path, "--to", http_receiver.endpoint)
    assert result.code == 1
    assert "\x1b" not in result.err


@pytest.mark.parametrize("limit", [300_000, 30_000])
def test_a_receiver_of_small_requests_gets_small_ones(
    http_receiver: FakeReceiver, export: Exporter, tmp_path: Path, limit: int
) -> None:
    """413 halves the request, and the next are not made so large."""
    traces = [trace(number, names="abcd", size=1000) for number in range(1, 500)]
    traces[100] = trace(101, names=("large",), size=400_000)
    http_receiver.answer = lambda request: Answer(413, *html()[1:]) if request.size > limit else OK
    result = export(write(tmp_path / "t.jsonl", traces), "--to", http_receiver.endpoint)
    assert result.code == 1
    assert len(http_receiver.accepted) == len(ids(traces)) - 1
    assert "(large)" in result.err
    if limit == 300_000:
        assert len([each for each in http_receiver.requests if each.size > limit]) < 20


@pytest.mark.parametrize("options", [[("grpc.max_receive_message_length", 500_000)]])
def test_the_limit_of_grpc_halves(export: Exporter, tmp_path: Path, options: list[tuple[str, int]]) -> None:
    """RESOURCE_EXHAUSTED for the size is no reason to try the same again."""
    traces = [trace(number, names="ab", size=100_000) for number in range(1, 30)]
    traces.append(trace(99, names=("large",), size=600_000))
    with fake_grpc_receiver(options=options) as receiver:
        result = export(write(tmp_path / "t.jsonl", traces), "--to", receiver.endpoint)
    assert result.code == 1
    assert len(receiver.accepted) == len(ids(traces)) - 1
    assert "(large)" in result.err
    assert "larger than max" in result.err


def test_a_connection_that_is_always_lost_over_a_huge_span_is_its_refusal(
    http_receiver: FakeReceiver, export: Exporter, tmp_path: Path
) -> None:
    """Some receivers cut the connection when a request is too large."""
    traces = [trace(1), trace(2, names=("huge",), size=5_000_000), trace(3)]
    http_receiver.answer = lambda request: RESET if request.size > 5_000_000 else OK
    result = export(write(tmp_path / "t.jsonl", traces), "--to", http_receiver.endpoint)
    assert result.code == 1
    assert len(http_receiver.accepted) == 5
    assert "(huge)" in result.err


# ── partial success ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (partial(3, "three were old"), "application/x-protobuf"),
        (b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"three were old"}}', "application/json"),
        (b'{"partialSuccess":{"rejectedSpans":3,"errorMessage":"three were old"}}', "application/json; charset=utf-8"),
    ],
)
def test_partial_success_is_counted_and_reported(
    http_receiver: FakeReceiver, export: Exporter, path: Path, body: bytes, content_type: str
) -> None:
    """Not all arrived, and the receiver does not say which."""
    http_receiver.answer = lambda request: Answer(200, body, {}, content_type)
    result = export(path, "--to", http_receiver.endpoint)
    assert result.code == 1
    assert result.out.startswith(f"{len(ids(TRACES)) - 3} spans of")
    assert "3 rejected by the receiver" in result.out
    assert "message of the receiver: three were old" in result.err


def test_partial_success_over_grpc(grpc_receiver: FakeReceiver, export: Exporter, path: Path) -> None:
    """The same over gRPC; a message without a number is a warning."""
    grpc_receiver.answer = lambda request: Answer(Code.OK, partial(3, "three were old"))
    assert "3 rejected" in export(path, "--to", grpc_receiver.endpoint).out
    grpc_receiver.answer = lambda request: Answer(Code.OK, partial(0, "soon to be switched off"))
    result = export(path, "--to", grpc_receiver.endpoint)
    assert (result.code, result.err) == (0, "message of the receiver: soon to be switched off\n")


# ── what is no receiver of OTLP ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "expected_message"),
    [
        (html(), "a web page"),
        (Answer(200, b"<html>", {}, "application/x-protobuf"), "not as an OTLP receiver does"),
        (Answer(200, b"OK", {}, "text/plain"), "text/plain"),
        (Answer(200, b'{"error": "no such route"}', {}, "application/json"), "error"),
        (Answer(200, b"[]", {}, "application/json"), "not as an OTLP receiver does"),
        (Answer(200, b"\x0a\x00" * 40_000), "64 KiB"),
        (Answer(302, b"", {"Location": "https://me:pass@login.example.org/?next=token"}), "login.example.org"),
        (Answer(307, b"", {"Location": "/elsewhere"}), "/elsewhere"),
        (Answer(401, b"bad key"), "answered 401"),
        (Answer(403, *html()[1:]), "answered 403: a web page"),
        (Answer(404), "answered 404"),
        (Answer(415, b"", {}, None), "answered 415"),
        (html(400), "answered 400: a web page"),
    ],
)
def test_whoever_is_no_receiver_ends_it(
    http_receiver: FakeReceiver, export: Exporter, path: Path, answer: Answer, expected_message: str
) -> None:
    """One clear error at once, status 2; redirects are not followed."""
    http_receiver.answer = lambda request: answer
    result = export(path, "--to", http_receiver.endpoint)
    assert (result.code, result.out) == (2, "")
    [line] = result.err.splitlines()
    assert line.startswith(f"error: {http_receiver.endpoint}/v1/traces")
    assert expected_message in line
    assert "pass" not in line
    assert "token" not in line
    assert len(http_receiver.requests) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"\x0a\x00"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-protobuf", None])
def test_good_answers(
    http_receiver: FakeReceiver, export: Exporter, path: Path, body: bytes, content_type: str | None
) -> None:
    """An empty body, an empty message of either kind."""
    if (body, content_type) in ((b"{}", "application/x-protobuf"), (b"\x0a\x00", "application/json")):
        return
    http_receiver.answer = lambda request: Answer(200, body, {}, content_type)
    assert export(path, "--to", http_receiver.endpoint).code == 0


@pytest.mark.parametrize("code", [Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED])
def test_whoever_is_no_receiver_ends_it_over_grpc(
    grpc_receiver: FakeReceiver, export: Exporter, path: Path, code: grpc.StatusCode
) -> None:
    """The same over gRPC."""
    grpc_receiver.answer = lambda request: Answer(code, "go away")
    result = export(path, "--to", grpc_receiver.endpoint)
    assert result.code == 2
    assert f"answered {code.name}: go away" in result.err
    assert len(grpc_receiver.requests) == 1


@pytest.mark.parametrize("answer", [Answer(400, b"never"), Answer(422, b"never"), Answer(500, b"never")])
def test_whoever_refuses_everything_ends_it(
    http_receiver: FakeReceiver, export: Exporter, tmp_path: Path, answer: Answer
) -> None:
    """It is not the spans then: not each of thousands is sent alone."""
    path = write(tmp_path / "t.jsonl", [trace(number) for number in range(1, 1000)])
    http_receiver.answer = lambda request: answer
    result = export(path, "--to", http_receiver.endpoint)
    assert result.code == 2
    assert "100 spans in a row" in result.err


def test_the_wrong_protocol_is_reported(
    http_receiver: FakeReceiver, grpc_receiver: FakeReceiver, export: Exporter, path: Path
) -> None:
    """Whoever mixes up the two ports learns so at once."""
    result = export(path, "--to", grpc_receiver.endpoint.replace("grpc", "http"))
    assert result.code == 2
    assert "grpc://" in result.err
    result = export(path, "--to", http_receiver.endpoint.replace("http", "grpc"), "--retry-timeout", "1")
    assert result.code == 2


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("localhost:4318", "http://localhost:4318"),
        ("127.0.0.1:4317", "grpc://127.0.0.1:4317, or http://127.0.0.1:4317 if it uses HTTP"),
        ("myhost:4318/v1/traces", "http://myhost:4318/v1/traces"),
    ],
)
def test_an_address_without_its_scheme(export: Exporter, path: Path, address: str, advice: str) -> None:
    """One line: what was given, what it lacks, what to write instead; nothing is sent."""
    result = export(path, "--to", address)
    error = f"error: {address!r} has no http://, which http/protobuf needs; write {advice}\n"
    assert (result.code, result.out, result.err) == (2, "", error)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there(export: Exporter, path: Path, scheme: str) -> None:
    """One error, when patience is at its end."""
    [port] = free_ports(1)
    result = export(path, "--to", f"{scheme}://127.0.0.1:{port}", "--retry-timeout", "0.5")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[-1].startswith(f"error: {scheme}://127.0.0.1:{port}")
    assert "given up after" in result.err
    assert len([line for line in result.err.splitlines() if line.startswith("error: ")]) == 1


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_no_such_host(export: Exporter, path: Path, scheme: str) -> None:
    """A name that nobody has is not asked for again and again."""
    began = time.monotonic()
    result = export(path, "--to", f"{scheme}://nobody.invalid:4318", "--retry-timeout", "600")
    assert result.code == 2
    assert "nobody.invalid" in result.err
    assert time.monotonic() - began < PROMPT_S


def test_slow_receivers(http_receiver: FakeReceiver, grpc_receiver: FakeReceiver, export: Exporter, path: Path) -> None:
    """No answer within the timeout is a lost connection."""
    leave = threading.Event()

    def slow(request: Request) -> Answer:
        leave.wait(DEADLOCK_S)
        return OK

    for receiver in (http_receiver, grpc_receiver):
        receiver.answer = slow
        result = export(path, "--to", receiver.endpoint, "--timeout", "0.3", "--retry-timeout", "0.2")
        assert result.code == 2
        assert "given up" in result.err
    leave.set()


def test_a_body_that_drips(export: Exporter, path: Path) -> None:
    """The timeout is for the whole answer, not for each of its bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 60000\r\n\r\n"
                )
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"\x0a")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = export(path, "--to", endpoint, "--timeout", "0.4", "--retry-timeout", "0.1")
        stop.set()
        thread.join()
    assert result.code == 2
    assert "no complete response within 0.4 s" in result.err


# ── secrets, TLS, compression ────────────────────────────────────────────────────────────────────────────────────────


def test_headers_of_all_kinds(
    http_receiver: FakeReceiver,
    grpc_receiver: FakeReceiver,
    export: Exporter,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The environment's, the command's, and those of a password in the address."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=t%20one,api-key=theirs")
    for receiver in (http_receiver, grpc_receiver):
        scheme, _, host = receiver.endpoint.partition("://")
        assert export(path, "--to", f"{scheme}://me:pass@{host}", "--header", "Api-Key=mine").code == 0
        headers = receiver.requests[0].headers
        assert (headers["x-tenant"], headers["api-key"]) == ("t one", "mine")
        assert headers["authorization"] == "Basic bWU6cGFzcw=="


def test_no_message_tells_a_secret(
    http_receiver: FakeReceiver, export: Exporter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the receiver repeats what it was sent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret-token")
    http_receiver.answer = lambda request: Answer(403, "s3cret-token is no key; you sent " + str(request.headers))
    result = export(path, "--to", http_receiver.endpoint.replace("://", "://me:hush@"), "--header", "k=also-s3cret")
    assert result.code == 2
    assert "s3cret" not in result.err
    assert "hush" not in result.err
    assert "*** is no key" in result.err


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json", "grpc"])
def test_gzip(
    http_receiver: FakeReceiver,
    grpc_receiver: FakeReceiver,
    export: Exporter,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: Any,
) -> None:
    """What the variable asks for."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    receiver = grpc_receiver if protocol == "grpc" else http_receiver
    assert export(path, "--to", receiver.endpoint, "--protocol", protocol).code == 0
    assert receiver.ids() == ids(TRACES)
    if protocol != "grpc":
        assert receiver.requests[0].headers["content-encoding"] == "gzip"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that the environment names, with a certificate for us."""
    made = trustme.CA()
    mine = made.issue_cert("me@example.org")
    for name, blob in (
        ("CERTIFICATE", made.cert_pem),
        ("CLIENT_CERTIFICATE", mine.cert_chain_pems[0]),
        ("CLIENT_KEY", mine.private_key_pem),
    ):
        file = tmp_path / f"{name}.pem"
        blob.write_to_path(str(file))
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", str(file))
    return made


@contextmanager
def secure_receiver(authority: trustme.CA, scheme: str) -> Iterator[FakeReceiver]:
    """A receiver that speaks TLS and asks for certificates."""
    theirs = authority.issue_cert("localhost")
    if scheme == "grpcs":
        pairs = [(theirs.private_key_pem.bytes(), theirs.cert_chain_pems[0].bytes())]
        credentials = grpc.ssl_server_credentials(pairs, authority.cert_pem.bytes(), require_client_auth=True)
        with fake_grpc_receiver(credentials) as fake:
            yield fake
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        with fake_http_receiver(context) as fake:
            yield fake


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_tls(authority: trustme.CA, export: Exporter, path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """The files that the environment names are used; without them the receiver is not trusted, which is reported at once."""
    with secure_receiver(authority, scheme) as receiver:
        assert receiver.endpoint.startswith(scheme)
        result = export(path, "--to", receiver.endpoint)
        assert result.code == 0, result.err
        assert receiver.ids() == ids(TRACES)
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_CERTIFICATE")
        result = export(path, "--to", receiver.endpoint, "--retry-timeout", "10")
        assert result.code == 2
        assert "TLS failed" in result.err


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_certificates_that_are_none(
    export: Exporter, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """The variables are named."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "none.pem"))
    result = export(path, "--to", f"{scheme}://localhost:1")
    assert result.code == 2
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in result.err
