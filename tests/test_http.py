"""The one HTTP client, its retry policy, and that nothing of the libraries below it is printed in the host."""

from __future__ import annotations

import contextlib
import math
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace.http import HttpClient, HttpError, RetryPolicy, SecretScrubber, retry_after_s
from tests.support.waiting import DEADLOCK_S, PROMPT_S

# ── trying again ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_waits_become_longer_up_to_the_longest() -> None:
    retries = RetryPolicy(timeout_s=1000, first_wait_s=1, longest_wait_s=5, jitter_s=0).begin()
    assert [retries.wait_s() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_chance_comes_on_top() -> None:
    """Up to so much, and not the same for all who were cut off at once."""
    waits = {RetryPolicy(timeout_s=1000, first_wait_s=1, jitter_s=0.5).begin().wait_s() for _ in range(20)}
    assert all(wait_s is not None and 1 <= wait_s <= 1.5 for wait_s in waits)
    assert len(waits) > 1


def test_a_server_that_names_a_time_is_asked_again_then() -> None:
    retries = RetryPolicy(timeout_s=100, first_wait_s=1, jitter_s=0).begin()
    assert [retries.wait_s(after_s) for after_s in (7, None)] == [7, 1]


def test_a_server_that_says_now_is_not_asked_in_a_loop() -> None:
    """It waits as without a word of the server."""
    retries = RetryPolicy(timeout_s=100, first_wait_s=1, jitter_s=0).begin()
    assert [retries.wait_s(0) for _ in range(3)] == [1, 2, 4]


@pytest.mark.parametrize("after_s", [100, 1e9, math.inf])
def test_who_would_have_to_wait_too_long_gives_up(after_s: float) -> None:
    retries = RetryPolicy(timeout_s=100).begin()
    assert retries.wait_s(after_s) is None
    assert retries.wait_s(1) == 1


def test_attempts_are_counted_with_the_first() -> None:
    retries = RetryPolicy(timeout_s=100, attempts=3).begin()
    assert [retries.wait_s(2) for _ in range(3)] == [2, 2, None]


@given(st.floats(0, 1e9))
def test_seconds_of_a_header_come_back(seconds: float) -> None:
    assert retry_after_s(repr(seconds)) == seconds


# ── what may be shown ────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=4, max_size=20), st.text(max_size=50))
def test_no_secret_is_shown(secret: str, text: str) -> None:
    """Neither a header as a whole nor what stands behind ``Bearer``."""
    shown = SecretScrubber([f"Bearer {secret}"])(f"{text}{secret} {text}")
    assert secret not in shown
    assert "***" in shown or len(shown) == 303
    assert "\n" not in shown
    assert len(shown) <= 303


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that does with each connection what its test sets, after the first bytes have come."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.recv(10_000)
                talk(connection, stop)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)


