"""User ids: a pseudonym by default, alike in object, span and every backend; the key that makes it."""

from __future__ import annotations

import enum
import errno
import logging
import os
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from otel_agent_trace import (
    AgentRun,
    AgentSpanProcessor,
    AgentTracer,
    ConfigurationError,
    FileBackend,
    InMemoryBackend,
    configure,
    current_run,
    iter_runs,
    keys,
    pseudonymize_user_id,
)
from tests.support.requirements import needs_fork

PRIVATE = pseudonymize_user_id("u1", key="test")
KEY_VARIABLE = "OTEL_AGENT_TRACE_USER_KEY"


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No key in the environment, and an empty folder for the key file, whose future path this is."""
    monkeypatch.delenv(KEY_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    keys._process_key.cache_clear()
    yield tmp_path / "config" / "otel-agent-trace" / "user.key"
    keys._process_key.cache_clear()


class Seen:
    def __init__(self) -> None:
        self.runs: list[AgentRun] = []

    def start_run(self, run: AgentRun) -> None:
        self.runs.append(run)

    def log_step(self, run_id: str, step: Any) -> None:
        pass

    def end_run(self, run: AgentRun) -> None:
        self.runs.append(run)


def test_a_pseudonym_everywhere(tmp_path: Path) -> None:
    """By default handle, spans and all backends carry the same pseudonym, and the plain id stands nowhere."""
    memory, path, seen = InMemoryBackend(), tmp_path / "t.jsonl", Seen()
    with AgentTracer(backend=[memory, FileBackend(path), seen]) as tracer:
        with tracer.run(user_id="u1-plain") as run, run.step("s"):
            mine = run.user_id
        with tracer.run() as run:
            run.user_id = "u1-plain"
            assert run.user_id == mine
    assert mine == pseudonymize_user_id("u1-plain", key="test")
    assert mine.startswith("hmac:")
    for runs in (memory.runs(), list(iter_runs(path)), seen.runs[1::2]):
        assert [run.user_id for run in runs] == [mine, mine]
    assert seen.runs[0].user_id == mine
    assert "u1-plain" not in repr(memory.spans()) + repr(seen.runs)
    assert b"u1-plain" not in path.read_bytes()
    assert all("user.id" not in span.attributes for span in memory.spans())


@pytest.mark.parametrize(
    ("mode", "expected"), [("plain", "u1"), ("none", None), ("pseudonym", PRIVATE), (None, PRIVATE)]
)
def test_modes_of_a_tracer(mode: Any, expected: str | None) -> None:
    """A tracer records ids in the given mode: plain, not at all, or as a pseudonym."""
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory, user_ids=mode)
    with tracer.run(user_id="u1") as run:
        assert run.user_id == expected
    (read,) = memory.runs()
    assert read.user_id == expected
    (span,) = memory.spans()
    assert ("user.id" in span.attributes) == (mode == "plain")


@pytest.mark.parametrize(("mode", "expected"), [("plain", "u1"), ("none", None), ("pseudonym", PRIVATE)])
def test_modes_of_a_provider(mode: Any, expected: str | None) -> None:
    """The mode given to configure() holds for tracers of that provider, and for spans of others."""
    memory = InMemoryBackend()
    provider = configure(backends=[memory], user_ids=mode, otlp=False)
    tracer = AgentTracer(tracer_provider=provider)
    with tracer.run(user_id="u1") as run:
        assert run.user_id == expected
        provider.get_tracer("other").start_span("x", attributes={"user.id": "u1"}).end()
    (read,) = memory.runs()
    assert read.user_id == expected
    other = memory.spans()[0].attributes
    assert other.get("user.id") == ("u1" if mode == "plain" else None)
    assert other.get("enduser.pseudo.id") == (PRIVATE if mode == "pseudonym" else None)


def test_a_stricter_processor_than_its_tracer() -> None:
    """A tracer that says plain on a provider that says pseudonym is overruled before anything is kept."""
    memory = InMemoryBackend()
    provider = configure(backends=[memory], otlp=False)
    with AgentTracer(tracer_provider=provider, user_ids="plain").run(user_id="u1"):
        pass
    assert [run.user_id for run in memory.runs()] == [PRIVATE]


def test_none_is_none_whatever_else_is_set() -> None:
    """A processor, and a backend under the SDK's own, in mode none keep no pseudonym of anybody either."""
    memory, below_the_sdk = InMemoryBackend(), InMemoryBackend(user_ids="none")
    provider = TracerProvider()
    provider.add_span_processor(AgentSpanProcessor(memory, user_ids="none"))
    provider.add_span_processor(SimpleSpanProcessor(below_the_sdk))
    with AgentTracer(tracer_provider=provider).run(user_id="u1"):
        assert [run.user_id for run in memory.runs()] == [None]
    assert [run.user_id for run in memory.runs() + below_the_sdk.runs()] == [None, None]


