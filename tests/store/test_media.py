"""Pictures and other binary content stand once, in a folder beside the store, and are read back into their spans."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import random
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import (
    AgentRun,
    AgentTracer,
    FileBackend,
    InMemoryBackend,
    Limits,
    load_runs,
    runs_from_spans,
    semconv,
)
from otel_agent_trace.backends.otlp import OtlpBackend
from otel_agent_trace.cli import main
from otel_agent_trace.otlp import settings_of
from otel_agent_trace.sources import FilesSource
from otel_agent_trace.span import Notice, Problem, SpanRecord
from otel_agent_trace.store import media, media_parts
from otel_agent_trace.store.media import DamagedMediaError, MediaFolder, damaged_media
from otel_agent_trace.store.media_parts import Inside, Outside
from otel_agent_trace.store.names import StoreFiles, store_of
from otel_agent_trace.store.unnamed_media import remove_unnamed_media
from otel_agent_trace.values import Truncated, binary, same
from tests.support.fake_receivers import OK, Answer, fake_http_receiver
from tests.support.processes import run_code
from tests.support.requirements import needs_locks
from tests.support.sample_runs import fail_on_problem

Read = Callable[[], AgentRun]


def picture(seed: int = 0, size: int = 40_000) -> bytes:
    """Bytes that begin as those of a PNG, and cannot be compressed."""
    return b"\x89PNG\r\n\x1a\n" + random.Random(seed).randbytes(size - 8)


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


PICTURE = picture()
ENCODED = base64_of(PICTURE)
DATA_URI = f"data:image/png;base64,{ENCODED}"
NAME = f"{hashlib.sha256(PICTURE).hexdigest()}.png"
PART = {"type": "uri", "modality": "image", "mime_type": "image/png", "uri": f"traces.jsonl.media/{NAME}"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl"


@pytest.fixture
def folder(path: Path) -> Path:
    return path.with_name("traces.jsonl.media")


def record_outputs(backend: Any, *outputs: Any, user_id: str | None = None, **settings: Any) -> None:
    """Record a run with a tool call for each output."""
    with AgentTracer(backend, **settings) as tracer, tracer.run(user_input="look", user_id=user_id) as run:
        for output in outputs:
            with run.step("screenshot") as step:
                step.output = output


def spans_in(path: Path) -> list[dict[str, Any]]:
    """The spans of a file as any JSON reader has them: their attributes."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    spans = [span for line in lines for span in line["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    return [{pair["key"]: pair["value"].get("stringValue") for pair in span["attributes"]} for span in spans]


def only_run(path: Path) -> AgentRun:
    [run] = load_runs(path, strict=True)
    return run


# ── what stands in the file, and what is read back ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        pytest.param(PICTURE, PART, id="bytes"),
        pytest.param(bytearray(PICTURE), PART, id="bytearray"),
        pytest.param(DATA_URI, PART, id="data URI"),
        pytest.param(ENCODED, PART, id="base64"),
        pytest.param(base64.urlsafe_b64encode(PICTURE).decode().rstrip("="), PART, id="base64 for URLs"),
        pytest.param([PICTURE, "text", PICTURE], [PART, "text", PART], id="list of bytes"),
        pytest.param({"screen": DATA_URI, "title": "é"}, {"screen": PART, "title": "é"}, id="data URI in a dict"),
        pytest.param(
            {"content": [{"type": "image", "data": ENCODED, "mimeType": "image/png"}], "isError": False},
            {"content": [PART], "isError": False},
            id="result of MCP",
        ),
        pytest.param(
            [{"type": "image_url", "image_url": {"url": DATA_URI, "detail": "low"}}],
            [{**PART, "detail": "low"}],
            id="part of OpenAI",
        ),
        pytest.param(
            [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ENCODED}}],
            [PART],
            id="block of Anthropic",
        ),
        pytest.param([{"inline_data": {"mime_type": "image/png", "data": ENCODED}}], [PART], id="part of Gemini"),
        pytest.param(
            [{"type": "blob", "content": ENCODED, "sha256": NAME[:64], "size": len(PICTURE)}],
            [PART],
            id="blob with digest",
        ),
        pytest.param({DATA_URI: 1}, {PART["uri"]: 1}, id="key"),
        pytest.param(f"![]({DATA_URI}) and text", f"![]({PART['uri']}) and text", id="Markdown"),
        pytest.param(bytes(40_000), None, id="zeros"),
    ],
)
def test_content_stands_beside_the_file_and_is_read_back(path: Path, folder: Path, output: Any, shown: Any) -> None:
    """Another reader finds a part that refers to the file; ours finds the value that was recorded."""
    record_outputs(FileBackend(path), output)
    [step, _] = spans_in(path)
    result = json.loads(step[semconv.TOOL_RESULT])
    assert result == shown or (shown is None and result["type"] == "uri")
    assert len(os.listdir(folder)) == 1
    assert path.stat().st_size < 4000
    [read] = only_run(path).steps
    assert same(read.output, output)
    assert not read.truncated
    assert not read.attributes


