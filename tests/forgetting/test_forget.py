"""What `otel-agent-trace forget` removes from files, what it leaves, and what it reports."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    FileBackend,
    Score,
    SpanRecord,
    load_runs,
    pseudonymize_user_id,
)
from otel_agent_trace.cli import main
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.scores import event_of
from otel_agent_trace.sources import FilesSource
from otel_agent_trace.span import LogRecord
from otel_agent_trace.store import replacing
from tests.support.file_formats import COMPRESSIONS, FILE_FORMATS, jaeger, logs, traces, zstd
from tests.support.requirements import needs_fork

BEGAN_NS = 1_795_475_000_000_000_000
ANN, BOB = pseudonymize_user_id("ann", key="test"), pseudonymize_user_id("bob", key="test")
Report = Callable[..., dict[str, Any]]


@pytest.fixture
def forget(capsys: pytest.CaptureFixture[str]) -> Report:
    """Call the command with ``--json``, and return what it reports."""

    def call(*arguments: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["forget", *map(str, arguments), "--json"]) == code
        report: dict[str, Any] = json.loads(capsys.readouterr().out)
        return report

    return call


@pytest.fixture(autouse=True)
def nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file is known to be unused, wait no longer for lines that are appended to the old one."""
    monkeypatch.setattr(replacing, "_QUIET_S", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


def record(path: Path, *users: str | None, **fields: Any) -> list[bytes]:
    """Record a run with a step and a sub-agent for each user, and return the lines that were added."""
    before = path.read_bytes() if path.exists() else b""
    with AgentTracer(FileBackend(path)) as tracer:
        for user in users:
            with tracer.run(user_id=user, user_input=f"of {user}", **fields) as run:
                with run.step("search"):
                    pass
                with tracer.run(agent_name="helper") as helper, helper.step("look up"):
                    pass
    return path.read_bytes().removeprefix(before).splitlines(keepends=True)


def agent(trace: int, number: int, parent: int | None = None, user: str | None = None) -> SpanRecord:
    """A span of an agent, as any instrumentation of the conventions writes it."""
    known = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": f"agent {number}"}
    return span(trace, number, parent, known | ({"enduser.pseudo.id": user} if user else {}))


def span(trace: int, number: int, parent: int | None, attributes: dict[str, str] | None = None) -> SpanRecord:
    above = None if parent is None else f"{trace:08x}{parent:08x}"
    began_ns = BEGAN_NS + trace * 10**9 + number * 1000
    return SpanRecord(
        f"{trace:032x}", f"{trace:08x}{number:08x}", above, f"span {number}", began_ns, began_ns + 500, attributes or {}
    )


def span_ids(path: Path) -> list[str]:
    return sorted(span.span_id[:8] + span.span_id[-1] for found in spans_in(path) for span in found)


def spans_in(path: Path) -> list[list[SpanRecord]]:
    return [*FilesSource([path]).traces(lambda problem: pytest.fail(str(problem)))]


# ── what goes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_counts_and_writes_nothing(path: Path, forget: Report) -> None:
    of_ann = [*record(path, "ann"), *record(path, "ann")]
    record(path, "bob", None)
    before, status = path.read_bytes(), path.stat()
    report = forget(path, "--user", "ann")
    assert report == {
        "runs": 2,
        "spans": 8,
        "logs": 0,
        "bytes": len(b"".join(of_ann)),
        "files": 1,
        "paths": [str(path)],
        "left": [],
        "applied": False,
    }
    assert path.read_bytes() == before
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert os.listdir(path.parent) == [path.name]


def test_apply_removes_the_lines_of_the_user_and_no_byte_of_others(path: Path, forget: Report) -> None:
    record(path, "ann")
    kept = record(path, "bob", None)
    record(path, "ann")
    path.chmod(0o644)
    report = forget(path, "--user", "ann", "--apply")
    assert (report["runs"], report["spans"], report["applied"]) == (2, 8, True)
    assert path.read_bytes() == b"".join(kept)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]
    assert forget(path, "--user", "ann", "--apply")["files"] == 0