def test_a_body_that_drips_takes_no_longer_than_the_timeout() -> None:
    """The time is for the whole answer, not for each of its bytes; in reading as in sending."""

    def drip(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        while not stop.wait(0.02):
            connection.sendall(b"x")

    client = HttpClient(headers={}, timeout_s=0.3)
    with server(drip) as url:
        began = time.monotonic()
        with pytest.raises(HttpError, match=r"no complete response within 0\.3 s") as caught:
            client.get(url, parameters={}, max_bytes=1 << 20)
        with pytest.raises(HttpError, match=r"no complete response within 0\.3 s"):
            client.post(url, b"body", headers={}, max_bytes=1 << 20)
        assert time.monotonic() - began < PROMPT_S
    assert (caught.value.kind, caught.value.may_pass) == ("timeout", True)
    client.close()


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["status line", "headers"])
def test_a_response_that_drips_before_its_body_takes_no_longer_either(beginning: bytes) -> None:
    """Also on a connection that has served a request before, and in another thread than the one that opened it."""

    def drip(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.recv(10_000)
        connection.sendall(beginning)
        for byte in b"HTTP/1.1 200 OK" * 1000:
            if stop.wait(0.02):
                return
            connection.sendall(bytes([byte]))

    client = HttpClient(headers={}, timeout_s=0.3)
    errors: list[HttpError] = []

    def get_again() -> None:
        try:
            client.get(url, parameters={}, max_bytes=1 << 20)
        except HttpError as error:
            errors.append(error)

    with server(drip) as url:
        assert client.get(url, parameters={}, max_bytes=1 << 20).is_success
        began = time.monotonic()
        other = threading.Thread(target=get_again)
        other.start()
        other.join(DEADLOCK_S)
        assert time.monotonic() - began < PROMPT_S
    assert [(error.kind, error.may_pass) for error in errors] == [("timeout", True)]
    client.close()


def test_of_a_large_body_no_more_is_held_than_was_asked_for() -> None:
    def pour(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain\r\n\r\n")
        while not stop.is_set():
            connection.sendall(b"x" * 65536)

    client = HttpClient(headers={}, timeout_s=DEADLOCK_S)
    with server(pour) as url:
        response = client.get(url, parameters={}, max_bytes=1000)
    assert (response.status, response.is_success, response.content_type) == (200, True, "text/plain")
    assert response.body == b"x" * 1001
    client.close()


@pytest.mark.parametrize(
    ("answer", "kind", "may_pass"),
    [
        (b"", "closed", True),
        (b"HTTP/1.1 200 OK\r\nContent-", "closed", True),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "protocol", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", "broken", True),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx", "broken", False),
    ],
)
def test_what_goes_wrong_has_a_kind(answer: bytes, kind: str, may_pass: bool) -> None:
    client = HttpClient(headers={}, timeout_s=DEADLOCK_S)
    with server(lambda connection, _: connection.sendall(answer)) as url, pytest.raises(HttpError) as caught:
        client.get(url, parameters={}, max_bytes=1000)
    assert (caught.value.kind, caught.value.may_pass, caught.value.__cause__) == (kind, may_pass, None)
    client.close()


def test_proxies_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://x")
    with pytest.raises(HttpError, match="HTTP_PROXY") as caught:
        HttpClient(headers={}, timeout_s=1)
    assert caught.value.kind == "proxy"


# ── the host ─────────────────────────────────────────────────────────────────────────────────────────────────────────


LEVELS = [None, "INFO", "DEBUG"]


def run(code: str, level: str | None) -> list[str]:
    """Return the lines that a program prints, on either stream, which logs everything from that level on, if any."""
    head = "import logging\n"
    if level is not None:
        head += f"logging.basicConfig(level={level!r}, format='%(name)s %(message)s')\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", head + textwrap.dedent(code)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLOCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


@pytest.mark.parametrize("level", LEVELS)
def test_a_dead_jaeger_prints_nothing(free_port: int, level: str | None) -> None:
    """It is asked several times, which is nobody's business; the error is raised."""
    code = f"""
    from otel_agent_trace import SourceError, load_runs
    try:
        load_runs("http://127.0.0.1:{free_port}")
    except SourceError as error:
        print(type(error).__name__)
    """
    assert run(code, level) == ["SourceError"]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_dead_receiver_prints_one_warning_of_ours(free_port: int, level: str | None, protocol: str) -> None:
    """That spans are lost; neither that it is tried again nor what the libraries below us have to say."""
    code = f"""
    from otel_agent_trace import configure
    provider = configure(otlp="http://127.0.0.1:{free_port}", protocol="{protocol}")
    provider.get_tracer("t").start_span("s").end()
    assert provider.force_flush(100) is False
    provider.shutdown()
    """
    lines = run(code, level)
    message = f"1 spans could not be sent to http://127.0.0.1:{free_port}"
    assert len(lines) == 1
    assert lines[0].removeprefix("otel_agent_trace ").startswith(message)


def test_requests_are_not_logged_by_the_client() -> None:
    """Not even by `httpx`, which logs each with its whole address; those of the program are logged as ever."""

    def accept(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with server(accept) as url:
        code = f"""
        import httpx
        from otel_agent_trace import configure
        provider = configure(otlp="{url}/?key=hush")
        provider.get_tracer("t").start_span("s").end()
        assert provider.force_flush()
        httpx.get("{url}/theirs")
        provider.shutdown()
        """
        lines = run(code, "DEBUG")
    assert "hush" not in "".join(lines)
    assert [line for line in lines if line.startswith("httpx ")] == [
        f'httpx HTTP Request: GET {url}/theirs "HTTP/1.1 200 OK"'
    ]
