"""Things that happen at a certain moment, as other programs do them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def act_before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object]) -> None:
    """Do something once, before the next call of a function."""
    call, todo = getattr(owner, name), [act]

    def acting_first(*arguments: Any, **keywords: Any) -> Any:
        while todo:
            todo.pop()()
        return call(*arguments, **keywords)

    monkeypatch.setattr(owner, name, acting_first)


def act_after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object]) -> None:
    """Do something once, after the next call of a function."""
    call, todo = getattr(owner, name), [act]

    def acting_later(*arguments: Any, **keywords: Any) -> Any:
        found = call(*arguments, **keywords)
        while todo:
            todo.pop()()
        return found

    monkeypatch.setattr(owner, name, acting_later)
