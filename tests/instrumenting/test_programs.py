"""Programs under ``otel-agent-trace run``: their instrumentations, their providers, their processes, their imports."""

from __future__ import annotations

import sys

import pytest

from otel_agent_trace import load_runs
from otel_agent_trace.span import SpanRecord
from tests.support.own_receiver import stored_spans
from tests.support.run_command import Place
from tests.support.waiting import wait_until

ASK = "import client; client.ask('where?')\n"


def names(place: Place) -> list[str]:
    return [span.name for span in stored_spans(place.file)]


def span_of(place: Place, name: str) -> SpanRecord:
    """The only span of a name."""
    [span] = [span for span in stored_spans(place.file) if span.name == name]
    return span


# ── instrumentations ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_installed_instrumentations_are_active_and_named(place: Place) -> None:
    place.instrumentation("client")
    done = place.run_code(ASK)
    assert done.code == 0
    assert "instrumentations: client, threading\n" in done.err
    assert span_of(place, "chat client").attributes["question"] == "where?"


def test_one_that_fails_costs_no_other_and_is_named(place: Place) -> None:
    place.instrumentation("broken", begins="raise ValueError('no luck')")
    place.instrumentation("exits", begins="raise SystemExit(3)")
    place.instrumentation("client")
    done = place.run_code(ASK)
    assert done.code == 0
    assert "the instrumentation broken failed: ValueError: no luck\n" in done.err
    assert "the instrumentation exits failed: SystemExit: 3\n" in done.err
    assert names(place) == ["chat client"]


def test_one_whose_package_is_not_installed_is_no_news(place: Place) -> None:
    place.instrumentation("client", needs=("no-such-package >= 1",))
    done = place.run_code(ASK)
    assert "client" not in done.err
    assert names(place) == []


def test_one_whose_package_has_another_version_is_named(place: Place) -> None:
    place.instrumentation("client", needs=("click >= 999",))
    done = place.run_code(ASK)
    assert "the instrumentation client failed: " in done.err
    assert "click" in done.err


@pytest.mark.parametrize("disabled", ["*", "other, client"])
def test_instrumentations_can_be_disabled(place: Place, disabled: str) -> None:
    place.instrumentation("client")
    done = place.run_code(ASK, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled)
    assert "client" not in done.err
    assert names(place) == []


def test_a_class_of_its_own_may_take_no_options(place: Place) -> None:
    place.instrumentation("client")
    place.module("instrumentation_of_client", "class Instrumentor:\n    def instrument(self): print('active')")
    assert place.run_code("print('program')").out == "active\nprogram\n"


# ── providers of the program ─────────────────────────────────────────────────────────────────────────────────────────

OWN_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
def exported():
    return [span.name for span in exporter.get_finished_spans()]
"""


def test_a_program_keeps_the_provider_that_it_sets(place: Place) -> None:
    """Its exporter gets what it would without us, and the spans of the instrumentations in the same traces."""
    place.instrumentation("client")
    done = place.run_code(
        f"""{OWN_PROVIDER}
trace.set_tracer_provider(provider)
assert trace.get_tracer_provider() is provider
import client
with trace.get_tracer("app").start_as_current_span("outer"):
    client.ask("where?")
print(exported())
"""
    )
    assert done.out == "['chat client', 'outer']\n"
    assert "Overriding" not in done.err
    assert names(place) == ["chat client", "outer"]
    assert span_of(place, "chat client").parent_span_id == span_of(place, "outer").span_id


def test_spans_before_that_are_recorded_too_and_a_second_provider_is_refused_as_usual(place: Place) -> None:
    place.instrumentation("client")
    done = place.run_code(
        f"""{OWN_PROVIDER}
