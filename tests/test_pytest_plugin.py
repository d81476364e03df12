"""The pytest plugin, in pytest runs of their own: what `agent_trace` asserts, and how cassettes are recorded and replayed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import pytest

from otel_agent_trace import AgentTracer, InMemoryBackend, load_runs
from otel_agent_trace.pytest_plugin.agent_trace import AgentTrace
from otel_agent_trace.testing import capture_runs
from tests.support.documents import blocks_in, python_blocks, read, section
from tests.support.waiting import DEADLOCK_S

AGENT = """
from pathlib import Path
from otel_agent_trace import AgentTracer, FileBackend

tracer = AgentTracer(backend=FileBackend("traces.jsonl"), agent_name="weather")

@tracer.tool
def forecast(city):
    with Path("calls.txt").open("a") as file:
        file.write(f"{city}\\n")
    return {"sky": "sunny"}

@tracer.agent
def answer(question):
    return f"It will be {forecast(question)['sky']}."
"""
TEST = """
import pytest
from agent import answer

@pytest.mark.agent_replay("weather")
def test_answer(agent_trace):
    assert answer("Lyon") == "It will be sunny."
    agent_trace.assert_tools([("forecast", {"city": "Lyon"})])
    assert agent_trace.run.final_output == "It will be sunny."
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs pytest in the folder of the agent, where every warning is an error."""
    for name in ("CI", "BUILD_NUMBER"):  # pytest prints whole messages in its summary where one is set
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(agent=AGENT)

    def call(*arguments: str) -> pytest.RunResult:
        options = (
            "--strict-markers",
            "--strict-config",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
        )
        return pytester.runpytest_subprocess(*options, *arguments, timeout=DEADLOCK_S)

    return call


def calls(pytester: pytest.Pytester) -> list[str]:
    """Return the cities that the tool was really called with."""
    path = pytester.path / "calls.txt"
    return path.read_text().split() if path.exists() else []


def cassettes(pytester: pytest.Pytester) -> list[str]:
    """Return everything below the folder of cassettes."""
    folder = pytester.path / "cassettes"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ── assertions ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def trace() -> AgentTrace:
    """A run with a tool that fails and is caught, a sub-agent with a tool, and a model call; and a second run."""
    tracer = AgentTracer(InMemoryBackend())
    with capture_runs() as runs:
        with tracer.run(agent_name="outer") as run:
            with run.step("search", {"q": "rain"}):
                pass
            with tracer.run(agent_name="inner") as inner:
                with inner.step("forecast", {"city": "Lyon"}):
                    pass
            with pytest.raises(TimeoutError), run.step("search", {"q": "sun"}):
                raise TimeoutError("too slow")
            with run.model_call(model="m", messages=[]) as call:
                call.usage = {"input_tokens": 70, "output_tokens": 30}
        with tracer.run(agent_name="second") as run:
            pass
    return AgentTrace(lambda: runs[:])


def test_it_is_a_sequence_of_the_runs(trace: AgentTrace) -> None:
    assert [run.agent_name for run in trace] == ["outer", "second"]
    assert (len(trace), trace[-1].agent_name, trace[:1]) == (2, "second", [trace.run])
    assert repr(trace) == "<AgentTrace of ['outer', 'second']>"


PASSING = [
    ["search", "forecast", "search"],
    ("search", "forecast", "search"),
    {"forecast", "search"},
    frozenset({"forecast", "search"}),
    [("search", {"q": "rain"}), "forecast", ("search", {"q": "sun"})],
    [("search", ANY), ("forecast", {"city": ANY}), "search"],
]
FAILING = [
    [],
    ["search", "forecast"],
    ["search", "search", "forecast"],
    ["search", "forecast", "search", "search"],
    {"search"},
    {"search", "forecast", "other"},
    set(),
    [("search", {"q": "snow"}), "forecast", "search"],
    [("search", {}), "forecast", "search"],
    [("forecast", ANY), "forecast", "search"],
]


@pytest.mark.parametrize("expected", PASSING, ids=range(len(PASSING)))
def test_the_tools_that_were_called(trace: AgentTrace, expected: object) -> None:
    trace.assert_tools(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("expected", FAILING, ids=range(len(FAILING)))
def test_other_tools(trace: AgentTrace, expected: object) -> None:
    """The message has both, and the run as a tree."""
    with pytest.raises(AssertionError, match=r"tools called:.*\nexpected:(.|\n)*├── 1 tool search") as raised:
        trace.assert_tools(expected)  # type: ignore[arg-type]
    assert "second" in str(raised.value)


@pytest.mark.parametrize("expected", ["search", [1], [("search",)], None, {"search": 1}], ids=str)
def test_what_names_no_tools(trace: AgentTrace, expected: object) -> None:
    with pytest.raises(TypeError, match="a list of names, or of pairs"):
        trace.assert_tools(expected)  # type: ignore[arg-type]


def test_limits(trace: AgentTrace) -> None:
    """Of all runs together; a limit may be reached."""
    trace.assert_steps(max=5)
    trace.assert_tokens(max=100)
    trace.assert_duration(max_s=DEADLOCK_S)
    with pytest.raises(AssertionError, match=r"^5 steps are more than 4\n\nouter"):
        trace.assert_steps(max=4)
    with pytest.raises(AssertionError, match=r"^100 tokens are more than 99\n\nouter"):
        trace.assert_tokens(max=99)
    with pytest.raises(AssertionError, match=r"^0\.\d+ s are more than 0 s\n\nouter"):
        trace.assert_duration(max_s=0)


def test_errors_that_were_caught_are_errors(trace: AgentTrace) -> None:
    with pytest.raises(AssertionError, match=r"^errors:\n  tool search: TimeoutError: too slow\n\nouter"):
        trace.assert_no_errors()


def test_errors_of_runs() -> None:
    tracer = AgentTracer(InMemoryBackend(), agent_name="a")
    with capture_runs() as runs, pytest.raises(ValueError), tracer.run():
        raise ValueError("bad")
    with pytest.raises(AssertionError, match=r"^errors:\n  agent a: ValueError: bad\n"):
        AgentTrace(lambda: runs[:]).assert_no_errors()


def test_no_run_fails_whatever_is_asserted() -> None:
    """What was never called has no errors, and proves nothing."""
    trace = AgentTrace(list)
    for check in (
        lambda: trace.run,
        lambda: trace.assert_tools([]),
        trace.assert_no_errors,
        lambda: trace.assert_steps(max=1),
        lambda: trace.assert_tokens(max=1),
        lambda: trace.assert_duration(max_s=1),
    ):
        with pytest.raises(AssertionError, match="there is no run"):
            check()


def test_figures_that_are_not_known_fail() -> None:
    """Models without usage, runs without an end."""
    tracer = AgentTracer(InMemoryBackend())
    with capture_runs() as runs, tracer.run() as run:
        trace = AgentTrace(lambda: runs[:])
        trace.assert_tokens(max=0)
        with run.model_call(model="m", messages=[]):
            pass
        with pytest.raises(AssertionError, match="no usage of tokens was recorded"):
            trace.assert_tokens(max=10**9)
        with pytest.raises(AssertionError, match="a run has not ended"):
            trace.assert_duration(max_s=10**9)


def test_failures_show_the_line_and_the_runs(pytester: pytest.Pytester, run: Run) -> None:
    """Once each: in the message of an assertion of the fixture, else in a section of the report."""
    pytester.makepyfile(
        test_agent="""
        from agent import answer

        def test_one(agent_trace):
            answer("Lyon")
            agent_trace.assert_tools(["search"])

        def test_two(agent_trace):
            answer("Nantes")
            assert agent_trace.run.final_output == "rain"

        def test_three():
            assert answer("Brest") == "rain"
        """
    )
    done = run()
    done.assert_outcomes(failed=3)
    done.stdout.fnmatch_lines(
        [
            '>       agent_trace.assert_tools(["search"])',
            "E       AssertionError: tools called: ['forecast']",
            "E       expected:     ['search']",
            "E       └── 1 tool forecast*",
            'E             in   {"city": "Lyon"}',
            "test_agent.py:5: AssertionError",
            "*- Runs of the agent -*",
            "└── 1 tool forecast*",
            '      in   {"city": "Nantes"}',
        ]
    )
    text = done.stdout.str()
    assert (text.count("1 tool forecast"), text.count("Runs of the agent"), "AgentRun(" in text) == (2, 1, False)
    assert [run.user_input for run in load_runs(pytester.path / "traces.jsonl")] == ["Brest"]


# ── cassettes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_modes(pytester: pytest.Pytester, run: Run) -> None:
    """None fails without a cassette, once records what is missing, none replays, rewrite records anew, the same bytes."""
    pytester.makepyfile(test_agent=TEST)
    missing = run()
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(
        ["agent_replay: there is no cassette */cassettes/weather.jsonl; record it: pytest --agent-replay=once"]
    )
    assert (calls(pytester), cassettes(pytester)) == ([], [])

    run("--agent-replay=once").assert_outcomes(passed=1)
    assert (calls(pytester), cassettes(pytester)) == (["Lyon"], ["weather.jsonl"])
    recorded = (pytester.path / "cassettes/weather.jsonl").read_bytes()
    assert [run.final_output for run in load_runs(pytester.path / "cassettes/weather.jsonl")] == ["It will be sunny."]

    run("--agent-replay=once").assert_outcomes(passed=1)
    run().assert_outcomes(passed=1)
    assert calls(pytester) == ["Lyon"]

    run("--agent-replay=rewrite").assert_outcomes(passed=1)
    assert calls(pytester) == ["Lyon", "Lyon"]
    assert (pytester.path / "cassettes/weather.jsonl").read_bytes() == recorded
    assert not (pytester.path / "traces.jsonl").exists()


def test_cassettes_have_nothing_of_the_machine(pytester: pytest.Pytester, run: Run) -> None:
    """No clock, no path, no name of a process: only what the agent was asked and answered, a line a span."""
    pytester.makepyfile(
        test_agent="""
        import pytest
        from agent import tracer

        @tracer.tool
        def fails():
            raise ValueError("bad")

        @pytest.mark.agent_replay("weather")
        def test_error():
            with pytest.raises(ValueError, match="bad"), tracer.run(user_input="q"):
                fails()
        """
    )
    run("--agent-replay=once").assert_outcomes(passed=1)
    text = (pytester.path / "cassettes/weather.jsonl").read_text()
    assert (str(pytester.path) in text, "Traceback" in text, "instance" in text) == (False, False, False)
    lines = [json.loads(line)["resourceSpans"][0] for line in text.splitlines()]
    spans = [line["scopeSpans"][0]["spans"][0] for line in lines]
    assert [span["name"] for span in spans] == ["invoke_agent weather", "execute_tool fails"]
    assert [span["startTimeUnixNano"] for span in spans] == ["946684800000000000", "946684800001000000"]
    assert {str(line["resource"]) for line in lines} == {"{'attributes': []}"}
    run().assert_outcomes(passed=1)


def test_the_setting_in_the_configuration(pytester: pytest.Pytester, run: Run) -> None:
    """It is the default of the option; a wrong one stops pytest."""
    pytester.makepyfile(test_agent=TEST)
    pytester.makeini("[pytest]\nagent_replay = once")
    run("--agent-replay=none").assert_outcomes(failed=1)
    run().assert_outcomes(passed=1)
    pytester.makeini("[pytest]\nagent_replay = ones")
    done = run()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*agent_replay='ones' must be one of none, once, rewrite*"])


def test_only_tests_that_pass_keep_a_cassette(pytester: pytest.Pytester, run: Run) -> None:
    """Not those that fail, also in the teardown or in a subtest, are skipped, or fail as expected."""
    pytester.makepyfile(
        test_agent="""
        import unittest
        import pytest
        from agent import answer

        pytestmark = pytest.mark.agent_replay

        @pytest.fixture
        def broken():
            yield
            raise OSError

        def test_fails():
            assert answer("1") == "rain"

        def test_teardown(broken):
            answer("2")

        def test_skipped():
            answer("3")
            pytest.skip("late")

        @pytest.mark.xfail
        def test_expected():
            assert answer("4") == "rain"

        @pytest.mark.xfail(strict=True)
        def test_unexpected():
            answer("5")

        class TestCase(unittest.TestCase):
            def test_fails(self):
                self.assertEqual(answer("6"), "rain")

            def test_subtest_fails(self):
                answer("7")
                with self.subTest("one"):
                    self.fail()

        def test_passes():
            answer("8")
        """
    )
    done = run("--agent-replay=once")
    outcomes = done.parseoutcomes()
    assert {name: outcomes.get(name) for name in ("errors", "skipped", "xfailed")} == {
        "errors": 1,
        "skipped": 1,
        "xfailed": 1,
    }
    assert calls(pytester) == list("12345678")
    assert cassettes(pytester) == ["test_agent.test_passes.jsonl"]


def test_a_test_that_calls_nothing_cannot_be_recorded(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_agent="import pytest\n@pytest.mark.agent_replay\ndef test_nothing(): pass")
    done = run("--agent-replay=rewrite")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["agent_replay: nothing was recorded for test_agent.test_nothing.jsonl*"])
    assert cassettes(pytester) == []


def test_secrets_are_masked_and_still_match(pytester: pytest.Pytester, run: Run) -> None:
    """Of a tracer that masks nothing, too."""
    pytester.makepyfile(
        test_agent="""
        import pytest
        from otel_agent_trace import AgentTracer, InMemoryBackend

        plain = AgentTracer(InMemoryBackend(), redact=False)
        usual = AgentTracer(InMemoryBackend())

        @pytest.mark.agent_replay
        @pytest.mark.parametrize("tracer", [plain, usual], ids=["plain", "usual"])
        def test_secret(tracer):
            @tracer.tool
            def log_in(token):
                assert not replaying
                return {"hello": "me"}
            replaying = False
            with tracer.run(user_input="ghp_abcdefghijklmnopqrstuvwxyz0123456789"):
                assert log_in("ghp_abcdefghijklmnopqrstuvwxyz0123456789") == {"hello": "me"}
        """
    )
    run("--agent-replay=once").assert_outcomes(passed=2)
    assert cassettes(pytester) == [f"test_agent.test_secret[{name}].jsonl" for name in ("plain", "usual")]
    for path in (pytester.path / "cassettes").iterdir():
        text = path.read_text()
        assert ("ghp_" in text, text.count("<secret:github:")) == (False, 2)
    source = pytester.path / "test_agent.py"
    source.write_text(source.read_text().replace("replaying = False", "replaying = True"))
    run().assert_outcomes(passed=2)


def test_code_that_was_edited_diverges(pytester: pytest.Pytester, run: Run) -> None:
    """The test fails with the text of the divergence, at its own line, also where the agent catches everything."""
    pytester.makepyfile(
        test_agent=TEST
        + """
