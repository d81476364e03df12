"""Signals that end a call and are no errors: what is recorded of them, and which exceptions they are."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    ConfigurationError,
    FileBackend,
    InMemoryBackend,
    RunStatus,
    current_run,
    load_run,
    run_to_spans,
    runs_from_spans,
)
from otel_agent_trace.runs.explain import explain
from otel_agent_trace.tracing.control_flow import BUILT_IN
from tests.support.requirements import need_package

TheRun = Callable[[], AgentRun]
from_python_3_11 = pytest.mark.skipif(sys.version_info < (3, 11), reason="pydantic-ai and LangGraph need Python 3.11")
INSTALLED = {
    "arq": "arq",
    "celery": "celery",
    "dramatiq": "dramatiq",
    "huey": "huey",
    "langgraph": "langgraph",
    "pydantic_ai": "pydantic-ai-slim",
    "temporalio": "temporalio",
}
"""Distributions by package, of the frameworks that the dependency groups have; the other names were looked up by hand."""


class Pause(Exception):
    """A signal of the program's own."""


class Interrupt:
    def __init__(self, value: object) -> None:
        self.value = value


class GraphBubbleUp(Exception):
    """Stands for LangGraph's class of that name, so that the tests need no LangGraph."""

    __module__ = "langgraph.errors"


class GraphInterrupt(GraphBubbleUp):
    __module__ = "langgraph.errors"


class TaskDeferred(BaseException):
    __module__ = "airflow.sdk.exceptions"

    def __init__(self, trigger: object) -> None:
        super().__init__()
        self.trigger = trigger


class CeleryRetry(Exception):
    """Like Celery's, it is an argument of its own."""

    __module__, __qualname__ = "celery.exceptions", "Retry"

    def __init__(self, message: str | None) -> None:
        self.message = message
        super().__init__(self, message, None)


CeleryRetry.__name__ = "Retry"


def framework_class(name: str, base: type[BaseException] = Exception) -> Callable[..., BaseException]:
    """Return a stand-in for a class of a framework, whose keywords are its attributes."""
    module, _, short = name.rpartition(".")

    def init(self: BaseException, *args: object, **attributes: object) -> None:
        BaseException.__init__(self, *args)
        vars(self).update(attributes)

    return type(short, (base,), {"__module__": module, "__init__": init})


PausedRun = framework_class("prefect.exceptions.PausedRun")
Awaiting = framework_class("airflow.sdk.exceptions.TaskAwaitingInput", BaseException)
Interrupted = framework_class("agent_framework._workflows._functional.WorkflowInterrupted", asyncio.CancelledError)
Skipped = framework_class("airflow.sdk.exceptions.DownstreamTasksSkipped")
RetryAfter = framework_class("inngest._internal.errors.RetryAfterError")


class HasValue(Pause):
    def __init__(self, value: object) -> None:
        super().__init__("not this one")
        self.value = value


class HasHostileValue(Pause):
    @property
    def value(self) -> object:
        raise RuntimeError("no value")


@pytest.fixture
def tracer(memory: InMemoryBackend) -> AgentTracer:
    return AgentTracer(backend=memory, control_flow=Pause)


def raised_through(tracer: AgentTracer, error: BaseException) -> None:
    """Raise an exception out of a tool and an agent; it arrives as the same object."""

    @tracer.tool
    def approve() -> None:
        raise error

    @tracer.agent
    def pay() -> None:
        approve()

    with pytest.raises(BaseException) as caught:
        pay()
    assert caught.value is error
    assert [entry.name for entry in caught.traceback][-1] == "approve"


def outcome(item: Any) -> tuple[object, str | None]:
    return item.interrupted_for, item.error and item.error.type


@pytest.mark.parametrize(
    ("signal", "value"),
    [
        (GraphInterrupt([Interrupt({"approve": "pay?"})]), {"approve": "pay?"}),
        (GraphInterrupt([Interrupt(1), Interrupt("b")]), [1, "b"]),
        (GraphInterrupt([Interrupt(None)]), "GraphInterrupt"),
        (GraphInterrupt(()), "GraphInterrupt"),
        (GraphBubbleUp("to the parent"), "to the parent"),
        (TaskDeferred("a trigger"), "a trigger"),
        (CeleryRetry("in 5 s"), "in 5 s"),
        (CeleryRetry(None), "Retry"),
        (PausedRun("Run is paused.", state="Paused"), "Paused"),
        (Awaiting(kwargs={"form": 1}), {"form": 1}),
        (Interrupted("Workflow interrupted", request_data="pay?"), "pay?"),
        (Skipped(tasks=["b"]), ["b"]),
        (Pause(), "Pause"),
        (Pause("why"), "why"),
        (Pause("a", 2), ["a", 2]),
        (Pause(0), 0),
        (HasValue((1, 2)), (1, 2)),
        (HasHostileValue("x"), "x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_value_of_a_signal(tracer: AgentTracer, the_run: TheRun, signal: BaseException, value: object) -> None:
    raised_through(tracer, signal)
    run = the_run()
    assert (outcome(run), outcome(run.steps[0])) == ((value, None), (value, None))
    assert run.status is RunStatus.SUCCESS


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), ValueError("x"), StopIteration(3), SystemExit(0), RetryAfter("later")],
    ids=lambda e: type(e).__name__,
)
def test_other_exceptions_are_errors(tracer: AgentTracer, memory: InMemoryBackend, error: BaseException) -> None:
    run = tracer.run()
    with pytest.raises(type(error)), run, run.step("s"):
        raise error
    (kept,) = memory.runs()
    assert kept.steps[0].error is not None
    assert (kept.interrupted_for, kept.steps[0].interrupted_for, kept.status) == (None, None, RunStatus.ERROR)