def test_messages_are_read_back_with_their_content(path: Path, folder: Path) -> None:
    """A model call is written with uri parts in its messages, and its input, and is read as it was."""
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": DATA_URI}}],
        },
        {"role": "user", "parts": [{"type": "blob", "modality": "image", "content": ENCODED}]},
    ]
    backends = [FileBackend(path), InMemoryBackend()]
    for backend in backends:
        with AgentTracer(backend) as tracer, tracer.run(user_input="look") as run:
            for _ in range(3):
                with run.model_call("m", input={"messages": messages}, messages=messages) as call:
                    call.output = {"role": "assistant", "content": "a cat"}
    sent = json.loads(spans_in(path)[0][semconv.INPUT_MESSAGES])
    assert [part["type"] for message in sent for part in message["parts"]] == ["text", "uri", "uri"]
    assert os.listdir(folder) == [NAME]
    in_file, in_memory = only_run(path), backends[1].runs()[0]  # type: ignore[union-attr]
    for read, kept in zip(in_file.steps, in_memory.steps, strict=True):
        assert read.messages == kept.messages
        assert read.input == kept.input == {"messages": messages}
    assert in_file.steps[0].messages[1].parts[0]["content"] == ENCODED


def test_a_question_with_a_picture_is_read_back(path: Path) -> None:
    """The input of a run is a text that holds JSON, in which the reference takes the place of the data URI."""
    question = [{"type": "image_url", "image_url": {"url": DATA_URI}}]
    with AgentTracer(FileBackend(path)) as tracer, tracer.run(user_input=question):
        pass
    assert path.stat().st_size < 4000
    assert only_run(path).user_input == question


_BYTES = st.builds(picture, st.integers(0, 3), st.integers(32 << 10, 35_000))
_LEAVES = st.one_of(
    _BYTES,
    _BYTES.map(base64_of),
    _BYTES.map(lambda content: base64.urlsafe_b64encode(content).decode()),
    _BYTES.map(lambda content: base64.encodebytes(content).decode()),
    _BYTES.map(lambda content: f"text\n{base64_of(content)}\\n{base64_of(content)} ü"),
    _BYTES.map(lambda content: {"type": "image", "data": base64_of(content), "ü": 'a"b'}),
    st.text(max_size=5),
    st.sampled_from(["x" * 50_000, "ab" * 40_000, PART, NAME, PART["uri"], 1.5, None, "\\u00e9"]),
)
_VALUES = st.recursive(
    _LEAVES, lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=3), items, max_size=3)
)


@given(value=_VALUES, dumps=st.sampled_from([json.dumps, lambda data: msgspec.json.encode(data).decode()]))
def test_any_text_of_any_span_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, value: Any, dumps: Any
) -> None:
    """By the text, whoever wrote it, and however often content comes again in it."""
    shown = msgspec.to_builtins(value)
    attributes = {"a": dumps(shown), "b": str(shown), semconv.TYPES: '{"a":{"c":{"0":"bytes"}}}'}
    record = SpanRecord("1" * 32, "2" * 16, None, "s", 1, 2, attributes)
    folder = MediaFolder(StoreFiles(str(tmp_path_factory.mktemp("media") / "traces.jsonl")))
    outside = Outside(folder, _fail).record(record)
    folder.release()
    assert all(len(text) < binary.LEAST_CHARACTERS or not _has_run(text) for text in outside.attributes.values())
    assert Inside([folder], _fail).records([outside]) == [record]


