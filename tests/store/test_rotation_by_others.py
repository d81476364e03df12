"""Logrotate, people and programs rename, copy and remove the live file: the next span lands in the one at the path."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_agent_trace import AgentTracer, FileBackend, load_runs
from tests.support.requirements import cannot_run

pytestmark = pytest.mark.slow


class Traced:
    """A tracer, and the questions that its runs had."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.questions: list[str] = []
        self._tracer = AgentTracer(backend=FileBackend(path))

    def run(self, number: int = 1) -> None:
        for _ in range(number):
            self.questions.append(f"question {len(self.questions)}")
            with self._tracer.run(user_input=self.questions[-1]) as run, run.step("s"):
                pass

    def is_at_its_path(self) -> bool:
        """Whether the last run is in the file at the path, on its own."""
        return f"{self.questions[-1]}\\" in self.path.read_text()

    def read(self) -> list[str | None]:
        return [run.user_input for run in load_runs(self.path)]


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    (tmp_path / "logs").mkdir(mode=0o700)
    return Traced(tmp_path / "logs" / "t.jsonl")


def logrotate(traced: Traced, directives: str) -> None:
    """Rotate once as logrotate does, with all its files in the folder of the test."""
    program = shutil.which("logrotate", path=f"{os.defpath}:/usr/sbin:/sbin")
    if program is None:
        cannot_run("needs logrotate")
    config, state = (traced.path.parent.parent / name for name in ("config", "state"))
    config.write_text(f"{traced.path} {{\n rotate 20\n" + "".join(f" {one}\n" for one in directives.split(",")) + "}\n")
    config.chmod(0o600)
    command = [program, "--force", "--state", str(state), str(config)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "directives",
    [
        "create",
        "nocreate",
        "copytruncate",
        "create,compress",
        "nocreate,compress,delaycompress",
        "create,dateext,dateformat -%Y%m%d-%s",
        "create,dateext,dateformat -%Y%m%d%H",
        "create,dateext,dateformat -%Y-%m-%d",
        "nocreate,dateext,compress",
        "copytruncate,compress",
    ],
)
def test_logrotate(traced: Traced, directives: str) -> None:
    """Nothing is lost, read twice, or written to a file that was renamed."""
    times = 1 if "dateext" in directives else 3  # one a day
    for _ in range(times):
        traced.run(5)
        logrotate(traced, directives)
        traced.run()
        assert traced.is_at_its_path()
    assert len(os.listdir(traced.path.parent)) == times + 2  # and the live file and the journals
    assert sorted(traced.read()) == sorted(traced.questions)
    assert sorted(run.user_input for run in load_runs(traced.path.parent)) == sorted(traced.questions)


def rename_and_create(path: Path) -> None:
    path.rename(path.with_name("t.jsonl.1"))
    path.touch(0o600)


def rename_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def replace_by_a_copy(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


def restore_an_older_one(path: Path) -> None:
    """As backups do: another file with the same size and times."""
    there = path.stat()
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        rename_and_create,
        lambda path: path.rename(path.with_name("t.jsonl-20261128")),
        Path.unlink,
        lambda path: os.truncate(path, 0),
        lambda path: shutil.rmtree(path.parent),
        rename_the_folder,
        replace_by_a_copy,
        restore_an_older_one,
    ],
    ids=[
        "renamed and created",
        "renamed",
        "removed",
        "emptied",
        "folder removed",
        "folder renamed",
        "copied",
        "restored",
    ],
)
def test_the_very_next_span(traced: Traced, change: Callable[[Path], object]) -> None:
    """Whatever was done to the file, the next run is at the path, and so is the one after the next change."""
    for _ in range(3):
        traced.run()
        change(traced.path)
        traced.run()
        assert traced.is_at_its_path()
        assert traced.questions[-1] in traced.read()
        shutil.rmtree(traced.path.parent.with_name("elsewhere"), ignore_errors=True)


def test_a_folder_that_is_renamed_and_comes_back(traced: Traced) -> None:
    """What was written meanwhile is where it was written."""
    folder = traced.path.parent
    traced.run()
    folder.rename(folder.with_name("elsewhere"))
    traced.run()
    assert traced.is_at_its_path()
    folder.rename(folder.with_name("meanwhile"))
    folder.with_name("elsewhere").rename(folder)
    traced.run()
    assert traced.read() == [traced.questions[0], traced.questions[2]]


def test_a_link_that_is_switched(tmp_path: Path) -> None:
    """A link is resolved once: the spans stay in one store, whatever the link is switched to."""
    (tmp_path / "link.jsonl").symlink_to("one.jsonl")
    traced = Traced(tmp_path / "link.jsonl")
    traced.run()
    (tmp_path / "link.jsonl").unlink()
    (tmp_path / "link.jsonl").symlink_to("/etc/passwd")
    traced.run()
    assert [run.user_input for run in load_runs(tmp_path / "one.jsonl")] == traced.questions
    (tmp_path / "link.jsonl").unlink()
    (tmp_path / "link.jsonl").symlink_to("one.jsonl")
    assert traced.read() == traced.questions
