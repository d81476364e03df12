"""Choose the oldest runs of some files, so many that what is left is small enough."""

from __future__ import annotations

import itertools
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.runs.stitch import assembled
from otel_agent_trace.sources import FilesSource
from otel_agent_trace.sources.file_contents import content_of
from otel_agent_trace.sources.file_formats import DamagedError
from otel_agent_trace.sources.file_formats.json_texts import trace_ids
from otel_agent_trace.span import Problem
from otel_agent_trace.store.names import store_of
from otel_agent_trace.store.retention import bytes_of_file, bytes_of_media

_UNLIMITED = 1 << 62


def size_on_disk(paths: Iterable[str]) -> int:
    """Return the bytes that files, and the binary parts of their stores, take on disk."""
    files = [*paths]
    return sum(map(bytes_of_file, files)) + sum(map(bytes_of_media, {*map(store_of, files)}))


def sizes_of_traces(paths: Sequence[str]) -> Mapping[str, float]:
    """Return the bytes that each trace takes on disk: its part of each file, by the content of the file."""
    sizes: defaultdict[str, float] = defaultdict(float)
    for path in paths:
        in_file = Counter[bytes]()
        total = 0
        with suppress(FileNotFoundError), open(path, "rb") as raw:  # closed or compressed meanwhile
            content = content_of(raw)
            try:
                for found in content.file_format.pieces(content.blocks, _UNLIMITED, _UNLIMITED):
                    for piece in filter(None, found.pieces):
                        total += len(piece)
                        ids = trace_ids(piece)
                        for trace_id in ids:
                            in_file[trace_id] += len(piece) // len(ids)
            except DamagedError:  # nothing is removed from it either
                continue
        for trace_id, size in in_file.items():
            sizes[trace_id.decode()] += size / total * bytes_of_file(path)
    return sizes


def oldest_runs(
    source: FilesSource,
    matches: Callable[[Assembled], bool],
    sizes: Mapping[str, float],
    excess_bytes: float,
    on_problem: Callable[[Problem], None],
) -> Callable[[Assembled], bool]:
    """Return a function that returns whether a run is one of the oldest that match, which together take the excess.

    Args:
        source: the files.
        matches: returns whether a run may be removed.
        sizes: the bytes of each trace on disk.
        excess_bytes: the bytes to remove.
        on_problem: called with each `Problem` of reading.
    """
    runs: list[tuple[int, tuple[str, str | None], float]] = []
    for spans, group in itertools.groupby(assembled(source.traces(on_problem)), key=operator.attrgetter("spans")):
        found = [*group]
        size = sum(sizes.get(trace_id, 0.0) for trace_id in {span.trace_id for span in spans}) / len(found)
        runs += [(each.run.started_at_ns, _key_of(each), size) for each in found if matches(each)]
    runs.sort(key=operator.itemgetter(0))
    before = itertools.accumulate((size for _, _, size in runs), initial=0.0)
    keys = {key for (_, key, _), size in zip(runs, before, strict=False) if size < excess_bytes}
    return lambda found: _key_of(found) in keys


def _key_of(found: Assembled) -> tuple[str, str | None]:
    """Return what distinguishes a run from the others of a source."""
    return found.run.run_id, found.run.span_id
