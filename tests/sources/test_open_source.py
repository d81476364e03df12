"""Which source a text names: by its scheme, unless there is a file of that name."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import JaegerSource, iter_runs, load_runs, open_source, run_to_spans
from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.sources import FilesSource, name_of
from otel_agent_trace.sources.addresses import parse_address
from otel_agent_trace.span import SpanRecord
from tests.support.sample_runs import lines_of, make_run


@pytest.mark.parametrize("text", ["http://h:16686", "HTTPS://h/base?service=a", "http://user:pw@[::1]:16686/trace/1"])
def test_addresses_of_jaeger(text: str) -> None:
    assert isinstance(open_source(text), JaegerSource)


@pytest.mark.parametrize(
    "text",
    [
        "runs.jsonl",
        r"C:\runs\x.jsonl",
        "C:/runs",
        "C://runs",
        "run:1.jsonl",
        "http:runs",
        "http:/runs",
        "./a://b",
        "*.jsonl",
    ],
)
def test_names_of_files(text: str) -> None:
    assert isinstance(open_source(text), FilesSource)
    assert isinstance(open_source(Path(text)), FilesSource)


def test_a_file_that_is_called_like_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http://runs.jsonl", "x:y.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join(lines_of(run_to_spans(make_run(1)))))
        assert load_runs(name) == [make_run(1)]


def test_options_are_for_addresses() -> None:
    assert isinstance(open_source("http://h", service="a", headers={"a": "b"}, timeout_s=1), JaegerSource)
    with pytest.raises(ConfigurationError, match="service"):
        open_source("runs.jsonl", service="a")
    with pytest.raises(TypeError):
        open_source("http://h", unknown=1)


class Made:
    """A source of somebody else."""

    def __init__(self, text: str, **options: Any) -> None:
        self.text, self.options = text, options

    def traces(self, on_problem: Any) -> Iterator[list[SpanRecord]]:
        yield run_to_spans(make_run(1))


def test_sources_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an entry point, whose name is the scheme."""
    entry = importlib.metadata.EntryPoint("made-up", f"{__name__}:Made", "otel_agent_trace.sources")
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda _: Made)
    found = importlib.metadata.EntryPoints([entry])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found.select(group=group))
    source = open_source("made-up://there/x#y", colour="red")
    assert (source.text, source.options) == ("made-up://there/x#y", {"on_progress": None, "colour": "red"})
    assert load_runs("made-up://there") == list(iter_runs(["made-up://a", "made-up://b"])) == [make_run(1)]
    with pytest.raises(
        SourceError,
        match=r"other:// addresses cannot be read, those of clickhouse, clickhouses, http, https, made-up can;",
    ):
        open_source("other://user:secret@there")


def test_nobody_reads_such_addresses() -> None:
    with pytest.raises(SourceError, match="ftp:// addresses cannot be read"):
        load_runs("ftp://u:secret@h/x")


@pytest.mark.parametrize(
    ("text", "base", "services", "trace_id"),
    [
        ("http://h:16686", "http://h:16686", (), None),
        ("http://h:16686/", "http://h:16686", (), None),
        ("http://h:16686?service=a%20b&service=c&service=a", "http://h:16686", ("a b", "c", "a"), None),
        ("https://h/jaeger/?service=#f", "https://h/jaeger", (), None),
        ("https://h/api", "https://h/api", (), None),
        ("https://h/jaeger/search?service=a", "https://h/jaeger", ("a",), None),
        ("http://h/api/traces?service=a&limit=2&x=1", "http://h", ("a",), None),
        ("http://h/trace/1F", "http://h", (), f"{31:032x}"),
        ("http://h/x/trace/" + "AB" * 16 + "?uiFind=y", "http://h/x", (), "ab" * 16),
        ("http://h/api/v3/traces/1", "http://h", (), f"{1:032x}"),
        ("http://[::1]:1/trace/1/", "http://[::1]:1", (), f"{1:032x}"),
        (" http://h \n", "http://h", (), None),
    ],
)
def test_what_an_address_says(text: str, base: str, services: tuple[str, ...], trace_id: str | None) -> None:
    address = parse_address(text)
    assert (address.base_url, address.services, address.trace_id) == (base, services, trace_id)


@pytest.mark.parametrize("query", ["?srvice=secret", "?service=a&srvice=secret", "?srvice", "?srvice="])
@pytest.mark.parametrize("base", ["http://u:secret@h:16686", "http://h:16686", "http://h:16686/jaeger"])
def test_a_misspelt_parameter_of_an_address_is_named(base: str, query: str) -> None:
    """Otherwise the runs of all services would be read in silence; what a link has besides is the page's own."""
    with pytest.raises(SourceError) as refused:
        load_runs(base + query)
    message = str(refused.value)
    assert message.endswith(": there is no parameter 'srvice' of addresses; the only one is 'service'")
    assert "secret" not in message


def test_a_file_takes_no_parameters(tmp_path: Path) -> None:
    """A path with a question mark is a pattern, unless it looks like an address and there is that file."""
    file = tmp_path / "traces.jsonl"
    file.write_text("")
    with pytest.raises(
        SourceError, match=r"matches this pattern; .*traces\.jsonl takes no parameters such as 'srvice', 'b',"
    ):
        load_runs(f"{file}?srvice=x&b=c")
    with pytest.raises(SourceError, match=r"no file matches this pattern$"):
        load_runs(f"{tmp_path}/trace?=.jsonl")


def test_names_have_no_secrets() -> None:
    assert JaegerSource("http://u:p@h:1/x/trace/1?token=t").name == f"http://h:1/x/trace/{1:032x}"
    assert name_of("http://u:p@h:1/x?token=t") == "http://h:1/x"
    assert name_of("http://u:p/q@h") == name_of("http://u:p?q@h") == name_of("http://u:p@q@h") == "http://h"
    assert name_of("http://h/@x") == "http://h/@x"
    assert name_of("a@b.jsonl") == "a@b.jsonl"
    assert name_of(Path("x/y")) == "x/y"
    assert name_of(Made("x")) == "Made"


def test_importing_costs_no_client() -> None:
    """What talks over the network is imported when it is used."""
    import subprocess
    import sys

    code = "import sys, otel_agent_trace.cli, otel_agent_trace.reading; sys.exit(any(n in sys.modules for n in ('httpx', 'stamina', 'ssl')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
