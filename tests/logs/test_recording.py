"""What a program logs inside runs is recorded below its step, whatever its loggers, levels and handlers are."""

from __future__ import annotations

import json
import logging
import logging.config
import logging.handlers
import queue
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    BackgroundBackend,
    ConfigurationError,
    FileBackend,
    InMemoryBackend,
    LogEntry,
    configure,
    load_run,
    run_to_spans,
    runs_from_spans,
)
from otel_agent_trace.pipeline import Gate
from otel_agent_trace.span import LogRecord
from otel_agent_trace.testing import capture_runs
from otel_agent_trace.tracing.log_intake import MAX_LOGS_OF_A_RUN
from tests.support.requirements import needs_fork

Traced = Callable[..., AgentTracer]
LOG = logging.getLogger("weather")


def said(logs: tuple[LogEntry, ...]) -> list[tuple[str, Any]]:
    return [(entry.severity, entry.body) for entry in logs]


def test_logs_of_steps_and_of_the_run(traced: Traced, memory: InMemoryBackend) -> None:
    """Each line is in the step, the run or the sub-agent's run in which it was written; others are not recorded."""
    tracer = traced()
    LOG.warning("before")
    with tracer.run() as run:
        LOG.warning("in the run")
        with run.step("search"):
            LOG.error("in %s", "the step")
            LOG.info("less than the level")
        with tracer.run(agent_name="planner"), run.model_call(model="m"):
            LOG.warning("in the call")
        with tracer.run(agent_name="writer"):
            LOG.critical("in the sub-agent")
    LOG.warning("after")
    (found,) = memory.runs()
    assert said(found.logs) == [("WARN", "in the run")]
    assert said(found.steps[0].logs) == [("ERROR", "in the step")]
    everywhere = [line for one in found.walk() for item in (one, *one.steps) for line in said(item.logs)]
    assert sorted(everywhere, key=str) == sorted(
        [
            ("WARN", "in the run"),
            ("ERROR", "in the step"),
            ("WARN", "in the call"),
            ("FATAL", "in the sub-agent"),
        ],
        key=str,
    )
    writer = next(step for step in found.steps if step.run is not None and step.run.agent_name == "writer")
    assert writer.logs == ()


def test_what_a_line_holds(traced: Traced, memory: InMemoryBackend) -> None:
    """Time, logger, place in the code, exception, and what was passed as `extra`."""
    with traced().run() as run:
        try:
            raise KeyError("city")
        except KeyError:
            LOG.exception("failed", extra={"city": "Paris", "depth": {"a": (1, [None])}, "big": 2**80})
    (found,) = memory.runs()
    (entry,) = found.logs
    assert found.started_at_ns <= entry.at_ns <= (found.ended_at_ns or 0)
    assert entry.at.timestamp() == pytest.approx(entry.at_ns / 1e9, abs=1e-5)
    assert (entry.severity, entry.logger, entry.body) == ("ERROR", "weather", "failed")
    attributes = dict(entry.attributes)
    assert attributes.pop("code.line.number") > 0
    assert attributes.pop("code.file.path") == __file__
    stacktrace = attributes.pop("exception.stacktrace")
    assert stacktrace.startswith("Traceback (most recent call last):\n")
    assert stacktrace.endswith("KeyError: 'city'\n")
    assert attributes == {
        "city": "Paris",
        "depth": {"a": [1, [None]]},
        "big": str(2**80),
        "code.function.name": "test_what_a_line_holds",
        "exception.type": "KeyError",
        "exception.message": "'city'",
    }
    assert run.span_id == found.span_id


