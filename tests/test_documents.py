"""The documents are true: their code runs and prints what they show, and nothing public is left out."""

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
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

import otel_agent_trace
from otel_agent_trace import AgentRun, AgentStep, AgentTracer, configure, dialects, semconv
from otel_agent_trace.cli import COMMANDS
from otel_agent_trace.cli import commands as command_table
from otel_agent_trace.mapping import facts
from tests.support.documents import (
    PAGES,
    ROOT,
    anchors,
    blocks,
    console_sessions,
    links,
    mentions,
    python_blocks,
    read,
    section,
    shown_outputs,
    without_chance,
)
from tests.support.http_servers import serving
from tests.support.waiting import DEADLOCK_S

PACKAGE = ROOT / "otel_agent_trace"
README, CONTRIBUTING = read("README.md"), read("CONTRIBUTING.md")
DOCS = "\n".join(read(page) for page in PAGES if page.startswith("docs/"))
ENVIRONMENT, MAPPING, METRICS, STATISTICS, COMMAND_LINE = (
    read(f"docs/{name}.md") for name in ("environment", "mapping", "metrics", "statistics", "command-line")
)
RUN_BY_OTHER_TESTS = (
    "CONTRIBUTING.md",
    "docs/cases.md",
    "docs/frameworks.md",
    "docs/production.md",
    "docs/replay-frameworks.md",
)
"""Pages whose blocks are not a single program: tested below, in test_production.py, in cases/ and in frameworks/."""
PROGRAMS = [page for page in PAGES if python_blocks(read(page)) and page not in RUN_BY_OTHER_TESTS]
SEPARATOR = "\x1e"
MADE_UP = ("otel_agent_trace.dialects.acme", "otel_agent_trace.redaction_rules")
"""Names that are no modules: an example, and a group of entry points."""
MOST_WORDS_IN_A_CELL = 40


def words_of(line: str) -> str:
    """Return the words of a line of a table up to where it is cut off; columns are as wide as their content."""
    return " ".join(without_chance(line).partition("…")[0].split())


