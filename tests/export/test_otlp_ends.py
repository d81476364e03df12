"""The ends of programs that send in the background: each in a process of its own, with a limit in time."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ending_programs import Program, ends_in_time, full_listener
from tests.support.fake_receivers import Answer, FakeReceiver
from tests.support.otlp_receivers import free_ports
from tests.support.requirements import START_METHODS, needs_fork

REQUEST_S = 10.0
PROTOCOLS = ("http/protobuf", "grpc")


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Program]:
    def call(code: str, endpoint: str, protocol: Any = "http/protobuf", **environment: str) -> Program:
        return Program(code, endpoint, protocol, tmp_path, **environment)

    return call


def names(receiver: FakeReceiver) -> list[str]:
    """Of the spans that arrived, sorted; each came once."""
    ids = Counter(span.span_id for span in receiver.accepted)
    assert set(ids.values()) <= {1}
    return sorted(span.name for span in receiver.accepted)


@contextlib.contextmanager
def bad_receiver(how: str) -> Iterator[str]:
    """Whoever never gives a whole answer: nobody listens or connects, nothing comes, or a byte now and then."""
    stop = threading.Event()
    [port] = free_ports(1)
    if how == "dead":
        yield f"http://127.0.0.1:{port}"
        return
    if how == "black hole":
        with full_listener() as port:
            yield f"http://127.0.0.1:{port}"
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.recv(100)
                if how == "drips":
                    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 6000\r\n\r\n"
                    connection.sendall(head)
                while not stop.wait(0.05):
                    if how == "drips":
                        connection.sendall(b"\x0a")

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)


# ── how long an end takes ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [1, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["dead", "hangs", "drips", "black hole"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_end_before_a_bad_receiver(start: Callable[..., Program], protocol: Any, how: str, number: int) -> None:
    """It takes two seconds at most; what could not be sent is counted, and one warning says how many."""

    def attempt() -> float:
        with bad_receiver(how) as endpoint:
            program = start(f"emit({number}); print('done', flush=True); sys.stdin.read()", endpoint, protocol)
            assert program.read() == "done\n"
            took_s = program.end()
        check_what_is_lost(program, number, f"{endpoint}{'' if protocol == 'grpc' else '/v1/traces'}")
        return took_s

    assert ends_in_time(attempt)


def check_what_is_lost(program: Program, number: int, address: str) -> None:
    assert program.code == 0
    counts = dict(re.findall(r'"OtlpBackend: ([\w: ]+)": (\d+)', program.output))
    assert counts.keys() <= {"dropped: queue full", "dropped: waiting at the end"}
    assert sum(map(int, counts.values())) == number
    at_end = counts["dropped: waiting at the end"]
    assert int(at_end) == (1 if number == 1 else int(at_end)) > 0
    warnings = program.errors.splitlines()
    [warning] = [line for line in warnings if "before it was closed" in line]
    start, _, reason = warning.partition(" before it was closed: ")
    assert start == f"{at_end} spans could not be sent to {address}"
    reason = reason.partition("; ")[0]
    assert reason in ("connection refused", "no response in time", "no response yet", "the server does not use gRPC")
    assert len(warnings) == len(counts)


@pytest.mark.parametrize("how", ["close", "with", "flush", "no word"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_end_before_three_bad_receivers(start: Callable[..., Program], protocol: Any, how: str) -> None:
    """It takes no longer than before one, also after `close()`: who was waited for is not waited for again."""
    ends = {
        "close": "tracer.close()",
        "with": "with tracer: pass",
        "flush": "assert not tracer.flush(0.5); assert not provider.force_flush(100)",
        "no word": "",
    }

    def attempt() -> float:
        with bad_receiver("dead") as dead, bad_receiver("hangs") as hanging:
            program = start(
                f"""
            configure(provider=provider, otlp={hanging!r})
            other = configure(otlp={hanging!r})
            other.get_tracer("t").start_span("s").end()
            emit(20)
            print('done', flush=True)
            sys.stdin.read()
            {ends[how]}
            """,
                dead,
                protocol,
            )
            assert program.read() == "done\n"
            took_s = program.end()
        assert program.code == 0, program.errors
        assert '"OtlpBackend: dropped: waiting at the end": 40' in program.output
        return took_s

    assert ends_in_time(attempt)


def test_a_flush_tells_of_what_another_flush_had_sent(
    http_receiver: FakeReceiver, start: Callable[..., Program]
) -> None:
    """A backend that began to send while another one was waited for says no less than one that did not."""
    http_receiver.answer = lambda request: Answer(404)
    with bad_receiver("hangs") as hanging:
        program = start(
            f"""
            first = configure(otlp={hanging!r})
            for number in range(2):
                for each in (first, provider):
                    each.get_tracer("t").start_span("s").end()
                print(first.force_flush(300), provider.force_flush(5000), flush=True)
            """,
            http_receiver.endpoint,
        )
        program.end()
    assert program.output.splitlines()[:2] == ["False False"] * 2, program.errors


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_end_in_the_midst_of_a_retry(
    receivers: dict[str, FakeReceiver], start: Callable[..., Program], protocol: Any
) -> None:
    """While the sender waits to try again, an end does not wait for it; a receiver that is well again gets all."""
    import grpc

    receiver = receivers[protocol]
    busy = (
        Answer(503, b"", {"Retry-After": "30"}) if protocol != "grpc" else Answer(grpc.StatusCode.UNAVAILABLE, "busy")
    )
    answers = [busy]
    receiver.answer = lambda request: answers[-1]

    def attempt(*, heals: bool) -> float:
        receiver.requests.clear()
        receiver.accepted.clear()
        answers[:] = [busy]
        program = start("emit(1500); print('done', flush=True); sys.stdin.read()", receiver.http_endpoint, protocol)
        assert program.read() == "done\n"
        receiver.wait_for_requests(1)
        if heals:
            answers[:] = [Answer(200 if protocol != "grpc" else grpc.StatusCode.OK)]
        took_s = program.end()
        count = 1500 if heals else 0
        assert len(names(receiver)) == count
        assert (
            '"OtlpBackend: sent": 1500' if heals else '"OtlpBackend: dropped: waiting at the end": 1500'
        ) in program.output
        return took_s

    assert ends_in_time(lambda: attempt(heals=False))
    assert ends_in_time(lambda: attempt(heals=True))


ENDS = {
    "the last line": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise LookupError", 1),
    "an interrupt": ("print('ready', flush=True); time.sleep(600)", -signal.SIGINT),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_end_before_a_good_receiver(
    receivers: dict[str, FakeReceiver], start: Callable[..., Program], protocol: Any, end: str
) -> None:
    """Everything that waits arrives, however a program ends that Python ends."""
    receiver = receivers[protocol]
    code, status = ENDS[end]
    program = start(f"emit(1000)\n{code}", receiver.http_endpoint, protocol)
    if end == "an interrupt":
        assert program.read() == "ready\n"
        program.end(signal.SIGINT)
    else:
        program.end()
    assert program.code == status, program.errors
    assert len(names(receiver)) == 1000
    assert '"OtlpBackend: sent": 1000' in program.output


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────

CHILD = """
import os, sys
from otel_agent_trace import configure
provider = configure(otlp=True)

