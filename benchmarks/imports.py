"""What it takes to import the package and make a tracer that writes a file, against the SDK's tracing alone.

    python benchmarks/imports.py [--processes 25] [--instructions]

Starts fresh processes in turns, each with compiled bytecode, and prints the least CPU time of each; or with `--instructions`
what valgrind's callgrind counts, which is the same on a busy machine. Ratios are of what comes on top of an empty Python,
and of whole processes.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

PROGRAMS = {
    "an empty Python": "",
    "the SDK's tracing": "from opentelemetry.sdk.trace import TracerProvider; TracerProvider()",
    "a tracer with a file": (
        "from otel_agent_trace import AgentTracer, FileBackend; AgentTracer(backend=FileBackend('traces.jsonl'))"
    ),
    "a run in a file": (
        "from otel_agent_trace import AgentTracer, FileBackend\n"
        "tracer = AgentTracer(backend=FileBackend('traces.jsonl'))\n"
        "with tracer.run(agent_name='agent', user_input='question') as run:\n"
        "    run.final_output = 'answer'\n"
    ),
    "reading a file": "from otel_agent_trace import load_runs; load_runs('traces.jsonl')",
}


def cpu_s(program: str, **how: Any) -> float:
    """CPU seconds of a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, **how)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def instructions(program: str, **how: Any) -> float:
    """Instructions of a fresh process, in millions."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c", program]
    result = subprocess.run(valgrind, check=True, stderr=subprocess.PIPE, text=True, **how)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if found is None:
        raise SystemExit(result.stderr)
    return int(found[1]) / 1e6


def measured(count: Callable[..., float], processes: int) -> dict[str, float]:
    """The least of several processes of each program."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPYCACHEPREFIX": os.path.join(folder, "bytecode"), "PYTHONHASHSEED": "0"}
        how = {"env": environment, "cwd": folder}
        for program in PROGRAMS.values():  # compiles
            cpu_s(program, **how)
        least = dict.fromkeys(PROGRAMS, float("inf"))
        for _ in range(processes):
            for name, program in PROGRAMS.items():
                least[name] = min(least[name], count(program, **how))
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=25)
    parser.add_argument("--instructions", action="store_true", help="count instructions, of one process each")
    arguments = parser.parse_args()
    if arguments.instructions:
        least, unit = measured(instructions, 1), "M instructions"
    else:
        least, unit = measured(lambda program, **how: 1000 * cpu_s(program, **how), arguments.processes), "ms CPU"
    empty, sdk = least["an empty Python"], least["the SDK's tracing"]
    print(f"{'':22} {unit:>15}  of the SDK's, on top of an empty Python  of the whole SDK's")
    for name, number in least.items():
        print(f"{name:22} {number:15.1f} {(number - empty) / (sdk - empty):41.2f} {number / sdk:19.2f}")


if __name__ == "__main__":
    main()