def test_an_error_raised_from_a_signal_is_an_error(tracer: AgentTracer, the_run: TheRun) -> None:
    def wrapped() -> None:
        try:
            raise Pause("x")
        except Pause as signal:
            raise RuntimeError("wrapped") from signal

    with pytest.raises(RuntimeError), tracer.run():
        wrapped()
    assert outcome(the_run()) == (None, "RuntimeError")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="has no exception groups")
def test_a_group_is_a_signal_if_all_in_it_are(tracer: AgentTracer, the_run: TheRun) -> None:
    group = getattr(__import__("builtins"), "BaseExceptionGroup")  # noqa: B009 - unknown to mypy for Python 3.10
    groups = [
        group("one", [Pause(1)]),
        group("nested", [Pause("a"), group("inner", [Pause("b")])]),
        group("mixed", [Pause(1), ValueError("x")]),
    ]
    with tracer.run() as run:
        for each in groups:
            with pytest.raises(group), run.step("s"):
                raise each
    assert [outcome(step) for step in the_run().steps] == [(1, None), (["a", "b"], None), (None, "ExceptionGroup")]


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def own_value(error: BaseException) -> object:
    return {"own": str(error)} if isinstance(error, Pause) else None


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (Pause, "why"),
        (f"{__name__}.Pause", "why"),
        ([KeyError, Pause], "why"),
        (lambda error: isinstance(error, Pause), "why"),
        (own_value, {"own": "why"}),
        ((lambda _: None, lambda _: 0), 0),
    ],
    ids=["class", "name", "several", "true", "value", "zero"],
)
def test_a_rule_of_the_programs_own(memory: InMemoryBackend, the_run: TheRun, rule: Any, value: object) -> None:
    raised_through(AgentTracer(backend=memory, control_flow=rule), Pause("why"))
    assert outcome(the_run()) == (value, None)


def test_a_name_under_which_a_module_exports_a_class(
    memory: InMemoryBackend, the_run: TheRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting = types.ModuleType("acme_signals")
    exporting.__dict__["Halt"] = Pause
    monkeypatch.setitem(sys.modules, "acme_signals", exporting)
    raised_through(AgentTracer(backend=memory, control_flow="acme_signals.Halt"), Pause("x"))
    assert outcome(the_run()) == ("x", None)


def test_a_name_imports_nothing(memory: InMemoryBackend, the_run: TheRun) -> None:
    raised_through(AgentTracer(backend=memory, control_flow="sqlite3.dbapi2x.Pause"), Pause("x"))
    assert outcome(the_run())[1] is not None
    assert "sqlite3.dbapi2x" not in sys.modules


def test_a_rule_that_raises_is_counted(memory: InMemoryBackend, the_run: TheRun) -> None:
    tracer = AgentTracer(backend=memory, control_flow=(lambda _: 1 / 0, Pause))
    raised_through(tracer, Pause("x"))
    assert outcome(the_run()) == ("x", None)
    assert tracer.stats()["failed: control flow"] == 2


@pytest.mark.parametrize("rule", [int, "Pause", "not a.name", 3, [None]], ids=repr)
def test_what_is_no_rule(rule: Any) -> None:
    with pytest.raises(ConfigurationError, match="control_flow"):
        AgentTracer(InMemoryBackend(), control_flow=rule)


@pytest.mark.frameworks
@from_python_3_11
@pytest.mark.parametrize("package", INSTALLED, ids=str)
def test_the_frameworks_have_the_classes_in_the_table(package: str) -> None:
    need_package(INSTALLED[package], "frameworks")
    names = [signal.name for signal in BUILT_IN if signal.name.partition(".")[0] == package]
    assert names
    for name in names:
        module, _, cls = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), cls), BaseException)


