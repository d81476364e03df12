"""Programs that share what they import: each runs in a fork of one interpreter, and ends as a program of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import environment
from tests.support.waiting import DEADLOCK_S

_INTERPRETER = """
import json, os, sys
exec(sys.argv[1])
for request in map(json.loads, sys.stdin):
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.chdir(request["folder"])
os.environ.clear()
os.environ.update(request["environment"])
for number, file in enumerate([os.devnull, *request["files"]]):
    os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
sys.argv[1:] = request["arguments"]
exec(request["code"])
"""
"""Forks for each request; the child goes on after the loop, and ends as its program does."""


class ForkedPrograms:
    """Run programs in forks of an interpreter that has imported what they need, one after the other."""

    def __init__(self, interpreter: subprocess.Popen[str], folder: Path) -> None:
        self._interpreter = interpreter
        self._files = [folder / "stdout", folder / "stderr"]

    def run(self, code: str, folder: Path, *arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; environment variables count but for what is imported already."""
        assert self._interpreter.stdin is not None
        assert self._interpreter.stdout is not None
        request = {
            "code": code,
            "folder": str(folder),
            "arguments": arguments,
            "environment": environment(**changes),
            "files": [str(file) for file in self._files],
        }
        self._interpreter.stdin.write(json.dumps(request) + "\n")
        self._interpreter.stdin.flush()
        if not select.select([self._interpreter.stdout], [], [], DEADLOCK_S)[0]:
            os.killpg(self._interpreter.pid, signal.SIGABRT)  # the program too; each prints its stacks
            self._interpreter.wait()
            pytest.fail(f"it hung\n{self._files[1].read_text()}")
        status = int(self._interpreter.stdout.readline())
        output, errors = (file.read_text(errors="replace") for file in self._files)
        return subprocess.CompletedProcess([code, *arguments], status, output, errors)


@contextmanager
def forked_programs(imports: str, folder: Path) -> Iterator[ForkedPrograms]:
    """Start an interpreter that carries `imports` out, keeps files in `folder`, and ends after the block.

    Nothing that is imported sees a setting of OpenTelemetry.
    """
    env = environment(**{name: None for name in os.environ if name.startswith("OTEL_")})
    command = [sys.executable, "-X", "faulthandler", "-c", _INTERPRETER, imports]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True
    ) as interpreter:
        yield ForkedPrograms(interpreter, folder)