@pytest.mark.agent_replay
def test_caught():
    try:
        answer("Nantes")
    except BaseException:
        pass

@pytest.mark.agent_replay
def test_less():
    answer("Brest")

@pytest.mark.agent_replay
def test_fails_before():
    assert True
    answer("Vannes")
"""
    )
    run("--agent-replay=once").assert_outcomes(passed=4)
    source = pytester.path / "test_agent.py"
    edited = source.read_text().replace('    answer("Brest")', "    pass").replace("assert True", "assert 0 == 1")
    source.write_text(edited)
    agent = pytester.path / "agent.py"
    agent.write_text(agent.read_text().replace("forecast(question)", "forecast(question.upper())"))
    done = run()
    done.assert_outcomes(failed=4)
    done.stdout.fnmatch_lines(
        [
            '>   *answer("Lyon")*',
            'E   *ReplayDivergence: tool forecast {"city":"LYON"} was called, which was not recorded',
            'E   *-  "city": "Lyon"',
            'E   *+  "city": "LYON"',
            "agent.py:*: ReplayDivergence",
            'agent_replay: test_agent.test_caught.jsonl: tool forecast {"city":"NANTES"} was called*',
            'agent_replay: test_agent.test_less.jsonl: agent weather "Brest" * was recorded, but never asked for',
            "E       assert 0 == 1",
        ]
    )
    assert "session.py" not in done.stdout.str()
    assert calls(pytester) == ["Lyon", "Nantes", "Brest", "Vannes"]


def test_names_of_cassettes(pytester: pytest.Pytester, run: Run) -> None:
    """Given, with folders; else of module, class, test and parameters; none leads out of the folder."""
    pytester.makepyfile(
        test_agent="""
        import pytest
        from agent import answer

        @pytest.mark.agent_replay("france/west.jsonl")
        def test_given():
            answer("Brest")

        @pytest.mark.agent_replay
        class TestMarked:
            @pytest.mark.parametrize("city", ["Le Mans", "Le/Mans", "Lyon"])
            def test_city(self, city):
                answer(city)

        @pytest.mark.parametrize("name", ["../up", "/root", "", "..", 1])
        def test_bad(request, name):
            pass
        """
    )
    pytester.makeconftest(
        """
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                if item.originalname == "test_bad":
                    item.add_marker(pytest.mark.agent_replay(item.callspec.params["name"]))
        """
    )
    done = run("--agent-replay=once")
    done.assert_outcomes(passed=4, failed=5)
    done.stdout.fnmatch_lines(["agent_replay: a cassette cannot be named '../up': *"])
    given, *others = cassettes(pytester)
    assert given == "france/west.jsonl"
    names = [name.partition("]")[0] for name in others]
    assert names == [f"test_agent.TestMarked.test_city[{city}" for city in ("Le-Mans", "Le-Mans", "Lyon")]
    assert others[2].endswith("[Lyon].jsonl")
    run("-k", "not bad").assert_outcomes(passed=4)


def test_options_of_the_marker_are_those_of_a_replay(pytester: pytest.Pytester, run: Run) -> None:
    """What is live is called in each replay; an option that does not exist fails the test."""
    pytester.makepyfile(
        test_agent="""
        import pytest
        from agent import answer

        @pytest.mark.agent_replay("live", live=["forecast"])
        def test_live():
            answer("Lyon")

        @pytest.mark.agent_replay("live", alive=["forecast"])
        def test_wrong():
            answer("Lyon")
        """
    )
    run("--agent-replay=once", "-k", "live and not wrong").assert_outcomes(passed=1)
    done = run()
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["agent_replay: *alive*"])
    assert calls(pytester) == ["Lyon", "Lyon"]


def test_fixtures_of_the_test_are_replayed_and_shared_ones_are_not(pytester: pytest.Pytester, run: Run) -> None:
    """A fixture of the module belongs to several cassettes; without a cassette, nothing is called."""
    pytester.makepyfile(
        test_agent="""
        import pytest
        from agent import answer, forecast

        @pytest.fixture(scope="module")
        def shared():
            return forecast("shared")

        @pytest.fixture
        def answered(shared):
            return answer("Lyon")

        @pytest.mark.agent_replay
        def test_fixture(answered, agent_trace):
            agent_trace.assert_tools([("forecast", {"city": "Lyon"})])
        """
    )
    run("--setup-only", "--agent-replay=once")
    assert cassettes(pytester) == []
    (pytester.path / "calls.txt").unlink()
    missing = run()
    missing.assert_outcomes(errors=1)
    missing.stdout.fnmatch_lines(["agent_replay: there is no cassette *"])
    assert calls(pytester) == ["shared"]
    run("--agent-replay=once").assert_outcomes(passed=1)
    run().assert_outcomes(passed=1)
    assert calls(pytester) == ["shared", "shared", "Lyon", "shared"]


def test_cassettes_that_cannot_be_read(pytester: pytest.Pytester, run: Run) -> None:
    """An empty one, and one that is damaged."""
    pytester.makepyfile(test_agent=TEST)
    path = Path(pytester.mkdir("cassettes"), "weather.jsonl")
    for content in ("", '{"resourceSpans": [}\n'):
        path.write_text(content)
        done = run()
        assert done.parseoutcomes() in ({"failed": 1}, {"errors": 1})
        done.stdout.fnmatch_lines(["agent_replay: */cassettes/weather.jsonl*"])
    assert calls(pytester) == []


ASYNC = """
import asyncio
import unittest
import pytest
from agent import tracer, answer