# ── where it may happen ──────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_that_end_a_run_with_a_signal(tracer: AgentTracer, the_run: TheRun) -> None:
    run_id = tracer.start_run()
    tracer.log_step(run_id, tool_name="approve", error=Pause("a"))
    tracer.log_error(run_id, Pause({"b": 1}))
    run = the_run()
    assert (outcome(run), outcome(run.steps[0])) == (({"b": 1}, None), ("a", None))


def test_of_a_signal_and_an_error_the_later_counts(tracer: AgentTracer, the_run: TheRun) -> None:
    with tracer.run() as run:
        with run.step("a") as step:
            step.error = Pause("x")
            step.error = "failed"
        with run.step("b") as step:
            step.error = "failed"
            step.error = Pause("x")
        with run.step("c") as step:
            step.interrupted_for = {"set": True}
    assert [outcome(step) for step in the_run().steps] == [(None, "_OTHER"), ("x", None), ({"set": True}, None)]


def test_streams(tracer: AgentTracer, the_run: TheRun) -> None:
    """A generator that raises a signal, or passes on one that is thrown into it."""

    @tracer.tool
    def pieces() -> Iterator[int]:
        yield 1
        raise Pause("raised")

    @tracer.agent
    async def answers() -> AsyncIterator[str]:
        yield "a"

    async def threw() -> None:
        stream: Any = answers()
        await stream.__anext__()
        await stream.athrow(Pause("thrown"))

    with tracer.run():
        with pytest.raises(Pause):
            list(pieces())
        with pytest.raises(Pause):
            asyncio.run(threw())
    assert [outcome(step) for step in the_run().steps] == [("raised", None), ("thrown", None)]


def test_a_sub_agent_whose_signal_is_caught(tracer: AgentTracer, the_run: TheRun) -> None:
    with tracer.run(agent_name="outer"):
        with pytest.raises(Pause), tracer.run(agent_name="sub"), current_run().step("s"):
            raise Pause("x")
    run = the_run()
    (step,) = run.steps
    assert step.run is not None
    assert (outcome(run), outcome(step), outcome(step.run)) == ((None, None), ("x", None), ("x", None))


# ── what is recorded ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_span_has_neither_status_nor_exception(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    raised_through(tracer, Pause({"approve": (1, 2)}))
    for span in memory.spans():
        assert (span.status_code, span.events, span.attributes.get("error.type")) == (0, (), None)
        assert json.loads(span.attributes["agent_trace.interrupted_for"]) == {"approve": [1, 2]}


def test_it_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    with AgentTracer(FileBackend(path), control_flow=Pause) as tracer:
        raised_through(tracer, Pause({"approve": (1, 2)}))
    run = load_run(path)
    assert outcome(run) == outcome(run.steps[0]) == ({"approve": (1, 2)}, None)
    assert runs_from_spans(run_to_spans(run)) == [run]
    assert AgentRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    (explanation,) = explain(run_to_spans(run))
    for facts in (explanation.facts, explanation.steps[0].facts):
        assert [fact.value for fact in facts if fact.name == "interrupted_for"] == [{"approve": (1, 2)}]


def test_a_lone_call(tracer: AgentTracer, the_run: TheRun) -> None:
    """A tool outside of any run reads as a run that the same signal ended."""

    @tracer.tool
    def approve() -> None:
        raise Pause("x")

    with pytest.raises(Pause):
        approve()
    run = the_run()
    assert (outcome(run), run.status) == (("x", None), RunStatus.SUCCESS)
    assert runs_from_spans(run_to_spans(run)) == [run]
    (explanation,) = explain(run_to_spans(run))
    assert [fact.how for fact in explanation.facts if fact.name == "interrupted_for"] == ["from a step"]


@pytest.mark.frameworks
@from_python_3_11
def test_langgraph(tracer: AgentTracer, the_run: TheRun) -> None:
    """The real interrupt(), which the graph catches itself."""
    need_package("langgraph", "frameworks")
    graphs: Any = importlib.import_module("langgraph.graph")
    savers: Any = importlib.import_module("langgraph.checkpoint.memory")
    from langgraph.types import interrupt  # type: ignore[import-not-found,unused-ignore]

    @tracer.tool
    def approve(question: str) -> Any:
        return interrupt({"approve": question})

    graph = graphs.StateGraph(dict)
    graph.add_node("ask", lambda _: {"answer": approve("pay?")})
    graph.add_edge(graphs.START, "ask")
    app = graph.compile(checkpointer=savers.InMemorySaver())
    with tracer.run():
        app.invoke({"question": "pay?"}, {"configurable": {"thread_id": "1"}})
    run = the_run()
    assert (outcome(run), outcome(run.steps[0])) == ((None, None), ({"approve": "pay?"}, None))
