"""Other processes: pools, children, servers. What they do is part of the trace, below the step that asked for it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, child_environment, load_runs
from tests.support.processes import ROOT
from tests.support.requirements import START_METHODS, cannot_run, needs_fork
from tests.support.waiting import DEADLOCK_S

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
VARIABLES = ("TRACEPARENT", "TRACESTATE", "BAGGAGE", "AGENTSESSION", "OTEL_AGENT_TRACE_PARENT")
Run = Callable[..., str]

TOOLS = """
import os
from opentelemetry import trace
from otel_agent_trace import *
tracer = AgentTracer(backend=FileBackend(f"{os.path.basename(__import__('sys').argv[0])}.jsonl"), user_ids="none")

@tracer.tool
def double(number: int) -> int:
    return 2 * number

@tracer.agent
def helper(question: str) -> str:
    return str(double(len(question)))

team = AgentTracer(backend=FileBackend("team.jsonl"), user_ids="none", agent_name="team")

@team.agent
def named(question: str) -> str:
    return question
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program as a file in a folder with the module `tools`; gives what it printed."""
    (tmp_path / "tools.py").write_text(TOOLS)

    def call(code: str, *arguments: str, name: str = "main.py", errors: str = "", **environment: str) -> str:
        (tmp_path / name).write_text(textwrap.dedent(code))
        kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        done = subprocess.run(
            [sys.executable, name, *arguments],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **environment},
            capture_output=True,
            text=True,
            timeout=DEADLOCK_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, errors)
        return done.stdout

    return call


def needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            cannot_run(f"{package} is not installed")


def steps(run: AgentRun) -> list[tuple[str, Any, Any]]:
    return [(step.name, step.parent_step_id, step.output) for step in run.steps]


# ── pools and children of multiprocessing ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", START_METHODS)
def test_a_worker_that_is_used_again(run: Run, tmp_path: Path, method: str) -> None:
    """The only worker of a pool works for each run in turn, and at last for none."""
    run(
        """
        import concurrent.futures, multiprocessing, sys, tools
        from tools import tracer

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as plain:
                pool = tracer.executor(plain)
                for number in range(3):
                    with tracer.run(run_id=str(number), session_id=f"s{number}") as run, run.step("outer"):
                        assert pool.submit(tools.double, 1).result() == 2
                        assert plain.submit(tracer.with_context(tools.double), 2).result() == 4
                        assert list(pool.map(tools.double, [3, 4], chunksize=2)) == [6, 8]
                        assert pool.submit(tools.helper, "12345").result() == "10"
                pool.submit(tools.double, 50).result()
        """,
        method,
    )
    runs = load_runs(tmp_path)
    inside = [("double", 1, 2), ("double", 1, 4), ("double", 1, 6), ("double", 1, 8), ("helper", 1, "10")]
    for number, read in enumerate(runs[:3]):
        assert read.run_id == str(number)
        assert steps(read) == [("outer", None, None), *inside]
        helper = read.steps[-1].run
        assert helper is not None
        assert steps(helper) == [("double", None, 10)]
        assert helper.run_id == f"{read.trace_id}-{helper.span_id}"
        assert (read.session_id, helper.session_id) == (f"s{number}", f"s{number}")
    (lone,) = runs[3:]
    assert steps(lone) == [("double", None, 100)]
    assert lone.session_id is None
    assert lone.trace_id not in {read.trace_id for read in runs[:3]}


@pytest.mark.parametrize("method", START_METHODS)
def test_children_and_pools_of_multiprocessing(run: Run, tmp_path: Path, method: str) -> None:
    """Process and Pool.map; the children do not stand below the step in which the pool was made."""
    run(
        """
        import multiprocessing, sys, tools
        from tools import tracer

        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[1])
            with tracer.run(run_id="0") as run, run.step("makes the pool"):
                pool = context.Pool(1)
                assert pool.map(tracer.with_context(tools.double), [1]) == [2]
            with tracer.run(run_id="1") as run:
                with run.step("uses the pool"):
                    assert pool.map(tracer.with_context(tools.double), [2, 3]) == [4, 6]
                with run.step("has a child"):
                    child = context.Process(target=tracer.with_context(tools.double), args=(4,))
                child.start()
                child.join()
                assert child.exitcode == 0
            bare = context.Process(target=tracer.with_context(tools.helper), args=("12345",))
            bare.start()
            bare.join()
            pool.terminate()
        """,
        method,
    )
    first, second, third = load_runs(tmp_path)
    assert steps(first) == [("makes the pool", None, None), ("double", 1, 2)]
    assert [(name, parent) for name, parent, _ in steps(second)] == [
        ("uses the pool", None),
        ("double", 1),
        ("double", 1),
        ("has a child", None),
        ("double", second.steps[3].step_id),
    ]
    assert (third.agent_name, third.run_id) == ("helper", third.trace_id)


@pytest.mark.parametrize("method", START_METHODS)
def test_an_agent_in_another_process_is_called_as_in_this_one(run: Run, tmp_path: Path, method: str) -> None:
    """By its function where it is called inside a run, by the name that the tracer was given where it is not."""
    run(
        """
        import multiprocessing, sys, tools
        from tools import tracer

        @tools.team.agent
        def main(question):
            pool.map(tracer.with_context(tools.named), ["a"])

        if __name__ == "__main__":
            with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
                main("q")
                pool.map(tracer.with_context(tools.named), ["b"])
        """,
        method,
    )
    inside, outside = load_runs(tmp_path)
    assert [(step.name, step.run and step.run.agent_name) for step in inside.steps] == [("named", "named")]
    assert (inside.agent_name, outside.agent_name) == ("team", "team")


@needs_fork
def test_steps_of_forked_children_have_numbers_of_their_own(run: Run, tmp_path: Path) -> None:
    """A child does not count: reading numbers the steps by their time. Given ids stay, and no other step has them."""
    run(
        """
        import os, tools
        from tools import tracer

        def fork(*calls):
            child = os.fork()
            if child == 0:
                for call in calls:
                    call()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

        def given():
            with run.step("given", step_id=2):
                pass

        with tracer.run(run_id="r") as run:
            tools.double(1)
            fork(lambda: tools.double(2), lambda: tools.helper("12"), given)
            fork(lambda: tools.double(3), lambda: tracer.log_step("r", tool_name="logged"))
            tools.double(4)
        """
    )
    (read,) = load_runs(tmp_path)
    assert [(step.name, step.step_id) for step in read.steps] == [
        ("double", 1),
        ("double", 3),
        ("helper", 4),
        ("given", 2),
        ("double", 6),
        ("logged", 7),
        ("double", 8),
    ]
    assert [step.index for step in read.steps] == [0, 2, 3, 4, 5, 6, 7]


def test_a_function_that_cannot_be_pickled_fails_as_it_does_unbound(run: Run) -> None:
    printed = run(
        """
        import pickle
        from tools import tracer

        for function in (lambda: 1, tracer.with_context(lambda: 1)):
            try:
                pickle.dumps(function)
            except (pickle.PicklingError, AttributeError) as error:
                print("refused")
        """
    )
    assert printed == "refused\n" * 2


@needs_fork
def test_baggage_goes_along(run: Run) -> None:
    """Pickled, a function has the baggage of its context; and only that, not the worker's."""
    printed = run(
        """
        import concurrent.futures, multiprocessing, tools
        from opentelemetry import baggage, context

        def get() -> dict:
            return dict(baggage.get_all())

        if __name__ == "__main__":
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
                pool = tools.tracer.executor(pool)
                for name in "ab":
                    token = context.attach(baggage.set_baggage(name, "1"))
                    print(pool.submit(get).result())
                    context.detach(token)
                print(pool.submit(get).result())
        """
    )
    assert printed == "{'a': '1'}\n{'b': '1'}\n{}\n"


