"""Find the files of this account: at the platform's place for them, unless one exists where earlier versions put it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Literal

from otel_agent_trace.forks import NO_FORK

Kind = Literal["config", "state"]
_APP = "otel-agent-trace"
_VARIABLES: dict[Kind, str] = {"config": "XDG_CONFIG_HOME", "state": "XDG_STATE_HOME"}


def user_file(kind: Kind, *names: str) -> Path:
    """Return the path of a file in the package's folder for configuration or state.

    Args:
        kind: which of the folders.
        *names: the names of the folders within it and of the file.

    Raises:
        RuntimeError: this account has no home folder.
    """
    earlier, current = _folders(kind, os.environ.get(_VARIABLES[kind], ""), os.environ.get("HOME", ""))
    if earlier != current and earlier.joinpath(*names).exists():
        return earlier.joinpath(*names)
    if not current.is_absolute():
        msg = "this account has no home folder"
        raise RuntimeError(msg)
    return current.joinpath(*names)


@functools.lru_cache(maxsize=8)
def _folders(kind: Kind, variable: str, home: str) -> tuple[Path, Path]:
    """Return the folder of earlier versions, which was that of Linux on every platform, and the platform's.

    Args:
        kind: which of the folders.
        variable: the value of the XDG variable for it.
        home: the value of HOME, on which the result depends through `platformdirs`.
    """
    with NO_FORK:
        import platformdirs  # noqa: PLC0415 - slow, and needed only to find a file of the account

    find = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    current = find(_APP, appauthor=False)
    if not current.is_absolute():  # older versions of `platformdirs` accept a relative path in the variable
        current = _xdg_folder(kind, "") / _APP
    return _xdg_folder(kind, variable) / _APP, current


def _xdg_folder(kind: Kind, variable: str) -> Path:
    """Return the folder of the XDG specification for all programs, given the value of its variable."""
    if variable and (kind == "config" or os.path.isabs(variable)):
        return Path(variable)
    return Path(os.path.expanduser("~/.config" if kind == "config" else "~/.local/state"))
