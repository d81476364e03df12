"""Define ``otel-agent-trace tail``: runs and steps of a store as they start and end."""

from __future__ import annotations

import contextlib
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import click

from otel_agent_trace.cli.options import json_option, source_argument
from otel_agent_trace.cli.sources import hints_on_error, local_source
from otel_agent_trace.cli.streams import stdout_console, write_json
from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import open_regular
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.listing import check_names_no_export
from otel_agent_trace.sources.run_events import Event
from otel_agent_trace.sources.tail import Tail

_INTERVAL_S = 0.2


@click.command("tail")
@source_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C; SOURCE need not exist yet.")
@json_option
def command(source: str | None, *, follow: bool, as_json: bool) -> None:
    """Show the runs and steps of SOURCE as they start and end, one line for each event.

    It shows what the store has, and then ends, or goes on with what happens, of all programs that write to it, through
    rotation and compression. A run whose process was killed ends as interrupted. With --json each event is a JSON object
    on a line of its own.
    """
    name = local_source(source)
    check_names_no_export(name)
    if not follow:
        with hints_on_error(name):
            _check(name)
    write = _write_json if as_json else _printer()
    tail = Tail(name)
    with contextlib.closing(tail), _ending_on_sigterm():
        while True:
            for event in tail.look(is_last=not follow):
                write(event)
            sys.stdout.flush()
            if not follow or _is_closed():
                return
            time.sleep(_INTERVAL_S)


def _check(name: str) -> None:
    """Check that there are files that can be read.

    Raises:
        SourceError: there are none.
    """
    source = FilesSource([name])
    if source.files() != [name]:
        return
    try:
        open_regular(name).close()
    except SourceError:
        if source.files() == [name]:  # else it was closed as the first segment of a store
            raise


def _write_json(event: Event) -> None:
    write_json(event.to_dict(), indent=None)


def _printer() -> Callable[[Event], None]:
    from otel_agent_trace.cli.render import styled  # noqa: PLC0415 - --json does without rich
    from otel_agent_trace.views.store import event_line  # noqa: PLC0415

    console = stdout_console()

    def write(event: Event) -> None:
        line = styled(event_line(event, datetime.now().astimezone()))
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)

    return write


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does."""

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where no handler can be set
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_closed() -> bool:
    """Return whether nobody reads standard output any more, as in ``| head``."""
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError):  # no descriptor
        poll.register(sys.stdout, 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False
