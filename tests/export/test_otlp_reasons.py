"""The one warning about spans that could not be sent gives the reason: real sockets, and no secret in any text."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from otel_agent_trace import configure
from tests.support.fake_receivers import RESET, Answer, FakeReceiver
from tests.support.otlp_receivers import free_ports


def warnings(caplog: pytest.LogCaptureFixture, endpoint: str, protocol: str = "http/protobuf") -> str:
    """Return the warnings about one span that is sent to an endpoint and lost."""
    provider = configure(otlp=endpoint, protocol=protocol)  # type: ignore[arg-type]
    provider.get_tracer("t").start_span("s").end()
    assert not provider.force_flush(1500)
    provider.shutdown()
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "otel_agent_trace")


@contextlib.contextmanager
def server_that_answers(first_bytes: bytes, *, is_reset: bool = False) -> Iterator[int]:
    """Provide a server of another protocol, which sends these bytes and closes, or resets, the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1 if is_reset else 65536)  # what is not read is a reset
                        connection.sendall(first_bytes)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_refused(caplog: pytest.LogCaptureFixture, protocol: str) -> None:
    [port] = free_ports(1)
    text = warnings(caplog, f"http://user:hunter22@127.0.0.1:{port}/?key=hunter22", protocol)
    assert f"127.0.0.1:{port}" in text
    assert "before it was closed: connection refused" in text
    assert "hunter22" not in text


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "answered 401: not *** (check OTEL_EXPORTER_OTLP_HEADERS)"),
        (403, "answered 403: not *** (check OTEL_EXPORTER_OTLP_HEADERS)"),
        (404, "answered 404: not *** (check the path of the endpoint)"),
        (413, "answered 413"),
        (503, "answered 503"),
    ],
)
def test_the_status_of_the_response(
    caplog: pytest.LogCaptureFixture,
    http_receiver: FakeReceiver,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    advice: str,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter22")
    http_receiver.answer = lambda request: Answer(status, b"not Bearer hunter22", {"Content-Type": "text/plain"})
    text = warnings(caplog, http_receiver.endpoint)
    assert advice in text
    assert "hunter22" not in text


@pytest.mark.parametrize(
    ("endpoint", "protocol", "first_bytes", "reason"),
    [
        (
            "http",
            "grpc",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "the server does not use gRPC; for HTTP set the protocol to http/protobuf",
        ),
        (
            "http",
            "http/protobuf",
            b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
            "the server does not use HTTP/1.1; for gRPC set the protocol to grpc",
        ),
        (
            "http",
            "http/protobuf",
            b"\x15\x03\x01\x00\x02\x02\x16",
            "the server does not use HTTP/1.1; for gRPC set the protocol to grpc (of export: --to grpc://host:4317), for TLS",
        ),
        ("https", "http/protobuf", b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server does not use TLS; write http://"),
        ("https", "grpc", b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server does not use TLS; write http://"),
    ],
)
def test_a_server_of_another_protocol(
    caplog: pytest.LogCaptureFixture, endpoint: str, protocol: str, first_bytes: bytes, reason: str
) -> None:
    with server_that_answers(first_bytes) as port:
        assert reason in warnings(caplog, f"{endpoint}://127.0.0.1:{port}", protocol)


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [("http", "if it speaks TLS, write https://"), ("https", "if it speaks plain HTTP, write http://")],
)
@pytest.mark.parametrize("is_reset", [True, False])
def test_a_server_that_closes_the_connection_may_speak_another_scheme(
    caplog: pytest.LogCaptureFixture, scheme: str, advice: str, is_reset: bool
) -> None:
    """Many servers answer nothing to what they cannot decode."""
    with server_that_answers(b"", is_reset=is_reset) as port:
        assert advice in warnings(caplog, f"{scheme}://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "beginning", [b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", b""]
)
def test_plain_http_at_a_port_of_tls(caplog: pytest.LogCaptureFixture, beginning: bytes) -> None:
    """Go's servers answer 400 and reset the connection, so that the reason arrives or not."""
    with server_that_answers(beginning, is_reset=True) as port:
        text = warnings(caplog, f"http://127.0.0.1:{port}")
    assert "Client sent an HTTP request to an HTTPS server" in text or "if it speaks TLS, write https://" in text


def test_a_certificate_that_is_not_there_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/ca.pem")
    for protocol in ("http/protobuf", "grpc"):
        configure(otlp="https://127.0.0.1:4318", protocol=protocol)  # type: ignore[arg-type]
    assert caplog.text.count("/no/such/ca.pem: No such file or directory") == 2


def test_a_wait_that_is_too_long_is_part_of_the_reason(
    caplog: pytest.LogCaptureFixture, http_receiver: FakeReceiver
) -> None:
    http_receiver.answer = lambda request: Answer(429, headers={"Retry-After": "100"})
    assert "answered 429 (it asks to wait 100 s; given up after 0 s)" in warnings(caplog, http_receiver.endpoint)


def test_a_receiver_that_has_answered_speaks_the_right_scheme(
    caplog: pytest.LogCaptureFixture, http_receiver: FakeReceiver
) -> None:
    """If it closes connections later, the reason is another."""
    provider = configure(otlp=http_receiver.endpoint)
    provider.get_tracer("t").start_span("s").end()
    assert provider.force_flush(10_000)
    http_receiver.answer = lambda request: RESET
    provider.get_tracer("t").start_span("s").end()
    assert not provider.force_flush(1500)
    provider.shutdown()
    assert "https://" not in caplog.text
    assert "the connection was reset" in caplog.text


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_unknown_host(caplog: pytest.LogCaptureFixture, protocol: str) -> None:
    assert "the host is unknown" in warnings(caplog, "http://no-such-host.invalid:4318", protocol)
