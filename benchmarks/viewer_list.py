"""Measure what pages of a very long list cost the server of the viewer, in CPU time of its process.

    python benchmarks/viewer_list.py [--runs 1000000] [--store FOLDER] [--browser]

writes a store of so many small runs (3.2 KB each) in a temporary folder, or uses the one in FOLDER, which is kept; lets the
index be made; and then asks for pages at several places of the list, in several orders, with filters, and for the counts.
Each figure is from the request to the moment at which the server has nothing more to do: what goes on in its threads after
the answer is in "then". With `--browser`, the first rows in Chromium are measured too, as in `viewer.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from otel_agent_trace.sources.index.source import build_index
from tests.support.many_runs import write_many_runs
from tests.support.viewed import Viewed, viewing

MOST_PAGE_MS = 20
_PAGE_ROWS = 60
_REPEATED = 5
_QUIET_S, _MOST_QUIET_S = 0.3, 600.0
_TICKS_S = os.sysconf("SC_CLK_TCK")
_LISTS: tuple[dict[str, str], ...] = (
    {},
    {"status": "error"},
    {"agent": "agent-3"},
    {"tool": "tool-7"},
    {"model": "gpt-4o"},
    {"tag": "production"},
    {"since": "7d"},
    {"sort": "duration"},
    {"sort": "steps"},
    {"sort": "tokens"},
    {"sort": "tokens", "status": "error"},
    {"sort": "duration", "agent": "agent-3", "tool": "tool-7"},
)
_COUNTED: tuple[dict[str, str], ...] = (
    {},
    {"status": "error"},
    {"agent": "agent-3", "tool": "tool-7"},
    {"since": "7d"},
    {"user": "user-17"},
)


def main() -> None:
    """Make the store and its index, and print what each request costs beside what it may cost."""
    arguments = _arguments()
    with _folder(arguments.store) as folder:
        store = folder / "traces.jsonl"
        if not store.exists():
            write_many_runs(folder, arguments.runs, time.time_ns())
        before = time.process_time()
        built = build_index(str(store))
        size = f"{built.file_bytes / 1e6:,.0f} MB, its index {built.index_bytes / 1e6:,.0f} MB"
        print(f"{built.runs:,} runs in {size}, made in {time.process_time() - before:.1f} s", flush=True)
        with viewing(store, "--port", 0, "--no-open") as viewed:
            _measure_lists(_Server(viewed), built.runs, by_cost=arguments.cost)
        if arguments.browser:
            _measure_browser(store, built.runs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--cost", action="store_true", help="order by cost too, for which all runs are read once")
    parser.add_argument("--browser", action="store_true")
    return parser.parse_args()


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


class _Server:
    """A server, and the CPU time that its process takes for what it is asked."""

    def __init__(self, viewed: Viewed) -> None:
        self._viewed = viewed

    def cpu_ms(self) -> float:
        """The CPU time of its process until now."""
        fields = Path(f"/proc/{self._viewed.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1000 / _TICKS_S

    def peak_mb(self) -> float:
        """The most memory that its process has had."""
        status = Path(f"/proc/{self._viewed.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def rest(self) -> None:
        """Wait until the process has nothing to do."""
        until_s, before = time.monotonic() + _MOST_QUIET_S, -1.0
        while time.monotonic() < until_s and (now := self.cpu_ms()) > before + 10:
            before = now
            time.sleep(_QUIET_S)

    def page(self, filters: dict[str, str], result: str, begin: int) -> None:
        """Ask for a page of a result."""
        answer = self._viewed.json("/api/runs", **filters, result=result, count=_PAGE_ROWS, **{"from": begin})
        assert answer["rows"] or not answer["at_least"], answer

    def total(self, filters: dict[str, str], result: str) -> int:
        """How many runs a result has, when that is known."""
        while (total := self.ask("/api/runs", **filters, result=result, count=0)[0]["total"]) is None:
            pass
        return int(total)

    def ask(self, path: str, **parameters: Any) -> tuple[Any, float, float, float]:
        """Return an answer, the CPU time until it came, that of what went on then, and the seconds that it took."""
        began_ms, began_s = self.cpu_ms(), time.monotonic()
        answer = self._viewed.json(path, **parameters)
        took_s, answered_ms = time.monotonic() - began_s, self.cpu_ms()
        self.rest()
        return answer, answered_ms - began_ms, self.cpu_ms() - answered_ms, took_s


def _measure_lists(server: _Server, runs: int, *, by_cost: bool) -> None:
    server.rest()
    _, cpu_ms, then_ms, took_s = server.ask("/api/about")
    _print("about", cpu_ms, then_ms, took_s, MOST_PAGE_MS)
    for filters in (*_LISTS, *([{"sort": "cost"}, {"sort": "cost", "status": "error"}] if by_cost else [])):
        _measure_list(server, filters)
    for filters in _COUNTED:
        answer, cpu_ms, then_ms, took_s = server.ask("/api/facets", **filters)
        counted = sum(answer["status"].values())
        _print(f"facets {_name(filters)} of {counted:,}", cpu_ms, then_ms, took_s, MOST_PAGE_MS)
    print(f"peak of memory: {server.peak_mb():.0f} MB")


def _measure_list(server: _Server, filters: dict[str, str]) -> None:
    first, cpu_ms, then_ms, took_s = server.ask("/api/runs", **filters, count=_PAGE_ROWS)
    total = server.total(filters, first["result"])
    _print(f"list {_name(filters)} of {total:,}", cpu_ms, then_ms, took_s, MOST_PAGE_MS)
    places = {"first": 0, "middle": total // 2, "last": max(total - _PAGE_ROWS, 0)}
    for name, begin in places.items():
        began_ms, began_s = server.cpu_ms(), time.monotonic()
        for number in range(_REPEATED):
            server.page(filters, first["result"], max(begin - number * _PAGE_ROWS, 0))
        cpu_ms, took_s = (server.cpu_ms() - began_ms) / _REPEATED, (time.monotonic() - began_s) / _REPEATED
        _print(f"  a page, {name}", cpu_ms, 0, took_s, MOST_PAGE_MS)


def _name(filters: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in filters.items()) or "all"


def _print(title: str, cpu_ms: float, then_ms: float, took_s: float, most_ms: float) -> None:
    then = f", then {then_ms:.0f} ms" if then_ms else ""
    print(f"{title:52} {cpu_ms:8.0f} ms CPU (most: {most_ms:.0f}){then}, {took_s:.2f} s", flush=True)


def _measure_browser(store: Path, runs: int) -> None:
    from benchmarks.viewer import measure_list
    from tests.support.browser import Tabs, chromium

    with chromium() as browser:
        tabs = Tabs(browser)
        measure_list(tabs, store, runs)
        tabs.close()


if __name__ == "__main__":
    main()
