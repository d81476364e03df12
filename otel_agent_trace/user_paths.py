"""Where files of this account lie: as the platform has it, unless one lies where earlier versions put it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Literal

Kind = Literal["config", "state"]
_APP = "otel-agent-trace"
_VARIABLES: dict[Kind, str] = {"config": "XDG_CONFIG_HOME", "state": "XDG_STATE_HOME"}


def user_file(kind: Kind, *names: str) -> Path:
    """Return the path of a file, given by its name and those of the folders in ours that it lies in.

    Raises:
        RuntimeError: this account has no home.
    """
    before, now = _places(kind, os.environ.get(_VARIABLES[kind], ""), os.environ.get("HOME", ""))
    if before != now and before.joinpath(*names).exists():
        return before.joinpath(*names)
    if not now.is_absolute():
        msg = "this account has no home folder"
        raise RuntimeError(msg)
    return now.joinpath(*names)


@functools.lru_cache(maxsize=8)
def _places(kind: Kind, variable: str, home: str) -> tuple[Path, Path]:
    """Our folder by the rules of earlier versions, which were those of Linux everywhere, and by the platform's."""
    import platformdirs  # noqa: PLC0415 - slow, and only where a file of the account is looked for

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    now = find(_APP, appauthor=False)
    if not now.is_absolute():  # older ones of `platformdirs` take a variable that is relative
        now = _xdg(kind, "") / _APP
    return _xdg(kind, variable) / _APP, now


def _xdg(kind: Kind, variable: str) -> Path:
    if variable and (kind == "config" or os.path.isabs(variable)):
        return Path(variable)
    return Path(os.path.expanduser("~/.config" if kind == "config" else "~/.local/state"))
