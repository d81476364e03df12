"""Waiting for conditions, for as long as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

DEADLOCK_S = 600.0
"""Ends what hangs; nothing that merely waits for a busy machine takes so long."""

_POLL_S = 0.005

Answer = TypeVar("Answer")


def wait_until(ready: Callable[[], Answer], what: str, details: Callable[[], str] = str) -> Answer:
    """Ask again and again until the answer is true, and return it; fail with the details of that moment on a hang."""
    deadline = time.monotonic() + DEADLOCK_S
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {DEADLOCK_S} s\n{details()}".rstrip())
        time.sleep(_POLL_S)
