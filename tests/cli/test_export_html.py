"""``export --to html``: a run as one page, or a folder of pages and a list of them."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from otel_agent_trace import run_to_spans
from otel_agent_trace.cli import export_html
from otel_agent_trace.span import Scope
from tests.support.export_command import Result
from tests.support.sample_runs import failed_run, make_run, write_records_to, write_runs_to

GITHUB_TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3  # noqa: S105 - made up
RunCommand = Callable[..., Result]
WriteRuns = Callable[..., Path]
ODD_IDS = ("../../evil", "index", "a/b", ".hidden", "x" * 300, "ü", "-rf", "con\x00", "\ud800", "a b")


class Links(HTMLParser):
    """The links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if tag == "a" and name == "href"]


def test_a_run_is_one_page(run_command: RunCommand, write_runs: WriteRuns, tmp_path: Path) -> None:
    source = write_runs([make_run(number) for number in range(3)])
    done = run_command("export", source, f"{2:032x}", "--to", "html", "--output", "run.html")
    assert (done.code, done.out) == (0, "1 run written to run.html\n")
    text = (tmp_path / "run.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "<title>weather · success</title>" in text
    as_json = run_command("export", source, "last", "--to", "html", "--output", "last.html", "--json")
    assert json.loads(as_json.out) == {"file": "last.html", "runs": 1}


def test_a_page_is_on_standard_output_by_default(
    run_process: Callable[..., subprocess.CompletedProcess[bytes]], write_runs: WriteRuns, tmp_path: Path
) -> None:
    source = write_runs([make_run(1)])
    (tmp_path / "starlette.py").write_text("raise ImportError('no extra is needed')")
    done = run_process("export", source, "last", "--to", "html")
    assert done.returncode == 0
    assert done.stdout.startswith(b"<!doctype html>")
    assert done.stdout.endswith(b"</html>\n")


def test_a_folder_has_a_page_a_run_and_a_list_of_them(
    run_command: RunCommand, write_runs: WriteRuns, tmp_path: Path
) -> None:
    source = write_runs([*(make_run(number) for number in range(4)), failed_run(4)])
    done = run_command("export", source, "--to", "html", "--output", "pages")
    assert (done.code, done.out) == (0, "5 runs written to pages\n")
    names = [f"{number + 1:032x}.html" for number in reversed(range(5))]
    text = (tmp_path / "pages" / "index.html").read_text()
    assert Links(text).found == names
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {*names, "index.html"}
    assert "question 3" in text
    assert "ValueError: no" in text


def test_a_limit_takes_the_newest_and_filters_apply(
    run_command: RunCommand, write_runs: WriteRuns, tmp_path: Path
) -> None:
    source = write_runs([*(make_run(number) for number in range(4)), failed_run(4)])
    run_command("export", source, "--to", "html", "--output", "two", "--limit", 2)
    assert Links((tmp_path / "two" / "index.html").read_text()).found == [f"{number:032x}.html" for number in (5, 4)]
    run_command("export", source, "--to", "html", "--output", "failed", "--status", "error")
    assert Links((tmp_path / "failed" / "index.html").read_text()).found == [f"{5:032x}.html"]
    none = run_command("export", source, "--to", "html", "--output", "none", "--agent", "nobody")
    assert (none.code, none.out) == (0, "0 runs written to none\n")


def test_odd_ids_are_names_of_files_in_the_folder(run_command: RunCommand, tmp_path: Path) -> None:
    runs = [make_run(number, run_id=run_id) for number, run_id in enumerate((*ODD_IDS, "same", "same"))]
    source = write_runs_to(tmp_path / "traces.jsonl", runs)
    done = run_command("export", source, "--to", "html", "--output", "deep/pages")
    assert done.code == 0
    pages = {path.name for path in (tmp_path / "deep" / "pages").iterdir()}
    links = Links((tmp_path / "deep" / "pages" / "index.html").read_text()).found
    assert {*links, "index.html"} == pages
    assert len(links) == len(runs)
    assert all(re.fullmatch(r"[\w][\w.~-]*\.html", name) for name in links)
    assert {path.name for path in tmp_path.iterdir()} == {"traces.jsonl", "deep"}


def test_without_content_no_page_has_any(run_command: RunCommand, write_runs: WriteRuns, tmp_path: Path) -> None:
    source = write_runs([failed_run(1)])
    run_command("export", source, "--to", "html", "--output", "bare", "--no-content")
    run_command("export", source, "--to", "html", "--output", "whole")
    bare, whole = ((tmp_path / name / "index.html").read_text() for name in ("bare", "whole"))
    for content in ("question 1", "ValueError: no"):
        assert content in whole
        assert content not in bare
    assert "ValueError" in bare
    sizes = [(tmp_path / name / f"{2:032x}.html").stat().st_size for name in ("bare", "whole")]
    assert sizes[0] < sizes[1]


def test_secrets_are_masked_and_prices_count(run_command: RunCommand, write_runs: WriteRuns, tmp_path: Path) -> None:
    source = write_runs([make_run(1_000_000, user_input=f"my key is {GITHUB_TOKEN}")])
    (tmp_path / "prices.json").write_text('{"m": {"input": 2, "output": 5}}')
    run_command("export", source, "--to", "html", "--output", "p", "--redact", "--prices", "prices.json")
    text = (tmp_path / "p" / "index.html").read_text()
    assert GITHUB_TOKEN not in text
    assert "my key is" in text
    assert "$2.00" in text


def test_a_run_of_another_tracer_has_where_its_facts_were_read(run_command: RunCommand, tmp_path: Path) -> None:
    run = make_run(1, user_input=f"my key is {GITHUB_TOKEN}", recorded_by=None)
    spans = [msgspec.structs.replace(span, scope=Scope("another.tracer", "1")) for span in run_to_spans(run)]
    source = write_records_to(tmp_path / "traces.jsonl", spans)
    for options in (("last", "--output", "p/run.html"), ("--output", "p")):
        (tmp_path / "p").mkdir(exist_ok=True)
        run_command("export", source, *options, "--to", "html", "--redact")
    for page in (tmp_path / "p" / "run.html", tmp_path / "p" / f"{run.run_id}.html"):
        text = unpacked(page)
        assert '"place":"gen_ai.tool.call.result"' in text
        assert "my key is" in text
        assert GITHUB_TOKEN not in text


def unpacked(page: Path) -> str:
    """The text of all blocks of a page."""
    blocks = re.findall(r'id="block-[^"]+">([^<]+)', page.read_text())
    return "\n".join(gzip.decompress(base64.b64decode(block)).decode() for block in blocks)


def test_a_large_page_is_warned_of(
    run_command: RunCommand, write_runs: WriteRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_html, "_LARGE_BYTES", 1000)
    done = run_command("export", write_runs([make_run(1)]), "last", "--to", "html", "--output", "run.html")
    assert "warning: run.html has" in done.err
    assert "--no-content" in done.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--to", "html"), "--to html without RUN needs --output, the folder to write"),
        (("--to", "html", "--output", "-"), "--to html without RUN needs --output, the folder to write"),
        (("last", "--to", "html", "--agent", "a"), "RUN cannot be combined with filters"),
        (("last", "--to", "html", "--protocol", "grpc"), "cannot be combined with --to html"),
        (("last", "--to", "html", "--expected", "good"), "--expected needs --to cases"),
        (("last", "--to", "otlp-json", "--no-content"), "--no-content needs --to html"),
        (("last", "--to", "cases", "--prices", "p.json"), "--prices needs --to parquet or html"),
        (("last", "--to", "parquet", "--output", "p", "--no-content"), "--no-content needs --to html"),
    ],
)
def test_what_cannot_be_combined_is_a_usage_error(
    arguments: tuple[str, ...], text: str, run_command: RunCommand, write_runs: WriteRuns
) -> None:
    done = run_command("export", write_runs([make_run(1)]), *arguments)
    assert done.code == 2
    assert text in done.err


def test_what_cannot_be_written_is_one_error(run_command: RunCommand, write_runs: WriteRuns, tmp_path: Path) -> None:
    source = write_runs([make_run(1)])
    (tmp_path / "file").touch()
    for output in ("file", "file/pages"):
        done = run_command("export", source, "--to", "html", "--output", output)
        assert done.code == 2
        assert done.err.startswith("error: ")
        assert "Traceback" not in done.err
    missing = run_command("export", source, "nobody", "--to", "html", "--output", "run.html")
    assert missing.code != 0
    assert not (tmp_path / "run.html").exists()


def test_a_page_replaces_its_source_only_when_it_is_whole(
    run_command: RunCommand, write_runs: WriteRuns, tmp_path: Path
) -> None:
    source = write_runs([make_run(1)], "run.html.jsonl")
    (tmp_path / "run.html").write_text("before")
    assert run_command("export", source, "nobody", "--to", "html", "--output", "run.html").code != 0
    assert (tmp_path / "run.html").read_text() == "before"
