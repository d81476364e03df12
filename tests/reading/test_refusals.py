"""What holds no runs is refused in one sentence that says which file, and what it looks like."""

from __future__ import annotations

import errno
import gzip
import io
import json
import logging
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otel_agent_trace import AgentRun, InMemoryBackend, load_runs, open_source, run_to_spans
from otel_agent_trace.errors import BadRecordError, SourceError
from otel_agent_trace.formats import otlp_json
from tests.support.sample_runs import Problems, make_run
from tests.support.waiting import DEADLOCK_S

Write = Callable[..., Path]
JAEGER = {"traceID": "0af7651916cd43dd8448eb211c80319c", "spans": {}}
ZIPKIN = [{"traceId": "0af7651916cd43dd8448eb211c80319c", "id": "b7ad6b7169203331", "name": "get"}]
TEMPO_SEARCH = {"traces": [{"traceID": "2f3e0cee77ae5dc9c17ade3689eb2e54", "rootTraceName": "a"}], "metrics": {}}


def _tar(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("traces.jsonl")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "looks_like"),
    [
        ("jaeger.json", json.dumps({"data": [JAEGER]}).encode(), "Jaeger UI JSON"),
        ("zipkin.json", json.dumps(ZIPKIN).encode(), "Zipkin JSON: export OTLP instead"),
        ("page.jsonl", b"\n <!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
        ("page.jsonl", b"<HTML><body>404</body></HTML>", "a web page"),
        ("feed.jsonl", b"<?xml version='1.0'?><traces/>", "XML"),
        ("runs.csv", b"run_id,status\n1,success\n2,error\n", "text with commas (CSV)"),
        ("pretty.json", json.dumps({"runs": [1, 2]}, indent=2).encode(), "a JSON document of something else"),
        ("pretty-array.json", json.dumps([{"a": 1}], indent=2).encode(), "a JSON document of something else"),
        ("array.json", b"[1, 2, 3]", "a JSON array"),
        (
            "log.jsonl",
            b'{"level":"info","msg":"started"}\n{"level":"info","msg":"ended"}\n',
            "JSON Lines of something else",
        ),
        ("otel-without-spans.json", b'{"traces":[]}', "JSON Lines of something else"),
        ("bom.jsonl", b"\xef\xbb\xbf{}x", "JSON Lines of something else"),
        ("image.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary data"),
        ("utf16.jsonl", '{"spans":[]}'.encode("utf-16"), "JSON Lines of something else"),
        ("runs.db", b"SQLite format 3\0\x10\0\1\1", "an SQLite database: export the traces in it as OTLP/JSON"),
        ("spans.parquet", b"PAR1\x15\4\x15", "a Parquet file: export"),
        ("traces.zip", b"PK\3\4\x14\0\0\0", "a ZIP archive: unpack it first"),
        ("session.har", json.dumps({"log": {"creator": {}, "entries": []}}).encode(), "a HAR file (HTTP Archive)"),
        (
            "runs.json",
            b'[{"id":"1","run_type":"chain","inputs":{},"dotted_order":"x"}]',
            "a LangSmith export: set LANGSMITH_OTEL_ENABLED=true",
        ),
        (
            "trace.json",
            json.dumps({"id": "t", "projectId": "p", "observations": []}, indent=1).encode(),
            "a Langfuse export: ",
        ),
        (
            "train.jsonl",
            b'{"messages": [{"role": "user", "content": "Hi"}]}\n' * 2,
            "chat messages (OpenAI's fine-tuning format)",
        ),
        (
            "console.log",
            b"{\n  resource: {\n    attributes: {}\n  },\n  traceId: '0af7651916cd43dd8448eb211c80319c',\n}\n",
            "the output of JavaScript's ConsoleSpanExporter: it is cut and no JSON",
        ),
        ("console.txt", b"Activity.TraceId:            0af7651916cd43dd8448eb211c80319c\n", "the output of .NET's"),
        ("lost.json", b'{"data":null,"total":0,"errors":[{"code":404,"msg":"no"}]}', "an error of Jaeger's API"),
        ("sparse.jsonl", b"\0" * 300_000, "binary data"),
        (
            "search.json",
            json.dumps(TEMPO_SEARCH).encode(),
            "what a search in Tempo found, without the spans: fetch each",
        ),
        ("search.json", json.dumps(TEMPO_SEARCH, indent=2).encode(), "what a search in Tempo found, without the spans"),
        ("zipkin.jsonl", json.dumps(ZIPKIN[0]).encode(), "Zipkin JSON: "),
        ("agent.json", b'{"traces":[[{"trace_id":"A","span_id":"B","meta":{},"metrics":{}}]]}', "Datadog JSON: "),
        (
            "spans.json",
            b'{"data":[{"attributes":{"trace_id":"1","span_id":"2","resource_name":"r"}}]}',
            "Datadog JSON: ",
        ),
        ("px.csv", b"context.span_id,name,span_kind\na,b,c\n", "a table of spans from Phoenix: fetch them from"),
        ("chrome.json", b'[{"name":"a","ph":"X","ts":1,"pid":1}]', "Chrome trace events: "),
        ("loki.json", b'{"status":"success","data":{"resultType":"streams","result":[]}}', "an answer of Loki"),
        ("frames.json", b'[{"schema":{"fields":[]},"data":{"values":[]}}]', "a table of Grafana: "),
        (
            "es.jsonl",
            b'{"_source":{"traceID":"a","spanID":"b","process":{}}}',
            "spans of Jaeger as Elasticsearch or OpenSearch",
        ),
        ("obs.json", b'[{"id":"a","traceId":"b","name":"c","parentObservationId":null}]', "a Langfuse export: "),
        ("span.jsonl", b'{"traceId":"a","name":"c","startTime":[1,2]}', "spans of JavaScript's SDK as objects: "),
        (
            "a.txt",
            b"agent-1 | {\nagent-1 |   traceId: '0af7651916cd43dd8448eb211c80319c',\n",
            "the output of JavaScript's",
        ),
        (
            "a.txt",
            b"2026-05-01T12:00:00.123Z\tinfo\tResourceSpans #0\n",
            "the output of the Collector's debug exporter: ",
        ),
        (
            "a.txt",
            b'x\tinfo\tTraces\t{"resource spans": 1, "spans": 4}\n',
            "the output of the Collector's debug exporter: ",
        ),
        (
            "a.txt",
            b"[main] INFO x - 'chat' : 0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 CLIENT [tracer: x:]\n",
            "the output of Java's LoggingSpanExporter: use OtlpJsonLoggingSpanExporter",
        ),
        (
            "a.txt",
            b"{\n  name          : a\n  span_id       : b7ad6b7169203331\n}\n",
            "the output of Rust's, Ruby's or C++'s",
        ),
        ("a.json", b'{"name":"a","parent_span_id":"","kind":"KIND_INTERNAL","start":1,"end":2}', "the output of PHP's"),
        ("spans.tsv", b"trace_id\tname\na\tb\n", "text with commas (CSV)"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(9), "a 7z archive: unpack it first"),
        ("a.tar", _tar(otlp_json.encode(run_to_spans(make_run(0)))), "a tar archive: unpack it first"),
        ("number.json", b"42", "text"),
        ("packed.jsonl.gz", gzip.compress(b"hello\n", mtime=0), "text (in a gzip file)"),
    ],
)
def test_other_files(write: Write, name: str, content: bytes, looks_like: str) -> None:
    """A file of something else is named, with what it looks like."""
    path = write(name, content)
    with pytest.raises(SourceError) as refused:
        load_runs(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: neither OTLP nor traces of Jaeger; it looks like {looks_like}")
    assert "\n" not in message
    assert not isinstance(refused.value, BadRecordError)


def _fifo(folder: Path) -> Any:
    os.mkfifo(folder / "pipe.jsonl")
    return folder / "pipe.jsonl", "not a regular file"


def _denied(folder: Path) -> Any:
    (folder / "loop.jsonl").symlink_to("loop.jsonl")
    return folder / "loop.jsonl", "symbolic links"


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: (folder / "missing.jsonl", "No such file or directory"),
        lambda folder: (folder / "missing" / "runs.jsonl", "No such file or directory"),
        lambda folder: (f"{folder}/*.nothing", "no file matches this pattern"),
        lambda folder: (folder, "no trace files in this directory (*.jsonl, *.json, "),
        lambda folder: (f"{folder}/nul\0.jsonl", "null"),
        lambda folder: ("/dev/zero", "not a regular file"),
        lambda folder: ("/proc/self/mem", "damaged data"),
        _fifo,
        _denied,
    ],
    ids=["missing", "missing folder", "glob", "empty folder", "NUL", "device", "unreadable", "FIFO", "loop"],
)
def test_no_file(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """What is no file, or none that ends, is refused at once, by name."""
    (tmp_path / "empty").mkdir()
    path, expected_message = make(tmp_path / "empty")
    for source in (path, [path]):
        with pytest.raises(SourceError) as refused:
            load_runs(source)
        assert str(refused.value).startswith(f"{path}: ")
        assert expected_message in str(refused.value)


def test_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that the system does not open is refused by name, in an error of ours."""

    def denied(folder: str) -> list[str]:  # whoever runs this may be allowed everything
        raise PermissionError(errno.EACCES, "Permission denied", folder)

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(SourceError, match=rf"^{tmp_path}: Permission denied$"):
        load_runs(tmp_path)


@pytest.mark.parametrize(
    "source", [None, 5, object(), [None], [[5]], b"traces.jsonl"], ids=lambda source: type(source).__name__
)
def test_no_source(source: Any) -> None:
    """What nothing can be read from is refused, with what there could be."""
    with pytest.raises(SourceError, match=r"cannot read runs from (NoneType|int|object); give a path, a glob"):
        open_source(source)


def test_first_bad_one_of_many_is_named(write: Write, lines: list[bytes]) -> None:
    """Among files that were named, each must be readable."""
    good, bad = write("good.jsonl", lines), write("bad.jsonl", b"hello")
    with pytest.raises(SourceError, match=r"bad\.jsonl: neither OTLP"):
        load_runs([good, bad])


def test_found_files_are_reported_instead(
    write: Write, lines: list[bytes], runs: list[AgentRun], problems: Problems, tmp_path: Path
) -> None:
    """Among files that were found, those that hold something else are reported, and the others read."""
    write("logs/b.jsonl", lines)
    for name, content in (("a.jsonl", b"hello"), ("c.json", json.dumps(JAEGER).encode())):
        write(f"logs/{name}", content)
    os.mkfifo(tmp_path / "logs" / "d.jsonl")
    (tmp_path / "logs" / "e.jsonl").mkdir()
    for source in (tmp_path / "logs", f"{tmp_path}/logs/*"):
        problems.clear()
        assert load_runs(source, on_problem=problems) == runs
        assert [Path(problem.path).name for problem in problems] == ["a.jsonl", "c.json", "d.jsonl", "e.jsonl"]
        assert {problem.line for problem in problems} == {0}
        assert problems[0].reason == "neither OTLP nor traces of Jaeger; it looks like text"
        assert str(problems[0]) == f"{tmp_path}/logs/a.jsonl: neither OTLP nor traces of Jaeger; it looks like text"


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    """Nobody waits for a writer that never comes."""
    os.mkfifo(tmp_path / "pipe")
    outcome: list[str] = []

    def read() -> None:
        try:
            load_runs(tmp_path / "pipe")
        except SourceError as error:
            outcome.append(str(error))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(DEADLOCK_S)
    assert outcome == [f"{tmp_path / 'pipe'}: not a regular file"]


def test_without_on_problem_a_warning_is_logged(write: Write, lines: list[bytes], caplog: Any) -> None:
    """Whoever does not ask for problems finds them in the log."""
    with caplog.at_level(logging.WARNING, "otel_agent_trace"):
        load_runs(write("runs.jsonl", [lines[0], b"torn\n", lines[1]]))
    [record] = caplog.records
    assert "runs.jsonl:2: " in record.getMessage()
    assert record.getMessage().endswith("(skipped)")


def test_memory_is_no_file() -> None:
    """A backend is a source although it has no path, and an empty one has no runs."""
    assert load_runs(InMemoryBackend()) == []
    assert load_runs([]) == []
