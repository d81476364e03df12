"""Measure the index of a store: how long making it takes beside a plain decode, its size, and commands as whole processes.

    python benchmarks/store_index.py [--runs 10000,100000,1000000] [--kind small|large]

A small run has two spans in one line (2.6 KB), a large one eleven lines (38 KB). Times are CPU seconds.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from otel_agent_trace import AgentTracer, FileBackend
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.sources import FilesSource

COMMANDS = {
    "list": ["list"],
    "show last": ["show", "last"],
    "--agent": ["list", "--agent", "agent-3"],
    "--tool (none has it)": ["list", "--tool", "nobody's"],
    "--sort tokens": ["list", "--sort", "tokens"],
}
STEPS = {"small": (1, 150), "large": (10, 950)}


def template(folder: Path, kind: str) -> str:
    """The lines of one run, with places for ids, times and texts."""
    path = folder / "template.jsonl"
    steps, chars = STEPS[kind]
    facts = {"agent_name": "AGENT", "user_input": "TEXT", "user_id": "user", "session_id": "SESSION"}
    with AgentTracer(FileBackend(path), redact=False) as tracer, tracer.run(**facts) as run:
        for _ in range(steps):
            with run.step("TOOL", {"q": "TEXT"}) as step:
                step.output = "TEXT"
        run.final_output = "TEXT"
    lines = path.read_text()
    if kind == "small":
        (spans,) = FilesSource([path]).traces(print)
        lines = otlp_json.encode(spans).decode() + "\n"
    path.unlink()
    lines = lines.replace("%", "%%").replace("TEXT", "%(text)" + f".{chars}s")
    for name in ("TOOL", "AGENT", "SESSION"):
        lines = lines.replace(name, f"%({name.lower()})s")
    trace_id = re.search(r'"traceId":"(\w+)"', lines)[1]
    span_ids = {span_id[1]: span_id[1][-8:] for span_id in re.finditer(r'panId":"(\w{16})"', lines)}
    for span_id, end in span_ids.items():
        lines = lines.replace(span_id, f"%(span)08x{end}")
    times = sorted({found[1] for found in re.finditer(r'Nano":"(\d+)"', lines)})
    for place, found in enumerate(times):
        lines = lines.replace(found, f"%(second)d{place:09d}")
    return lines.replace(trace_id, "%(trace)032x")


def write(path: Path, lines: str, runs: int) -> None:
    chance = random.Random(runs)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3000)]
    texts = [" ".join(chance.choices(words, k=300)) for _ in range(200)]
    with open(path, "w") as file:
        file.writelines(
            lines
            % {
                "trace": chance.getrandbits(128),
                "span": number,
                "second": 1_790_000_000 + number,
                "text": texts[chance.randrange(200)],
                "tool": f"tool-{number % 21}",
                "agent": f"agent-{number % 17}",
                "session": f"session-{number // 3}",
            }
            for number in range(runs)
        )


def lines_in(path: Path, most_bytes: int = 200 << 20) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while file.tell() < most_bytes and (line := file.readline()):
            yield line


def plain_decode_s(path: Path) -> float:
    """The time of a plain decode of all lines, by that of the first 200 MB."""
    lines = [*lines_in(path)]
    before = time.process_time()
    for line in lines:
        msgspec.json.decode(line)
    return (time.process_time() - before) * path.stat().st_size / sum(map(len, lines))


MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
BUILT = """
import re, sys, time
from otel_agent_trace.sources.index.source import build_index
before = time.process_time()
built = build_index(sys.argv[1])
peak_kb = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]  # ru_maxrss begins with that of the parent
print(time.process_time() - before, int(peak_kb) / 1024, built.index_bytes)
"""


def numbers_of(code: str, *arguments: str) -> list[float]:
    """What a process prints that was started afresh: the peak memory of a forked one begins with that of its parent."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return [*map(float, done.stdout.split())]


def process(arguments: list[str]) -> list[float]:
    """The CPU seconds of a process, the least of three, and its megabytes."""
    return min(numbers_of(MEASURED, *arguments) for _ in range(3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="10000,100000")
    parser.add_argument("--kind", choices=STEPS, default="small")
    given = parser.parse_args()
    sdk_s, sdk_mb = process([sys.executable, "-c", "import opentelemetry.sdk.trace"])
    print(f"importing the SDK's tracing: {sdk_s:.2f} s, {sdk_mb:.0f} MB")
    for runs in map(int, given.runs.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "traces.jsonl"
            write(path, template(Path(folder), given.kind), runs)
            build_s, peak_mb, index_bytes = numbers_of(BUILT, str(path))
            print(
                f"{runs:,} runs, {path.stat().st_size / 1e6:,.0f} MB: built in {build_s:.1f} s ({1e6 * build_s / runs:.0f} µs a run), "
                f"{plain_decode_s(path) / build_s:.2f} of a plain decode, {index_bytes / runs:.0f} B a run, {peak_mb:.0f} MB",
                flush=True,
            )
            for name, (command, *options) in COMMANDS.items():
                cpu_s, megabytes = process([sys.executable, "-m", "otel_agent_trace.cli", command, str(path), *options])
                print(f"  {name}: {cpu_s:.2f} s, {megabytes:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