# ── fork ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@needs_fork
def test_a_forked_child_has_no_live_span(run: Run, tmp_path: Path) -> None:
    """It knows the current span by its ids; what it does stands below, and ends nothing of its parent's."""
    run(
        """
        import os, sys, tools
        from opentelemetry import trace
        from tools import tracer

        with tracer.run(run_id="r") as run, run.step("outer") as step:
            child = os.fork()
            if child == 0:
                span = trace.get_current_span()
                assert not span.is_recording() and span.get_span_context().is_remote
                assert format(span.get_span_context().span_id, "016x") == step.span_id
                span.set_attribute("lost", 1)
                span.end()
                assert tools.helper("12345") == "10"
                with tracer.run(agent_name="own") as own:
                    assert own.parent_run_id == "r"
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert step.span.is_recording() and trace.get_current_span() is step.span
        """
    )
    (read,) = load_runs(tmp_path)
    assert steps(read) == [("outer", None, None), ("helper", 1, "10"), ("own", 1, None)]
    assert "lost" not in read.steps[0].attributes
    assert [step.run.parent_run_id for step in read.steps if step.run] == ["r", "r"]


@needs_fork
def test_a_bound_function_that_was_forked_has_no_live_span(run: Run) -> None:
    """Nothing is pickled then: the child has the function with its context as it was."""
    printed = run(
        """
        import multiprocessing, tools
        from opentelemetry import trace

        def look() -> None:
            span = trace.get_current_span()
            print(span.is_recording(), format(span.get_span_context().span_id, "016x"), flush=True)

        with tools.tracer.run() as run:
            bound = tools.tracer.with_context(look)
            run.leave()
            child = multiprocessing.get_context("fork").Process(target=bound)
            child.start()
            child.join()
        print(run.span_id)
        """
    )
    (recording, seen), (expected,) = (line.split() for line in printed.splitlines())
    assert (recording, seen) == ("False", expected)


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_child_process_continues_the_trace(run: Run, tmp_path: Path) -> None:
    """Two runs and a lone tool of a child, and a grandchild's run: each below the span that started it."""
    (tmp_path / "child.py").write_text(
        "import subprocess, sys, tools\n"
        "first = tools.tracer.start_run(agent_name='first'); tools.tracer.end_run(first)\n"
        "tools.double(1)\n"
        "with tools.tracer.run(agent_name='second') as run:\n"
        "    environment = tools.child_environment()\n"
        "    subprocess.run([sys.executable, 'grandchild.py'], env=environment, check=True)\n"
        "assert first != run.run_id\n"
    )
    (tmp_path / "grandchild.py").write_text("import tools\ntools.helper('12345')\n")
    run(
        """
        import subprocess, sys, tools
        with tools.tracer.run(run_id="r", session_id="s") as run, run.step("outer"):
            subprocess.run([sys.executable, "child.py"], env=tools.child_environment(), check=True)
        """
    )
    assert {path.name for path in tmp_path.glob("*.jsonl")} == {
        "main.py.jsonl",
        "child.py.jsonl",
        "grandchild.py.jsonl",
    }
    (read,) = load_runs(tmp_path)
    assert steps(read) == [("outer", None, None), ("first", 1, None), ("double", 1, 2), ("second", 1, None)]
    first, second = (step.run for step in read.steps if step.run)
    assert first is not None
    assert second is not None
    assert len({read.run_id, first.run_id, second.run_id}) == 3
    assert steps(second) == [("helper", None, "10")]
    assert [run.session_id for run in read.walk()] == ["s"] * 4


