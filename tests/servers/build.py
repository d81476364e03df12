"""Make the programs of others that the tests talk to, once, and print where each stands.

    python tests/servers/build.py [collector|jaeger|mlflow|phoenix|all] [--older]

The Collector and Jaeger are built with Go from their modules, with `--older` from the manifests in `older/`. MLflow and
Phoenix are installed into virtual environments. What is made stands in the user's cache folder under the hash of its manifests, so each is made once, and
again when its manifests change. Exit status 1, with the reason on stderr, if something cannot be made, or with
`--made`, if something is not there yet.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-agent-trace"
NICENESS = 10
PHOENIX_PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
_TAIL_LINES = 15
_REFUSALS = re.compile(r"@v\S+: (reading|invalid version|unknown revision|verifying|no matching)|checksum mismatch")


class CannotMakeError(Exception):
    """A program cannot be had here; says why."""


class NotMadeError(CannotMakeError):
    """A program is not there yet, and none shall be made."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not there yet; 'python tests/servers/build.py {name}' makes it, once")


def collector(*, make: bool = True, manifests: Path = HERE) -> Path:
    """The Collector that `collector/builder.yaml` describes."""
    manifest = manifests / "collector" / "builder.yaml"
    return _built("otelcol", [manifest], partial(_build_collector, manifest) if make else _refuse("collector"))


def jaeger(*, make: bool = True, manifests: Path = HERE) -> Path:
    """The Jaeger that `jaeger/go.mod` requires."""
    files = [manifests / "jaeger" / "go.mod", manifests / "jaeger" / "go.sum"]
    return _built("jaeger", files, partial(_build_jaeger, files) if make else _refuse("jaeger"))


def mlflow(*, make: bool = True) -> Path:
    """The command `mlflow` of a virtual environment with `mlflow.txt`."""
    return _installed("mlflow", sys.executable, make=make)


def phoenix(*, make: bool = True) -> Path:
    """The command `phoenix` of a virtual environment with `phoenix.txt`."""
    return _installed("phoenix", _phoenix_python(), make=make)


def _refuse(name: str) -> Callable[[Path], Path]:
    def build(_: Path) -> Path:
        raise NotMadeError(name)

    return build


PROGRAMS: dict[str, Callable[..., Path]] = {
    "collector": collector,
    "jaeger": jaeger,
    "mlflow": mlflow,
    "phoenix": phoenix,
}
OLDER: dict[str, Callable[..., Path]] = {
    **PROGRAMS,
    "collector": partial(collector, manifests=HERE / "older"),
    "jaeger": partial(jaeger, manifests=HERE / "older"),
}


# ── the cache ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _key(name: str, *facts: bytes) -> str:
    """A name that no other manifests, and no other kind of machine, have."""
    digest = hashlib.sha256()
    for fact in (sys.platform.encode(), platform.machine().encode(), *facts):
        digest.update(b"%d:%s" % (len(fact), fact))
    return f"{name}-{digest.hexdigest()}"