def work(number):
    provider.get_tracer("t").start_span(f"child {number}").end()
    return number
"""


@needs_fork
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fork(receivers: dict[str, FakeReceiver], start: Callable[..., Program], protocol: Any, used: bool) -> None:
    """A child sends what it finished, and nothing of its parent's, whether its parent has sent before or not."""
    receiver = receivers[protocol]
    program = start(
        f"""
        emit(3, "parent before ")
        if {used}:
            assert provider.force_flush(600_000)
        emit(3, "parent waiting ")
        for number in range(3):
            child = os.fork()
            if child == 0:
                emit(2, f"child {{number}} ")
                sys.exit()
            os.waitpid(child, 0)
        grandchild = os.fork()
        if grandchild == 0:
            grandchild = os.fork()
            emit(1, "grand")
            if grandchild:
                os.waitpid(grandchild, 0)
            sys.exit()
        os.waitpid(grandchild, 0)
        """,
        receiver.http_endpoint,
        protocol,
    )
    program.end()
    assert program.code == 0, program.errors
    children = [f"child {number} {index}" for number in range(3) for index in range(2)]
    parents = [f"parent {when} {index}" for when in ("before", "waiting") for index in range(3)]
    assert names(receiver) == [*children, "grand0", "grand0", *parents]


WORKERS = {
    "Process": """
for number in range(4):
    process = context.Process(target=child.work, args=(number,))
    process.start()
    process.join()
    assert process.exitcode == 0
""",
    "Pool": """
pool = context.Pool(2)
assert sorted(pool.map(child.work, range(4))) == [0, 1, 2, 3]
pool.close()
pool.join()
""",
    "ProcessPoolExecutor": """
import concurrent.futures
with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
    assert sorted(executor.map(child.work, range(4))) == [0, 1, 2, 3]
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("method", START_METHODS)
def test_workers(
    receivers: dict[str, FakeReceiver],
    start: Callable[..., Program],
    tmp_path: Path,
    method: str,
    workers: str,
    protocol: Any,
) -> None:
    """Processes of multiprocessing, which run no atexit, send what they finished before they end."""
    receiver = receivers[protocol]
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "main.py").write_text(
        "import child, multiprocessing, sys\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    child.work('waits in the parent')\n" + textwrap.indent(WORKERS[workers], "    ")
    )
    program = start("import runpy\nrunpy.run_path('main.py', run_name='__main__')", receiver.http_endpoint, protocol)
    program.end()
    assert program.code == 0, program.errors
    assert names(receiver) == [*(f"child {number}" for number in range(4)), "child waits in the parent"]


@needs_fork
def test_a_worker_before_a_bad_receiver(start: Callable[..., Program], tmp_path: Path) -> None:
    """Its end is not held up either, and it says what was lost."""
    (tmp_path / "child.py").write_text(CHILD)
    code = """
        import child, multiprocessing
        process = multiprocessing.get_context("fork").Process(target=child.work, args=(1,))
        process.start()
        began = time.monotonic()
        process.join()
        print("took", time.monotonic() - began, flush=True)
        os._exit(0)
        """

    def attempt() -> float:
        with bad_receiver("hangs") as endpoint:
            program = start(code, endpoint)
            program.end()
        assert "1 spans could not be sent" in program.errors
        return float(program.output.split()[1])

    assert ends_in_time(attempt)


# ── signal handlers ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("receiver_is", ["good", "hangs"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_signal_handlers(
    receivers: dict[str, FakeReceiver], start: Callable[..., Program], protocol: Any, receiver_is: str
) -> None:
    """A handler that traces and flushes, whatever it interrupts, two hundred times: nothing hangs, nothing is lost."""
    code = """
        sys.setswitchinterval(1e-5)
        plain = provider.get_tracer("t")  # asking for one takes a lock of the SDK, which a handler may not wait for
        handled, is_over = 0, False

        def handle(*_):
            global handled
            handled += 1
            plain.start_span("h").end()
            provider.force_flush(1)
            if not is_over:
                signal.setitimer(signal.ITIMER_REAL, 0.001)  # not before this one is over

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        kept = 0
        while handled < 200:
            for _ in range(10):
                plain.start_span("s").end()
                kept += 1
            provider.force_flush(2)
        began = time.monotonic()
        provider.shutdown()
        took = time.monotonic() - began
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        counts = tracer.stats()
        counts.pop("failed: redaction", 0)  # values of spans that a handler made while the rules were being imported
        print("took", took, kept + handled - sum(counts.values()), flush=True)
        """

    def attempt() -> float:
        with bad_receiver("hangs") as bad:
            endpoint = receivers[protocol].http_endpoint if receiver_is == "good" else bad
            program = start(code, endpoint, protocol)
            program.end()
        assert program.code == 0, program.errors
        _, took, missing = program.output.splitlines()[0].split()
        assert int(missing) == 0
        if receiver_is == "good":
            names(receivers[protocol])
        return float(took)

    assert ends_in_time(attempt, REQUEST_S)  # the handler takes its time, too


def test_shutdown_while_threads_trace(http_receiver: FakeReceiver, start: Callable[..., Program]) -> None:
    """Whatever ends while a provider is shut down is sent or counted: fifty rounds, four threads."""
    program = start(
        """
        import threading
        from otel_agent_trace import AgentSpanProcessor
        from otel_agent_trace.backends.otlp import OtlpBackend
        from otel_agent_trace.otlp import settings_of
        from opentelemetry.sdk.trace import TracerProvider

        sys.setswitchinterval(1e-6)
        missing = 0
        for _ in range(50):
            backend = OtlpBackend(settings_of(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]))
            own = TracerProvider(shutdown_on_exit=False)
            own.add_span_processor(AgentSpanProcessor(backend))
            plain, started, counts = own.get_tracer("t"), threading.Barrier(5), [0] * 4

            def work(number):
                started.wait()
                for counts[number] in range(1, 101):
                    plain.start_span("s").end()

            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            started.wait()
            backend.shutdown()
            for thread in threads:
                thread.join()
            missing += sum(counts) - sum(backend.stats().values())
        print("missing", missing, flush=True)
        """,
        http_receiver.endpoint,
    )
    program.end()
    assert program.output.splitlines()[:1] == ["missing 0"], program.errors
    names(http_receiver)


def test_shutdown_in_a_handler_while_the_program_flushes(start: Callable[..., Program]) -> None:
    """The flush that was interrupted ends as well, and the program with it."""
    code = """
        emit(10)

        def handle(*_):
            provider.shutdown()
            sys.exit(7)

        signal.signal(signal.SIGTERM, handle)
        print("flushing", flush=True)
        provider.force_flush(600_000)
        """

    def attempt() -> float:
        with bad_receiver("hangs") as endpoint:
            program = start(code, endpoint)
            assert program.read() == "flushing\n"
            took_s = program.end(signal.SIGTERM)
        assert program.code == 7
        assert '"OtlpBackend: dropped: waiting at the end": 10' in program.output
        return took_s

    assert ends_in_time(attempt)


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_of_300_mb(start: Callable[..., Program]) -> None:
    """Whatever a receiver answers, no more of it is read than anybody may have to say."""
    size = 300 << 20
    sent = 0

    def serve(listener: socket.socket) -> None:
        nonlocal sent
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(100)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: {size}\r\n\r\n"
            connection.sendall(head.encode())
            while sent < size:
                sent += connection.send(b"\x0a" * 65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        program = start(
            """
            import resource
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            emit(1)
            assert not provider.force_flush(600_000)
            print("grew", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
            """,
            f"http://127.0.0.1:{listener.getsockname()[1]}",
        )
        program.end()
    assert program.code == 0, program.errors
    assert int(program.output.split()[1]) < 20_000
    assert sent < 20 << 20
    assert '"OtlpBackend: lost: sending": 1' in program.output


@pytest.mark.slow
def test_the_memory_of_what_waits(start: Callable[..., Program]) -> None:
    """6000 spans of 100 KB before a receiver that hangs take little more than the bound."""
    with bad_receiver("hangs") as endpoint:
        program = start(
            """
            import resource
            plain = provider.get_tracer("t")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for index in range(6000):
                plain.start_span("s", attributes={"k": str(index % 10) * 100_000}).end()
            print("grew", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
            """,
            endpoint,
        )
        program.end()
    assert int(program.output.split()[1]) < 100_000
    counts = dict(re.findall(r'"OtlpBackend: ([\w: ]+)": (\d+)', program.output))
    assert counts.keys() == {"dropped: queue too large", "dropped: waiting at the end"}
    assert sum(map(int, counts.values())) == 6000