def _has_run(text: str) -> bool:
    return any(
        binary.decoded(text[start:end]) and binary.seems_binary(text, start, end) for start, end in binary.runs(text)
    )


def _fail(*arguments: Any) -> None:
    raise AssertionError(arguments)


def test_small_content_stays_in_its_span(path: Path, folder: Path) -> None:
    record_outputs(FileBackend(path), PICTURE[: (32 << 10) - 1])
    assert not folder.exists()
    assert only_run(path).steps[0].output == PICTURE[: (32 << 10) - 1]


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [FileBackend, lambda _: InMemoryBackend()])
def test_a_screenshot_is_recorded_whole(path: Path, make: Any) -> None:
    """Of 3 MB, although a value may have 1 MiB; what stands beside it has its own limit."""
    screenshot, backend = picture(size=3_000_000), make(path)
    record_outputs(
        backend, {"screen": screenshot, "uri": f"data:image/png;base64,{base64_of(screenshot)}", "log": "x" * 2_000_000}
    )
    [step] = backend.runs()[0].steps
    assert step.output["screen"] == screenshot
    assert base64.b64decode(step.output["uri"].partition(",")[2]) == screenshot
    assert isinstance(step.output["log"], Truncated)
    assert step.truncated == ("output.log",)


def test_content_has_a_limit_too(path: Path) -> None:
    """One of 16 times the limit of a value, and all of one value of four times as much."""
    limits = Limits(value_bytes=4096)
    record_outputs(FileBackend(path), picture(size=70_000), [picture(n, 60_000) for n in range(6)], limits=limits)
    alone, several = only_run(path).steps
    assert isinstance(alone.output, Truncated)
    assert [type(each) for each in several.output] == [bytes] * 4 + [Truncated] * 2


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _without_outputs(record: Any) -> Any:
    return msgspec.structs.replace(record, attributes={**record.attributes, semconv.TOOL_RESULT: "gone"})


@pytest.mark.parametrize(
    "settings",
    [{"content": "none"}, {"content": "no_outputs"}, {"mask": lambda value: "gone"}, {"policies": [_without_outputs]}],
)
def test_nothing_that_a_policy_removes_is_stored(path: Path, folder: Path, settings: dict[str, Any]) -> None:
    record_outputs(FileBackend(path), PICTURE, **settings)
    assert path.exists()
    assert not folder.exists()


def test_a_secret_in_content_is_masked_before_it_is_stored(path: Path, folder: Path) -> None:
    secret = b"ghp_" + b"a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    record_outputs(FileBackend(path), PICTURE + b"\n\ntoken: " + secret + b"\n")
    [name] = os.listdir(folder)
    assert secret not in (folder / name).read_bytes()
    assert b"<secret:" in only_run(path).steps[0].output


def test_memory_has_the_content_itself() -> None:
    backend = InMemoryBackend()
    record_outputs(backend, DATA_URI)
    [step] = [span for span in backend.spans() if semconv.TOOL_RESULT in span.attributes]
    assert json.loads(step.attributes[semconv.TOOL_RESULT]) == DATA_URI
    assert semconv.MEDIA not in step.attributes