PARENTS = """
import os, tools
from opentelemetry import trace
from otel_agent_trace import extract, inject

def parent_of() -> str:
    with tools.tracer.run() as run:
        parent = run.span.parent
        return "none" if parent is None else format(parent.span_id, "016x")

print(parent_of(), inject().get("traceparent"))
with extract({}):
    print(parent_of())
with tools.tracer.bind(session_id="s"):
    print(parent_of())
with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False))):
    print(parent_of())
if not os.fork():
    print(parent_of(), flush=True)
    os._exit(0)
os.wait()
"""


@needs_fork
@pytest.mark.parametrize("switch", [{}, {"OTEL_AGENT_TRACE_PARENT": "on"}])
def test_the_parent_that_the_environment_names(run: Run, switch: dict[str, str]) -> None:
    """It is above what has no other parent; not above what a request without one asks for, nor in a forked child."""
    printed = run(PARENTS, TRACEPARENT=PARENT, **switch).split("\n")
    assert printed == [f"{'b' * 16} {PARENT}", "none", "b" * 16, "0" * 15 + "2", "none", ""]


@needs_fork
@pytest.mark.parametrize("value", ["off", "OFF", " 0 ", "false", "no"])
def test_the_environment_need_not_be_read(run: Run, value: str) -> None:
    printed = run(PARENTS, TRACEPARENT=PARENT, OTEL_AGENT_TRACE_PARENT=value)
    assert printed == f"none None\nnone\nnone\n{2:016x}\nnone\n"


