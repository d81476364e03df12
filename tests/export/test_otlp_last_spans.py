"""The last spans of processes that end by SIGTERM or by `os._exit`, or are frozen: real processes and signals."""

from __future__ import annotations

import gc
import os
import signal
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_agent_trace import AgentTracer, configure
from tests.support.ending_programs import Program
from tests.support.fake_receivers import OK, RESET, Answer, FakeReceiver, Request
from tests.support.requirements import need_package, needs_fork
from tests.support.waiting import DEADLOCK_S, wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows delivers no SIGTERM")


@pytest.fixture
def start(tmp_path: Path, http_receiver: FakeReceiver) -> Callable[..., Program]:
    def call(code: str, **environment: str) -> Program:
        return Program(code, http_receiver.endpoint, "http/protobuf", tmp_path, **environment)

    return call


def names(receiver: FakeReceiver) -> list[str]:
    return sorted(span.name for span in receiver.accepted)


WAIT = "print('done', flush=True); sys.stdin.read()"


# ── SIGTERM ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sigterm_sends_what_waits_and_ends_the_program_by_the_signal(
    start: Callable[..., Program], http_receiver: FakeReceiver
) -> None:
    program = start(f"configure(provider=provider, otlp=False, flush_on_sigterm=True); emit(3); {WAIT}")
    assert program.read() == "done\n"
    program.end(signal.SIGTERM)
    assert program.code == -signal.SIGTERM
    assert names(http_receiver) == ["s0", "s1", "s2"]


def test_sigterm_ends_the_program_at_once_unless_it_asks_for_more(
    start: Callable[..., Program], http_receiver: FakeReceiver
) -> None:
    program = start(f"emit(3); {WAIT}")
    assert program.read() == "done\n"
    program.end(signal.SIGTERM)
    assert (program.code, names(http_receiver)) == (-signal.SIGTERM, [])


def test_sigterm_sends_what_waits_in_a_forked_child_too(
    start: Callable[..., Program], http_receiver: FakeReceiver
) -> None:
    program = start(
        """
        configure(provider=provider, otlp=False, flush_on_sigterm=True)
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        else:
            emit(2)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        """
    )
    program.end()
    assert program.output.startswith(f"-{int(signal.SIGTERM)}\n")
    assert names(http_receiver) == ["s0", "s1"]


def test_sigterm_while_the_main_thread_holds_a_lock_of_the_pipeline_does_not_hang(
    start: Callable[..., Program],
) -> None:
    program = start(
        f"""
        from otel_agent_trace.backends import otlp
        configure(provider=provider, otlp=False, flush_on_sigterm=True)
        emit(1)
        [backend] = otlp._BACKENDS.values()
        with backend._sending._queue._lock:
            {WAIT}
        """
    )
    assert program.read() == "done\n"
    program.end(signal.SIGTERM)
    assert program.code == -signal.SIGTERM


def test_a_handler_of_the_program_stays_with_one_warning(start: Callable[..., Program]) -> None:
    program = start(
        f"""
        def own(number, frame): sys.exit(7)
        signal.signal(signal.SIGTERM, own)
        configure(provider=provider, otlp=False, flush_on_sigterm=True)
        configure(otlp=False, flush_on_sigterm=True)
        assert signal.getsignal(signal.SIGTERM) is own
        {WAIT}
        """
    )
    assert program.read() == "done\n"
    program.end(signal.SIGTERM)
    assert program.code == 7
    assert program.errors.count("flush_on_sigterm=True has no effect") == 1


def test_our_own_handler_is_none_of_the_program(start: Callable[..., Program]) -> None:
    """However often it is asked for, and whether or not the module was imported again, as in notebooks."""
    program = start(
        f"""
        import importlib
        from otel_agent_trace.tracing import sigterm
        for _ in range(2):
            configure(otlp=False, flush_on_sigterm=True)
            importlib.reload(sigterm)
        {WAIT}
        """
    )
    assert program.read() == "done\n"
    program.end(signal.SIGTERM)
    assert program.code == -signal.SIGTERM
    assert "no effect" not in program.errors


def test_a_handler_that_the_program_sets_later_is_left_alone(start: Callable[..., Program]) -> None:
    program = start(
        f"""
        configure(provider=provider, otlp=False, flush_on_sigterm=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        with tracer: pass
        {WAIT}
        """
    )
    assert program.read() == "done\n"
    program.end(signal.SIGTERM)
    assert program.code == 7


def test_another_thread_gets_a_warning_instead_of_an_exception(start: Callable[..., Program]) -> None:
    program = start(
        """
        import threading
        thread = threading.Thread(target=configure, kwargs={"flush_on_sigterm": True, "otlp": False})
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        """
    )
    program.end()
    assert program.code == 0
    assert "main thread only" in program.errors


# ── os._exit ─────────────────────────────────────────────────────────────────────────────────────────────────────────

MODULE = """
from otel_agent_trace import AgentTracer, configure

provider = configure(otlp=True)
tracer = AgentTracer(tracer_provider=provider)


def work(number):
    with tracer.run(user_input=number):
        return number
"""


