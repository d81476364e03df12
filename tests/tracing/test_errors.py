"""What is recorded of an error: its type, message, category and stack."""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import importlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import traceback
import types
import urllib.error
from collections.abc import Callable
from email.message import Message
from typing import Any

import pytest

from otel_agent_trace import AgentRun, AgentTracer, InMemoryBackend, Limits, RunStatus, StepError
from otel_agent_trace.categories import category_of_type
from tests.support.requirements import need_package
from tests.support.waiting import wait_until

TheRun = Callable[[], AgentRun]


class OwnError(Exception):
    pass


class RateLimitError(Exception):
    pass


class ToolNotFoundError(KeyError):
    pass


class HttpError(Exception):
    def __init__(self, status_code: object, code: object = None) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.code = code


class GatewayTimeout(TimeoutError):
    status_code = 503


class ConnectionTimeout(ConnectionError, TimeoutError):
    pass


class TaskTimeout(asyncio.CancelledError):
    """Of curio, where a timeout is a cancellation."""


class GreenletExit(BaseException):
    """Of gevent."""


class SoftTimeLimitExceeded(Exception):
    """Of Celery."""


class Closed(Exception):
    code = 1006
    """Of a web socket, no status of HTTP."""


class Outer:
    class NestedError(Exception):
        pass


def local_error() -> Exception:
    class LocalError(Exception):
        pass

    return LocalError("x")


def recorded(error: object, **options: Any) -> StepError:
    """What a tracer makes of an error."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, **options)
    tracer.log_error(tracer.start_run(), error)
    (run,) = memory.runs()
    assert run.error is not None
    return run.error


MODULE = OwnError.__module__


@pytest.mark.parametrize(
    ("error", "error_type", "category"),
    [
        (ValueError("x"), "ValueError", "validation"),
        (KeyError("x"), "KeyError", "internal"),
        (OwnError("x"), f"{MODULE}.OwnError", "internal"),
        (TimeoutError("x"), "TimeoutError", "timeout"),
        (subprocess.TimeoutExpired("x", 1), "subprocess.TimeoutExpired", "timeout"),
        (concurrent.futures.TimeoutError(), None, "timeout"),
        (RateLimitError("x"), f"{MODULE}.RateLimitError", "rate_limit"),
        (HttpError(429), f"{MODULE}.HttpError", "rate_limit"),
        (HttpError(401), f"{MODULE}.HttpError", "auth"),
        (HttpError(403), f"{MODULE}.HttpError", "auth"),
        (HttpError(400), f"{MODULE}.HttpError", "validation"),
        (HttpError(504), f"{MODULE}.HttpError", "timeout"),
        (HttpError(503), f"{MODULE}.HttpError", "internal"),
        (HttpError(200), f"{MODULE}.HttpError", "internal"),
        (HttpError("429"), f"{MODULE}.HttpError", "internal"),
        (HttpError(429, "rate_limit_exceeded"), "rate_limit_exceeded", "rate_limit"),
        (PermissionError("x"), "PermissionError", "auth"),
        (ConnectionResetError("x"), "ConnectionResetError", "network"),
        (BrokenPipeError("x"), "BrokenPipeError", "network"),
        (urllib.error.HTTPError("http://x", 429, "x", Message(), None), "urllib.error.HTTPError", "rate_limit"),
        (GatewayTimeout("x"), f"{MODULE}.GatewayTimeout", "timeout"),
        (ConnectionTimeout("x"), f"{MODULE}.ConnectionTimeout", "timeout"),
        (Closed("x"), f"{MODULE}.Closed", "internal"),
        (socket.gaierror("x"), "socket.gaierror", "network"),
        (ssl.SSLError("x"), "ssl.SSLError", "network"),
        (urllib.error.URLError("x"), "urllib.error.URLError", "network"),
        (json.JSONDecodeError("x", "", 0), "json.decoder.JSONDecodeError", "validation"),
        (TypeError("x"), "TypeError", "validation"),
        (ToolNotFoundError("x"), f"{MODULE}.ToolNotFoundError", "tool_not_found"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError", "cancelled"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "cancelled"),
        (SystemExit(1), "SystemExit", "cancelled"),
        (TaskTimeout("x"), f"{MODULE}.TaskTimeout", "timeout"),
        (GreenletExit(), f"{MODULE}.GreenletExit", "cancelled"),
        (SoftTimeLimitExceeded(3), f"{MODULE}.SoftTimeLimitExceeded", "timeout"),
        (RecursionError("x"), "RecursionError", "internal"),
        (BaseException("x"), "BaseException", "other"),
        (Outer.NestedError("x"), f"{MODULE}.Outer.NestedError", "internal"),
        (local_error(), f"{MODULE}.local_error.<locals>.LocalError", "internal"),
        (type("NoModule", (Exception,), {"__module__": None})("x"), "NoModule", "internal"),
        (type("Script", (ValueError,), {"__module__": "__main__"})("x"), "__main__.Script", "validation"),
        (type("Script1", (ValueError,), {"__module__": "__main__"})("x"), "ValueError", "validation"),
        (type("Call-17", (OwnError,), {"__module__": MODULE})("x"), f"{MODULE}.OwnError", "internal"),
        (type("ReadTimeout2", (OwnError,), {"__module__": MODULE})("x"), f"{MODULE}.OwnError", "timeout"),
        (HttpError(429, ""), f"{MODULE}.HttpError", "rate_limit"),
        (HttpError(429, 1302), f"{MODULE}.HttpError", "rate_limit"),
        (HttpError(None, "rate_limit_exceeded"), f"{MODULE}.HttpError", "internal"),
        (StepError(type="tool_error", category="mine"), "tool_error", "mine"),
        ("a text", "_OTHER", "other"),
        (42, "_OTHER", "other"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_type_and_category(error: object, error_type: str | None, category: str) -> None:
    """Built-in exceptions stand bare, others with their module, a provider's code as it is; each has a category."""
    failure = recorded(error)
    assert failure.category == category
    if error_type is not None:
        assert failure.type == error_type