def test_an_export_carries_the_content(path: Path, tmp_path: Path) -> None:
    """Into a file of its own, and from there into another store, which has a folder of its own."""
    record_outputs(FileBackend(path), PICTURE, DATA_URI)
    copy, other = tmp_path / "copy.jsonl", tmp_path / "other" / "t.jsonl"
    assert main(["export", str(path), "--to", "otlp-json", "--output", str(copy)]) == 0
    assert copy.read_text().count(ENCODED) == 2
    backend = FileBackend(other)
    for spans in FilesSource([copy]).traces(fail_on_problem):
        attributes = [span.attributes for span in spans]
        record_outputs(
            backend, *(json.loads(each[semconv.TOOL_RESULT]) for each in attributes if semconv.TOOL_RESULT in each)
        )
    assert os.listdir(tmp_path / "other" / "t.jsonl.media") == [NAME]
    assert [step.output for step in only_run(copy).steps] == [PICTURE, DATA_URI]


# ── once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_threads_write_the_same_content_once(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = list[str]()
    write = MediaFolder._write

    def counted(self: MediaFolder, name: str, content: bytes) -> None:
        written.append(name)
        write(self, name, content)

    monkeypatch.setattr(MediaFolder, "_write", counted)
    backend = FileBackend(path)
    threads = [threading.Thread(target=record_outputs, args=(backend, PICTURE, DATA_URI)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [NAME]
    assert os.listdir(folder) == [NAME]
    assert [step.output for run in load_runs(path) for step in run.steps] == [PICTURE, DATA_URI] * 8
    assert backend._media().folder.held == {}


def test_processes_share_the_content(path: Path, folder: Path) -> None:
    code = f"""
    import random, subprocess, sys
    from otel_agent_trace import AgentTracer, FileBackend
    if len(sys.argv) == 1:
        children = [subprocess.Popen([sys.executable, "-c", open("/proc/self/cmdline").read().split(chr(0))[-2], "x"]) for _ in range(3)]
        sys.exit(max(child.wait() for child in children))
    content = b"\\x89PNG\\r\\n\\x1a\\n" + random.Random(0).randbytes(39_992)
    with AgentTracer(FileBackend({str(path)!r})) as tracer:
        for _ in range(20):
            with tracer.run(user_input="x") as run, run.step("s") as step:
                step.output = content
    """
    if not os.path.exists("/proc/self/cmdline"):
        pytest.skip("needs /proc")
    result = run_code(code, path.parent)
    assert result.returncode == 0, result.stderr
    assert os.listdir(folder) == [NAME]
    assert [step.output for run in load_runs(path, strict=True) for step in run.steps] == [PICTURE] * 60


def test_files_are_private(path: Path, folder: Path) -> None:
    record_outputs(FileBackend(path), PICTURE)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600


def test_content_cut_by_a_crash_is_written_anew(path: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / NAME).write_bytes(PICTURE[:100])
    record_outputs(FileBackend(path), PICTURE)
    assert only_run(path).steps[0].output == PICTURE


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_content_stays_in_its_span_on_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MediaFolder, "_write", full)
    backend = FileBackend(path)
    record_outputs(backend, PICTURE, DATA_URI)
    assert [step.output for step in only_run(path).steps] == [PICTURE, DATA_URI]
    assert backend.stats()["media not stored once: No space left on device"] == 2
    assert backend._media().folder.held == {}
    monkeypatch.undo()
    record_outputs(backend, PICTURE)
    assert path.read_text().count(ENCODED) == 2


def test_a_line_stays_readable_if_much_content_cannot_be_stored(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would make the line too long is named as missing."""
    folder.write_text("not a folder")
    monkeypatch.setattr(media_parts, "MOST_INLINE_CHARACTERS", 60_000)
    backend = FileBackend(path)
    record_outputs(backend, [PICTURE, picture(1)])
    [(kept, missing)] = [step.output for step in backend.runs()[0].steps]
    assert kept == PICTURE
    assert missing["missing"] == "not in the media folder"


def test_a_store_without_its_folder_is_read(path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record_outputs(FileBackend(path), PICTURE, [{"type": "image", "data": ENCODED, "mimeType": "image/png"}])
    folder.rename(folder.with_name("elsewhere"))
    problems = list[Problem]()
    [run] = load_runs(path, on_problem=problems.append)
    assert [step.output for step in run.steps] == [
        {**PART, "missing": media_parts.MISSING},
        [{**PART, "missing": media_parts.MISSING}],
    ]
    assert [type(problem) for problem in problems] == [Notice]
    assert main(["show", str(path)]) == 0
    assert media_parts.MISSING in capsys.readouterr().out


def test_a_moved_store_finds_its_folder(path: Path, tmp_path: Path) -> None:
    """Under another name, and its segments too."""
    record_outputs(FileBackend(path), PICTURE)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    path.rename(moved / "new.jsonl")
    path.with_name("traces.jsonl.media").rename(moved / "new.jsonl.media")
    assert only_run(moved / "new.jsonl").steps[0].output == PICTURE


@pytest.mark.parametrize(
    "name",
    [
        "t.jsonl",
        "t-20261128T101500.123456Z-9f3a1c2b.jsonl",
        "t-20261128T101500.123456Z-9f3a1c2b.jsonl.zst",
        "t.jsonl.1",
        "t.jsonl.2.gz",
        "t.jsonl-20261128",
        "t.1.jsonl",
        "t.jsonl.open/123-0123abcd.jsonl",
    ],
)
def test_every_file_of_a_store_has_the_same_folder(name: str) -> None:
    assert store_of(f"/x/{name}") == StoreFiles("/x/t.jsonl")


# ── hostile files ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_damaged_content_is_a_problem(path: Path, folder: Path) -> None:
    record_outputs(FileBackend(path), PICTURE)
    (folder / NAME).write_bytes(PICTURE[:-1] + b"!")
    problems = list[Problem]()
    [run] = load_runs(path, on_problem=problems.append)
    assert run.steps[0].output["missing"].startswith("damaged")
    assert [problem.path for problem in problems] == [str(folder / NAME)]
    assert [found for found, _ in damaged_media(StoreFiles(str(path)))] == [str(folder / NAME)]


def _link(target: Path) -> Callable[[Path], None]:
    return lambda place: place.symlink_to(target)


@pytest.mark.parametrize("make", [_link(Path("/dev/zero")), os.mkfifo, os.mkdir])
def test_only_regular_files_are_read(path: Path, folder: Path, make: Any) -> None:
    record_outputs(FileBackend(path), PICTURE)
    (folder / NAME).unlink()
    make(folder / NAME)
    with pytest.raises(DamagedMediaError):
        MediaFolder(StoreFiles(str(path))).get(NAME)


def test_a_folder_that_is_a_link_is_not_written_to(path: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    folder.symlink_to(tmp_path / "victim")
    record_outputs(FileBackend(path), PICTURE)
    assert os.listdir(tmp_path / "victim") == []
    assert only_run(path).steps[0].output == PICTURE


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        f"../traces.jsonl.media/{NAME}",
        f"/{NAME}",
        NAME.upper(),
        f"{NAME}.png",
        f"{NAME}\n",
        NAME[:64],
        f"{NAME[:64]}.html",
    ],
)
def test_other_names_are_never_resolved(path: Path, folder: Path, name: str) -> None:
    record_outputs(FileBackend(path), PICTURE)
    (path.parent / "secret.png").write_bytes(b"secret")
    assert MediaFolder(StoreFiles(str(path))).get(name) is None
    path.write_text(path.read_text().replace(NAME, json.dumps(name)[1:-1]))
    [run] = load_runs(path, on_problem=lambda _: None)
    assert run.steps[0].output != PICTURE


@pytest.mark.parametrize(
    "listed",
    [
        "[]",
        "{}",
        "null",
        '{"a":1}',
        f'{{"gen_ai.tool.call.result":[[-5,10,"","","{NAME}",false]]}}',
        f'{{"gen_ai.tool.call.result":[[0,999999,"","","{NAME}",false],[0,999999,"","","{NAME}",false]]}}',
        f'{{"gen_ai.tool.call.result":[[9223372036854775808,1,"","","{NAME}",false]]}}',
        f'{{"gen_ai.tool.call.result":[[0,-1,"","","{NAME}",false]]}}',
        f'{{"missing":[[0,1,"","","{NAME}",false]]}}',
    ],
)
def test_a_damaged_list_is_ignored(path: Path, listed: str) -> None:
    attributes = {semconv.TOOL_RESULT: json.dumps(PART), semconv.MEDIA: listed}
    span = SpanRecord("1" * 32, "2" * 16, None, "s", 1, 2, attributes)
    [read] = Inside([MediaFolder(StoreFiles(str(path)))], lambda *_: None).records([span])
    assert json.loads(read.attributes[semconv.TOOL_RESULT])["uri"] == PART["uri"]
    assert semconv.MEDIA not in read.attributes


def test_a_trace_is_not_filled_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be named any number of times."""
    record_outputs(FileBackend(path), *[PICTURE] * 10)
    monkeypatch.setattr(media_parts, "MOST_CHARACTERS_OF_A_TRACE", 3 * len(ENCODED))
    outputs = [step.output for step in load_runs(path, on_problem=lambda _: None)[0].steps]
    assert outputs.count(PICTURE) == 3
    assert sum(isinstance(output, dict) for output in outputs) == 7


def test_an_attribute_of_that_name_is_the_callers_own(path: Path) -> None:
    with AgentTracer(FileBackend(path)) as tracer, tracer.run(user_input="x") as run:
        run.set_attribute(semconv.MEDIA, "mine")
    assert only_run(path).attributes[semconv.MEDIA] == "mine"


# ── removing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@needs_locks
def test_content_is_forgotten_with_the_last_run_that_names_it(path: Path, folder: Path) -> None:
    record_outputs(FileBackend(path), PICTURE, picture(1), user_id="ann")
    record_outputs(FileBackend(path), PICTURE, user_id="bob")
    assert len(os.listdir(folder)) == 2
    assert main(["forget", str(path), "--user", "ann", "--apply"]) == 0
    assert os.listdir(folder) == [NAME]
    assert only_run(path).steps[0].output == PICTURE
    assert main(["forget", str(path), "--user", "bob", "--apply"]) == 0
    assert os.listdir(folder) == []


def test_content_named_by_a_closed_file_or_a_journal_stays(path: Path, folder: Path) -> None:
    contents = [picture(number) for number in range(3)]
    backend = FileBackend(path)
    record_outputs(backend, contents[0])
    path.rename(path.with_name("traces.jsonl.1"))
    tracer = AgentTracer(FileBackend(path))
    run = tracer.run(user_input={"picture": contents[1]})
    with run:
        assert len(os.listdir(folder)) == 2
        time.sleep(0.02)
        assert remove_unnamed_media(StoreFiles(str(path))) == []
    MediaFolder(StoreFiles(str(path))).put(contents[2])
    time.sleep(0.02)  # the clock of the file system is coarse
    assert len(remove_unnamed_media(StoreFiles(str(path)))) == 0  # its lock is held


@needs_locks
def test_content_of_a_span_that_is_about_to_be_written_stays(
    path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer holds a lock until its span is written; without one, only files of more than an hour are removed."""
    monkeypatch.setattr(media, "_MOST_WAIT_S", 0.05)
    store = StoreFiles(str(path))
    writer = MediaFolder(store)
    writer.put(PICTURE)
    time.sleep(0.02)
    assert remove_unnamed_media(store) == []
    writer.release()
    assert remove_unnamed_media(store, apply=False) == [NAME]
    assert os.listdir(folder) == [NAME]
    assert remove_unnamed_media(store) == [NAME]
    assert os.listdir(folder) == []


def test_what_a_killed_process_was_removing_is_restored(path: Path, folder: Path) -> None:
    record_outputs(FileBackend(path), PICTURE)
    (folder / NAME).rename(folder / f".{NAME}.0123abcd.removing")
    assert remove_unnamed_media(StoreFiles(str(path))) == []
    MediaFolder(StoreFiles(str(path))).remove_except(lambda: [NAME], apply=True)
    assert os.listdir(folder) == [NAME]


@needs_locks
def test_writers_beside_a_remover_lose_nothing(path: Path, folder: Path) -> None:
    """Content comes again that is removed at that moment, since the file that named it is gone."""
    backend, ending, removed = FileBackend(path), threading.Event(), list[str]()

    def remove() -> None:
        while not ending.is_set():
            removed.extend(remove_unnamed_media(StoreFiles(str(path))))

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for number in range(60):
            expected = [picture(number % 3), picture(number % 2)]
            record_outputs(backend, *expected)
            assert [step.output for step in only_run(path).steps] == expected
            path.unlink()
    finally:
        ending.set()
        remover.join()
    assert len(removed) > 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_holds_nothing_of_its_parent(path: Path) -> None:
    store = StoreFiles(str(path))
    folder = MediaFolder(store)
    folder.put(PICTURE)
    parent = os.getpid()
    child = os.fork()
    if os.getpid() != parent:
        os._exit(len(folder.held))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    folder.release()


# ── other readers ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_duckdb_reads_the_parts(path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    record_outputs(FileBackend(path), PICTURE)
    query = f"""
        select json_extract_string(a.value, '$.stringValue') from (
            select unnest(resourceSpans[1].scopeSpans[1].spans[1].attributes) as a from read_json_auto('{path}')
        ) where a.key = '{semconv.TOOL_RESULT}'
    """
    [(text,)] = duckdb.sql(query).fetchall()
    assert json.loads(text) == PART


def test_jq_reads_the_parts(path: Path) -> None:
    record_outputs(FileBackend(path), PICTURE)
    program = f'.. | objects | select(.key? == "{semconv.TOOL_RESULT}") | .value.stringValue | fromjson | .uri'
    try:
        found = subprocess.run(["jq", "-r", program, str(path)], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs jq")
    assert (path.parent / found.stdout.strip()).read_bytes() == PICTURE


def test_scan_looks_into_content(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = b"ghp_" + b"a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    record_outputs(FileBackend(path), PICTURE + b"\n\ntoken: " + secret + b"\n", redact=False)
    assert main(["scan", str(path)]) == 1
    assert semconv.TOOL_RESULT in capsys.readouterr().out


# ── over OTLP ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_otlp_carries_the_content_itself() -> None:
    """Also more than requests have by default, and never a path."""
    screenshot = picture(size=3_000_000)
    with fake_http_receiver() as receiver:
        backend = OtlpBackend(settings_of(receiver.endpoint))
        record_outputs(backend, screenshot)
        backend.flush()
        [span] = [span for span in receiver.accepted if semconv.TOOL_RESULT in span.attributes]
    assert json.loads(span.attributes[semconv.TOOL_RESULT]) == base64_of(screenshot)
    assert semconv.MEDIA not in span.attributes


def test_a_span_that_is_too_large_for_a_receiver_is_sent_without_its_content() -> None:
    """As for a Collector over gRPC, which takes 4 MiB by default."""
    with fake_http_receiver() as receiver:
        receiver.answer = lambda request: Answer(413, "too large") if request.size > 4 << 20 else OK
        backend = OtlpBackend(settings_of(receiver.endpoint))
        record_outputs(backend, {"screen": picture(size=3_300_000), "title": "Home"}, {"screen": PICTURE})
        backend.flush()
        cut, whole = [span.attributes for span in receiver.accepted if semconv.TOOL_RESULT in span.attributes]
    assert json.loads(cut[semconv.TOOL_RESULT]) == {"screen": "", "title": "Home"}
    assert json.loads(cut[semconv.TRUNCATED]) == [semconv.TOOL_RESULT]
    assert json.loads(whole[semconv.TOOL_RESULT])["screen"] == ENCODED
    assert backend.stats()["sent"] == 3


def test_an_export_of_a_store_carries_the_content(path: Path) -> None:
    record_outputs(FileBackend(path), PICTURE, DATA_URI)
    with fake_http_receiver() as receiver:
        assert main(["export", str(path), "--to", receiver.endpoint]) == 0
        [run] = runs_from_spans(receiver.accepted)
    assert [step.output for step in run.steps] == [PICTURE, DATA_URI]