@contextmanager
def _only_one(key: str) -> Iterator[None]:
    """Wait while another process makes the same."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], folder: Path, what: str, **env: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CannotMakeError(f"{what}: {command[0]} does not start: {error}") from error
    if done.returncode:
        raise CannotMakeError(_reason(what, command, done.stdout))


def _reason(what: str, command: list[str], output: str) -> str:
    lines = output.strip().splitlines()
    refused = [line for line in lines if _REFUSALS.search(line)]
    if refused:
        return "\n".join([f"{what}: a module is refused (its manifest must name another version):", *refused])
    return "\n".join([f"{what}: {' '.join(command)} failed:", *lines[-_TAIL_LINES:]])


# ── with Go ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _built(name: str, manifests: list[Path], build: Callable[[Path], Path]) -> Path:
    key = _key(name, *(manifest.read_bytes() for manifest in manifests))
    program = CACHE / key / name
    if program.exists():
        return program
    with _only_one(key):
        if not program.exists():
            _build_beside(program, key, build)
    return program


def _build_beside(program: Path, key: str, build: Callable[[Path], Path]) -> None:
    """Build in a folder of its own; the program appears under its name when it is whole."""
    if shutil.which("go") is None:
        raise CannotMakeError(f"{program.name}: Go is not on PATH, and none was built before (it would be {program})")
    for left_by_a_killed_builder in CACHE.glob(f"{key}.*.part"):
        shutil.rmtree(left_by_a_killed_builder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{key}.", suffix=".part", dir=CACHE) as folder:
        built = build(Path(folder))
        program.parent.mkdir(exist_ok=True)
        built.replace(program)


def _build_collector(file: Path, folder: Path) -> Path:
    """Install the builder that is as old as the Collector, and let it build."""
    manifest = file.read_text(encoding="utf-8")
    [version] = re.findall(r"^  version: (\S+)$", manifest, re.MULTILINE)
    builder = f"go.opentelemetry.io/collector/cmd/builder@v{version}"
    _run(["go", "install", builder], folder, "the Collector's builder", GOBIN=str(folder), GOWORK="off")
    (folder / "builder.yaml").write_text(
        manifest.replace("dist:\n", "dist:\n  output_path: ./source\n"), encoding="utf-8"
    )
    _run([str(folder / "builder"), "--config", "builder.yaml"], folder, "the Collector", GOWORK="off")
    return folder / "source" / "otelcol-agent-trace"


def _build_jaeger(files: list[Path], folder: Path) -> Path:
    """Build the tool of the module, with exactly the sums that are written down."""
    for file in files:
        shutil.copy(file, folder)
    package = "github.com/jaegertracing/jaeger/cmd/jaeger"
    _run(["go", "build", "-mod=readonly", "-ldflags=-s -w", "-o", "jaeger", package], folder, "Jaeger", GOWORK="off")
    return folder / "jaeger"


# ── with pip ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _installed(name: str, python: str, *, make: bool) -> Path:
    """Virtual environments cannot be moved, so a mark says which are whole."""
    requirements = HERE / f"{name}.txt"
    key = _key(name, requirements.read_bytes(), os.path.realpath(python).encode())
    folder = CACHE / key
    with _only_one(key):
        if not (folder / "whole").exists() and not make:
            raise NotMadeError(name)
        if not (folder / "whole").exists():
            _install(folder, python, requirements)
    return folder / "bin" / name


def _install(folder: Path, python: str, requirements: Path) -> None:
    what = f"{requirements.stem} cannot be installed"
    _run([python, "-m", "venv", "--clear", str(folder)], HERE, what)
    program = str(folder / "bin" / "python")
    uv = shutil.which("uv")
    pip = [uv, "pip"] if uv else [program, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "install", "-q", *(["--python", program] if uv else []), "-r", str(requirements)], HERE, what)
    (folder / "whole").touch()


def _phoenix_python() -> str:
    """Phoenix needs Python 3.11 or later."""
    if sys.version_info >= (3, 11):
        return sys.executable
    python = next(filter(_starts, PHOENIX_PYTHONS), None)
    if python is None:
        raise CannotMakeError(f"phoenix cannot be installed: it needs one of {', '.join(PHOENIX_PYTHONS)}")
    return str(shutil.which(python))


def _starts(python: str) -> bool:
    """A shim may be on PATH and start nothing."""
    return (
        shutil.which(python) is not None
        and subprocess.run([python, "--version"], capture_output=True, check=False).returncode == 0
    )


def main() -> int:
    """Make what the arguments name; the paths go to stdout, what is missing to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default="all", choices=[*PROGRAMS, "all"])
    parser.add_argument("--made", action="store_true", help="make nothing: only say where what is made stands")
    parser.add_argument("--older", action="store_true", help="the Collector and Jaeger of `older/`")
    arguments = parser.parse_args()
    os.nice(NICENESS)
    failed = False
    for name, make in (OLDER if arguments.older else PROGRAMS).items():
        if arguments.program in (name, "all"):
            try:
                print(make(make=not arguments.made), flush=True)
            except CannotMakeError as error:
                failed = True
                print(error, file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
