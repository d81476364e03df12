"""Run a program as a child process: signals reach it, and its exit code is passed on as by a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

from otel_agent_trace.cli.streams import write_message

NOT_STARTED = 127
_KILLED = 128
USUAL_SIGNALS = (signal.SIGINT, signal.SIGTERM)
ALL_SIGNALS = (
    *USUAL_SIGNALS,
    *(getattr(signal, name) for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)),
)
"""Signals that are passed on to a program that this command stands for: all that a person or a service manager sends."""
_OF_TERMINAL = (signal.SIGINT, getattr(signal, "SIGQUIT", None))
_GRACE_S = 1.0
"""Seconds after which a signal is passed on: whoever sends it may have sent it to all processes of a group."""


class Ended(NamedTuple):
    """Hold how a program ended.

    Attributes:
        code: its exit code; 128 and the number of the signal if a signal has killed it; `NOT_STARTED`.
        is_killed: whether a signal has killed it.
        is_stopped: whether this command was asked to end meanwhile, by Ctrl-C or SIGTERM.
        failure: why it was not started; None if it was.
    """

    code: int
    is_killed: bool = False
    is_stopped: bool = False
    failure: Exception | None = None


def run_program(
    words: Sequence[str],
    environment: Mapping[str, str],
    passed_signals: Iterable[signal.Signals] = USUAL_SIGNALS,
    **streams: Any,
) -> Ended:
    """Run a program and wait for its end; write a message if it cannot be started.

    Args:
        words: the program and its arguments.
        environment: variables beside those of this process.
        passed_signals: the signals that are passed on to it.
        **streams: the streams of `subprocess.Popen` that are not those of this process.
    """
    with _PassedSignals(passed_signals) as signals:
        try:
            child = subprocess.Popen(words, env=os.environ | environment, **streams)  # noqa: S603 - the user's own
        except (OSError, ValueError) as error:  # a ValueError is a NUL in an argument
            write_message(f"error: {words[0]} cannot be started: {getattr(error, 'strerror', None) or error}")
            return Ended(NOT_STARTED, failure=error)
        signals.begin(child)
        code = child.wait()
    is_killed = code < 0
    return Ended(_KILLED - code if is_killed else code, is_killed, signals.is_received)


class _PassedSignals:
    """Pass signals on to a child process for the time of a block, instead of ending with them."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._numbers = tuple(numbers)
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self.is_received = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _PassedSignals:
        for number in self._numbers:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:  # as with nohup, which is meant for the program too
                self._before[number] = before
                signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def begin(self, child: subprocess.Popen[bytes]) -> None:
        """Pass signals on to a child, also those that came before it was there."""
        self._child = child
        for number in self._early:
            child.send_signal(number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self.is_received = True
        if self._child is None:
            self._early.append(number)
        elif number not in _OF_TERMINAL or not _terminal_is_ours():
            timer = threading.Timer(_GRACE_S, self._child.send_signal, (number,))
            timer.daemon = True
            timer.start()


def _terminal_is_ours() -> bool:
    """Return whether Ctrl-C of the terminal goes to the processes of this command, so that the child has it already."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
