"""Files of the account lie where the platform keeps such, and those of earlier versions are found where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from otel_agent_trace import AgentTracer, FileBackend, load_runs, user_paths
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.export import state_path
from otel_agent_trace.keys import KEY_VARIABLE, key_file
from otel_agent_trace.otlp import settings_of
from otel_agent_trace.user_paths import Kind, user_file

KINDS = [("config", "XDG_CONFIG_HOME", ".config"), ("state", "XDG_STATE_HOME", ".local/state")]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test, on Linux."""
    for _, variable, _ in KINDS:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(platformdirs, "PlatformDirs", Unix)
    user_paths._folders.cache_clear()
    return tmp_path / "home"


@pytest.fixture
def on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)


@pytest.mark.parametrize(("kind", "variable", "default"), KINDS)
def test_on_linux(kind: Kind, variable: str, default: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the folder that the variable names, else below the usual one of the home, as it ever was."""
    assert user_file(kind, "a", "b") == home / default / "otel-agent-trace" / "a" / "b"
    monkeypatch.setenv(variable, "")
    assert user_file(kind, "b") == home / default / "otel-agent-trace" / "b"
    monkeypatch.setenv(variable, "/elsewhere")
    assert user_file(kind, "a", "b") == Path("/elsewhere/otel-agent-trace/a/b")


def test_a_relative_state_folder_is_no_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if there is a file in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    place = home / ".local/state/otel-agent-trace/export"
    assert user_file("state", "export") == place
    (tmp_path / "relative/otel-agent-trace/export").mkdir(parents=True)
    assert user_file("state", "export") == place


def test_a_key_in_a_relative_folder_is_still_found(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier versions put it there; a new one is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert key_file() == home / ".config/otel-agent-trace/user.key"
    old = Path("relative/otel-agent-trace/user.key")
    old.parent.mkdir(parents=True)
    old.write_text("key")
    assert key_file() == old


@pytest.mark.parametrize(("kind", "variable", "default"), KINDS)
@pytest.mark.usefixtures("on_macos")
def test_on_macos_a_file_at_the_old_place_goes_first(kind: Kind, variable: str, default: str, home: Path) -> None:
    """Users stay who they were, and an interrupted export goes on; new files lie where the platform has them."""
    assert user_file(kind, "a", "b") == home / "Library/Application Support/otel-agent-trace/a/b"
    old = home / default / "otel-agent-trace" / "a" / "b"
    old.parent.mkdir(parents=True)
    old.write_text("kept")
    assert user_file(kind, "a", "b") == old
    assert user_file(kind, "a", "c") == home / "Library/Application Support/otel-agent-trace/a/c"


def _raising(*_: object, **__: object) -> Path:
    msg = "could not determine the home directory"
    raise RuntimeError(msg)


@pytest.mark.parametrize("find", [_raising, lambda *_, **__: Path("~/folder")], ids=["newer", "older"])
def test_an_account_without_a_home(find: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever `platformdirs` says so, no folder called ~ is made; the export says what to set."""
    monkeypatch.setenv("HOME", "~")
    monkeypatch.setattr(platformdirs, "user_config_path", find)
    monkeypatch.setattr(platformdirs, "user_state_path", find)
    with pytest.raises(RuntimeError, match="home"):
        key_file()
    with pytest.raises(ConfigurationError, match="home.*; set XDG_STATE_HOME to a folder"):
        state_path("t.jsonl", settings_of("http://h", environ={}), {})


def test_reading_makes_no_key(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user id is looked for by its pseudonym only if there is a key; who records makes one, where readers find it."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    path = tmp_path / "t.jsonl"
    AgentTracer(backend=FileBackend(path)).close()
    path.touch()
    assert load_runs(path, user_id="alice") == []
    assert not home.exists()
    tracer = AgentTracer(backend=FileBackend(path))
    tracer.end_run(tracer.start_run(user_id="alice"), "done")
    tracer.close()
    assert key_file() == home / ".config/otel-agent-trace/user.key"
    assert key_file().stat().st_mode & 0o777 == 0o600
    assert [run.final_output for run in load_runs(path, user_id="alice")] == ["done"]
