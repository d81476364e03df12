"""Serve the page of a file in a process of its own, while a program runs, for ``otel-agent-trace run --view``."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from otel_agent_trace.cli.streams import write_message
from otel_agent_trace.errors import AgentTraceError

_END_S = 5.0


@contextlib.contextmanager
def viewer_beside(path: str) -> Iterator[None]:
    """Serve a page for the time of a block, and write its address to standard error.

    Where that is a terminal, the page is there after the block as well, until Ctrl-C.

    Raises:
        AgentTraceError: it cannot be served.
    """
    words = [sys.executable, "-m", "otel_agent_trace.cli", "view", path, "--no-open", "--port", "0"]
    process = subprocess.Popen(  # noqa: S603 - this command
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    with process:
        try:
            write_message(f"view: {_address(process)}")
            yield
            _wait_for_reader(process)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    """Return the address of the page, which is the first line of the command."""
    assert process.stdout is not None  # noqa: S101 - for type checkers
    address = process.stdout.readline().strip()
    if not address:
        raise AgentTraceError("the page cannot be served, see above")
    return address


def _wait_for_reader(process: subprocess.Popen[str]) -> None:
    if sys.stderr.isatty() and process.poll() is None:
        write_message("the page stays open until Ctrl-C")
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
