"""The script makes each program once, says why it cannot, and leaves nothing half made; servers end with their tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.running_servers import SUPERVISOR, Ports, RunningServer, ServerDiedError, opened
from tests.support.server_fixtures import BUILD
from tests.support.waiting import DEADLOCK_S, wait_until

GO_THAT_COUNTS = """#!/bin/sh
echo build >> "$COUNT"
echo program > jaeger
"""
GO_THAT_IS_REFUSED = """#!/bin/sh
echo "go: downloading example.org/a v1.0.0"
echo "go: example.org/b@v1.2.3: reading https://modules.example.org/b/@v/v1.2.3.mod: 404 Not Found" >&2
exit 1
"""
SERVER = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"


class Python(RunningServer):
    """A server of Python's own."""

    name = "python"
    roles = ("http",)
    health = ("http", "/")
    code = SERVER

    def command(self) -> list[str]:
        return [str(self.program), "-c", self.code, str(self.port("http"))]

    def environment(self) -> dict[str, str]:
        return {}


class Broken(Python):
    """A server that cannot start."""

    code = "raise SystemExit('no such setting')"


@pytest.fixture
def start_build(tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    """Start the script for Jaeger, with a cache and a Go of this test."""

    def call(go: str) -> subprocess.Popen[str]:
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        if go:
            (programs / "go").write_text(go)
            (programs / "go").chmod(0o755)
        env = {
            "PATH": f"{programs}:/bin:/usr/bin" if go else str(programs),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "COUNT": str(tmp_path / "count"),
        }
        command = [sys.executable, str(BUILD), "jaeger"]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return call


def test_two_at_once_make_it_once(start_build: Callable[[str], subprocess.Popen[str]], tmp_path: Path) -> None:
    both = [start_build(GO_THAT_COUNTS) for _ in range(2)]
    [path] = {each.communicate()[0] for each in both}
    assert [each.returncode for each in both] == [0, 0]
    assert Path(path.strip()).read_text() == "program\n"
    assert (tmp_path / "count").read_text() == "build\n"
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_made_before_is_used_without_go(start_build: Callable[[str], subprocess.Popen[str]]) -> None:
    first = start_build(GO_THAT_COUNTS).communicate()
    (again := start_build("")).wait()
    assert again.communicate() == first


@pytest.mark.parametrize(
    ("go", "reason"),
    [("", "Go is not on PATH"), (GO_THAT_IS_REFUSED, "a module is refused"), (GO_THAT_IS_REFUSED, "b@v1.2.3: reading")],
    ids=["no-go", "refused", "which"],
)
def test_reason_is_given(
    start_build: Callable[[str], subprocess.Popen[str]], tmp_path: Path, go: str, reason: str
) -> None:
    process = start_build(go)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert reason in err
    assert not list((tmp_path / "cache").rglob("jaeger"))


def test_server_is_killed_and_starts_on_its_port(tmp_path: Path) -> None:
    server = opened(Python(Path(sys.executable), tmp_path))
    first, port = server.pid, server.port("http")
    server.kill()
    assert not server.running
    assert server.get("http", "/") == (0, b"")
    server.start()
    assert server.pid != first
    assert server.port("http") == port
    assert server.answers("http", "/")
    server.close()
    server.close()
    assert not server.running


def test_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServerDiedError, match="no such setting"):
        opened(Broken(Path(sys.executable), tmp_path))


def test_server_takes_other_ports_when_one_is_taken(tmp_path: Path) -> None:
    server = Python(Path(sys.executable), tmp_path)
    taken = server.port("http")
    with socket.create_server(("127.0.0.1", taken)):
        server.open()
        assert server.port("http") != taken
    server.close()


def test_ports_are_given_to_one_at_a_time() -> None:
    several = [Ports(("a", "b")) for _ in range(5)]
    assert len({port for ports in several for port in ports.by_role.values()}) == 10
    for ports in several:
        ports.release()


def test_everything_ends_with_the_process_that_started_it() -> None:
    """Nothing of a server outlives tests that are killed, its own children included."""
    child = "import subprocess, sys; p = subprocess.Popen(['sleep', '1000']); print(p.pid, file=sys.stderr); p.wait()"
    supervisor = [sys.executable, str(SUPERVISOR), sys.executable, "-c", child]
    with subprocess.Popen(supervisor, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        pids = [int(process.stdout.readline()), int(process.stderr.readline())]
        process.stdin.close()  # as the kernel does for a process that is gone
        assert process.wait(DEADLOCK_S) == -signal.SIGKILL & 0xFF
    wait_until(lambda: not any(map(_lives, pids)), "the end of both")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()  # nobody may be there to wait for it


def test_log_is_in_the_report_of_a_test_that_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        "from tests.support.running_servers import opened\nfrom tests.servers.test_making import Python\n"
        "def test_it(tmp_path):\n"
        "    server = opened(Python(Path(sys.executable), tmp_path))\n"
        "    server.get('http', '/a-path-to-be-seen')\n"
        "    assert False\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.support.server_fixtures",
        "-p",
        "no:cacheprovider",
        "test_it.py",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the log of python" in done.stdout
    assert "/a-path-to-be-seen" in done.stdout
