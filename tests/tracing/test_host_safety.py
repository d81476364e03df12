"""Programs that are run twice, with tracing and without: what they print, raise and exit with is the same."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from otel_agent_trace import AgentTracer
from tests.support.forked_programs import ForkedPrograms, forked_programs
from tests.support.processes import run_code
from tests.support.requirements import needs_fork

MORE_CPU_S = 60.0  # for what would be endless: binary values of 1 MB are recorded whole, in each of many places
"""What tracing may cost more in all, of which a value of megabytes is the most."""

TRACED = """
from otel_agent_trace import *

class Bad:
    def fail(self, *args): raise SystemExit(9)
    start_run = log_step = end_run = flush = close = fail

tracer = AgentTracer(backend=[Bad(), FileBackend("t.jsonl"), InMemoryBackend()])
"""
PLAIN = """
class Inert:
    def __enter__(self): return self
    def __exit__(self, *_): return None
    async def __aenter__(self): return self
    async def __aexit__(self, *_): return None
    def __setattr__(self, name, value): pass
    def __getattr__(self, name): return {} if name == "metadata" else lambda *args, **more: self

class StandIn:
    def tool(self, function=None, **options): return function if callable(function) else lambda given: given
    agent = model = tool
    def run(self, *args, **more): return Inert()
    def start_run(self, *args, **more): return "id"
    def log_step(self, *args, **more): return 1
    def end_run(self, *args, **more): pass
    log_error = stats = end_run
    def flush(self, timeout_s=5.0): return True
    close = flush

tracer = StandIn()
current_run = current_step = Inert
"""
AROUND = """
import asyncio, collections, contextlib, itertools, logging, os, random, sys, time
began_s = time.process_time()

@tracer.tool
def tool(value, **more): return value

@tracer.model(usage=lambda result: result)
def model(messages): return messages

@tracer.agent
def agent(value): return value

@tracer.tool
async def later(value): return value

@tracer.tool
def stream(value): yield value

def awaited(waiting):
    "The result of what awaits nothing; asyncio would look at it."
    try:
        waiting.send(None)
    except StopIteration as stop:
        return stop.value

def everywhere(value):
    "Give a value everywhere where values are taken, and tell what came of it."
    with tracer.run(user_input=value, metadata={"m": value}, config=value) as run:
        run.set_attribute("mine", value)
        with run.step("s", value) as step:
            step.output = step.metadata = value
        with run.model_call("m", value) as call:
            call.output = call.usage = value
        run.final_output = value
        same = [tool(value, more=value) is value, model(value) is value, agent(value) is value]
        same += [awaited(later(value)) is value, next(stream(value)) is value]
    run_id = tracer.start_run(user_input=value)
    tracer.log_step(run_id, name="s", input=value, output=value)
    tracer.log_error(run_id, value)
    print(type(value).__name__, same)

def raised(make, use):
    "Have something raised in a block, and in each kind of function, and tell what arrived."
    def plain(): use(make())
    async def coroutine(): use(make())
    def generator():
        yield 1
        use(make())
    def block():
        with tracer.run() as run, run.step("s"):
            use(make())
    calls = [block, tracer.tool(plain), tracer.agent(plain), tracer.model(plain)]
    calls += [lambda: tracer.tool(coroutine)().send(None), lambda: list(tracer.tool(generator)())]
    for call in calls:
        try:
            call()
        except BaseException as error:
            print(type(error).__name__, len(error.args), error.__cause__, error.__suppress_context__)
        else:
            print("nothing was raised")