def test_every_carrier_gives_the_same_run(traced: Traced, memory: InMemoryBackend, tmp_path: Path) -> None:
    """Memory, a file, dictionaries and spans."""
    path = tmp_path / "t.jsonl"
    LOG.propagate = False
    LOG.addHandler(logging.NullHandler())  # pytest-xdist cannot pass on a lone surrogate
    with traced(backends=[FileBackend(path)]).run() as run, run.step("search"):
        LOG.warning("ä %s", "x\ny", extra={"empty": {}, "none": None, "list": [], "nan": float("nan"), "text": ""})
        LOG.warning({"an": ["object"]})
        LOG.warning(ValueError("as a text"))
        LOG.warning("")
        LOG.warning("in between \ud800")
    (found,) = memory.runs()
    assert len(found.steps[0].logs) == 5
    assert [entry.body for entry in found.steps[0].logs][1:3] == [{"an": ["object"]}, "as a text"]
    assert load_run(path) == found
    assert AgentRun.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert runs_from_spans(run_to_spans(found)) == [found]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [list(line) for line in lines] == [["resourceLogs"]] * 5 + [["resourceSpans"]] * 2
    other = msgspec.structs.replace(found.steps[0], logs=())
    assert other != found.steps[0]


def test_levels(traced: Traced, memory: InMemoryBackend) -> None:
    """Names in any case, and numbers; the latest call decides, and one without a level changes nothing."""
    LOG.setLevel(logging.DEBUG)
    tracer = traced("info")
    with tracer.run():
        LOG.debug("not recorded")
        LOG.info("a")
    provider: Any = tracer._state.provider
    configure(provider=provider, logs=logging.ERROR, otlp=False)
    configure(provider=provider, otlp=False)
    with tracer.run():
        LOG.warning("not recorded")
        LOG.log(45, "b")
    assert [said(run.logs) for run in memory.runs()] == [[("INFO", "a")], [("Level 45", "b")]]


@pytest.mark.parametrize("level", ["LOUD", True, -1, 1.5, ""])
def test_a_level_that_is_none(level: Any) -> None:
    with pytest.raises(ConfigurationError, match="DEBUG, INFO, WARNING, ERROR, CRITICAL"):
        configure(logs=level, otlp=False)


def test_without_a_level_nothing_changes(memory: InMemoryBackend) -> None:
    """Neither are logs recorded, nor are the loggers watched."""
    before = logging.Logger.callHandlers
    with AgentTracer(tracer_provider=configure(backends=memory, otlp=False)).run():
        LOG.error("x")
    assert memory.runs()[0].logs == ()
    assert logging.Logger.callHandlers is before


def test_only_the_provider_of_the_run_counts(traced: Traced, memory: InMemoryBackend) -> None:
    """A run of another provider records nothing."""
    traced()
    other = InMemoryBackend()
    with AgentTracer(backend=other).run():
        LOG.error("x")
    assert (memory.logs(), other.logs()) == ([], [])


def test_the_loggers_of_the_program_stay_as_they_are(run_python: Any) -> None:
    """Warnings without configuration are printed as before, `basicConfig` works later, and levels hold."""
    program = """
import logging
from otel_agent_trace import AgentTracer, InMemoryBackend, configure
memory = InMemoryBackend()
if LOGS: configure(backends=memory, logs="DEBUG", otlp=False, set_global=True)
else: configure(backends=memory, otlp=False, set_global=True)
log = logging.getLogger("a.b")
with AgentTracer().run():
    log.warning("one")
    log.info("none")
    log.error("bad %d", "x")
    logging.basicConfig(format="%(levelname)s|%(funcName)s|%(message)s")
    log.warning("two", stacklevel=1)
    log.info("none")
    log.setLevel("INFO")
    log.info("three")
    print(logging.getLogger().handlers, log.handlers, logging.getLogger().level)
if LOGS: print([entry.body for entry in memory.runs()[0].logs])
"""
    plain, recorded = (run_python(f"LOGS = {flag}\n{program}") for flag in (False, True))
    assert recorded.stdout.splitlines()[:-1] == plain.stdout.splitlines()
    assert recorded.stdout.splitlines()[-1] == "['one', 'bad %d', 'two', 'three']"
    assert recorded.stderr.count("--- Logging error ---") == plain.stderr.count("--- Logging error ---") == 1
    for line in ("one\n", "WARNING|<module>|two", "INFO|<module>|three"):
        assert line in recorded.stderr
        assert line in plain.stderr