def test_plain_ids_of_others_while_they_run() -> None:
    """A span of another instrumentation shows no plain id before it has ended either."""
    memory, seen = InMemoryBackend(), Seen()
    provider = TracerProvider()
    provider.add_span_processor(AgentSpanProcessor([memory, seen]))
    attributes = {"gen_ai.operation.name": "invoke_agent", "user.id": "u1"}
    span = provider.get_tracer("other").start_span("invoke_agent", attributes=attributes)
    assert [run.user_id for run in memory.runs() + seen.runs] == [PRIVATE, PRIVATE]
    span.end()
    assert [run.user_id for run in memory.runs() + seen.runs] == [PRIVATE] * 3


def test_an_unknown_mode() -> None:
    """A mode that does not exist is refused, wherever it is given."""
    for make in (
        lambda: AgentTracer(backend=InMemoryBackend(), user_ids="hash"),  # type: ignore[arg-type]
        lambda: configure(user_ids="hash"),  # type: ignore[arg-type]
        lambda: AgentSpanProcessor(user_ids="hash"),  # type: ignore[arg-type]
        lambda: InMemoryBackend(user_ids="hash"),  # type: ignore[arg-type]
        lambda: FileBackend(user_ids="hash"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigurationError, match="pseudonym, plain, none"):
            make()


@pytest.mark.parametrize("attribute", ["user.id", "enduser.id"])
@pytest.mark.parametrize("processor", ["agent", "simple", "batch"])
def test_spans_of_others(tmp_path: Path, processor: str, attribute: str) -> None:
    """Plain ids in spans of other instrumentations are pseudonymised under our processor and under the SDK's."""
    memory, path = InMemoryBackend(), tmp_path / "t.jsonl"
    file = FileBackend(path)
    provider = TracerProvider(shutdown_on_exit=False)
    if processor == "agent":
        provider.add_span_processor(AgentSpanProcessor([memory, file]))
    else:
        wrap: Any = SimpleSpanProcessor if processor == "simple" else BatchSpanProcessor
        provider.add_span_processor(wrap(memory))
        provider.add_span_processor(wrap(file))
    attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a", attribute: "u1"}
    provider.get_tracer("other").start_span("invoke_agent a", attributes=attributes).end()
    provider.shutdown()
    for runs in (memory.runs(), list(iter_runs(path))):
        assert [run.user_id for run in runs] == [PRIVATE]
    assert b'"u1"' not in path.read_bytes()
    assert attribute not in memory.spans()[0].attributes


OF_FRAMEWORKS = [
    "traceloop.association.properties.user_id",
    "langfuse.user.id",
    "ai.telemetry.metadata.userId",
    "user_id",
]


@pytest.mark.parametrize("attribute", OF_FRAMEWORKS)
@pytest.mark.parametrize(("mode", "expected"), [("pseudonym", PRIVATE), ("plain", "u1"), ("none", None)])
def test_ids_under_the_names_of_frameworks(attribute: str, mode: Any, expected: str | None) -> None:
    """They keep their names, by which they are read; numbers and system users that are named alike are none."""
    memory = InMemoryBackend()
    provider = configure(backends=[memory], otlp=False, user_ids=mode)
    others: dict[str, Any] = {"db.user_id": "app", "last_user_ids": "u1", "app.user.idle": True}
    attributes = {"gen_ai.operation.name": "invoke_agent", attribute: "u1", **others}
    for _ in range(2):
        provider.get_tracer("other").start_span("invoke_agent a", attributes=attributes).end()
    for span in memory.spans():
        assert span.attributes.get(attribute) == expected
        assert others.items() <= span.attributes.items()
    tracer = AgentTracer(backend=memory, user_ids=mode)
    with tracer.run():
        trace.get_current_span().set_attribute(attribute, "u1")
    assert memory.spans()[-1].attributes.get(attribute) == expected


def test_a_pseudonym_is_never_hashed_again() -> None:
    """A pseudonym that is given, or passes two processors, stays what it is."""
    memory = InMemoryBackend()
    provider = configure(backends=[memory], otlp=False)
    with AgentTracer(tracer_provider=provider).run(user_id=PRIVATE):
        pass
    assert memory.runs()[0].user_id == PRIVATE == pseudonymize_user_id(PRIVATE)


@pytest.mark.parametrize(
    "user",
    [42, 0, "", "ü@日本", "\udcff", b"u", "x" * 10_000, object(), ("a", 1)],
    ids=lambda value: type(value).__name__,
)
def test_odd_user_ids(user: object) -> None:
    """Whatever is given as a user id, text or not, the run is recorded with a pseudonym."""
    memory = InMemoryBackend()
    with AgentTracer(backend=memory).run(user_id=user):
        pass
    assert (memory.runs()[0].user_id or "").startswith("hmac:")


def test_a_user_id_that_raises() -> None:
    """An id whose str() raises is not recorded, counted, and not raised."""

    class Bad:
        def __str__(self) -> str:
            raise ZeroDivisionError

    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    with tracer.run(user_id=Bad()) as run:
        run.user_id = Bad()
    assert memory.runs()[0].user_id is None
    assert tracer.stats()["failed: user id"] == 2


@pytest.mark.parametrize("mode", ["pseudonym", "plain"])
def test_runs_of_a_user_are_found(tmp_path: Path, mode: Any) -> None:
    """iter_runs(user_id=...) takes the id as the program knows it, and the pseudonym."""
    path = tmp_path / "t.jsonl"
    with AgentTracer(backend=FileBackend(path, user_ids=mode), user_ids=mode) as tracer:
        for user in ("u1", "u2", None):
            with tracer.run(user_id=user, user_input=user):
                pass
    assert [run.user_input for run in iter_runs(path, user_id="u1")] == ["u1"]
    if mode == "pseudonym":
        assert [run.user_input for run in iter_runs(path, user_id=PRIVATE)] == ["u1"]
    assert list(iter_runs(path, user_id="u3")) == []


# ── the key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Customer(str, enum.Enum):
    FIRST = "u1"


@pytest.mark.parametrize("mode", ["pseudonym", "plain"])
@pytest.mark.parametrize("user", [42, Customer.FIRST, uuid.UUID(int=1)], ids=lambda value: type(value).__name__)
def test_a_user_that_is_no_text_is_found(user: Any, mode: Any) -> None:
    """What was given as a user id finds the run, and so does its text."""
    memory = InMemoryBackend()
    with AgentTracer(backend=memory, user_ids=mode).run(user_id=user):
        pass
    text = user.value if isinstance(user, Customer) else str(user)
    for asked in (user, text):
        assert len(list(iter_runs(memory, user_id=asked))) == 1
    if mode == "pseudonym":
        assert memory.runs()[0].user_id == pseudonymize_user_id(text)


def test_a_key_file_without_hard_links(no_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system knows no hard links the key is kept all the same, and made once."""

    def refuse(source: str, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first = pseudonymize_user_id("u1")
    key = no_key.read_bytes()
    assert stat.S_IMODE(no_key.stat().st_mode) == 0o600
    keys._make_key_file(no_key)
    assert (pseudonymize_user_id("u1"), no_key.read_bytes(), os.listdir(no_key.parent)) == (first, key, [no_key.name])


def test_the_key_file(no_key: Path) -> None:
    """The first id that is recorded makes a key file of mode 0600, which is used from then on."""
    tracer = AgentTracer(backend=InMemoryBackend())
    with tracer.run():
        pass
    assert not no_key.exists()
    with tracer.run(user_id="u1") as run:
        first = run.user_id
    assert stat.S_IMODE(no_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(no_key.parent.stat().st_mode) == 0o700
    key = no_key.read_text().strip()
    assert len(key) >= 32
    assert first == pseudonymize_user_id("u1") == pseudonymize_user_id("u1", key=key)
    assert os.listdir(no_key.parent) == ["user.key"]


def test_the_environment_goes_over_the_key_file(no_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the environment is used, and no file is made."""
    monkeypatch.setenv(KEY_VARIABLE, "test")
    assert pseudonymize_user_id("u1") == PRIVATE
    assert not no_key.exists()


def test_a_key_that_is_replaced(no_key: Path) -> None:
    """Another key in the file is noticed: ids change, and so does the id of the key in them."""
    first = pseudonymize_user_id("u1")
    no_key.unlink()
    no_key.write_text("another key\n")
    second = pseudonymize_user_id("u1")
    assert second == pseudonymize_user_id("u1", key="another key")
    assert first.split(":")[1] != second.split(":")[1]


@pytest.mark.parametrize("obstacle", ["file", "directory", "empty"])
def test_no_key_file_can_be_kept(no_key: Path, caplog: pytest.LogCaptureFixture, obstacle: str) -> None:
    """Without a key file one key of the process is used, in all threads, and that is reported once."""
    if obstacle == "file":
        no_key.parent.parent.write_text("in the way")
    elif obstacle == "directory":
        no_key.mkdir(parents=True)
    else:
        no_key.parent.mkdir(parents=True)
        no_key.write_text("")
    memory = InMemoryBackend()
    tracer = AgentTracer(backend=memory)
    with caplog.at_level(logging.WARNING, "otel_agent_trace"):
        for _ in range(3):
            with tracer.run(user_id="u1"):
                pass
    ids = {run.user_id for run in memory.runs()}
    assert len(ids) == 1
    assert ids.pop().startswith("hmac:")
    assert len(caplog.records) == 1
    assert KEY_VARIABLE in caplog.text
    assert [run.user_id for run in iter_runs(memory, user_id="u1")] == [memory.runs()[0].user_id] * 3


def test_threads_that_come_first_at_once(no_key: Path) -> None:
    """Threads that need the key for the first time at the same moment get the same one."""
    threads = 16
    begin = threading.Barrier(threads)
    ids: list[str] = []

    def work() -> None:
        begin.wait()
        ids.append(pseudonymize_user_id("u1"))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(ids) == {pseudonymize_user_id("u1", key=no_key.read_text().strip())}


@needs_fork
def test_processes_that_come_first_at_once(no_key: Path, run_python: Callable[..., Any]) -> None:
    """Processes that need the key for the first time at the same moment end with the same one."""
    result = run_python(
        """
        import os, sys
        from otel_agent_trace import pseudonymize_user_id
        children, (ready, go), (out, results) = [], os.pipe(), os.pipe()
        for _ in range(8):
            if (child := os.fork()) == 0:
                os.read(ready, 1)
                os.write(results, (pseudonymize_user_id("u1") + "\\n").encode())
                os._exit(0)
            children.append(child)
        os.write(go, b"x" * 8)
        for child in children:
            os.waitpid(child, 0)
        os.close(results)
        print(os.fdopen(out).read(), end="")
        """
    )
    lines = result.stdout.split()
    assert len(lines) == 8, result.stderr
    assert set(lines) == {pseudonymize_user_id("u1")}
    assert os.listdir(no_key.parent) == ["user.key"]


def test_reading_makes_no_key(no_key: Path, tmp_path: Path) -> None:
    """Reading, filtering by user, and runs without users make no key file and no folder."""
    path = tmp_path / "t.jsonl"
    memory = InMemoryBackend()
    with AgentTracer(backend=[memory, FileBackend(path)]) as tracer:
        with tracer.run() as run, run.step("s"):
            pass
    assert list(iter_runs(path, user_id="u1")) == list(iter_runs(memory, user_id="u1")) == []
    assert len(list(iter_runs(path))) == 1
    assert os.listdir(tmp_path) == ["t.jsonl"]


@pytest.mark.parametrize("blank", ["", " ", ",", " , ,"])
def test_a_variable_without_a_key_is_none(no_key: Path, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    of_file = pseudonymize_user_id("u1")
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", blank)
    assert pseudonymize_user_id("u1") == of_file


def test_modes_without_keys(no_key: Path) -> None:
    """Where ids are recorded plain, or not at all, no key is made."""
    for mode in ("plain", "none"):
        with AgentTracer(backend=InMemoryBackend(), user_ids=mode).run(user_id="u1"):  # type: ignore[arg-type]
            pass
    assert not no_key.parent.parent.exists()


def test_inert_handles_make_no_key(no_key: Path) -> None:
    """A user id that is set outside of any run is not recorded, so no key is made for it."""
    current_run().user_id = "u1"
    assert not no_key.parent.parent.exists()