@needs_fork
@pytest.mark.parametrize("value", ["nonsense", "00-" + "0" * 32 + "-" + "b" * 16 + "-01", "x" * 100_000])
def test_a_broken_environment_is_one_warning(run: Run, value: str) -> None:
    warning = "TRACEPARENT of the environment is not a valid W3C traceparent; invalid parts are ignored\n"
    assert run(PARENTS, TRACEPARENT=value, errors=warning) == f"none None\nnone\nnone\n{2:016x}\nnone\n"


@needs_fork
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BAGGAGE", "bad,worse,=,;;,good=1"),
        ("BAGGAGE", "x" * 9000),
        ("TRACESTATE", "@@@,!!"),
        ("TRACESTATE", "a=1,a=2,A=3"),
        ("TRACESTATE", "x" * 600),
    ],
)
def test_a_broken_companion_of_the_parent_is_one_warning(run: Run, name: str, value: str) -> None:
    warning = f"{name} of the environment is not a valid W3C {name.lower()}; invalid parts are ignored\n"
    environment = {"TRACEPARENT": PARENT, name: value}
    assert run(PARENTS, errors=warning, **environment).startswith(f"{'b' * 16} {PARENT}\n")


def test_the_environment_is_read_once(run: Run) -> None:
    """What the program puts there later is for its children."""
    printed = run(
        """
        import os, tools
        os.environ["TRACEPARENT"] = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
        with tools.tracer.run() as run:
            print(run.span.parent)
        """
    )
    assert printed == "None\n"


def test_the_environment_of_a_child_has_no_stale_variables(run: Run) -> None:
    """The variables are those of the current context; the others stay, and nothing is changed in place."""
    stale = {"TRACEPARENT": PARENT, "TRACESTATE": "a=1", "BAGGAGE": "k=v", "AGENTSESSION": "session_id=s", "A": "1"}
    assert child_environment(stale) == {"A": "1"}
    assert len(stale) == 5
    assert "PATH" in child_environment()
    printed = run(
        """
        import os, tools
        from opentelemetry import baggage, context
        print({name: tools.child_environment().get(name) for name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE")})
        context.attach(baggage.set_baggage("user", "zo\u00eb"))
        with tools.tracer.run() as run:
            child = tools.child_environment({"TRACESTATE": "stale=1"})
            assert child == {"TRACEPARENT": f"00-{run.trace_id}-{run.span_id}-01", "TRACESTATE": "ot=th:0,a=1",
                             "BAGGAGE": "k=v,user=zo%C3%AB"} or print(child)
        """,
        TRACEPARENT=PARENT,
        TRACESTATE="a=1",
        BAGGAGE="k=v",
    )
    assert printed == f"{ {'TRACEPARENT': PARENT, 'TRACESTATE': 'a=1', 'BAGGAGE': 'k=v'} }\n"


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

PLAIN_SERVER = """
import http.server, sys, tools

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with tools.tracer.extract(self.headers):
            body = str(tools.double(int(self.path[1:]))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments): pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
ASGI_SERVER = """
import socket, tools, uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def double(request: Request) -> PlainTextResponse:
    async with tools.tracer.extract(request.headers):
        return PlainTextResponse(str(tools.double(int(request.path_params["number"]))))

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/{number}", double)])
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
"""
HTTP_CLIENT = """
import httpx, subprocess, sys, tools