def test_loggers_of_every_kind(traced: Traced, memory: InMemoryBackend) -> None:
    """Loggers that do not propagate, that `dictConfig` sets up, adapters, queues, warnings, and filters."""
    tracer = traced("INFO")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"null": {"class": "logging.NullHandler"}},
            "loggers": {"weather": {"handlers": ["null"], "level": "INFO", "propagate": False}},
        }
    )
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    LOG.addHandler(logging.handlers.QueueHandler(records))
    off = logging.getLogger("weather.off")
    off.addFilter(lambda record: "secret" not in record.getMessage())
    with tracer.run():
        LOG.info("no propagation")
        logging.LoggerAdapter(LOG, {"a": 1}).info("adapter")
        off.info("a secret")
        off.disabled = True
        off.info("disabled")
        logging.disable(logging.INFO)
        LOG.info("nothing of this level")
        logging.disable(logging.NOTSET)
        logging.captureWarnings(True)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", stacklevel=1)
        logging.captureWarnings(False)
        while not records.empty():
            logging.NullHandler().handle(records.get())
    off.disabled = False
    bodies = [entry.body for entry in memory.runs()[0].logs]
    assert bodies[:2] == ["no propagation", "adapter"]
    assert len(bodies) == 3
    assert "UserWarning: old" in bodies[2]


class Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = "masked", ()
        return True


def test_what_a_handler_takes_out_is_not_recorded(traced: Traced, memory: InMemoryBackend) -> None:
    """Filters of the program's handlers have seen the record before."""
    handler = logging.NullHandler()
    handler.handle = handler.filter  # type: ignore[method-assign,assignment]
    handler.addFilter(Redacting())
    LOG.addHandler(handler)
    with traced().run():
        LOG.warning("password %s", "x")
    assert said(memory.runs()[0].logs) == [("WARN", "masked")]


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_records_that_cannot_be_read_never_hurt(traced: Traced, memory: InMemoryBackend) -> None:
    """Arguments that do not fit, objects without a text, records of strange types."""
    LOG.propagate = False
    with traced().run():
        LOG.warning("%s", Hostile())
        LOG.warning("%d", "x")
        LOG.warning(Hostile())
        LOG.warning("extra", extra={"value": Hostile()})
        record = logging.makeLogRecord({"levelno": 40, "name": None, "msg": None, "exc_info": True, "created": "now"})
        LOG.handle(record)
    bodies = [entry.body for entry in memory.runs()[0].logs]
    assert bodies[:2] == ["%s", "%d"]
    assert "Hostile" in bodies[2]
    assert bodies[3:] == ["extra", None]


class LoggingPolicy:
    """Log a warning about each record."""

    traces = False

    def __call__(self, record: Any) -> Any:
        LOG.warning("policy")
        return record


def test_what_is_logged_while_recording_causes_no_loop(traced: Traced, memory: InMemoryBackend) -> None:
    """A policy that logs, an object that logs when it is converted, and our own and OpenTelemetry's loggers."""

    class Chatty:
        def __str__(self) -> str:
            LOG.warning("from __str__")
            return "chatty"

    tracer = traced(policies=[LoggingPolicy()])
    LOG.propagate = False
    with tracer.run():
        LOG.warning("%s", Chatty())
        logging.getLogger("otel_agent_trace.x").warning("ours")
        logging.getLogger("opentelemetry.sdk").warning("the SDK's")
    assert "chatty" in [entry.body for entry in memory.runs()[0].logs]
    assert len(memory.logs()) < 10


