"""Measure what the page costs a browser: processor time of its main thread, memory, elements, bytes.

    python benchmarks/viewer.py [STEPS] [--runs N]

opens a run of so many steps (by default 50,000) and a list of so many runs (by default 20,000) in Chromium, and compares with
what a page may cost. Times are those of the thread that draws, so that other work of the machine counts little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import CDPSession, expect

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.browser import Tabs, chromium
from tests.support.sample_runs import write_runs_to
from tests.support.shown_runs import shown_runs
from tests.support.very_long_runs import write_long_run
from tests.support.viewed import viewing

_FRAMES = 100
_SCROLL = """(frames) => new Promise((resolve) => {
  const list = document.querySelector(".list"), step = (list.scrollHeight - list.clientHeight) / frames;
  let frame = 0;
  const next = () => { list.scrollTop = ++frame * step; frame < frames ? requestAnimationFrame(next) : resolve(); };
  requestAnimationFrame(next);
})"""
_NODES = """() => document.querySelectorAll("*").length - document.querySelectorAll(".step *").length"""


def measure_list(tabs: Tabs, store: Path, runs: int) -> None:
    """Open the list of a store with so many runs, and print what it costs beside what it may cost."""
    _measure(tabs, store, "", runs, f"a list of {runs:,} runs", 0.2, "-")


def main() -> None:
    """Open both pages, and print what they cost beside what they may cost."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        tabs = Tabs(browser)
        steps = write_long_run(Path(folder) / "long.jsonl", arguments.steps)
        _measure(tabs, steps, "runs/long", arguments.steps + 1, f"a run of {arguments.steps:,} steps", 0.5, "400")
        runs = write_runs_to(Path(folder) / "runs.jsonl", shown_runs(time.time_ns(), arguments.runs - 3))
        measure_list(tabs, runs, arguments.runs)
        tabs.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("steps", nargs="?", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=20_000)
    return parser.parse_args()


def _measure(tabs: Tabs, store: Path, path: str, rows: int, title: str, most_cpu_s: float, most_nodes: str) -> None:
    with viewing(store, "--port", 0, "--no-open") as viewed:
        while viewed.json(f"/api/{path or 'runs'}").get("total", 0) is None:
            pass  # what the server finds once, for which the browser would be asked again and again
        page = tabs.open("about:blank")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = _figures(session)
        page.goto(viewed.url + path)
        expect(page.locator(f".list[aria-rowcount='{rows}'] [data-index='0']")).to_be_visible()
        opened = _figures(session)
        page.evaluate(_SCROLL, _FRAMES)
        scrolled = _figures(session)
        print(
            f"{title}\n  {opened['TaskDuration'] - before['TaskDuration']:8.3f} s CPU to the first rows  (most: {most_cpu_s})"
        )
        print(f"  {page.evaluate(_NODES):8} elements  (most: {most_nodes})")
        frame_ms = (scrolled["TaskDuration"] - opened["TaskDuration"]) * 1000 / _FRAMES
        session.send("HeapProfiler.collectGarbage")
        heap_mb = _figures(session)["JSHeapUsedSize"] / 1e6
        print(f"  {frame_ms:8.1f} ms CPU a scrolled frame  (most: 20)\n  {heap_mb:8.1f} MB heap  (most: 20)")


def _figures(session: CDPSession) -> dict[str, float]:
    return {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}


if __name__ == "__main__":
    main()
