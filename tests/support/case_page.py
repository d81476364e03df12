"""The programs of docs/cases.md in a folder, where the first ones were run: there are traces, and a file of cases."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.documents import console_sessions, named_files, read
from tests.support.processes import environment
from tests.support.waiting import DEADLOCK_S

PAGE = read("docs/cases.md")
EXPORT, EXPORT_AGAIN = console_sessions(PAGE)


def prepare(folder: Path) -> None:
    """Write the programs of the page, run the agent, score its runs and export them."""
    for name, text in named_files(PAGE).items():
        (folder / name).write_text(text, encoding="utf-8")
    run_program("yesterday.py", folder)
    run_session(EXPORT, folder)


def run_program(name: str, folder: Path, *options: str) -> str:
    """Run a program of the page to its end, and return what it printed."""
    return _output([sys.executable, *options, name], folder)


def run_session(session: tuple[str, list[str]], folder: Path) -> None:
    """Run a command that the page shows, and check that it prints what is shown."""
    line, shown = session
    program, *arguments = shlex.split(line)
    assert program == "otel-agent-trace"
    assert _output([sys.executable, "-m", "otel_agent_trace.cli", *arguments], folder).splitlines() == shown


def _output(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLOCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