"""

VALUES = {
    "str raises": """
        class Value:
            def __str__(self): raise ZeroDivisionError
            __repr__ = __str__
        everywhere(Value())
    """,
    "str raises SystemExit": """
        class Value:
            def __str__(self): raise SystemExit(4)
            __repr__ = __str__
        everywhere(Value())
    """,
    "str exits": """
        class Value:
            def __str__(self): sys.exit(4)
            __repr__ = __str__
        everywhere(Value())
    """,
    "str raises KeyboardInterrupt": """
        class Value:
            def __str__(self): raise KeyboardInterrupt
            __repr__ = __str__
        everywhere(Value())
    """,
    "str is huge": """
        class Value:
            def __str__(self): return "x" * 10_000_000
            __repr__ = __str__
        everywhere(Value())
    """,
    "str touches the span": """
        class Value:
            def __str__(self):
                from opentelemetry import trace
                trace.get_current_span().set_attribute("a", 1)
                trace.get_current_span().add_event("e")
                current_run().metadata["touched"] = current_step().output = 1
                return "touched"
            __repr__ = __str__
        everywhere(Value())
    """,
    "str logs": """
        class Value:
            def __str__(self):
                logging.getLogger("otel_agent_trace").warning("looked at")
                return "logged"
            __repr__ = __str__
        everywhere(Value())
    """,
    "str traces": """
        class Value:
            def __str__(self): return tool("traced")
            __repr__ = __str__
        everywhere(Value())
    """,
    "a list in itself": """
        value = []
        value.append(value)
        everywhere(value)
    """,
    "UserString": "everywhere(collections.UserString('x' * 1000))",
    "range": "everywhere(range(10**9))",
    "bytearray": "everywhere(bytearray(1_000_000))",
    "memoryview": "everywhere(memoryview(bytearray(1_000_000)))",
    "a closed memoryview": """
        value = memoryview(b"x")
        value.release()
        everywhere(value)
    """,
    "an iterator": """
        value = iter(range(3))
        everywhere(value)
        print(list(value))
    """,
    "an open file": """
        with open(os.devnull if os.path.exists("no") else sys.executable, "rb") as value:
            everywhere(value)
            print(value.tell())
    """,
    "a handler that touches the span": """
        from opentelemetry import trace
        class ToSpan(logging.Handler):
            def emit(self, record):
                trace.get_current_span().add_event(record.getMessage())
                trace.get_current_span().set_attribute("logged", 1)
                current_run().set_attribute("logged", 1)
        logging.getLogger().addHandler(ToSpan())
        class Value:
            def __getattribute__(self, name): raise ZeroDivisionError
        with tracer.run() as run:
            run.usage = Value()
            for number in range(5000):
                run.set_attribute(f"a{number}", number)
            with run.step("s") as step:
                step.messages = step.usage = Value()
                step.end()
            run.error = Value()
            run.end()
        print("done")
    """,
    "names that are none": """
        with tracer.run(agent_name=123) as run:
            with run.step(None), run.step(123), run.model_call(123): pass
            run.agent_name = None
        run_id = tracer.start_run(agent_name=1.5, session_id=2, user_id=b"x", model=())
        tracer.log_step(run_id, name=None, step_id=1.5, parent_step_id=[])
        tracer.end_run(run_id)
        print("done")
    """,
    "times that are odd": """
        run_id = tracer.start_run()
        for times in ({"started_at": -5}, {"started_at": 10**12}, {"started_at": 2.5, "ended_at": 1},
                      {"duration_s": -1}, {"duration_s": 10**10}):
            tracer.log_step(run_id, name="s", **times)
        tracer.end_run(run_id)
        print("done")
    """,
    "random": """
        random.seed(42)
        with tracer.run() as run, run.step("s"):
            tool(1)
        print([random.random() for _ in range(3)])
    """,
}
EXCEPTIONS = {
    "str raises": """
        class Error(Exception):
            def __str__(self): raise ZeroDivisionError
            __repr__ = __str__
        def use(error): raise error
        raised(Error, use)
        raise Error
    """,
    "unhandled": """
        with tracer.run() as run, run.step("s"):
            tool([1 / 0])
    """,
    "CancelledError": """
        def use(error): raise error
        raised(asyncio.CancelledError, use)
        raise asyncio.CancelledError("gone")
    """,
    "KeyboardInterrupt": """
        def use(error): raise error
        raised(KeyboardInterrupt, use)
        with tracer.run(): raise KeyboardInterrupt
    """,
    "SystemExit": """
        def use(error): raise error
        raised(lambda: SystemExit(3), use)
        with tracer.run(): sys.exit(7)
    """,
    "GeneratorExit": """
        def use(error): raise error
        raised(GeneratorExit, use)
        with tracer.run(): raise GeneratorExit
    """,
    "a cause": """
        def use(error): raise error from KeyError("cause")
        raised(lambda: ValueError(1, 2), use)
        with tracer.run(): use(ValueError("x"))
    """,
    "too deep": """
        def deeper(number): return deeper(number + 1)
        deeper = tracer.tool(deeper)
        try:
            with tracer.run(): deeper(0)
        except RecursionError:
            print("too deep")
    """,
    "a timeout of the host's": """
        import signal
        class Late(Exception): pass
        def late(*_): raise Late("too late")
        signal.signal(signal.SIGALRM, late)
        class Value:
            def __repr__(self):
                signal.raise_signal(signal.SIGALRM)
                return "never"
        with contextlib.suppress(Late):
            with tracer.run() as run:
                repr(Value())
        @tracer.tool
        def asked(value):
            repr(value)
        asked(Value())
    """,
    "an exporter that traces": """
        with tracer.run() as run:
            try:
                from otel_agent_trace import AgentSpanProcessor
                class Own:
                    def export(self, spans):
                        tool("export")
                        with tracer.run(): pass
                        return None
                tracer._own.add_span_processor(AgentSpanProcessor(Own()))
            except AttributeError:
                pass
            tool(1)
        print("done")
    """,
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedPrograms]:
    """Programs that find the library imported."""
    with forked_programs("from otel_agent_trace import *", tmp_path_factory.mktemp("programs")) as programs:
        yield programs


def run_both(programs: ForkedPrograms, code: str, folder: Path) -> list[tuple[object, ...]]:
    """What a program did without and with tracing: output, exit status, end of its traceback."""
    program = f"{AROUND}import atexit\natexit.register(lambda: {ELAPSED})\n{textwrap.dedent(code)}"
    for name in ("plain", "traced"):
        (folder / name).mkdir()
    results = run_code(PLAIN + program, folder / "plain"), programs.run(TRACED + program, folder / "traced")
    plain_s, traced_s = (json.loads((folder / name / "elapsed").read_text()) for name in ("plain", "traced"))
    assert traced_s < plain_s + MORE_CPU_S
    return [(result.stdout, result.returncode, last_line(result)) for result in results]


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    """The end of the traceback with which a program ended."""
    lines = [line for line in result.stderr.splitlines() if not line.endswith("(logged once)")]
    return lines[-1] if lines and result.returncode else ""


ELAPSED = 'open("elapsed", "w").write(str(time.process_time() - began_s))'


@needs_fork
@pytest.mark.parametrize("name", VALUES)
def test_values(name: str, programs: ForkedPrograms, tmp_path: Path) -> None:
    """A value, whatever it does when it is looked at, comes through as the same object."""
    plain, traced = run_both(programs, VALUES[name], tmp_path)
    assert plain == traced
    assert plain[1] == 0
    assert (tmp_path / "traced" / "t.jsonl").stat().st_size > 0


@needs_fork
@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions(name: str, programs: ForkedPrograms, tmp_path: Path) -> None:
    """An exception comes through as the same, and ends the program as it would."""
    plain, traced = run_both(programs, EXCEPTIONS[name], tmp_path)
    assert plain == traced
    assert plain[0] or plain[1]
    assert (tmp_path / "traced" / "t.jsonl").stat().st_size > 0


BROKEN = [
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=abc",
    "OTEL_ATTRIBUTE_COUNT_LIMIT=-1",
    "OTEL_SPAN_EVENT_COUNT_LIMIT=abc",
    "OTEL_SPAN_LINK_COUNT_LIMIT=1e3",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT=abc",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT=abc",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=abc",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT=-5",
    "OTEL_BSP_MAX_QUEUE_SIZE=100",
    "OTEL_BSP_SCHEDULE_DELAY=abc",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=0",
    "OTEL_BSP_EXPORT_TIMEOUT=abc",
    "OTEL_TRACES_SAMPLER=bogus",
    "OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=x",
    "OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=7",
    "OTEL_RESOURCE_ATTRIBUTES=garbage",
    "OTEL_RESOURCE_ATTRIBUTES=a=%ff%zz",
    "OTEL_SERVICE_NAME=",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=bogus",
    "OTEL_PROPAGATORS=bogus",
    "OTEL_PYTHON_CONTEXT=bogus",
    "OTEL_PYTHON_ID_GENERATOR=bogus",
    "OTEL_PYTHON_TRACER_PROVIDER=bogus",
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=maybe",
    "OTEL_SDK_DISABLED=maybe",
    "OTEL_EXPORTER_OTLP_TIMEOUT=x",
    "OTEL_EXPORTER_OTLP_HEADERS=garbage",
    "OTEL_EXPORTER_OTLP_COMPRESSION=bogus",
    "OTEL_EXPORTER_OTLP_PROTOCOL=bogus",
    "OTEL_EXPORTER_OTLP_CERTIFICATE=/no/such/file",
    "OTEL_EXPORTER_OTLP_ENDPOINT=:::",
    "OTEL_AGENT_TRACE_FILE=/dev/null",
    "OTEL_AGENT_TRACE_FILE=/",
    "OTEL_AGENT_TRACE_FILE=/dev/null/x",
    "OTEL_AGENT_TRACE_USER_KEY=",
]


@pytest.fixture(scope="module")
def programs_without_the_sdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedPrograms]:
    """Programs that find imported what does not import OpenTelemetry, which reads variables as it is imported."""
    imports = "import grpc, httpx, sys, otel_agent_trace.export, otel_agent_trace.replay\n"
    imports += "assert 'opentelemetry' not in sys.modules"
    with forked_programs(imports, tmp_path_factory.mktemp("programs")) as programs:
        yield programs


@needs_fork
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_environment_variable_is_one_warning_at_most(
    broken: str, programs_without_the_sdk: ForkedPrograms, tmp_path: Path
) -> None:
    """Whatever the environment says wrongly, the program imports, traces and ends as it would."""
    program = """