with subprocess.Popen([sys.executable, "server.py"], stdout=subprocess.PIPE, text=True) as server:
    try:
        base_url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        with httpx.Client(base_url=base_url, timeout=None, limits=httpx.Limits(max_connections=1)) as client:
            for number in range(2):
                with tools.tracer.run(run_id=str(number)) as run, run.step("asks") as step:
                    step.output = client.get(f"/{number}", headers=tools.inject()).text
            client.get("/50")
    finally:
        server.terminate()
"""


@pytest.mark.slow
@pytest.mark.parametrize("server", [PLAIN_SERVER, ASGI_SERVER], ids=["http.server", "uvicorn"])
def test_http(run: Run, tmp_path: Path, server: str) -> None:
    """Over one connection, each request is part of its caller's trace, and one without a trace of none."""
    needs(*(("starlette", "uvicorn") if server is ASGI_SERVER else ()))
    (tmp_path / "server.py").write_text(server)
    run(HTTP_CLIENT)
    assert len(load_runs(tmp_path / "server.py.jsonl")) == 3
    first, second, lone = load_runs(tmp_path)
    assert steps(first) == [("asks", None, "0"), ("double", 1, 0)]
    assert steps(second) == [("asks", None, "2"), ("double", 1, 2)]
    assert steps(lone) == [("double", None, 100)]
    assert len({first.trace_id, second.trace_id, lone.trace_id}) == 3


MCP_SERVER = """
import tools
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("doubling")

@server.tool(name="double")
async def call(number: int, ctx: Context) -> int:
    async with tools.tracer.extract(ctx.request_context.meta):
        return tools.double(number)

server.run("stdio")
"""
MCP_CLIENT = """
import asyncio, os, sys, tools
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main() -> None:
    server = StdioServerParameters(command=sys.executable, args=["server.py"], env=dict(os.environ))
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()

        async def ask(number: int) -> None:
            async with tools.tracer.run(run_id=str(number)) as run, run.step("asks") as step:
                result = await session.call_tool("double", {"number": number}, meta=tools.inject())
                step.output = result.content[0].text

        await asyncio.gather(ask(0), ask(1))
        await session.call_tool("double", {"number": 50})

asyncio.run(main())
"""


@pytest.mark.slow
def test_mcp(run: Run, tmp_path: Path) -> None:
    """A real server behind a pipe: each call is part of the trace that its metadata name; the package's own help is off."""
    needs("mcp")
    (tmp_path / "server.py").write_text(MCP_SERVER)
    run(MCP_CLIENT, OTEL_PROPAGATORS="none")
    assert len(load_runs(tmp_path / "server.py.jsonl")) == 3
    runs = {read.run_id: read for read in load_runs(tmp_path)}
    assert steps(runs.pop("0")) == [("asks", None, "0"), ("double", 1, 0)]
    assert steps(runs.pop("1")) == [("asks", None, "2"), ("double", 1, 2)]
    (lone,) = runs.values()
    assert steps(lone) == [("double", None, 100)]


@needs_fork
def test_a_forked_child_leaves_the_blocks_of_its_parent(run: Run, tmp_path: Path) -> None:
    """Block by block it knows what is around it by its ids alone; its parent ends it."""
    run(
        """
        import os, sys, tools
        from opentelemetry import trace
        from tools import tracer

        with tracer.run(run_id="r") as run:
            with run.step("outer"):
                child = os.fork()
            if child == 0:
                span = trace.get_current_span()
                assert not span.is_recording(), span
                assert format(span.get_span_context().span_id, "016x") == run.span_id
                tools.double(1)
        if child == 0:
            assert trace.get_current_span() is trace.INVALID_SPAN
            tools.double(50)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """
    )
    first, lone = load_runs(tmp_path)
    assert steps(first) == [("outer", None, None), ("double", None, 2)]
    assert steps(lone) == [("double", None, 100)]
