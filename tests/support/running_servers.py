"""Programs of others, running: started on free ports of this machine, killed, started again, and ended."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from tests.support.processes import ROOT
from tests.support.waiting import wait_until

SUPERVISOR = Path(__file__).with_name("supervise.py")
COLLECTOR_CONFIG = ROOT / "collector-config.yaml"
WITH_TRACE_STATE = "--feature-gates=+processor.tailsamplingprocessor.usetracestate"
JAEGER_CONFIG = ROOT / "examples" / "deploy" / "jaeger.yaml"

# Below those that the kernel gives to outgoing connections: nobody takes the port of a server that is killed and
# started again, and no client that tries it meanwhile connects to itself.
_PORTS = range(20_000, 32_000)
_STOP_S = 10.0
_TAIL_BYTES = 4_000
_ANSWER_S = 60.0
_POLL_S = 1.0

ALIVE: list[RunningServer] = []
"""All servers that this process has started and not closed."""


class ServerDiedError(Exception):
    """A server ended before it was ready; holds the end of its log."""


class Ports:
    """Ports that nobody listens on, kept from all other tests until they are released."""

    def __init__(self, roles: tuple[str, ...]) -> None:
        self._locks = ExitStack()
        candidates = iter(random.SystemRandom().sample(_PORTS, len(_PORTS)))
        self.by_role = {role: next(filter(self._take, candidates)) for role in roles}

    def _take(self, port: int) -> bool:
        """Whether it is free. Its UDP side, which no server uses, is the lock; the kernel opens it when we are gone."""
        with ExitStack() as attempt:
            lock = attempt.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                lock.bind(("127.0.0.1", port))
                socket.create_server(("", port)).close()
            except OSError:
                return False
            self._locks.push(attempt.pop_all())
        return True

    def release(self) -> None:
        """Let others have them."""
        self._locks.close()


class RunningServer(ABC):
    """A program that listens on ports of this machine; `kill` and `start` it as often as you like.

    Subclasses say what to run, and where it answers 200 once it is ready.
    """

    name: str
    roles: tuple[str, ...]
    health: tuple[str, str]  # role of the port, path

    def __init__(self, program: Path, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.program = program
        self.folder = folder
        self.log = folder / f"{self.name}.log"
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._lease = Ports(self.roles)

    @abstractmethod
    def command(self) -> list[str]:
        """What to run."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The variables it gets, beside those that its starter gives."""

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Start for the first time; on other ports if somebody else has taken one meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ALIVE.append(self)
        with ExitStack() as undo:
            undo.callback(self.close)
            while not self._starts():
                self._lease.release()
                self._lease = Ports(self.roles)
            undo.pop_all()

    def _starts(self) -> bool:
        """Whether no port was taken by somebody else."""
        try:
            self.start()
        except ServerDiedError as error:
            if "address already in use" not in str(error).lower():
                raise
            return False
        return True

    def start(self) -> None:
        """Start, with the ports and the folder that it has, and wait until it is ready."""
        assert not self.running, f"{self.name} runs already"
        self._end_process()
        self._spawn()
        wait_until(lambda: not self.running or self.answers(*self.health), self.name, self.log_tail)
        if not self.running:
            raise ServerDiedError(f"{self.name} ended before it was ready:\n{self.log_tail()}")

    def kill(self) -> None:
        """End it at once, as a power cut would (SIGKILL to all its processes)."""
        self._signal(signal.SIGKILL)
        self._end_process()

    def stop(self) -> None:
        """End it as an operator would (SIGTERM), and kill it if that takes too long."""
        self._signal(signal.SIGTERM)
        try:
            self._end_process(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """End it for good, and give its ports back. Doing so again does nothing."""
        self.stop()
        self._lease.release()
        if self in ALIVE:
            ALIVE.remove(self)

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of its process, or of the one that ran last."""
        return self._pid

    def _spawn(self) -> None:
        variables = {"HOME": str(self.folder), "PATH": os.environ["PATH"], **self.environment(), **self._env}
        supervisor = [sys.executable, "-I", "-S", str(SUPERVISOR)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*supervisor, *self.command()],
                cwd=self.folder,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._pid = int(self._process.stdout.readline() or 0)

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._pid:
            try:
                os.killpg(self._pid, number)
            except ProcessLookupError:
                pass  # it has ended by itself, and its supervisor is about to

    def _end_process(self, timeout_s: float | None = None) -> None:
        if self._process is not None:
            self._process.wait(timeout_s)
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None

    # ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────────

    def port(self, role: str) -> int:
        """The port of a role."""
        return self._lease.by_role[role]

    def address(self, role: str) -> str:
        """Host and port of a role."""
        return f"127.0.0.1:{self.port(role)}"

    def url(self, role: str, path: str = "") -> str:
        """The address of a role, for HTTP."""
        return f"http://{self.address(role)}{path}"

    def answers(self, role: str, path: str) -> bool:
        """Whether a GET gets 200."""
        return self.get(role, path, _POLL_S)[0] == http.client.OK

    def get(self, role: str, path: str, timeout_s: float = _ANSWER_S) -> tuple[int, bytes]:
        """Status and body of a GET; 0 if there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port(role), timeout=timeout_s)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def log_tail(self) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return log.read().decode("utf-8", "replace")

    def rss_mib(self) -> float:
        """The memory that its process holds now, without its children."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


class RunningCollector(RunningServer):
    """A Collector with a configuration whose addresses and paths come from `COLLECTOR_...` variables."""

    name = "collector"
    roles = ("otlp_grpc", "otlp_http", "health", "metrics")
    health = ("health", "/")

    def __init__(
        self,
        program: Path,
        folder: Path,
        env: Mapping[str, str] | None = None,
        config: Path = COLLECTOR_CONFIG,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(program, folder, env)
        self.config = config
        self.options = options
        self.file = folder / "otlp" / "traces.jsonl"
        self.queue = folder / "otlp-queue"

    def command(self) -> list[str]:
        """Run the configuration."""
        return [str(self.program), "--config", str(self.config), *self.options]

    def environment(self) -> dict[str, str]:
        """What `collector-config.yaml` asks for; no Jaeger, unless the starter says which, even if one runs here."""
        return {
            "JAEGER_OTLP_GRPC": "127.0.0.1:1",
            "COLLECTOR_OTLP_GRPC": self.address("otlp_grpc"),
            "COLLECTOR_OTLP_HTTP": self.address("otlp_http"),
            "COLLECTOR_HEALTH": self.address("health"),
            "COLLECTOR_METRICS_PORT": str(self.port("metrics")),
            "COLLECTOR_FILE": str(self.file),
            "COLLECTOR_QUEUE": str(self.queue),
        }


class RunningJaeger(RunningServer):
    """A Jaeger that keeps traces in memory: a killed one has forgotten them."""

    name = "jaeger"
    roles = ("query", "query_grpc", "otlp_grpc", "otlp_http", "health")
    health = ("health", "/status")

    def __init__(
        self, program: Path, folder: Path, env: Mapping[str, str] | None = None, config: Path = JAEGER_CONFIG
    ) -> None:
        super().__init__(program, folder, env)
        self.config = config

    def command(self) -> list[str]:
        """Run the configuration."""
        return [str(self.program), "--config", str(self.config)]

    def environment(self) -> dict[str, str]:
        """What `jaeger.yaml` asks for; and it does not trace itself, which would delay its end by 10 seconds."""
        return {
            "JAEGER_QUERY_HTTP": self.address("query"),
            "JAEGER_QUERY_GRPC": self.address("query_grpc"),
            "JAEGER_OTLP_GRPC": self.address("otlp_grpc"),
            "JAEGER_OTLP_HTTP": self.address("otlp_http"),
            "JAEGER_HEALTH": self.address("health"),
            "OTEL_TRACES_SAMPLER": "always_off",
        }


class RunningMLflow(RunningServer):
    """An MLflow server over SQLite; what it has answered with 200 can be read."""

    name = "mlflow"
    roles = ("http",)
    health = ("http", "/health")

    def command(self) -> list[str]:
        """One worker is enough for tests."""
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts")]
        listen = ["--host", "127.0.0.1", "--port", str(self.port("http")), "--workers", "1"]
        return [str(self.program), "server", *listen, *store, *artifacts]

    def environment(self) -> dict[str, str]:
        """Nothing is reported to anybody, and no jobs are run."""
        return {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }


class RunningPhoenix(RunningServer):
    """A Phoenix server over SQLite; it answers before it has stored anything."""

    name = "phoenix"
    roles = ("http", "grpc")
    health = ("http", "/healthz")

    def command(self) -> list[str]:
        """All settings are in the environment."""
        return [str(self.program), "serve"]

    def environment(self) -> dict[str, str]:
        """Nothing is reported to anybody or fetched. Its gRPC port listens everywhere, whatever the host is."""
        return {
            "PHOENIX_WORKING_DIR": str(self.folder),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.port("http")),
            "PHOENIX_GRPC_PORT": str(self.port("grpc")),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
            "PHOENIX_ENABLE_MCP_SERVER": "false",
        }


Server = TypeVar("Server", bound=RunningServer)


def opened(server: Server) -> Server:
    """The server, ready. Close it."""
    server.open()
    return server
