"""Copies of tracers, of what holds them, and of decorated functions: the same ones here, ones of their own elsewhere."""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import gc
import multiprocessing
import pickle
import subprocess
import sys
import textwrap
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest
from opentelemetry import trace

from otel_agent_trace import AgentTracer, BackgroundBackend, FileBackend, InMemoryBackend, current_run, load_runs
from tests.support.requirements import needs_fork
from tests.support.waiting import DEADLOCK_S

MEMORY = InMemoryBackend()
TRACER = AgentTracer(backend=MEMORY, agent_name="copied")


@TRACER.tool
def search(q: str) -> str:
    return q * 2


class Searcher:
    def __call__(self, q: str) -> str:
        return q * 2


SEARCHER = TRACER.tool("searcher")(Searcher())


@dataclasses.dataclass
class Config:
    tracer: AgentTracer
    backend: Any = None
    run: Any = None
    name: str = "bot"


def copies_of(thing: Any) -> list[Any]:
    pickled = [pickle.loads(pickle.dumps(thing, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    return [copy.copy(thing), copy.deepcopy(thing), cloudpickle.loads(cloudpickle.dumps(thing)), *pickled]


# ── in this process ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "thing",
    [TRACER, MEMORY, FileBackend("traces.jsonl"), BackgroundBackend(InMemoryBackend())],  # type: ignore[arg-type]
    ids=lambda thing: type(thing).__name__,
)
def test_copies_are_the_object_itself(thing: object) -> None:
    assert all(copied is thing for copied in copies_of(thing))


def test_what_holds_a_tracer_can_be_copied() -> None:
    config = Config(TRACER, MEMORY)
    for copied in (*copies_of(config), Config(**dataclasses.asdict(config))):
        assert (copied.tracer, copied.backend) == (TRACER, MEMORY)


def test_open_runs_and_steps_are_copied_as_themselves() -> None:
    with TRACER.run() as run, run.step("search") as step, run.model_call(model="m") as call:
        for thing in (run, step, call):
            assert all(copied is thing for copied in copies_of(thing))
        config = copy.deepcopy(Config(TRACER, run=run))
        with TRACER.run(agent_name="below"):
            assert config.run.run_id == run.run_id


def test_functions_of_a_module_are_pickled_by_reference() -> None:
    assert pickle.loads(pickle.dumps(search)) is search
    assert pickle.loads(pickle.dumps(SEARCHER))("a") == "aa"


def test_copies_of_functions_trace_where_their_tracer_does(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    @tracer.tool
    def plain(q: str) -> str:
        return q

    @tracer.tool
    async def later(q: str) -> str:
        return q

    @tracer.tool
    def pieces(q: str) -> Iterator[str]:
        yield q

    @tracer.tool
    async def later_pieces(q: str) -> AsyncIterator[str]:
        yield q

    class Agent:
        @tracer.agent
        def answer(self, q: str) -> str:
            return plain(q)

    async def consumed(stream: AsyncIterator[str]) -> list[str]:
        return [piece async for piece in stream]

    copied: Any = cloudpickle.loads(cloudpickle.dumps((plain, later, pieces, later_pieces, Agent())))
    with tracer.run():
        assert copied[0]("a") == "a"
        assert asyncio.run(copied[1]("b")) == "b"
        assert list(copied[2]("c")) == ["c"]
        assert asyncio.run(consumed(copied[3]("d"))) == ["d"]
        assert copied[4].answer("e") == "e"
    (run,) = memory.runs()
    names = ["plain", "later", "pieces", "later_pieces", "answer"]
    assert [(step.name, step.input) for step in run.steps[:4]] == [
        (name, {"q": q}) for name, q in zip(names, "abcd", strict=False)
    ]
    assert run.steps[4].run is not None
    assert (run.steps[4].run.user_input, len(run.steps[4].run.steps)) == ("e", 1)


def test_a_dropped_tracer_is_kept_by_no_registry() -> None:
    tracer = AgentTracer(backend=InMemoryBackend())
    pickle.dumps(tracer)
    reference = weakref.ref(tracer)
    del tracer
    gc.collect()
    assert reference() is None


def test_the_context_of_a_caller_is_copied() -> None:
    carrier = {"traceparent": f"00-{1:032x}-{2:016x}-01", "baggage": "a=b"}
    assert all(TRACER.inject(context=copied) == carrier for copied in copies_of(TRACER.extract(carrier)))


@needs_fork
def test_workers_that_were_forked_before_find_the_tracer() -> None:
    """A pool pickles its calls after it has forked."""
    context = multiprocessing.get_context("fork")
    tracer, (parent, child) = AgentTracer(backend=InMemoryBackend()), context.Pipe()
    worker = context.Process(target=lambda: child.send(pickle.loads(child.recv_bytes()) is tracer))
    worker.start()
    parent.send_bytes(pickle.dumps(tracer))
    assert parent.poll(DEADLOCK_S)
    assert parent.recv() is True
    worker.join(DEADLOCK_S)


# ── in another process ───────────────────────────────────────────────────────────────────────────────────────────────


def elsewhere(data: bytes, program: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    """Unpickle `thing` in a new process, and run a program with it."""
    start = f"import base64, pickle\nthing = pickle.loads(base64.b64decode({base64.b64encode(data)!r}))\n"
    command = [sys.executable, "-W", "error", "-c", start + textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=DEADLOCK_S, check=False)


def in_main(program: str, folder: Path) -> bytes:
    """Return what a program pickles of its own ``__main__`` by cloudpickle."""
    (folder / "program.py").write_text(textwrap.dedent(program), encoding="utf-8")
    command = [sys.executable, "program.py"]
    subprocess.run(command, cwd=folder, timeout=DEADLOCK_S, check=True)
    return (folder / "pickled").read_bytes()


def test_a_function_of_main_traces_into_the_same_file(tmp_path: Path) -> None:
    """As Ray, Dask and Spark ship it; tracer and function of one pickle are one tracer there."""
    data = in_main(
        """
        import cloudpickle
        from otel_agent_trace import AgentTracer, FileBackend

        class Rule:
            def __call__(self, error):
                return "of the rule"

        tracer = AgentTracer(
            backend=FileBackend("traces.jsonl"), agent_name="shipped", user_ids="plain", error_rules=[Rule(), lambda error: None]
        )

        @tracer.tool
        def search(q):
            raise LookupError(q)

        @tracer.agent
        def answer(q):
            try:
                return search(q)
            except LookupError:
                return tracer

        with open("pickled", "wb") as file:
            cloudpickle.dump({"answer": answer, "tracer": tracer}, file)
        """,
        tmp_path,
    )
    done = elsewhere(
        data,
        """
        with thing["tracer"].bind(user_id="u1"):
            assert thing["answer"]("a") is thing["tracer"]
        thing["tracer"].close()
        """,
        folder=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = load_runs(tmp_path / "traces.jsonl")
    assert (run.agent_name, run.user_id, run.user_input) == ("shipped", "u1", "a")
    assert run.steps[0].error is not None
    assert run.steps[0].error.category == "of the rule"


def test_backends_begin_anew(tmp_path: Path) -> None:
    memory = InMemoryBackend(max_runs=3)
    with AgentTracer(backend=memory).run():
        pass
    done = elsewhere(pickle.dumps(memory), "print(len(thing.runs()), thing._max_runs)", folder=tmp_path)
    assert (done.stdout, done.stderr) == ("0 3\n", "")


def test_what_subclasses_add_is_copied(tmp_path: Path) -> None:
    data = in_main(
        """
        import cloudpickle
        from otel_agent_trace import AgentTracer, InMemoryBackend

        class Store(InMemoryBackend):
            def __init__(self, url):
                self.url = url
                super().__init__(max_runs=2)

        class Tracer(AgentTracer):
            def __init__(self, store):
                super().__init__(backend=store, agent_name="a")
                self.store, self.itself = store, self

        with Tracer(Store("sqlite://")) as tracer, tracer.run():
            with open("pickled", "wb") as file:
                cloudpickle.dump(tracer, file)
        """,
        tmp_path,
    )
    program = """
        with thing.run():
            print(thing.agent_name, thing.store.url, thing.itself is thing, len(thing.store.runs()))
    """
    done = elsewhere(data, program, folder=tmp_path)
    assert (done.stdout, done.stderr) == ("a sqlite:// True 1\n", "")


def test_credentials_of_an_endpoint_are_those_of_the_other_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from otel_agent_trace.tracing.endpoints import otlp_backend

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret-here,x-tenant=t")
    backend = otlp_backend("http://user:secret-password@127.0.0.1:9/v1/traces?key=secret-query", None)
    assert backend is not None
    assert copy.deepcopy(backend) is backend
    tracer = AgentTracer(backend=backend)
    data = cloudpickle.dumps([tracer, backend])
    assert b"secret" not in data
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=there")
    program = "tracer, backend = thing\nprint(backend._destination.url, dict(backend._destination.headers))"
    done = elsewhere(data, program, folder=tmp_path)
    tracer.close()
    assert done.stdout == "http://127.0.0.1:9/v1/traces {'authorization': 'there'}\n"
    assert "to http://127.0.0.1:9/v1/traces without x-tenant, the query of its address" in done.stderr


def test_an_exporter_with_headers_stays_where_it_is(tmp_path: Path) -> None:
    exporters: Any = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    exporter = exporters.OTLPSpanExporter("http://127.0.0.1:9", headers={"authorization": "secret"})
    data = cloudpickle.dumps(AgentTracer(backend=exporter))
    assert b"secret" not in data
    done = elsewhere(data, "with thing.run(): pass", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "without OTLPSpanExporter; it records to the rest" in done.stderr


def test_a_tracer_that_is_switched_off_stays_so(tmp_path: Path) -> None:
    tracer = AgentTracer(tracer_provider=trace.NoOpTracerProvider())
    program = """
        from otel_agent_trace import InMemoryBackend, configure
        memory = InMemoryBackend()
        configure(backends=[memory], otlp=False, set_global=True)
        with thing.run():
            print(memory.runs())
    """
    done = elsewhere(pickle.dumps(tracer), program, folder=tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_policies_of_a_provider_come_along(tmp_path: Path) -> None:
    """Its global provider may be configured without them."""
    data = in_main(
        """
        import cloudpickle
        from otel_agent_trace import AgentTracer, InMemoryBackend, configure

        def drop(record):
            return None

        provider = configure(backends=[InMemoryBackend()], otlp=False, policies=[drop], user_ids="none")
        with open("pickled", "wb") as file:
            cloudpickle.dump(AgentTracer(tracer_provider=provider), file)
        """,
        tmp_path,
    )
    program = """
        from otel_agent_trace import InMemoryBackend, configure
        memory = InMemoryBackend()
        configure(backends=[memory], otlp=False, set_global=True)
        with thing.run(user_id="u"):
            pass
        print(memory.runs(), thing._state.user_policy().mode)
    """
    done = elsewhere(data, program, folder=tmp_path)
    assert done.stdout == "[] none\n"


def test_an_open_run_records_nothing_there(tmp_path: Path) -> None:
    with AgentTracer(backend=InMemoryBackend()).run() as run, run.step("s") as step:
        data = pickle.dumps([run, step])
    program = "run, step = thing\nwith run.step('t') as other: other.output = step.output = run.final_output = 1"
    done = elsewhere(data, program, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_provider_stays_where_it_is(tmp_path: Path) -> None:
    """The copy records to the global provider, and says so."""
    from otel_agent_trace import configure

    provider = configure(backends=[InMemoryBackend()], otlp=False)
    done = elsewhere(pickle.dumps(AgentTracer(tracer_provider=provider)), "with thing.run(): pass", folder=tmp_path)
    assert done.returncode == 0
    assert "a tracer from another process is without its provider; it records to the global provider" in done.stderr


def test_without_its_policies_nothing_is_recorded(tmp_path: Path) -> None:
    """They may be there so that secrets do not leave the process."""
    tracer = AgentTracer(backend=FileBackend(tmp_path / "traces.jsonl"), policies=[lambda record: record])
    data = pickle.dumps(tracer) if "cloudpickle" not in sys.modules else _without_cloudpickle(tracer)
    done = elsewhere(data, "with thing.run(user_input='secret'): pass", folder=tmp_path)
    assert done.returncode == 0
    assert "it records to nothing" in done.stderr
    assert not (tmp_path / "traces.jsonl").exists()


def _without_cloudpickle(thing: object) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("cloudpickle", "dill", "joblib")]:
            patch.delitem(sys.modules, name)
        return pickle.dumps(thing)


def test_no_secret_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the key of user ids nor the headers of an endpoint."""
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", "key-of-users-0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret-of-headers")
    from otel_agent_trace import configure

    provider = configure(otlp="http://127.0.0.1:9", backends=[InMemoryBackend()])
    tracer = AgentTracer(tracer_provider=provider)
    with AgentTracer(backend=MEMORY).run(user_id="u"), tracer.run(user_id="u"):
        data = cloudpickle.dumps([tracer, MEMORY, current_run(), search])
    assert b"key-of-users" not in data
    assert b"secret-of-headers" not in data
    provider.shutdown()


# ── decorating ───────────────────────────────────────────────────────────────────────────────────────────────────────


def with_attribute(name: str, value: object) -> Callable[[str], str]:
    def function(q: str) -> str:
        return q

    setattr(function, name, value)
    return function


class Raising:
    """Has attributes that raise, as annotations that Python 3.14 evaluates in a circular import."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "names"):
            raise KeyError(name)
        return object.__getattribute__(self, name)

    def __call__(self, q: str) -> str:
        return q


STRANGE: list[Callable[[], Any]] = [
    lambda: with_attribute("__signature__", 5),
    lambda: with_attribute("__wrapped__", 5),
    lambda: with_attribute("__text_signature__", "("),
    lambda: Raising("__signature__"),
    lambda: Raising("__name__"),
    lambda: Raising("__qualname__"),
    lambda: Raising("__doc__"),
    lambda: Raising("__annotations__", "__code__"),
    lambda: Raising("__class__"),
    lambda: Raising("__module__", "__dict__", "__wrapped__", "__type_params__"),
]


@pytest.mark.parametrize("make", STRANGE, ids=range(len(STRANGE)))
def test_decorating_cannot_fail_an_import(
    tracer: AgentTracer, memory: InMemoryBackend, make: Callable[[], Any]
) -> None:
    function = make()
    for decorate in (tracer.tool, tracer.model, tracer.agent):
        assert decorate(function)("a") == "a"
    assert len(memory.runs()) == 3


def test_methods_that_wrapt_has_wrapped(tracer: AgentTracer, memory: InMemoryBackend) -> None:
    wrapt: Any = pytest.importorskip("wrapt")  # with opentelemetry-instrumentation, in the test group

    @wrapt.decorator
    def other(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs), type(instance).__name__

    class Tools:
        @tracer.tool
        @other
        @classmethod
        def shared(cls, q: str) -> str:
            return q

        @tracer.tool
        @other
        def method(self, q: str) -> str:
            return q

        @tracer.tool
        @other
        @staticmethod
        def static(q: str) -> str:
            return q

    assert (Tools.shared("a"), Tools().shared("b")) == (("a", "type"), ("b", "type"))
    assert Tools().method("c") == ("c", "Tools")
    assert (Tools.static("d"), Tools().static("e")) == (("d", "NoneType"), ("e", "NoneType"))
    assert [run.steps[0].input for run in memory.runs()] == [{"q": q} for q in "abcde"]