def test_what_it_prints(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(path, "ann")
    size = path.stat().st_size
    assert main(["forget", str(path), "--user", "ann"]) == 0
    assert capsys.readouterr().out == (
        f"1 run, 4 spans ({size:,} bytes) would be removed from 1 file; --apply removes them\n"
    )
    assert main(["forget", str(path), "--user", "ann", "--apply"]) == 0
    assert capsys.readouterr().out == f"1 run, 4 spans ({size:,} bytes) removed from 1 file\n"


def test_runs_under_every_key_at_hand_go(path: Path, forget: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    for keys in ("old", "new,old"):
        monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", keys)
        record(path, "ann", "bob")
    assert forget(path, "--user", "ann", "--apply")["runs"] == 2
    assert [run.user_input for run in load_runs(path)] == ["of bob", "of bob"]


def test_runs_under_an_unknown_key_stay_and_are_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(path, "ann")
    monkeypatch.setenv("OTEL_AGENT_TRACE_USER_KEY", "another")
    before = path.read_bytes()
    assert main(["forget", str(path), "--user", "ann", "--apply"]) == 0
    captured = capsys.readouterr()
    assert "1 under the key" in captured.err
    assert captured.out.startswith("0 runs, ")
    assert path.read_bytes() == before


def test_a_session_of_one_of_its_users(path: Path, forget: Report) -> None:
    record(path, "ann", "bob", session_id="s1")
    record(path, "ann", session_id="s2")
    assert forget(path, "--session", "s1")["runs"] == 2
    assert forget(path, "--session", "s1", "--user", "ann", "--apply")["runs"] == 1
    assert [(run.user_id, run.session_id) for run in load_runs(path)] == [(BOB, "s1"), (ANN, "s2")]


def test_of_a_trace_of_several_users_only_the_runs_of_one(path: Path, forget: Report) -> None:
    spans = [
        span(1, 0, None, {"http.route": "/batch"}),
        agent(1, 1, 0, ANN),
        span(1, 2, 1),
        agent(1, 3, 2),
        agent(1, 4, 0, BOB),
        agent(1, 5, 4, ANN),
        span(1, 6, 5),
        span(1, 7, 4),
    ]
    path.write_bytes(otlp_json.encode(spans) + b"\n")
    report = forget(path, "--user", "ann", "--apply")
    assert (report["runs"], report["spans"]) == (2, 5)
    assert span_ids(path) == ["000000010", "000000014", "000000017"]


def test_a_span_of_the_user_inside_the_run_of_another_goes_with_those_below(path: Path, forget: Report) -> None:
    spans = [
        agent(1, 1, None, BOB),
        span(1, 2, 1, {"enduser.pseudo.id": ANN}),
        span(1, 3, 2),
        span(1, 4, 1),
    ]
    path.write_bytes(otlp_json.encode(spans))
    report = forget(path, "--user", ANN, "--apply")
    assert (report["runs"], report["spans"]) == (0, 2)
    assert span_ids(path) == ["000000011", "000000014"]


def test_a_trace_in_which_nobody_else_is_named_goes_as_a_whole(path: Path, forget: Report) -> None:
    """With what surrounds the run, and runs without a user beside it; so do spans without any run that name the user."""
    spans = [
        span(1, 0, None, {"http.route": "/chat"}),
        agent(1, 1, 0, ANN),
        agent(1, 2, 0),
        span(2, 0, None, {"http.route": "/login", "enduser.id": "ann"}),
        span(3, 0, None, {"http.route": "/login", "enduser.id": "bob"}),
        agent(4, 0),
    ]
    path.write_bytes(otlp_json.encode(spans) + b"\n")
    report = forget(path, "--user", "ann", "--apply")
    assert (report["runs"], report["spans"]) == (2, 4)
    assert span_ids(path) == ["000000030", "000000040"]


def test_scores_and_logs_of_the_runs_go(path: Path, forget: Report) -> None:
    ann, bob = agent(1, 1, user=ANN), agent(2, 1, user=BOB)
    call = span(1, 2, 1, {"gen_ai.operation.name": "chat", "gen_ai.response.id": "r1"})
    score = {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.label": "rude"}
    name = "gen_ai.evaluation.result"
    by_span = FILE_FORMATS["lines"](
        logs([(each.trace_id, each.span_id, BEGAN_NS, name, score) for each in (ann, bob)]),
    ).splitlines(keepends=True)
    by_response = FILE_FORMATS["lines"](
        logs([("", "", BEGAN_NS, name, {**score, "gen_ai.response.id": known}) for known in ("r1", "r2")])
    ).splitlines(keepends=True)
    of_bob = otlp_json.encode([bob]) + b"\n"
    path.write_bytes(b"".join([*by_response, otlp_json.encode([ann, call]), b"\n", of_bob, *by_span]))
    report = forget(path, "--user", "ann", "--apply")
    assert (report["spans"], report["logs"]) == (2, 2)
    assert path.read_bytes() == by_response[1] + of_bob + by_span[1]


def test_prompts_that_were_only_logged(path: Path, forget: Report) -> None:
    """Agent programs without spans name user and session on their records."""

    def events(user: str, session: str) -> list[tuple[str, str, int, str, dict[str, str]]]:
        known = {"user.id": user, "session.id": session}
        prompt = {**known, "event.name": "claude_code.user_prompt", "prompt": "Hi"}
        request = {"session.id": session, "event.name": "claude_code.api_request", "model": "m"}
        return [("", "", BEGAN_NS + at, each["event.name"], each) for at, each in enumerate((prompt, request))]

    write = FILE_FORMATS["lines"]
    of_bob = write(logs(events("bob", "s2")))
    path.write_bytes(write(logs(events("ann", "s1"))) + of_bob)
    assert len(load_runs(path, user_id="ann")) == 1
    report = forget(path, "--user", "ann", "--apply")
    assert (report["runs"], report["logs"]) == (1, 2)
    assert path.read_bytes() == of_bob


# ── files of all kinds ───────────────────────────────────────────────────────────────────────────────────────────────

MIXED = [
    agent(1, 1, user=ANN),
    agent(2, 1, user=BOB),
    span(1, 2, 1, {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}),
    span(2, 2, 1, {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}),
]
"""Spans of two users, of which each request has some of both."""


@pytest.mark.parametrize("packing", COMPRESSIONS)
@pytest.mark.parametrize("kind", [kind for kind in FILE_FORMATS if "message" not in kind])
def test_files_of_every_kind_that_is_a_text(tmp_path: Path, forget: Report, kind: str, packing: str) -> None:
    path = tmp_path / f"traces.json{packing}"
    path.write_bytes(COMPRESSIONS[packing](FILE_FORMATS[kind](traces(MIXED))))
    kept = [span for found in spans_in(path) for span in found if span.trace_id == MIXED[1].trace_id]
    report = forget(path, "--user", "ann", "--apply")
    assert (report["runs"], report["spans"], report["left"]) == (1, 2, [])
    assert spans_in(path) == [kept]
    assert not packing or path.read_bytes()[:2] == COMPRESSIONS[packing](b"{}")[:2]


@pytest.mark.parametrize("kind", [kind for kind in FILE_FORMATS if "message" in kind])
def test_protobuf_stays_and_is_reported(path: Path, forget: Report, kind: str) -> None:
    path.write_bytes(FILE_FORMATS[kind](traces(MIXED)))
    before = path.read_bytes()
    report = forget(path, "--user", "ann", "--apply", code=1)
    assert (report["spans"], report["files"]) == (0, 0)
    assert "nothing can be removed from protobuf messages" in report["left"][0]
    assert forget(path, "--user", "nobody", "--apply")["left"] == []
    assert path.read_bytes() == before


def test_a_line_of_the_collector_keeps_its_other_spans_byte_for_byte(path: Path, forget: Report) -> None:
    """Several resources and scopes, an unknown field, blanks, and metrics beside the spans."""

    def one(trace: int, number: int, user: str | None = None) -> str:
        ids = f'"traceId": "{trace:032X}", "spanId":"{trace:08x}{number:08x}"'
        kind = '{"key":"gen_ai.operation.name","value":{"stringValue":"invoke_agent"}}'
        named = f',{{"key":"enduser.pseudo.id","value":{{"stringValue":"{user}"}}}}' if user else ""
        return f'{{ {ids}, "startTimeUnixNano":"1","endTimeUnixNano":"2","unknown":1.50,"name":"caf\\u00e9","attributes":[{kind}{named}]}}'

    def line(*resources: str) -> bytes:
        metrics = '"resourceMetrics":[{"scopeMetrics":[]}]'
        return f'{{"resourceSpans":[{",".join(resources)}],{metrics}}}\r\n'.encode()

    def resource(name: str, *scopes: str) -> str:
        return f'{{"resource":{{"x":"{name}"}},"scopeSpans":[{",".join(scopes)}],"schemaUrl":"u"}}'

    def scope(*spans: str) -> str:
        return f'{{"scope":{{"name":"s"}},"spans":[{",".join(spans)}]}}'

    ann, bob, nobody = one(1, 1, ANN), one(2, 1, BOB), one(3, 1)
    path.write_bytes(
        line(resource("a", scope(ann, bob), scope(ann)), resource("b", scope(ann)), resource("c", scope(nobody)))
    )
    forget(path, "--user", "ann", "--apply")
    assert path.read_bytes() == line(resource("a", scope(bob)), resource("c", scope(nobody)))


def test_what_jaegers_page_saved(path: Path, forget: Report) -> None:
    path.write_text(json.dumps(jaeger(MIXED)))
    kept = jaeger(MIXED)["data"][1]
    assert forget(path, "--user", "ann", "--apply")["spans"] == 2
    assert json.loads(path.read_text()) == {"data": [kept]}


def test_what_a_program_printed(path: Path, forget: Report) -> None:
    """Spans of the SDK's exporter for the console, among other output."""
    printed: list[str] = []
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = ConsoleSpanExporter(
        out=io.StringIO(), formatter=lambda span: printed.append(span.to_json() + "\n") or ""
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for user in ("ann", "bob"):
        attributes = {"gen_ai.operation.name": "invoke_agent", "user.id": user}
        provider.get_tracer("other").start_span("invoke_agent", attributes=attributes).end()
    path.write_text(f"Hello\n{printed[0]}{printed[1]}Bye\n")
    assert forget(path, "--user", "ann", "--apply")["spans"] == 1
    assert path.read_text() == f"Hello\n{printed[1]}Bye\n"


def test_unreadable_lines_stay_and_are_reported(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also the beginning of a span of the user whose writer was killed."""
    first, second = record(path, "ann")[:2]
    kept = record(path, "bob")
    broken = second[: second.index(b'"attributes"')]
    path.write_bytes(first + b"{nonsense\n" + b"".join(kept) + broken)
    assert main(["forget", str(path), "--user", "ann", "--apply"]) == 0
    assert path.read_bytes() == b"{nonsense\n" + b"".join(kept) + broken
    errors = capsys.readouterr().err
    assert f"{path}:2: " in errors
    assert f"{path}:7: " in errors
    assert "what cannot be read is kept as it is" in errors


def test_of_a_damaged_line_the_intact_spans_of_others_stay(path: Path, forget: Report) -> None:
    text = FILE_FORMATS["lines"](traces(MIXED, size=4))
    path.write_bytes(text[: text.rindex(b'"name"')])
    assert forget(path, "--user", "ann", "--apply")["spans"] == 2
    assert [[(each.trace_id, each.span_id) for each in found] for found in spans_in(path)] == [
        [(MIXED[1].trace_id, MIXED[1].span_id)]
    ]


def test_a_last_line_without_an_end(path: Path, forget: Report) -> None:
    kept = record(path, "bob")
    record(path, "ann")
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert forget(path, "--user", "ann", "--apply")["runs"] == 1
    assert path.read_bytes() == b"".join(kept)


# ── which files ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", ["", "traces*"], ids=["folder", "glob"])
def test_rotated_and_compressed_files_of_a_folder_or_glob(tmp_path: Path, forget: Report, source: str) -> None:
    """A run may begin in one file and end in another, so that the user stands in one of them only."""
    path, older = tmp_path / "traces.jsonl", tmp_path / "traces-2026-11-01.jsonl.gz"
    record(path, "ann")
    first, *others = path.read_bytes().splitlines(keepends=True)
    older.write_bytes(gzip.compress(first))
    path.write_bytes(b"".join(others))
    kept = record(path, "bob")
    report = forget(tmp_path / source, "--user", "ann", "--apply")
    assert (report["runs"], report["spans"], report["files"]) == (1, 4, 2)
    assert (path.read_bytes(), gzip.decompress(older.read_bytes())) == (b"".join(kept), b"")


def test_older_files_that_were_not_named_are_pointed_out(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(path, "ann")
    for name in ("traces.jsonl.1", "traces.jsonl.old", "traces-2026-11-01.jsonl", "others.jsonl"):
        path.with_name(name).write_bytes(path.read_bytes())
    assert main(["forget", str(path), "--user", "ann", "--apply"]) == 0
    errors = capsys.readouterr().err
    assert "traces-2026-11-01.jsonl" in errors
    assert "traces.jsonl.old" in errors
    assert "traces.jsonl.1" not in errors  # which is of the store
    assert path.with_name("traces.jsonl.1").read_bytes() == b""
    assert "others.jsonl" not in errors


def test_a_symbolic_link_stays_one(tmp_path: Path, forget: Report) -> None:
    target, link = tmp_path / "data" / "traces.jsonl", tmp_path / "traces.jsonl"
    target.parent.mkdir()
    record(target, "ann")
    kept = record(target, "bob")
    link.symlink_to(target)
    assert forget(link, "--user", "ann", "--apply")["paths"] == [str(target)]
    assert link.is_symlink()
    assert target.read_bytes() == b"".join(kept)


def test_a_second_name_of_a_file_keeps_what_it_has(path: Path, forget: Report) -> None:
    record(path, "ann")
    os.link(path, path.with_name("copy"))
    (left,) = forget(path, "--user", "ann", "--apply", code=1)["left"]
    assert "hard link" in left
    assert load_runs(path) == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["traces.jsonl"], "give --user ID, --session ID, or both"),
        (["traces.jsonl", "--apply"], "give --user ID, --session ID, or both"),
        (["traces.jsonl", "--user", "", "--apply"], "the id of a user or of a session is empty"),
        (["traces.jsonl", "--user", "ann", "--session", " "], "the id of a user or of a session is empty"),
        (["http://127.0.0.1:16686", "--user", "ann"], "only local files can be changed"),
        (["missing.jsonl", "--user", "ann"], "missing.jsonl: No such file"),
    ],
)
def test_what_is_refused(
    arguments: Sequence[str], part: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    monkeypatch.chdir(path.parent)
    record(path, "ann")
    before = path.read_bytes()
    assert main(["forget", *arguments]) == 2
    assert part in capsys.readouterr().err
    assert path.read_bytes() == before


def test_files_that_cannot_be_written_are_reported_beside_those_that_were(
    tmp_path: Path, forget: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    for each in (first, second):
        record(each, "ann", "bob")
    before, rename = second.read_bytes(), os.replace

    def refuse(source: str, target: str) -> None:
        if target == str(second):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    report = forget(tmp_path, "--user", "ann", "--apply", code=1)
    assert (report["paths"], report["spans"]) == ([str(first)], 4)
    assert report["left"] == [f"{second}: Permission denied"]
    assert second.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["1.jsonl", "2.jsonl"]


@needs_fork
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_file_of_another_account_stays_theirs(path: Path, forget: Report) -> None:
    record(path, "ann", "bob")
    os.chown(path, 1234, 2345)
    forget(path, "--user", "ann", "--apply")
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 2345, 0o600)


# ── scores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def score_of(run: AgentRun, ids: dict[str, str], at_ns: int = 0) -> bytes:
    """A line with a score of a run, which names it by its id beside further ids."""
    event = event_of(Score(name="helpful", value=True, explanation=f"for {run.run_id}", at_ns=at_ns or time.time_ns()))
    attributes = {**event.attributes, "agent_trace.run.id": run.run_id}
    log = LogRecord(ids.get("trace_id", ""), ids.get("span_id", ""), event.name, event.time_ns, attributes)
    return otlp_json.encode_log(log) + b"\n"


def ids_of(run: AgentRun, how: str) -> dict[str, str]:
    known = {"trace_id": run.trace_id or "", "span_id": run.span_id or ""}
    lost = {**known, "span_id": "e" * 16}
    return {"run": {}, "trace": {"trace_id": known["trace_id"]}, "span": known, "a span that is lost": lost}[how]


@pytest.mark.parametrize("how", ["run", "trace", "span", "a span that is lost"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_scores_in_other_files_go_with_their_runs(
    tmp_path: Path, path: Path, forget: Report, how: str, compression: str
) -> None:
    """Those of a sub-agent too; those of others stay, byte for byte."""
    record(path, "ann", "bob")
    parts = {run.user_input: [*run.walk()] for run in load_runs(path)}
    lines = {user: [score_of(part, ids_of(part, how)) for part in found] for user, found in parts.items()}
    later = tmp_path / f"later.jsonl{compression}"
    later.write_bytes(COMPRESSIONS[compression](b"".join([*lines["of ann"], *lines["of bob"]])))
    before = load_runs(tmp_path)
    assert [len(part.scores) for run in before for part in run.walk()] == [1, 1, 1, 1]
    assert forget(tmp_path, "--user", "ann", "--apply")["logs"] == 2
    assert load_runs(tmp_path) == [run for run in before if run.user_input == "of bob"]
    assert parts["of ann"][0].run_id.encode() not in path.read_bytes()
    assert json.dumps(content := [*contents_of(later)]).count("helpful") == 2, content


def contents_of(later: Path) -> list[str]:
    opener: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".zst": zstd.decompress}
    return opener.get(later.suffix, bytes)(later.read_bytes()).decode().splitlines()


@pytest.mark.parametrize(("at", "left"), [("of the first", 0), ("of the second", 1)])
def test_scores_of_a_run_whose_id_another_one_has(
    tmp_path: Path, path: Path, forget: Report, at: str, left: int
) -> None:
    """A score that names only the id belongs to the run that began last before it."""
    record(path, "ann", run_id="order-1")
    between_ns = time.time_ns()
    record(path, "bob", run_id="order-1")
    run = load_runs(path)[0]
    (tmp_path / "later.jsonl").write_bytes(score_of(run, {}, between_ns if at == "of the first" else time.time_ns()))
    assert forget(tmp_path, "--user", "ann", "--apply")["logs"] == 1 - left
    (run,) = load_runs(tmp_path)
    assert (run.user_input, len(run.scores)) == ("of bob", left)


def test_scores_of_one_run_in_a_trace_of_two_users(tmp_path: Path, path: Path, forget: Report) -> None:
    spans = [span(1, 9, None), agent(1, 10, 9, ANN), agent(1, 11, 9, BOB)]
    path.write_bytes(b"".join(otlp_json.encode([each]) + b"\n" for each in spans))
    runs = load_runs(path)
    lines = [score_of(run, ids_of(run, how)) for run in runs for how in ("run", "trace", "a span that is lost")]
    (tmp_path / "later.jsonl").write_bytes(b"".join(lines))
    assert forget(tmp_path, "--user", ANN, "--apply")["logs"] == 3
    kept = next(run for run in runs if run.user_id == BOB)
    assert (tmp_path / "later.jsonl").read_text().count(kept.run_id) == 6  # in the explanations too
    assert (tmp_path / "later.jsonl").read_bytes().count(b"\n") == 3