import logging
records = []
logging.getLogger().addHandler(type("Handler", (logging.Handler,), {"emit": lambda self, record: records.append(record)})())
from otel_agent_trace import *
tracer = AgentTracer(backend=[FileBackend(), InMemoryBackend()])
with tracer.run(user_id="u", user_input=1) as run, run.step("s"):
    pass
print(tracer.flush(5) in (True, False), [run.user_input for run in tracer._own._active_span_processor._span_processors[0].pipeline.sinks[1].runs()])
tracer.close()
print([record.getMessage() for record in records] if len(records) > 1 else "at most one warning")
"""
    result = programs_without_the_sdk.run(
        program, tmp_path, **dict(setting.split("=", 1) for setting in broken.split(" "))
    )
    assert (result.returncode, result.stdout) == (0, "True [1]\nat most one warning\n"), result.stderr


class Raising(SpanProcessor, Sampler):
    """A processor and a sampler that raise in the methods that they are given."""

    def __init__(self, where: str, error: type[BaseException]) -> None:
        self.where, self.error = where, error

    def _perhaps(self, where: str) -> None:
        if where == self.where:
            raise self.error

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._perhaps("on_start")

    def on_end(self, span: Any) -> None:
        self._perhaps("on_end")

    def should_sample(self, *args: Any, **more: Any) -> SamplingResult:
        self._perhaps("should_sample")
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "raising"

    def force_flush(self, timeout_millis: int = 0) -> bool:
        self._perhaps("force_flush")
        return True


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("where", ["on_start", "on_end", "should_sample", "force_flush"])
def test_a_provider_that_raises(where: str, error: type[BaseException]) -> None:
    """The program runs and its own exception arrives, whatever is in the provider that it gave to the tracer."""
    raising = Raising(where, error)
    provider = TracerProvider(sampler=raising)
    provider.add_span_processor(raising)
    tracer = AgentTracer(tracer_provider=provider)
    came: list[str] = []

    @tracer.agent
    def agent(question: str) -> str:
        with tracer.run() as run, run.step("s") as step:
            came.append("inside")
            step.output = 1
        raise KeyError(question)

    with pytest.raises(KeyError, match="why"):
        agent("why")
    run_id = tracer.start_run()
    tracer.log_step(run_id, name="s")
    tracer.end_run(run_id)
    assert tracer.flush() is (where != "force_flush")
    tracer.close()
    assert came == ["inside"]
    assert [reason for reason in tracer.stats() if reason.startswith("failed")]