import client
client.ask("first")
trace.set_tracer_provider(provider)
client.ask("second")
trace.set_tracer_provider(TracerProvider())
assert trace.get_tracer_provider() is provider
print(exported())
"""
    )
    assert done.out == "['chat client']\n"
    assert "Overriding of current TracerProvider is not allowed" in done.err
    assert names(place) == ["chat client", "chat client"]


def test_a_program_that_extends_the_global_provider_if_there_is_one(place: Place) -> None:
    place.instrumentation("client")
    done = place.run_code(
        f"""{OWN_PROVIDER}
assert isinstance(trace.get_tracer_provider(), TracerProvider)
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
import client
client.ask("where?")
print(exported())
"""
    )
    assert done.out == "['chat client']\n"
    assert names(place) == ["chat client"]


def test_a_program_may_activate_instrumentations_with_its_own_provider(place: Place) -> None:
    """The program's call counts, as if ours had not been: its exporter gets the spans, and so does the file, once."""
    place.instrumentation("client")
    done = place.run_code(
        f"""{OWN_PROVIDER}
from instrumentation_of_client import Instrumentor
Instrumentor().instrument(tracer_provider=provider)
import client
client.ask("where?")
print(exported())
"""
    )
    assert done.out == "['chat client']\n"
    assert "already instrumented" not in done.err
    assert names(place) == ["chat client"]


def test_a_provider_that_takes_no_processors_is_kept_nevertheless(place: Place) -> None:
    done = place.run_code(
        """
        from opentelemetry import trace
        provider = trace.NoOpTracerProvider()
        trace.set_tracer_provider(provider)
        assert trace.get_tracer_provider() is provider
        """
    )
    assert done.code == 0, done.err


# ── programs that use this library ───────────────────────────────────────────────────────────────────────────────────

AGENT = """
@tracer.agent
def support(question):
    import client
    return client.ask(question)
support("where?")
"""
OWN = {
    "the global provider": "tracer = AgentTracer()",
    "its own global provider with the same file": (
        "configure(file=os.environ['OTEL_AGENT_TRACE_FILE'], set_global=True); tracer = AgentTracer()"
    ),
    "the same file, added to the global provider": (
        "configure(provider=trace.get_tracer_provider(), file=os.environ['OTEL_AGENT_TRACE_FILE']); tracer = AgentTracer()"
    ),
    "a backend with the usual file": "tracer = AgentTracer(FileBackend())",
    "the SDK's processor": (
        "provider = TracerProvider(); provider.add_span_processor(SimpleSpanProcessor(FileBackend()));"
        "trace.set_tracer_provider(provider); tracer = AgentTracer()"
    ),
}


@pytest.mark.parametrize("how", OWN)
def test_programs_that_use_this_library_have_no_span_twice(place: Place, how: str) -> None:
    place.instrumentation("client")
    done = place.run_code(
        f"""
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otel_agent_trace import AgentTracer, FileBackend, configure
{OWN[how]}
{AGENT}
"""
    )
    assert done.code == 0, done.err
    assert sorted(names(place)) == ["chat client", "invoke_agent support"]
    [run] = load_runs(place.file)
    assert run.agent_name == "support"


def test_the_variable_that_names_our_exporter_adds_no_second_file(place: Place) -> None:
    place.instrumentation("client")
    place.run_code(ASK, OTEL_TRACES_EXPORTER="agent_trace_file")
    assert names(place) == ["chat client"]


def test_masks_of_the_program_apply_to_the_file_too(place: Place) -> None:
    done = place.run_code(
        """
        from opentelemetry import trace
        from otel_agent_trace import configure
        configure(file="own.jsonl", mask=lambda value, where: "masked", set_global=True)
        trace.get_tracer("app").start_span("s", attributes={"note": "private"}).end()
        """
    )
    assert done.code == 0, done.err
    assert span_of(place, "masked").attributes["note"] == "masked"
    assert [span.name for span in stored_spans(place.folder / "own.jsonl")] == ["masked"]


