"""What lies beside a live file may be anything: commands end soon, in little memory, without a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_runs
from otel_agent_trace.store.compaction import compact
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import store_settings
from tests.support.forked_programs import ForkedPrograms, forked_programs
from tests.support.requirements import needs_fork
from tests.support.stores import make_socket

pytestmark = [needs_fork, pytest.mark.slow]

SEGMENT = "t-20261128T101500.123456Z-9f3a1c2b.jsonl"
JOURNAL = "t.jsonl.open/99999-9f3a1c2b.jsonl"
PLACES = {
    "files": (
        JOURNAL,
        SEGMENT,
        SEGMENT.replace("9f3a1c2b", "9f3a1c2c") + ".zst",
        "t.jsonl.1",
        "t.jsonl.2.gz",
        "t.jsonl.media/aa",
    ),
    "folders": ("t.jsonl.open", "t.jsonl.lock", "t.jsonl.index", "t.jsonl.index-wal", "t.jsonl.media"),
}
COMMANDS = ("list", "show last", "metrics", "verify", "status", "compact", "prune --until 30d --apply", "tail", "index",
            "forget --user nobody", "list --status interrupted")  # fmt: skip
MOST_S = 120
MOST_BYTES = 768 << 20


def make_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 96 << 20)


def make_many_open(path: Path) -> None:
    """Started spans as ours, which nest without an end, and whose ids are paths."""
    span = '{"traceId":"%032x","spanId":"%016x","parentSpanId":"%016x","name":"invoke_agent","kind":1,"startTimeUnixNano":"1",'
    span += '"attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"invoke_agent"}},'
    span += '{"key":"agent_trace.run.id","value":{"stringValue":"../../../x"}}]}'
    line = '{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}\n'
    path.write_text("".join(line % (span % (1, number, number % 1500 + 1)) for number in range(1, 1501)))


THINGS: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "directory": os.mkdir,
    "link to passwd": lambda path: path.symlink_to("/etc/passwd"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to root": lambda path: path.symlink_to("/"),
    "socket": make_socket,
    "96 MB of nothing": make_sparse,
    "garbage": lambda path: path.write_bytes(os.urandom(100_000)),
    "deep": lambda path: path.write_bytes(b'{"a":[' * 50_000),
    "nested runs": make_many_open,
}


PROGRAM = """
import contextlib, io, resource, sys, time
from otel_agent_trace import AgentTracer, FileBackend, cli
most_bytes, most_s, *commands = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(most_bytes), int(most_bytes)))
for command in commands:
    if command.split()[0] in cli.commands.COMMANDS:
        errors, began = io.StringIO(), time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(errors):
            code = cli.main([*command.split()[:1], "t.jsonl", *command.split()[1:]])
        seconds = time.monotonic() - began
        if code not in (0, 1, 2) or "Traceback" in errors.getvalue() or seconds > float(most_s):
            print(command, code, round(seconds, 1), errors.getvalue()[-2000:])
        if command == "list" and "mine" not in printed.getvalue():
            print("not read:", printed.getvalue(), errors.getvalue())
tracer = AgentTracer(backend=FileBackend("t.jsonl", rotate_bytes=1024, compress="zst", keep_days=9, keep_bytes=10**12))
for number in range(5):
    began = time.monotonic()
    with tracer.run(user_input=f"after {number}") as run, run.step("s"):
        pass
    if number and time.monotonic() - began > 5:
        print("slow", time.monotonic() - began)
tracer.close()
"""
"""Calls each command, and traces; prints what went wrong."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedPrograms]:
    """Programs that find the library imported."""
    imports = "import otel_agent_trace.cli\nfrom otel_agent_trace import *"
    with forked_programs(imports, tmp_path_factory.mktemp("programs")) as programs:
        yield programs


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tracer = AgentTracer(backend=FileBackend(tmp_path / "t.jsonl"))
    with tracer.run(user_input="mine"):
        pass
    tracer.close()
    return tmp_path / "t.jsonl"


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("thing", THINGS)
def test_anything_beside_a_store(programs: ForkedPrograms, store: Path, thing: str, places: str) -> None:
    """Every command ends soon and well; the run is read and others are written; nothing outside is changed."""
    for place in PLACES[places]:
        beside = store.parent / place
        beside.parent.mkdir(exist_ok=True)
        THINGS[thing](beside)
    passwd = Path("/etc/passwd").read_bytes()
    done = programs.run(PROGRAM, store.parent, str(MOST_BYTES), str(MOST_S), *COMMANDS)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert Path("/etc/passwd").read_bytes() == passwd
    questions = {run.user_input for run in load_runs(store)}
    assert questions >= {"mine"} | {f"after {number}" for number in range(5)}
    assert not list(store.parent.rglob("x"))


def test_what_a_link_names_is_not_of_the_store(store: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder of media that is a link to a large one neither counts as bytes of the store, nor is it changed."""
    other = tmp_path_factory.mktemp("other")
    (other / "large").write_bytes(bytes(2 << 20))
    (store.parent / "t.jsonl.media").symlink_to(other)
    tracer = AgentTracer(backend=FileBackend(store, rotate_bytes=1024, keep_bytes=1 << 20))
    for number in range(20):
        with tracer.run(user_input=f"after {number}"):
            pass
    compact(StoreFiles(str(store)), store_settings({"keep_bytes": 1 << 20}))
    assert {run.user_input for run in load_runs(store)} >= {f"after {number}" for number in range(20)}
    assert [path.name for path in other.iterdir()] == ["large"]