def test_openai_errors() -> None:
    """Errors of OpenAI's client are put into categories by class and status."""
    import httpx
    import openai

    request: Any = httpx.Request("POST", "http://x")

    def answer(code: int) -> Any:
        return httpx.Response(code, request=request)

    categories = [
        recorded(error).category
        for error in (
            openai.RateLimitError("x", response=answer(429), body=None),
            openai.AuthenticationError("x", response=answer(401), body=None),
            openai.BadRequestError("x", response=answer(400), body=None),
            openai.APITimeoutError(request),
            openai.APIConnectionError(request=request),
            openai.InternalServerError("x", response=answer(500), body=None),
        )
    ]
    assert categories == ["rate_limit", "auth", "validation", "timeout", "network", "internal"]


def test_errors_of_http_clients() -> None:
    """Errors of httpx and requests are put into categories by the status of the response they hold, or by class."""
    import httpx
    import requests

    asked, unauthorised = httpx.Request("GET", "http://x"), requests.Response()
    unauthorised.status_code = 401
    errors = [
        httpx.HTTPStatusError("x", request=asked, response=httpx.Response(429, request=asked)),
        requests.HTTPError("x", response=unauthorised),
        httpx.ConnectTimeout("x"),
        requests.ConnectTimeout("x"),
        requests.ReadTimeout("x"),
        httpx.ConnectError("x"),
        requests.ConnectionError("x"),
    ]
    categories = [recorded(error).category for error in errors]
    assert categories == ["rate_limit", "auth", "timeout", "timeout", "timeout", "network", "network"]


def test_rules_of_the_user() -> None:
    """The first rule that knows decides; one that raises, or knows nothing, is passed over; texts are asked as well."""
    asked: list[object] = []

    def raising(error: object) -> str | None:
        raise ZeroDivisionError

    def quota(error: object) -> str | None:
        asked.append(error)
        return "quota" if "quota" in str(error) else None

    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, error_rules=[raising, quota, lambda error: "never" if error == 0 else None])
    errors: list[object] = [ValueError("out of quota"), "quota is gone", ValueError("other")]
    for error in errors:
        tracer.log_error(tracer.start_run(), error)
    assert [run.error.category for run in memory.runs()] == ["quota", "quota", "validation"]
    assert asked == errors
    assert tracer.stats()["failed: error rule"] == 3


def test_a_category_that_is_no_text() -> None:
    """A rule that gives something else than a text costs at most the category."""
    assert recorded(ValueError("x"), error_rules=[lambda error: 5]).category == "5"

    class Bad:
        def __str__(self) -> str:
            raise ZeroDivisionError

    failure = recorded(ValueError("x"), error_rules=[lambda error: Bad()])
    assert failure.type == "ValueError"