def test_secrets_are_masked(place: Place) -> None:
    place.instrumentation("client")
    place.run_code("import client; client.ask('sk-' + 'proj-' + 'aB3' * 16)")
    assert "<secret:" in span_of(place, "chat client").attributes["question"]


def test_an_invalid_setting_is_named_and_the_program_runs(place: Place) -> None:
    done = place.run_code("print('program')", OTEL_AGENT_TRACE_DURABILITY="always")
    assert (done.code, done.out) == (0, "program\n")
    assert "nothing was recorded by" in done.err
    assert "OTEL_AGENT_TRACE_DURABILITY" in done.err


# ── imports ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def advice(err: str) -> list[str]:
    return [line for line in err.splitlines() if "pip install" in line]


@pytest.mark.parametrize("end", ["", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"])
def test_a_package_is_named_for_a_module_that_is_imported_without_an_instrumentation(place: Place, end: str) -> None:
    place.module("anthropic", "answer = 42")
    done = place.run_code(f"import anthropic; print(anthropic.answer, flush=True)\n{end}")
    assert done.out == "42\n"
    [line] = advice(done.err)
    assert line.startswith("anthropic was imported")
    assert line.endswith("pip install opentelemetry-instrumentation-anthropic")


NOT_IMPORTED = {
    "it is only looked for": "import importlib.util; assert importlib.util.find_spec('anthropic') is not None",
    "it is not there": "try:\n    import cohere\nexcept ModuleNotFoundError:\n    pass",
    "only a name of its own": "import anthropic_of_ours",
    "nothing": "",
}


@pytest.mark.parametrize("how", NOT_IMPORTED)
def test_no_package_is_named_for_what_is_not_imported(place: Place, how: str) -> None:
    place.module("anthropic")
    place.module("anthropic_of_ours")
    done = place.run_code(NOT_IMPORTED[how])
    assert (done.code, advice(done.err)) == (0, [])


@pytest.mark.parametrize(
    ("name", "package"),
    [("anthropic", ""), ("other", "opentelemetry-instrumentation-anthropic"), ("Anthropic", "x")],
)
def test_no_package_is_named_where_there_is_an_instrumentation(place: Place, name: str, package: str) -> None:
    place.module("anthropic")
    place.instrumentation(name, package=package)
    assert advice(place.run_code("import anthropic").err) == []


def test_a_module_of_the_program_may_have_the_name_of_a_package(place: Place) -> None:
    """`agents` is the module of openai-agents, and of many programs."""
    place.module("agents")
    assert advice(place.run_code("import agents").err) == []


def test_modules_are_imported_as_ever(place: Place) -> None:
    place.module("anthropic", "raise ImportError('not today')")
    place.module("openai", "import sys; print(__spec__.loader is __loader__, __name__, sys.modules[__name__].__file__)")
    done = place.run_code(
        """
        import importlib, sys
        try:
            import anthropic
        except ImportError as error:
            print(error)
        import openai
        importlib.reload(openai)
        print("exec_module" in vars(openai.__loader__))
        """
    )
    shown = f"True openai {place.modules / 'openai.py'}"
    assert done.out.splitlines() == ["not today", shown, shown, "False"]


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────

PROCESSES = {
    "a program": "import subprocess, sys; subprocess.run([sys.executable, '-c', CODE], check=True)",
    "by a shell": "import os, sys, shlex; os.system(shlex.join([sys.executable, '-c', CODE]))",
    "by multiprocessing": (
        "import multiprocessing\n"
        "process = multiprocessing.get_context('spawn').Process(target=exec, args=(CODE,))\n"
        "process.start(); process.join()"
    ),
    "in its place": "import os, sys; os.execv(sys.executable, [sys.executable, '-c', CODE])",
    "a fork": "import os\nif not os.fork():\n    exec(CODE)\n    os._exit(0)\nos.wait()",
    "a fork that is killed": "import os\nif not os.fork():\n    exec(CODE)\n    os.kill(os.getpid(), 9)\nos.wait()",
}


@pytest.mark.parametrize("how", PROCESSES)
def test_processes_that_a_program_starts_are_recorded(place: Place, how: str) -> None:
    place.instrumentation("client")
    done = place.run_code(f"CODE = {ASK!r}\n{PROCESSES[how]}")
    assert done.code == 0, done.err
    assert names(place) == ["chat client"]
    assert done.err.count("instrumentations: client") == 1


@pytest.mark.slow
def test_workers_of_gunicorn_are_recorded(place: Place, free_port: int) -> None:
    place.instrumentation("client")
    place.module(
        "app",
        """
        import client, os
        def application(environ, start_response):
            client.ask(str(os.getpid()))
            start_response("200 OK", [])
            return [b"done"]
        """,
    )
    done = place.run_code(
        f"""
        import signal, subprocess, sys, time, urllib.request
        server = subprocess.Popen([sys.executable, "-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:{free_port}", "app"])
        answers = 0
        while answers < 20:
            try:
                answers += urllib.request.urlopen("http://127.0.0.1:{free_port}/").read() == b"done"
            except OSError:
                assert server.poll() is None
        server.send_signal(signal.SIGTERM)
        raise SystemExit(server.wait())
        """
    )
    assert done.code == 0, done.err
    assert names(place) == ["chat client"] * 20


# ── other environments ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_module_of_the_same_name_is_imported_as_ever(place: Place) -> None:
    place.module("sitecustomize", "import os; print('of the user', __name__) if os.environ.get('INSIDE') else None")
    show = "import sys; print(sys.modules['sitecustomize'].__file__)"
    done = place.run("--", "env", "INSIDE=1", sys.executable, "-c", show)
    assert done.out == f"of the user sitecustomize\n{place.modules / 'sitecustomize.py'}\n"
    assert "instrumentations: " in done.err


def test_one_that_fails_is_reported_by_python_and_nothing_else_changes(place: Place) -> None:
    place.module("sitecustomize", "raise ValueError('of the user')")
    place.instrumentation("client")
    done = place.run_code(ASK)
    assert (done.code, "ValueError: of the user" in done.err) == (0, True)
    assert names(place) == ["chat client"]


def test_the_path_of_the_program_is_as_ever(place: Place) -> None:
    done = place.run_code("import sys; print([each for each in sys.path if 'instrumenting' in each])")
    assert done.out == "[]\n"


def test_a_python_without_this_library_is_named_and_the_program_runs(place: Place) -> None:
    place.module("otel_agent_trace", "raise ImportError('another environment')")
    done = place.run("--", "env", f"PYTHONPATH={site()}:{place.modules}", sys.executable, "-c", "print('program')")
    assert (done.code, done.out) == (0, "program\n")
    assert f"nothing was recorded by {sys.executable}: ImportError: another environment\n" in done.err


def site() -> str:
    from otel_agent_trace.cli.run import _SITE

    return _SITE


def test_a_program_that_is_no_python_runs_and_that_is_stated(place: Place) -> None:
    done = place.run("--", "echo", "text")
    assert (done.code, done.out) == (0, "text\n")
    assert "nothing was recorded" in done.err


def test_a_process_that_outlives_the_command_goes_on(place: Place) -> None:
    """The file of the report is gone by then; its imports and its spans do not depend on that."""
    place.module("anthropic")
    place.module(
        "late",
        """
        import sys
        sys.stdin.read()  # until the program is over
        import anthropic
        from opentelemetry import trace
        trace.get_tracer("app").start_span("late").end()
        """,
    )
    done = place.run_code(
        """
        import os, subprocess, sys
        reading, writing = os.pipe()
        streams = {"stdin": reading, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.Popen([sys.executable, "-m", "late"], **streams)
        """
    )
    assert done.code == 0, done.err
    wait_until(lambda: names(place) == ["late"], "its span is there")
