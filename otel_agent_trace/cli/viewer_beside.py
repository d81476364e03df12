"""Serve the page of a file while a program runs, for ``otel-agent-trace run --view``."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

from otel_agent_trace.cli.streams import write_message
from otel_agent_trace.extras import needed_by


@contextlib.contextmanager
def viewer_beside(path: str) -> Iterator[None]:
    """Serve the page of a file, which need not exist yet, for the time of a block; write its address to standard error.

    Where that is a terminal, the page is there after the block as well, until Ctrl-C.

    Raises:
        ConfigurationError: the packages of the extra are missing.
    """
    with needed_by("--view", "view"):
        from otel_agent_trace.viewer.library import Library  # noqa: PLC0415 - an extra
        from otel_agent_trace.viewer.server import Options, serving  # noqa: PLC0415
    with serving(Library(path, None, is_new=True), Options()) as address:
        write_message(f"view: {address}")
        yield
        if sys.stderr.isatty():
            write_message("the page stays open until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