def test_a_run_keeps_so_many_lines(traced: Traced, memory: InMemoryBackend, caplog: pytest.LogCaptureFixture) -> None:
    """Further ones are counted, with one warning; the next run begins anew."""
    tracer = traced()
    LOG.propagate = False
    for _ in range(2):
        with tracer.run() as run:
            for number in range(MAX_LOGS_OF_A_RUN + 5):
                with run.step("s") if number % 500 == 0 else run.step("t"):
                    LOG.warning("%d", number)
    assert [sum(len(step.logs) for step in run.steps) for run in memory.runs()] == [MAX_LOGS_OF_A_RUN] * 2
    assert tracer.stats()["dropped: too many logs in a run"] == 10
    assert caplog.text.count("further ones are not recorded") == 1


def test_long_values_are_cut(traced: Traced, memory: InMemoryBackend) -> None:
    """Of a long text both ends are kept; of many extra values the first."""
    LOG.propagate = False
    with traced().run():
        LOG.warning("a%sz", "x" * 10_000_000, extra={f"k{number}": number for number in range(500)})
    ((entry,),) = [run.logs for run in memory.runs()]
    assert len(entry.body) <= 16_384
    assert (entry.body[0], entry.body[-1]) == ("a", "z")
    assert len(entry.attributes) < 50


def test_spans_of_others_below_a_step(traced: Traced, memory: InMemoryBackend) -> None:
    """A line belongs to the closest step above a span of the same provider, and to the step if it is another's span."""
    tracer = traced()
    provider: Any = tracer._state.provider
    others = TracerProvider().get_tracer("http")
    with tracer.run() as run, run.step("search"):
        with provider.get_tracer("http").start_as_current_span("GET"):
            LOG.warning("same provider")
        with others.start_as_current_span("GET"):
            LOG.warning("another provider")
    (found,) = memory.runs()
    assert [entry.body for entry in found.steps[0].logs] == ["same provider", "another provider"]
    assert memory.logs()[0].span_id != found.steps[0].span_id == memory.logs()[1].span_id


def test_agents_of_other_instrumentations(traced: Traced, memory: InMemoryBackend) -> None:
    """What is logged in a span of a tool or a model is recorded, what is logged in a web request is not."""
    provider: Any = traced()._state.provider
    others = provider.get_tracer("other")
    with others.start_as_current_span("POST /ask"):
        LOG.warning("in the request")
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
        with others.start_as_current_span("execute_tool search", attributes=attributes):
            LOG.warning("in the tool")
    (found,) = memory.runs()
    assert said(found.steps[0].logs) == [("WARN", "in the tool")]
    assert len(memory.logs()) == 1


def test_runs_that_are_not_sampled(traced: Traced, memory: InMemoryBackend) -> None:
    """Their logs are not recorded either."""
    provider = configure(provider=TracerProvider(sampler=ALWAYS_OFF), backends=memory, logs="WARNING", otlp=False)
    with AgentTracer(tracer_provider=provider).run():
        LOG.warning("x")
    assert memory.logs() == []


class DropAll(Gate):
    def decide(self, spans: Any, *, is_over: bool) -> bool | None:
        return False if is_over else None


def test_a_gate_drops_logs_with_their_trace(traced: Traced, memory: InMemoryBackend) -> None:
    tracer = traced(policies=[DropAll()])
    with tracer.run():
        LOG.warning("x")
    assert (memory.logs(), memory.runs()) == ([], [])


def test_captured_runs_have_their_logs(traced: Traced, memory: InMemoryBackend, tmp_path: Path) -> None:
    """They are written nowhere else meanwhile, also those of other instrumentations."""
    path = tmp_path / "t.jsonl"
    tracer = traced(backends=[FileBackend(path)])
    provider: Any = tracer._state.provider
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    with capture_runs() as runs:
        with tracer.run():
            LOG.warning("in the run")
        with provider.get_tracer("other").start_as_current_span("execute_tool", attributes=attributes) as span:
            LOG.warning("in the tool")
        with trace.use_span(span):
            LOG.warning("after the tool")
    assert [said(run.logs) for run in runs] == [[("WARN", "in the run")], []]
    assert [entry.body for entry in runs[1].steps[0].logs] == ["in the tool", "after the tool"]
    assert (memory.logs(), path.exists()) == ([], False)