# ── the programs ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Receiver(http.server.BaseHTTPRequestHandler):
    """Accept whatever is sent over OTLP, and keep the names of metrics."""

    metrics: set[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/metrics":
            packed = self.headers.get("Content-Encoding") == "gzip"
            request = ExportMetricsServiceRequest.FromString(gzip.decompress(body) if packed else body)
            scopes = [scope for resource in request.resource_metrics for scope in resource.scope_metrics]
            self.metrics.update(metric.name for scope in scopes for metric in scope.metrics)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Write nothing to stderr."""


@contextmanager
def receiving() -> Iterator[tuple[str, set[str]]]:
    """Yield the address of a receiver of OTLP, and the names of the metrics that it has received."""
    receiver = type("Receiver", (Receiver,), {"metrics": set()})
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), receiver)) as port:
        yield f"127.0.0.1:{port}", receiver.metrics


@pytest.fixture(scope="module")
def surroundings() -> dict[str, str]:
    """Return the environment of a person at a terminal of 90 columns."""
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


@pytest.mark.parametrize("page", PROGRAMS)
def test_a_page_shows_what_its_code_prints(page: str, surroundings: dict[str, str], tmp_path: Path) -> None:
    """Its Python blocks run in order as one program, without a warning."""
    text = read(page)
    program = tmp_path / "page.py"
    with receiving() as (address, _):
        code = f"\nprint({SEPARATOR!r})\n".join(python_blocks(text)).replace("localhost:4318", address)
        program.write_text(code, encoding="utf-8")
        command = [sys.executable, "-W", "error", program.name]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=surroundings,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLOCK_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout.split(f"{SEPARATOR}\n")
    assert len(printed) == len(python_blocks(text))
    shown = shown_outputs(text)
    assert [without_chance(part) for part in printed] == [
        without_chance(shown.get(number, "")) for number in range(len(printed))
    ]


def test_the_metrics_that_are_shown_are_sent() -> None:
    (program,) = python_blocks(section(METRICS, "OpenTelemetry metrics"))
    with receiving() as (address, names):
        exec(program.replace("localhost:4318", address), {})
    assert {"gen_ai.invoke_agent.duration", "gen_ai.execute_tool.duration"} <= names


# ── README ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_quick_start_is_short_and_goes_from_import_to_reading_back() -> None:
    lines = [line for line in python_blocks(README)[0].splitlines() if line.strip()]
    assert len(lines) <= 14
    assert lines[0].startswith("from otel_agent_trace import")
    assert "load_runs" in lines[-4]


@pytest.fixture(scope="module")
def demo_folder(surroundings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the demo, and return the folder in which it ran."""
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
    """Return whether two lines are the same, as far as both go if one was cut off."""
    return bool(written) and (expected == written or (len(expected) > 20 and is_begun(expected, written)))


def is_begun(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


# ── the pages ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", otel_agent_trace.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert mentions(read("docs/api.md"), name)
    assert len(re.findall(rf"(?<![\w-]){name}(?![\w-])", read("docs/api.md"))) == 1


def documented_names() -> list[tuple[str, str]]:
    """Return each name in docs/api.md, with the page that is given for it."""
    rows = re.findall(r"^\| (.*) \| \[.*\]\((?!\.\.)([\w-]+\.md)", read("docs/api.md"), re.MULTILINE)
    return [(name, page) for names, page in rows for name in re.findall(r"`(\w+)`", names)]


@pytest.mark.parametrize(("name", "page"), documented_names())
def test_a_name_is_on_the_page_that_is_given_for_it(name: str, page: str) -> None:
    assert mentions(read(f"docs/{page}"), name)


@pytest.mark.parametrize("owner", [AgentRun, AgentStep], ids=lambda owner: owner.__name__)
def test_every_field_is_documented(owner: type) -> None:
    public = [name for name in dir(owner) if not name.startswith("_")]
    assert [name for name in public if not mentions(read("docs/runs.md"), name)] == []


METHODS = [member for name, member in inspect.getmembers(AgentTracer, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("function", [*METHODS, AgentTracer, configure], ids=lambda function: function.__name__)
def test_every_parameter_is_documented(function: object) -> None:
    names = [name for name in inspect.signature(function).parameters if name != "self"]  # type: ignore[arg-type]
    assert [name for name in [function.__name__, *names] if not mentions(DOCS, name)] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("function", "page", "title"),
    [(AgentTracer.__init__, "docs/tracing.md", "The tracer"), (configure, "docs/backends.md", "configure")],
    ids=["AgentTracer", "configure"],
)
def test_signature_and_table_have_all_arguments(function: types.FunctionType, page: str, title: str) -> None:
    """But for those that it shares with others by its ``**options``."""
    text, code = section(read(page), title), inspect.unwrap(function).__code__
    signature = re.search(r"^`\w+\((.*=.*)\)`", text, re.MULTILINE)
    assert signature is not None
    documented = re.findall(r"(\w+)=(?!=)", signature[1])
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    assert [name for name in names if name not in ("self", *documented)] == []
    assert [name for name in documented if not re.search(rf"^\| `{name}` \|", text, re.MULTILINE)] == []


def command_options() -> list[tuple[str, str]]:
    """Return each option of each command, and of the command itself, as it is written."""
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
    rows = [line for line in COMMAND_LINE.splitlines() if mentions(line, option)]
    assert any(mentions(row, command or "COMMAND") or "| all |" in row or "| all but `" in row for row in rows)


def test_options_of_all_commands_are_those_of_all_but_the_named() -> None:
    rows = re.findall(r"^\| (`.*`) \| all(?: but ([^|]+))? \|", COMMAND_LINE, re.MULTILINE)
    assert rows
    for options, others in rows:
        option = re.findall("`(.*?)`", options)[-1]
        taking = {command for command, known in command_options() if known == option and command}
        assert option == "--help" or {*COMMANDS} - taking == {*re.findall("`(.*?)`", others)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert re.search(rf"^\| `{command}[ `]", COMMAND_LINE, re.MULTILINE)


def mapped(name: str) -> list[list[str]]:
    """Return the rows of the span mapping about a field: fields, owners, attributes."""
    rows = [line.strip("| ").split(" | ") for line in MAPPING.splitlines() if line.startswith("| `")]
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
    assert f"`{name}" in MAPPING + METRICS


def metrics() -> list[semconv.Metric]:
    tables = [value.values() for value in vars(semconv).values() if isinstance(value, dict)]
    known = [*vars(semconv).values(), *(entry for table in tables for entry in table)]
    return [metric for metric in known if isinstance(metric, semconv.Metric)]


@pytest.mark.parametrize("metric", metrics(), ids=lambda metric: metric.name)
def test_every_metric_is_documented(metric: semconv.Metric) -> None:
    kind = "counter" if metric.buckets is None else "histogram"
    assert f"| `{metric.name}` | {kind} | {metric.unit} |" in METRICS


def literals(pattern: str) -> list[str]:
    """Return what a pattern finds in the source of the package."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))]
    return sorted({found for text in texts for found in re.findall(pattern, text)})


@pytest.mark.parametrize("name", literals(r'"((?:OTEL|OPENAI|XDG)_[A-Z_]+)"'))
def test_every_variable_is_documented(name: str) -> None:
    assert mentions(ENVIRONMENT, name)


@pytest.mark.parametrize("reason", literals(r'diagnostics\.count\("([^"]+)"'))
def test_every_count_is_documented(reason: str) -> None:
    assert mentions(STATISTICS, reason)


# ── CONTRIBUTING ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_layers_are_those_that_are_checked() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.findall(r'"([^"]+)"', re.search(r"^layers = \[(.*?)^\]", settings, re.MULTILINE | re.DOTALL)[1])  # type: ignore[index]
    assert [text for language, text in blocks(CONTRIBUTING) if language == "text"] == ["\n".join(layers) + "\n"]


def test_the_fact_that_is_shown_is_a_field_and_a_row(tmp_path: Path) -> None:
    """In a copy of the package with these two lines added, its test passes."""
    field, row, test = python_blocks(section(CONTRIBUTING, "Add a fact"))
    package = copied_package(tmp_path)
    insert(package / "model.py", "    replay_of: str | None = None\n", f"    {field}")
    insert(
        package / "mapping/facts.py", '    Fact("replay_of", semconv.REPLAY_OF, TEXT, RUNS),\n', f"    {row.strip()},\n"
    )
    check_passes(test, tmp_path)


def test_the_filter_that_is_shown_is_a_field_a_predicate_and_an_option(tmp_path: Path) -> None:
    """In a copy of the package with these three lines added, its test passes."""
    field, row, option, test = python_blocks(section(CONTRIBUTING, "Add a filter"))
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
    module_text, row_text, test_text = python_blocks(section(CONTRIBUTING, "Add a dialect"))
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
def test_every_dialect_is_documented(name: str) -> None:
    assert f"`{name}`" in section(read("docs/dialects.md"), "Dialects")


def test_the_backend_that_is_shown_keeps_the_contract() -> None:
    exec(python_blocks(CONTRIBUTING)[-1], {})


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    for path, anchor in links(read(page)):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/") and page != "docs/README.md"])
def test_every_page_is_in_the_index(page: str) -> None:
    assert (page.removeprefix("docs/"), "") in links(read("docs/README.md"))


@pytest.mark.parametrize("page", PAGES)
def test_cells_of_tables_are_short(page: str) -> None:
    cells = [cell for line in read(page).splitlines() if line.startswith("|") for cell in line.split(" | ")]
    assert [cell for cell in cells if len(cell.split()) > MOST_WORDS_IN_A_CELL] == []


def _dotted_names() -> list[str]:
    found = re.findall(r"\botel_agent_trace(?:\.[A-Za-z_]\w*)+", "\n".join(map(read, PAGES)))
    return sorted(set(found))


@pytest.mark.parametrize("name", _dotted_names())
def test_what_documents_name_is_where_they_say(name: str) -> None:
    """Each dotted name of the package is a module or an attribute of one, except invented names."""
    if name in MADE_UP:
        return
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ImportError as error:
        if error.name and not error.name.startswith("otel_agent_trace"):
            return  # the module is there, the framework that it is for is not
        assert hasattr(importlib.import_module(module), attribute)