@pytest.fixture
def anyio_backend():
    return "asyncio"

@tracer.tool
async def fetch(city):
    with open("calls.txt", "a") as file:
        file.write(f"{city}\\n")
    await asyncio.sleep(0)
    return city.upper()

@tracer.agent(name="fetcher")
async def fetch_all(*cities):
    return await asyncio.gather(*map(fetch, cities))

@pytest.mark.anyio
@pytest.mark.agent_replay("both")
async def test_coroutine(agent_trace):
    assert await fetch_all("a", "b") == ["A", "B"]
    agent_trace.assert_tools(["fetch", "fetch"])

@pytest.mark.agent_replay
class TestCase(unittest.TestCase):
    def setUp(self):
        self.answer = answer("c")

    def test_answer(self):
        self.assertEqual(self.answer, "It will be sunny.")

@pytest.mark.agent_replay
class TestLater(unittest.IsolatedAsyncioTestCase):
    async def test_answer(self):
        self.assertEqual(await fetch_all("d"), ["D"])
"""


def test_coroutines_and_test_cases(pytester: pytest.Pytester, run: Run) -> None:
    """All kinds of tests are recorded and replayed."""
    pytester.makepyfile(test_agent=ASYNC)
    run("--agent-replay=once").assert_outcomes(passed=3)
    assert sorted(calls(pytester)) == list("abcd")
    run().assert_outcomes(passed=3)
    assert sorted(calls(pytester)) == list("abcd")


def test_in_several_processes(pytester: pytest.Pytester, run: Run) -> None:
    """Each records the cassettes of its tests; one that several tests share is whole."""
    pytester.makepyfile(
        test_agent="""
        import pytest
        from agent import answer

        @pytest.mark.agent_replay
        @pytest.mark.parametrize("city", ["a", "b", "c", "d"])
        def test_own(city, agent_trace):
            answer(city)
            agent_trace.assert_tools(["forecast"])

        @pytest.mark.agent_replay("shared")
        @pytest.mark.parametrize("number", range(4))
        def test_shared(number):
            answer("shared")
        """
    )
    run("-n", "2", "--agent-replay=rewrite").assert_outcomes(passed=8)
    assert cassettes(pytester) == ["shared.jsonl", *(f"test_agent.test_own[{city}].jsonl" for city in "abcd")]
    assert sorted(calls(pytester)) == [*"abcd", *["shared"] * 4]
    run("-n", "2").assert_outcomes(passed=8)
    assert len(calls(pytester)) == 8


# ── the document ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_test_that_is_shown(pytester: pytest.Pytester, run: Run) -> None:
    """It has less than ten lines, and passes with the commands that are shown, the second of which calls nothing."""
    shown = section(read("docs/testing.md"), "Test your agent in ten lines")
    (program,) = python_blocks(shown)
    assert len(program.partition("@pytest.mark")[2].splitlines()) < 10
    pytester.makepyfile(test_weather=program)
    commands = [line.partition("#")[0].split() for line in blocks_in(shown, "sh")[0].splitlines()]
    assert [command.pop(0) for command in commands] == ["pytest", "pytest"]
    for command in commands:
        run(*command).assert_outcomes(passed=1)
        source = pytester.path / "test_weather.py"
        source.write_text(source.read_text().replace('return "sunny"', "raise AssertionError"))
    assert cassettes(pytester) == ["lyon.jsonl"]


# ── tests that do not use it ─────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_imported_for_tests_that_do_not_use_it(pytester: pytest.Pytester, run: Run) -> None:
    """The plugin is there, and nothing of the library but itself."""
    pytester.makepyfile(
        test_other="""
        import sys

        def test_imports(request):
            assert request.config.pluginmanager.has_plugin("agent_trace")
            assert not request.config.pluginmanager.has_plugin("agent_trace_replays")
            names = {name for name in sys.modules if name.startswith(("otel_agent_trace", "opentelemetry"))}
            assert names == {"otel_agent_trace", "otel_agent_trace.version", "otel_agent_trace.pytest_plugin"}
            assert request.fixturenames == ["request"]
        """
    )
    run().assert_outcomes(passed=1)