@needs_fork
def test_threads_and_forks(run_python: Any) -> None:
    """A thread without the run's context records nothing; a forked child records below the step that forked it."""
    result = run_python("""
import logging, os, threading
from otel_agent_trace import AgentTracer, configure, load_run
tracer = AgentTracer(tracer_provider=configure(file="t.jsonl", logs="WARNING", otlp=False))
log = logging.getLogger("weather")
with tracer.run() as run, run.step("search"):
    thread = threading.Thread(target=log.warning, args=("without context",))
    thread.start(); thread.join()
    child = os.fork()
    if not child:
        log.warning("in the child")
        os._exit(0)
    os.waitpid(child, 0)
    log.warning("in the parent")
print([entry.body for entry in load_run("t.jsonl").steps[0].logs])
""")
    assert result.stdout == "['in the child', 'in the parent']\n"


def test_custom_backends_get_runs_with_their_logs(memory: InMemoryBackend) -> None:
    """Steps and runs have the lines that were written before they ended."""

    class Store:
        def __init__(self) -> None:
            self.steps: list[Any] = []
            self.runs: list[AgentRun] = []

        def start_run(self, run: AgentRun) -> None:
            pass

        def log_step(self, run_id: str, step: Any) -> None:
            self.steps.append(step)

        def end_run(self, run: AgentRun) -> None:
            self.runs.append(run)

    store = Store()
    provider = configure(backends=[memory, BackgroundBackend(store)], logs="WARNING", otlp=False)
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run() as run:
        LOG.warning("a")
        with run.step("s"):
            LOG.warning("b")
    assert tracer.flush()
    assert store.runs == memory.runs()
    assert said(store.runs[0].logs) == [("WARN", "a")]
    assert said(store.steps[0].logs) == [("WARN", "b")]


def test_policies_change_and_drop_lines(traced: Traced, memory: InMemoryBackend) -> None:
    def policy(record: Any) -> Any:
        if isinstance(record, LogRecord):
            return None if record.body == "secret" else msgspec.structs.replace(record, body="masked")
        return record

    with traced(policies=[policy]).run():
        LOG.warning("secret")
        LOG.warning("x")
    assert said(memory.runs()[0].logs) == [("WARN", "masked")]


def test_the_exception_of_a_signal_handler_reaches_the_program(traced: Traced, memory: InMemoryBackend) -> None:
    """And a handler that logs is no reason to hang."""
    import signal

    def handler(number: int, frame: Any) -> None:
        LOG.warning("in the handler")
        raise InterruptedError

    class Slow:
        def __str__(self) -> str:
            signal.raise_signal(signal.SIGINT)
            return "slow"

    before = signal.signal(signal.SIGINT, handler)
    LOG.propagate = False
    try:
        with pytest.raises(InterruptedError), traced().run():
            LOG.warning("%s", Slow())
    finally:
        signal.signal(signal.SIGINT, before)
    assert threading.active_count() >= 1
    with traced().run():
        LOG.warning("goes on")
    assert said(memory.runs()[-1].logs) == [("WARN", "goes on")]


def test_lines_obey_the_content_mode_of_their_tracer(memory: InMemoryBackend) -> None:
    """A tracer goes before its provider, whichever of the two records more."""
    for of_provider, of_tracer in (("all", "none"), ("none", "all")):
        provider = configure(backends=[memory], otlp=False, logs="WARNING", content=of_provider)  # type: ignore[arg-type]
        with AgentTracer(tracer_provider=provider, content=of_tracer).run():  # type: ignore[arg-type]
            LOG.warning("for %s", "Ann", extra={"who": "Ann"})
    entries = [run.logs[0] for run in sorted(memory.runs(), key=lambda run: run.started_at_ns)]
    assert [(entry.body, entry.attributes.get("who")) for entry in entries] == [(None, None), ("for Ann", "Ann")]
    assert [name for entry in entries for name in entry.attributes if name.startswith("agent_trace.")] == []
