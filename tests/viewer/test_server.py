"""How the server begins and ends: its address, ports, signals, browsers, and what is missing."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.server import Options, serving
from tests.support.processes import environment
from tests.support.viewed import SERVER_COMMAND, Viewed, viewing
from tests.support.waiting import DEADLOCK_S, wait_until

pytestmark = pytest.mark.slow


def run(*words: object, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Call the command where it fails."""
    command = [*SERVER_COMMAND, *map(str, words)]
    return subprocess.run(
        command, env=environment(**changes), capture_output=True, text=True, timeout=DEADLOCK_S, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(store: Path, number: int) -> None:
    with viewing(store, "--port", 0, "--no-open") as viewed:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", viewed.first_line)
        assert viewed.json("api/about")["source"] == str(store)
        code, errors = viewed.end(number)
    assert code == 0
    assert "Traceback" not in errors
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", viewed.port))


def test_a_signal_right_after_the_address(store: Path) -> None:
    """The address is printed before the server answers, and a signal counts from then on."""
    viewed = Viewed(store, "--port", 0, "--no-open")
    assert viewed.end()[0] == 0


def test_open_streams_do_not_hold_it(store: Path) -> None:
    with viewing(store, "--port", 0, "--no-open") as viewed:
        with viewed.client.stream("GET", "api/events") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("retry:")
            assert next(lines).startswith("id:")
            viewed.process.send_signal(signal.SIGTERM)
            assert [*lines] == [""]
        code, errors = viewed.wait()
    assert (code, "Cancel" in errors) == (0, False)


def test_the_port_is_that_which_was_asked_for(store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = run(store, "--port", port, "--no-open")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.splitlines() == [
        f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; --port N takes another"
    ]


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "", "x" * 300])
def test_a_host_that_is_not_of_this_machine(store: Path, host: str) -> None:
    failed = run(store, "--host", host, "--port", 0, "--no-open")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["nowhere.jsonl"], ["http://127.0.0.1:1"], ["nowhere://x"], []])
def test_the_source_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_AGENT_TRACE_FILE", raising=False)
    failed = run(*words, "--port", 0, "--no-open")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert ("otel-agent-trace demo" in failed.stderr) is not bool(words)


def test_without_the_extra(store: Path, tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError(\"No module named 'starlette'\")")
    failed = run(store, PYTHONPATH=f"{tmp_path}:{environment()['PYTHONPATH']}")
    assert failed.returncode == 2
    assert "pip install 'otel-agent-trace[view]'" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_the_usual_source_and_the_usual_port(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a port that is free, as the usual one may not be."""
    with viewing("--port", 0, "--no-open", env={"OTEL_AGENT_TRACE_FILE": str(store)}) as viewed:
        assert viewed.json("api/runs")["total"] == 5


# ── browsers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A browser that writes down what it opens."""
    script, opened = tmp_path / "browser", tmp_path / "opened"
    script.write_text(f'#!/bin/sh\necho "$1" >> {opened}.part\nmv {opened}.part {opened}\n')
    script.chmod(0o755)
    for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BROWSER", f"{script} %s")
    return opened


def test_it_opens_a_browser(store: Path, browser: Path) -> None:
    with viewing(store, "--port", 0) as viewed:
        wait_until(browser.exists, "the browser")
        assert browser.read_text().strip() == viewed.url


@pytest.mark.parametrize(
    ("words", "env"), [(["--no-open"], {}), ([], {"SSH_CONNECTION": "198.51.100.7 50000 192.0.2.9 22"})]
)
def test_it_opens_none(store: Path, browser: Path, words: list[str], env: dict[str, str | None]) -> None:
    with viewing(store, "--port", 0, *words, env=env) as viewed:
        assert viewed.json("api/about")
        code, errors = viewed.end()
    assert code == 0
    assert not browser.exists()
    if env:
        assert f"ssh -L {viewed.port}:127.0.0.1:{viewed.port} " in errors
        assert "@192.0.2.9" in errors


def test_everywhere_the_address_can_be_opened(store: Path) -> None:
    with viewing(store, "--port", 0, "--no-open", "--host", "0.0.0.0") as viewed:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{32,}\n", viewed.first_line)


def test_by_ipv6(store: Path) -> None:
    with viewing(store, "--port", 0, "--no-open", "--host", "::1") as viewed:
        assert viewed.first_line.startswith("http://[::1]:")
        assert viewed.json("api/about")["version"]


def test_serving_in_a_thread(store: Path) -> None:
    with serving(Library(str(store)), Options()) as url:
        assert httpx.get(f"{url}api/runs", trust_env=False).json()["total"] == 5
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_commands_do_without_the_extra() -> None:
    """Neither the library nor other commands import it."""
    code = "import sys, otel_agent_trace, otel_agent_trace.cli.list; print({'starlette', 'uvicorn'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