def test_the_stack(tracer: AgentTracer, the_run: TheRun, memory: InMemoryBackend) -> None:
    """The stack is that of the exception as Python prints it, from the traced call inwards."""

    def inner() -> None:
        raise OwnError("boom")

    @tracer.tool
    def outer() -> None:
        inner()

    with pytest.raises(OwnError), tracer.run():
        outer()
    stack = the_run().steps[0].error.stacktrace
    assert stack.startswith("Traceback (most recent call last):\n")
    assert stack.endswith(f"{MODULE}.OwnError: boom\n")
    assert 'in inner\n    raise OwnError("boom")\n' in stack
    assert "in test_the_stack" not in stack
    (event,) = memory.spans()[0].events
    assert (event.name, event.attributes["exception.stacktrace"]) == ("exception", stack)


@pytest.mark.parametrize(
    "error",
    [
        HttpError(429, "rate_limit_exceeded"),
        Outer.NestedError("x"),
        type("Script", (ValueError,), {"__module__": "__main__"})("x"),
        ValueError("x"),
        KeyError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_stack_ends_as_python_s(error: Exception) -> None:
    """With the class of the exception, also where a provider's code is its type."""
    (last,) = traceback.format_exception_only(error)
    assert (recorded(error).stacktrace or "").splitlines(keepends=True)[-1] == last


def test_an_instruction_without_a_line() -> None:
    """Python 3.11 and later have such, and `traceback` has None for their line."""

    def work() -> None:
        raise OwnError("boom")

    code: Any = work.__code__
    table = {"co_linetable": b""} if sys.version_info >= (3, 11) else {"co_firstlineno": 1}
    without_lines = types.FunctionType(code.replace(**table), globals())
    try:
        without_lines()
    except OwnError as error:
        failure = recorded(error)
    assert failure.stacktrace is not None
    assert "in work\n" in failure.stacktrace
    assert (failure.type, failure.message) == (f"{MODULE}.OwnError", "boom")


TIMEOUTS = [
    "TimeoutError",
    "asyncio.exceptions.TimeoutError",
    "socket.timeout",
    "httpx.ReadTimeout",
    "requests.exceptions.ReadTimeout",
    "urllib3.exceptions.ReadTimeoutError",
    "openai.APITimeoutError",
    "OpenAITimeoutError",
    "ModelTimeoutError",
    "subprocess.TimeoutExpired",
    "dramatiq.middleware.time_limit.TimeLimitExceeded",
    "celery.exceptions.SoftTimeLimitExceeded",
    "func_timeout.exceptions.FunctionTimedOut",
    "func_timeout.dafunc.FunctionTimedOut-8215",
    "google.api_core.exceptions.DeadlineExceeded",
    "DEADLINE_EXCEEDED",
    "ETIMEDOUT",
    "504",
]


@pytest.mark.parametrize("error_type", TIMEOUTS)
def test_a_timeout_is_one_by_its_name_alone(error_type: str) -> None:
    """As a reader sees it in a span of another instrumentation; the class has the same category when it is raised."""
    assert category_of_type(error_type) == "timeout"
    name = error_type.rpartition(".")[2]
    if not name.isdigit():
        assert recorded(type(name, (Exception,), {})()).category == "timeout"


@pytest.mark.parametrize("name", ["TimeoutPolicyError", "NoRouteError", "Timer", "OutError"])
def test_other_names_are_no_timeouts(name: str) -> None:
    assert category_of_type(name) != "timeout"


def test_the_errors_of_func_timeout_are_one_series() -> None:
    """It makes a class for each call, and its exception is raised in a thread of its own."""
    need_package("func_timeout", "test")
    func_timeout: Any = importlib.import_module("func_timeout")
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)

    @tracer.tool
    def work() -> None:
        started.set()
        while True:
            pass

    @tracer.agent
    def bot() -> None:
        work()

    started = threading.Event()
    for _ in range(2):
        started.clear()
        thread = threading.Thread(
            target=lambda: pytest.raises(func_timeout.FunctionTimedOut, func_timeout.func_timeout, 0.05, bot)
        )
        thread.start()
        wait_until(lambda: started.is_set() and not thread.is_alive(), "the call is stopped")
    wait_until(lambda: all(run.error for run in memory.runs()), "the runs have ended")
    failures = [failure for run in memory.runs() for failure in (run.error, run.steps[0].error)]
    assert [(failure.type, failure.category) for failure in failures if failure] == [
        ("func_timeout.exceptions.FunctionTimedOut", "timeout")
    ] * 4
    assert {run.status for run in memory.runs()} == {RunStatus.TIMEOUT}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has no exception groups")
def test_a_group_has_the_type_of_its_own() -> None:
    group = vars(builtins)["ExceptionGroup"]("several", [TimeoutError("x"), TimeoutError("y")])
    assert (recorded(group).type, recorded(group).category) == ("ExceptionGroup", "timeout")


def test_a_deep_stack_is_bounded() -> None:
    """Of a deep stack both ends are kept, and its text has a bounded length."""

    def deep(level: int) -> None:
        if level == 0:
            raise ValueError("x" * 100_000)
        deep(level - 1)

    try:
        deep(500)
    except ValueError as caught:
        failure = recorded(caught, limits=Limits(error_bytes=2_000))
    assert "frames left out" in failure.stacktrace
    assert failure.stacktrace is not None
    assert len(failure.stacktrace) <= 2_100


def test_odd_messages() -> None:
    """Messages with lone surrogates, NULs, other alphabets or of great length come back, the latter cut."""
    for text in ("\udcff", "a\0b", "日本語", "", "\n\n"):
        assert recorded(ValueError(text)).message == text
    assert len(recorded(ValueError("x" * 1_000_000)).message) <= 16_384
    assert recorded("x" * 1_000_000).message.startswith("xxx")


class BadStr(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


class BadCode(Exception):
    @property
    def code(self) -> str:
        raise ZeroDivisionError

    status_code = status = response = code


class BadGetattr(Exception):
    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError


class BadText(str):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "make", [BadStr, lambda: BadCode("m"), lambda: BadGetattr("m"), lambda: ValueError(BadText("m"))]
)
def test_hostile_exceptions(tracer: AgentTracer, the_run: TheRun, make: Callable[[], Exception]) -> None:
    """An exception that raises when it is looked at is the one that leaves the block, and its class is recorded."""
    error = make()
    with pytest.raises(type(error)) as caught, tracer.run() as run, run.step("s"):
        raise error
    assert caught.value is error
    for failure in (the_run().error, the_run().steps[0].error):
        assert failure.type.endswith(type(error).__name__)


@pytest.mark.parametrize("kind", [BadCode, BadGetattr])
def test_bad_properties_cost_only_themselves(kind: type[Exception]) -> None:
    """An exception whose properties raise keeps type, message and category."""
    failure = recorded(kind("m"))
    assert (failure.type, failure.message, failure.category) == (f"{MODULE}.{kind.__name__}", "m", "internal")


def test_a_failed_tool_keeps_its_output(tracer: AgentTracer, the_run: TheRun) -> None:
    """What a step had as output before it failed is kept beside the error."""
    with pytest.raises(ValueError), tracer.run() as run, run.step("s") as step:
        step.output = {"half": 1}
        raise ValueError("x")
    (read,) = the_run().steps
    assert (read.output, read.error.message) == ({"half": 1}, "x")


def test_a_success_in_spite_of_an_error(tracer: AgentTracer, the_run: TheRun) -> None:
    """A run that the caller calls a success is one, and the error is still recorded."""
    with tracer.run() as run:
        run.error, run.status = ValueError("x"), "success"
    assert (the_run().status.value, the_run().error.message) == ("success", "x")


@pytest.mark.parametrize("error", [ValueError("\udcff"), StepError(type="t", message="m", category="c")])
def test_errors_that_are_set(tracer: AgentTracer, the_run: TheRun, error: Any) -> None:
    """An error that is set, an exception or a StepError, comes back on the step."""
    with tracer.run() as run, run.step("s") as step:
        step.error = error
    read = the_run().steps[0].error
    assert (read.type, read.message, read.category) == (step.error.type, step.error.message, step.error.category)


def test_a_cancelled_scope_of_trio(memory: InMemoryBackend) -> None:
    need_package("trio", "test")
    trio: Any = importlib.import_module("trio")
    tracer = AgentTracer(backend=memory)

    async def main() -> None:
        with trio.move_on_after(0), tracer.run() as run, run.step("wait"):
            await trio.sleep_forever()

    trio.run(main)
    (kept,) = memory.runs()
    assert [(error.type, error.category) for error in (kept.error, kept.steps[0].error) if error is not None] == [
        ("trio.Cancelled", "cancelled")
    ] * 2