@needs_fork
@pytest.mark.frameworks
@pytest.mark.parametrize("tasks", [None, 3])
@pytest.mark.parametrize("first", ["tracer", "billiard"])
def test_workers_of_billiard_send_all_that_waits(
    start: Callable[..., Program], http_receiver: FakeReceiver, tmp_path: Path, first: str, tasks: int | None
) -> None:
    need_package("billiard", "frameworks")
    (tmp_path / "workers.py").write_text(MODULE)
    imports = ["import workers", "from billiard.pool import Pool"]
    program = start(
        textwrap.dedent(
            """
            {}
            pool = Pool(2, maxtasksperchild={})
            assert sorted(pool.map(workers.work, range(20))) == list(range(20))
            pool.close()
            pool.join()
            """
        ).format("\n".join(imports if first == "tracer" else reversed(imports)), tasks)
    )
    program.end()
    assert program.code == 0, program.errors
    assert len(names(http_receiver)) == 20


@needs_fork
@pytest.mark.parametrize("flushing", [True, False])
def test_a_child_that_ends_by_os_exit_itself_has_to_flush(
    start: Callable[..., Program], http_receiver: FakeReceiver, flushing: bool
) -> None:
    program = start(
        f"""
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            emit(2)
            {"tracer.flush()" if flushing else "pass"}
            os._exit(0)
        """
    )
    program.end()
    assert names(http_receiver) == ["s0", "s1"] * flushing


def test_uwsgi_calls_the_last_function_of_the_program_and_then_ours(
    start: Callable[..., Program], http_receiver: FakeReceiver
) -> None:
    program = start(
        """
        import types
        sys.modules["uwsgi"] = uwsgi = types.ModuleType("uwsgi")
        uwsgi.atexit = lambda: emit(1, "last")
        own = configure(provider=provider, otlp=True)  # the backend looks for uWSGI
        uwsgi.atexit()
        os._exit(0)
        """
    )
    program.end()
    assert "last0" in names(http_receiver)


@needs_fork
def test_workers_that_uwsgi_forks_without_pythons_hooks(
    start: Callable[..., Program], http_receiver: FakeReceiver
) -> None:
    """Its master forks in C, and calls ``uwsgi.post_fork_hook``; otherwise no thread of the worker would send."""
    program = start(
        """
        import ctypes, types
        sys.modules["uwsgi"] = uwsgi = types.ModuleType("uwsgi")
        own = configure(provider=provider, otlp=True)
        child = ctypes.PyDLL(None).fork()
        if not child:
            uwsgi.post_fork_hook()
            emit(2, "worker")
            uwsgi.atexit()
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    program.end()
    assert {"worker0", "worker1"} <= set(names(http_receiver))


# ── tracers that are dropped ─────────────────────────────────────────────────────────────────────────────────────────


def test_dropped_tracers_send_their_last_spans_and_end_their_threads(http_receiver: FakeReceiver) -> None:
    def request() -> None:
        with AgentTracer(tracer_provider=configure(otlp=http_receiver.endpoint)).run():
            pass

    for _ in range(20):
        request()
    gc.collect()
    wait_until(lambda: len(http_receiver.accepted) == 20, "all spans are sent")
    wait_until(
        lambda: not any("otel_agent_trace" in thread.name for thread in threading.enumerate()), "the threads end"
    )


def test_a_program_that_ends_waits_for_the_spans_of_dropped_tracers(
    start: Callable[..., Program], http_receiver: FakeReceiver
) -> None:
    program = start(
        """
        del tracer._state, provider
        def request():
            with AgentTracer(tracer_provider=configure(otlp=True)).run(): pass
        for _ in range(5): request()
        tracer = AgentTracer(tracer_provider=configure(otlp=False))
        """
    )
    program.end()
    assert len(names(http_receiver)) == 5, program.errors


# ── a frozen process ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_process_that_was_frozen_longer_than_all_its_timeouts_sends_again(
    start: Callable[..., Program], http_receiver: FakeReceiver
) -> None:
    """AWS Lambda freezes processes; meanwhile the server closes the connection without a response."""
    frozen, thawed = threading.Event(), threading.Event()

    def answer(request: Request) -> Answer:
        if not thawed.is_set():
            frozen.set()
            thawed.wait(DEADLOCK_S)
            return RESET
        return OK

    http_receiver.answer = answer
    program = start(
        f"""
        from otel_agent_trace.backends.otlp import OtlpBackend
        from otel_agent_trace.otlp import Schedule, settings_of
        backend = OtlpBackend(settings_of({http_receiver.endpoint!r}), schedule=Schedule(delay_s=0.05, retry_timeout_s=2))
        configure(provider=provider, otlp=False, backends=[backend])
        provider.get_tracer("t").start_span("s").end()
        {WAIT}
        """,
        OTEL_EXPORTER_OTLP_TIMEOUT="1000",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
    )
    assert program.read() == "done\n"
    assert frozen.wait(DEADLOCK_S)
    program.signal(signal.SIGSTOP)
    time.sleep(4)  # longer than the timeout of the request, and than that of all attempts
    thawed.set()
    program.signal(signal.SIGCONT)
    wait_until(lambda: names(http_receiver) == ["s"], "the span is sent again")
    program.end()
