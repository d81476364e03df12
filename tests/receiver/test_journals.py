"""The journal of a receiver: its size is known before it is written, and what is too large is left as it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given

from otel_agent_trace import TailSampling, open_source
from otel_agent_trace.formats import otlp_json, otlp_json_encoding
from otel_agent_trace.pipeline.line_sizes import log_line_bytes, span_line_bytes
from otel_agent_trace.sources import followed_files, kept_journals
from otel_agent_trace.sources.located_lines import traces_in_lines
from otel_agent_trace.sources.scanned_files import ScannedFile, read_journals
from otel_agent_trace.sources.tail import Tail
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.store import adopting
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.sampled_journals import SampledJournal, sampled
from tests.receiver.test_sampling import HALF, as_after_a_kill, child_of, failed_root_of, sent, trace_id_of
from tests.support.own_receiver import receiving
from tests.support.span_strategies import records


@given(records())
def test_no_line_is_larger_than_its_estimate(record: SpanRecord) -> None:
    assert len(otlp_json_encoding.encode([record])) <= span_line_bytes(record)
    attributes, resource = record.attributes, record.resource
    log = LogRecord(record.trace_id, record.span_id, record.name, 1, attributes, body=attributes, resource=resource)
    assert len(otlp_json_encoding.encode_log(log)) <= log_line_bytes(log)


@pytest.mark.parametrize(
    "attributes",
    [
        {f"app.metric.number_{n}": n for n in range(50)},
        {f"k{n}": "漢" * 200 for n in range(40)},
        {f"http.request.header.name-{n}": "value" for n in range(30)},
        {"values": [*range(1000)]},
        {"text": 'a "text"\n' * 500},
    ],
)
def test_the_estimate_is_not_much_larger_than_the_line(attributes: dict[str, object]) -> None:
    record = child_of(1, attributes=attributes)
    size = len(otlp_json_encoding.encode([record]))
    assert size <= span_line_bytes(record) <= 1.5 * size


def spans_in(file: Path) -> int:
    return sum(map(len, open_source(file).traces(lambda problem: None)))


def test_a_journal_that_is_too_large_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "first" / "t.jsonl"
    with receiving(file, sampling=TailSampling(rest=1.0)) as running:
        sent(running, *map(child_of, range(50)))
        killed = as_after_a_kill(file)
    (journal,) = (killed.parent / "t.jsonl.open").iterdir()
    size = journal.stat().st_size
    for bound, is_left in ((size - 1, True), (size, False)):
        monkeypatch.setattr(adopting, "MAX_JOURNAL_BYTES", bound)
        with receiving(killed, sampling=TailSampling(rest=1.0)):
            assert journal.exists() == is_left
            assert spans_in(killed) == 50


def test_spans_that_a_policy_drops_take_no_room_and_fail_nowhere(tmp_path: Path) -> None:
    """More than are counted at once, of a trace that is not decided."""
    with receiving(tmp_path / "t.jsonl", sampling=HALF, policies=[lambda record: None]) as running:
        sent(running, *(child_of(1, place, attributes={"text": "x" * 1000}) for place in range(2, 200)))
        assert not [reason for reason in running.sink.stats() if reason.startswith("failed")]
        held = running.sink._pipeline._held
        assert held is not None
        assert held._room.bytes < 1000 * 198


def test_a_follower_reads_of_a_journal_what_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after lines before that were blanked; one that was emptied is read from its beginning."""
    file, sizes = tmp_path / "t.jsonl", list[int]()

    def counted(files: StoreFiles, text: bytes, *, is_alive: bool) -> SampledJournal:
        sizes.append(text.count(b"\n") - 1)
        return sampled(files, text, is_alive=is_alive)

    monkeypatch.setattr(followed_files, "sampled", counted)
    with receiving(file, sampling=HALF) as running, closing(Tail(str(file))) as followed:

        def new_lines(*spans: SpanRecord) -> tuple[int, set[str]]:
            sizes.clear()
            if spans:
                sent(running, *spans)
            for _ in followed.look():
                pass
            return sum(sizes), {*followed._traces._open}

        for numbers in (range(400), range(400, 401), range(401, 404)):
            lines, known = new_lines(*map(child_of, numbers))
            assert lines == len(numbers)
            assert {trace_id_of(number) for number in numbers} <= known
        assert new_lines()[0] == 0
        decided = [*range(200, 250), 403]
        new_lines(*map(failed_root_of, decided))
        assert new_lines(child_of(404))[0] == 1
        new_lines(*map(failed_root_of, {*range(405)}.difference(decided)))
        for number in (500, 501):
            assert trace_id_of(number) in new_lines(child_of(number))[1]


def test_a_query_decodes_only_new_lines_of_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, decoded, scans, read = tmp_path / "t.jsonl", list[bytes](), list[object](), otlp_json.Decoder.decode
    kept = kept_journals.KeptJournals()

    def counted(decoder: otlp_json.Decoder, piece: bytes) -> list[SpanRecord]:
        decoded.append(piece)
        return read(decoder, piece)

    def scanned(paths: Iterable[str]) -> list[ScannedFile]:
        scans.append(paths)
        return read_journals(paths)

    monkeypatch.setattr(otlp_json.Decoder, "decode", counted)
    monkeypatch.setattr(kept_journals, "read_journals", scanned)
    with receiving(file, sampling=HALF) as running:

        def lines_decoded(number: int, begin: int = 0) -> tuple[int, int]:
            decoded.clear()
            scans.clear()
            journals = kept.read([*map(str, (tmp_path / "t.jsonl.open").iterdir())])
            for _ in range(2):
                traces = list(traces_in_lines((), [each.again() for each in journals], print, has_media=False))
                assert {trace[0].trace_id for trace in traces} == {*map(trace_id_of, range(begin, number))}
            return len(decoded), len(scans)

        sent(running, *map(child_of, range(100)))
        assert lines_decoded(100)[0] >= 100
        sent(running, *map(child_of, range(100, 110)))
        assert lines_decoded(110)[0] <= 20  # with the first ones, by which the format is found
        (journal,) = (tmp_path / "t.jsonl.open").iterdir()
        os.utime(journal, (1e9, 1e9))
        lines_decoded(110)
        assert lines_decoded(110) == (2, 0)  # the line of the process, which has no spans, each time
        (tmp_path / "t.jsonl.sampling").mkdir()
        (tmp_path / "t.jsonl.sampling" / "decisions").write_text(f"{trace_id_of(109)}d\n")
        assert lines_decoded(109)[1] == 1
        sent(running, *map(failed_root_of, range(96)))  # whose lines are blanked, 32 at once
        assert lines_decoded(109, 96)[0] <= 10
