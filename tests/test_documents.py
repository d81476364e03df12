"""What the documents say is so: their code runs, what they show is what comes out, and nothing public is left out."""

from __future__ import annotations

import gzip
import http.server
import importlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

import otel_agent_trace
from otel_agent_trace import AgentRun, AgentStep, AgentTracer, configure, dialects, semconv
from otel_agent_trace.cli import COMMANDS
from otel_agent_trace.cli import commands as command_table
from otel_agent_trace.mapping import facts
from tests.support.waiting import DEADLOCK_S

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "otel_agent_trace"
README, CONTRIBUTING, REFERENCE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md", "docs/reference.md")
)
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *("docs/reference.md", "docs/carriers.md", "docs/dialects.md", "docs/safety.md"),
)
SEPARATOR = "\x1e"
MADE_UP = ("otel_agent_trace.dialects.acme",)


# ── what stands in a document ────────────────────────────────────────────────────────────────────────────────────────


def blocks(document: str) -> list[tuple[str, str]]:
    """The fenced blocks with their languages, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def python_blocks(document: str) -> list[str]:
    return [text for language, text in blocks(document) if language == "python"]


def shown_outputs(document: str) -> dict[int, str]:
    """What a document shows as the output of its Python blocks, by their number."""
    shown: dict[int, str] = {}
    number = -1
    for before, text in zip(["", *[language for language, _ in blocks(document)]], blocks(document), strict=False):
        language, content = text
        number += language == "python"
        if language == "text" and before == "python":
            shown[number] = content
    return shown


def console_sessions(document: str) -> list[tuple[str, list[str]]]:
    """The commands of console blocks, each with the lines shown below it."""
    sessions: list[tuple[str, list[str]]] = []
    for language, content in blocks(document):
        for line in content.splitlines() if language == "console" else ():
            if line.startswith("$ "):
                sessions.append((line[2:], []))
            else:
                sessions[-1][1].append(line)
    return sessions


def without_chance(text: str) -> str:
    """The text without what differs from run to run: ids, dates, times, durations."""
    for pattern in (
        r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b",
        r"\b\d{4}-\d\d-\d\d\b",
        r"\b\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00)?",
        r"\b\d+(\.\d+)?m?s\b",
    ):
        text = re.sub(pattern, "#", text)
    return text


def words_of(line: str) -> str:
    """What a line of a table says, as far as it is not cut off: columns are as wide as what stands in them."""
    return " ".join(without_chance(line).partition("…")[0].split())


def mentions(document: str, name: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", document) is not None


# ── README ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def surroundings() -> dict[str, str]:
    """The environment of a person at a terminal of 90 columns."""
    foreign = ("OTEL_", "OPENAI_", "PYTHON", "FORCE_COLOR", "TTY_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "COLUMNS": "90",
        "NO_COLOR": "1",
        "OTEL_AGENT_TRACE_USER_KEY": "readme",
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
        "TZ": "UTC",
    }


@pytest.fixture(scope="module")
def printed(surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each Python block of the README prints, all of them run in order as one program."""
    folder = tmp_path_factory.mktemp("readme")
    program = folder / "readme.py"
    program.write_text(f"\nprint({SEPARATOR!r})\n".join(python_blocks(README)), encoding="utf-8")
    command = [sys.executable, "-W", "error", program.name]
    done = subprocess.run(
        command, cwd=folder, env=surroundings, capture_output=True, encoding="utf-8", timeout=DEADLOCK_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split(f"{SEPARATOR}\n")


def test_every_python_block_of_the_readme_runs(printed: list[str]) -> None:
    assert len(printed) == len(python_blocks(README))


@pytest.mark.parametrize("number", range(len(python_blocks(README))))
def test_the_readme_shows_what_its_code_prints(printed: list[str], number: int) -> None:
    assert without_chance(printed[number]) == without_chance(shown_outputs(README).get(number, ""))


def test_the_quick_start_is_short_and_goes_from_import_to_reading_back() -> None:
    lines = [line for line in python_blocks(README)[0].splitlines() if line.strip()]
    assert len(lines) <= 14
    assert lines[0].startswith("from otel_agent_trace import")
    assert "load_runs" in lines[-4]


@pytest.fixture(scope="module")
def demo_folder(surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo has run."""
    folder = tmp_path_factory.mktemp("demo")
    done = run_command("otel-agent-trace demo", folder, surroundings)
    assert done.returncode == 0, done.stderr
    return folder


def run_command(line: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(line)
    assert program == "otel-agent-trace"
    command = [sys.executable, "-m", "otel_agent_trace.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=DEADLOCK_S, check=False
    )


@pytest.mark.parametrize(("line", "shown"), console_sessions(README), ids=lambda value: str(value)[:40])
def test_the_readme_shows_what_its_commands_print(
    demo_folder: Path, surroundings: dict[str, str], line: str, shown: list[str]
) -> None:
    done = run_command(line, demo_folder, surroundings)
    assert done.returncode == 0, done.stderr
    written = iter([words_of(line) for line in done.stdout.splitlines()])
    for expected in filter(None, map(words_of, shown)):
        assert any(is_same(expected, line) for line in written), f"{expected!r} is not in {done.stdout}"


def is_same(expected: str, written: str) -> bool:
    """Whether two lines say the same, as far as both go when one was cut off."""
    return bool(written) and (expected == written or (len(expected) > 20 and is_begun(expected, written)))


def is_begun(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def test_the_readme_is_no_book() -> None:
    assert len(README.splitlines()) <= 220


# ── the reference ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", otel_agent_trace.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert mentions(README + REFERENCE, name)


@pytest.mark.parametrize("owner", [AgentRun, AgentStep], ids=lambda owner: owner.__name__)
def test_every_field_is_documented(owner: type) -> None:
    public = [name for name in dir(owner) if not name.startswith("_")]
    assert [name for name in public if not mentions(REFERENCE, name)] == []


METHODS = [member for name, member in inspect.getmembers(AgentTracer, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("function", [*METHODS, AgentTracer, configure], ids=lambda function: function.__name__)
def test_every_parameter_is_documented(function: object) -> None:
    names = [name for name in inspect.signature(function).parameters if name != "self"]  # type: ignore[arg-type]
    assert [name for name in [function.__name__, *names] if not mentions(REFERENCE, name)] == []  # type: ignore[attr-defined]


def command_options() -> list[tuple[str, str]]:
    """Each option of each command, and of the command itself, as it is written."""
    commands = {name: importlib.import_module(module).command for name, (module, _) in COMMANDS.items()}
    return [
        (name, option)
        for name, command in {"": command_table._command, **commands}.items()
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in parameter.opts
    ] + [("", option) for option in ("-h", "--help")]


@pytest.mark.parametrize(("command", "option"), command_options())
def test_every_option_is_documented(command: str, option: str) -> None:
    rows = [line for line in section("Command line").splitlines() if mentions(line, option)]
    assert any(mentions(row, command or "COMMAND") or "| all |" in row for row in rows)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert re.search(rf"^\| `{command}[ `]", section("Command line"), re.MULTILINE)


def section(title: str) -> str:
    return REFERENCE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def mapped(name: str) -> list[list[str]]:
    """The rows of the span mapping about a field: fields, of what, attributes."""
    rows = [line.strip("| ").split(" | ") for line in section("Span mapping").splitlines() if line.startswith("| `")]
    return [row for row in rows if mentions(row[0], "span_id" if name == "is_inferred" else name)]


@pytest.mark.parametrize("fact", facts.TABLE, ids=lambda fact: f"{fact.field}: {fact.attribute}")
def test_every_row_of_the_table_of_facts_is_in_the_span_mapping(fact: facts.Fact) -> None:
    rows = [row for row in mapped(fact.field) if f"`{fact.attribute}`" in row[2]]
    assert rows != []
    owners = [name for name, owner in (("run", AgentRun), ("step", AgentStep)) if hasattr(owner, fact.field)]
    assert owners == [] or any(mentions(row[1], owner) for row in rows for owner in owners)


def attribute_names() -> list[str]:
    aside = ("SCOPE_NAME", "OUR_PREFIX")
    constants = [value for name, value in vars(semconv).items() if name.isupper() and name not in aside]
    names = [value for value in constants if isinstance(value, str)]
    return sorted({name.removesuffix(".") for name in [*names, *semconv.USAGE.values()] if "." in name})


@pytest.mark.parametrize("name", attribute_names())
def test_every_attribute_is_in_the_span_mapping(name: str) -> None:
    assert f"`{name}" in section("Span mapping") + section("OpenTelemetry metrics")


def metrics() -> list[semconv.Metric]:
    tables = [value.values() for value in vars(semconv).values() if isinstance(value, dict)]
    known = [*vars(semconv).values(), *(entry for table in tables for entry in table)]
    return [metric for metric in known if isinstance(metric, semconv.Metric)]


@pytest.mark.parametrize("metric", metrics(), ids=lambda metric: metric.name)
def test_every_metric_is_documented(metric: semconv.Metric) -> None:
    kind = "counter" if metric.buckets is None else "histogram"
    assert f"| `{metric.name}` | {kind} | {metric.unit} |" in section("OpenTelemetry metrics")


class MetricsReceiver(http.server.BaseHTTPRequestHandler):
    """Keeps the names of the metrics that come over OTLP."""

    names: set[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        packed = self.headers.get("Content-Encoding") == "gzip"
        request = ExportMetricsServiceRequest.FromString(gzip.decompress(body) if packed else body)
        scopes = [scope for resource in request.resource_metrics for scope in resource.scope_metrics]
        self.names.update(metric.name for scope in scopes for metric in scope.metrics)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing on stderr."""


def test_the_metrics_that_are_shown_are_sent() -> None:
    (program,) = python_blocks(section("OpenTelemetry metrics"))
    receiver = type("Receiver", (MetricsReceiver,), {"names": set()})
    with http.server.HTTPServer(("127.0.0.1", 0), receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
        thread.start()
        exec(program.replace("localhost:4318", f"127.0.0.1:{server.server_port}"), {})
        server.shutdown()
        thread.join()
    assert {"gen_ai.invoke_agent.duration", "gen_ai.execute_tool.duration"} <= receiver.names


def literals(pattern: str) -> list[str]:
    """What a pattern finds in the source of the package."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))]
    return sorted({found for text in texts for found in re.findall(pattern, text)})


@pytest.mark.parametrize("name", literals(r'"((?:OTEL|OPENAI|XDG)_[A-Z_]+)"'))
def test_every_variable_is_documented(name: str) -> None:
    assert mentions(section("Environment"), name)


@pytest.mark.parametrize("reason", literals(r'diagnostics\.count\("([^"]+)"'))
def test_every_count_is_documented(reason: str) -> None:
    assert mentions(section("Stats"), reason)


# ── CONTRIBUTING ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_layers_are_those_that_are_checked() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.findall(r'"([^"]+)"', re.search(r"^layers = \[(.*?)^\]", settings, re.MULTILINE | re.DOTALL)[1])  # type: ignore[index]
    assert [text for language, text in blocks(CONTRIBUTING) if language == "text"] == ["\n".join(layers) + "\n"]


def chapter(title: str) -> str:
    return CONTRIBUTING.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_fact_that_is_shown_is_a_field_and_a_row(tmp_path: Path) -> None:
    """In a copy of the package that has these two lines more, its test passes."""
    field, row, test = python_blocks(chapter("Add a fact"))
    package = copied_package(tmp_path)
    insert(package / "model.py", "    replay_of: str | None = None\n", f"    {field}")
    insert(
        package / "mapping/facts.py", '    Fact("replay_of", semconv.REPLAY_OF, TEXT, RUNS),\n', f"    {row.strip()},\n"
    )
    check_passes(test, tmp_path)


def test_the_filter_that_is_shown_is_a_field_a_predicate_and_an_option(tmp_path: Path) -> None:
    """In a copy of the package that has these three lines more, its test passes."""
    field, row, option, test = python_blocks(chapter("Add a filter"))
    assert [len(lines.splitlines()) for lines in (field, row, option)] == [1, 1, 1]
    package = copied_package(tmp_path)
    insert(package / "query.py", "    text: str | None = None\n", f"    {field}")
    insert(package / "query.py", "_FILTERS: dict[str, _Filter] = {\n", f"    {row}")
    insert(package / "cli/options.py", "FILTERS: dict[str, dict[str, Any]] = {\n", f"    {option}")
    check_passes(test, tmp_path)


def copied_package(folder: Path) -> Path:
    return shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))


def check_passes(test: str, folder: Path) -> None:
    """Run a test that is shown, with the copy of the package that stands in this folder."""
    (folder / "test_shown.py").write_text(test, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shown.py"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OTEL_AGENT_TRACE_USER_KEY": "shown"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def insert(path: Path, after: str, lines: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(after) == 1
    path.write_text(text.replace(after, after + lines), encoding="utf-8")


def test_the_dialect_that_is_shown_works(monkeypatch: pytest.MonkeyPatch) -> None:
    module_text, row_text, test_text = python_blocks(chapter("Add a dialect"))
    dialect = types.ModuleType("otel_agent_trace.dialects.acme")
    exec(module_text, dialect.__dict__)
    monkeypatch.setattr(dialects, "acme", dialect, raising=False)
    table = {"_row": dialects._row, "acme": dialect, "DIALECTS": dialects.DIALECTS}
    exec(row_text, table)
    monkeypatch.setattr(dialects, "DIALECTS", table["DIALECTS"])
    dialects._candidates.cache_clear()
    shown: dict[str, object] = {}
    exec(test_text, shown)
    (test,) = [value for name, value in shown.items() if name.startswith("test_")]
    test()  # type: ignore[operator]


@pytest.mark.parametrize("name", sorted({dialect.name for dialect in dialects.DIALECTS}))
def test_every_dialect_is_told_of(name: str) -> None:
    text = (ROOT / "docs/dialects.md").read_text(encoding="utf-8")
    assert f"`{name}`" in text.split("## What makes a run", maxsplit=1)[0]


def test_the_backend_that_is_shown_keeps_the_contract() -> None:
    exec(python_blocks(CONTRIBUTING)[-1], {})


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    files = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in files if not (ROOT / name).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_within_leads_to_a_heading(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)\s]+)\)", text)) <= headings


def _dotted_names() -> list[str]:
    found = re.findall(r"\botel_agent_trace(?:\.[A-Za-z_]\w*)+", "\n".join(map(_text_of, DOCUMENTS)))
    return sorted(set(found))


def _text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", _dotted_names())
def test_what_documents_name_is_where_they_say(name: str) -> None:
    """Each dotted name of the package is a module, or something in one; but for names of entry points and made-up ones."""
    if name in MADE_UP:
        return
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ImportError:
        assert hasattr(importlib.import_module(module), attribute)
