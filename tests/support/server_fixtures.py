"""A pytest plugin: programs of others for tests to talk to, started on demand, their logs in the report of what fails."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.clickhouse import ClickHouseDatabase, NoStatementsError, RunningClickHouse, exporter_templates
from tests.support.processes import ROOT
from tests.support.requirements import OLDER, STRICT, cannot_run, need_package
from tests.support.running_servers import (
    ALIVE,
    COLLECTOR_CONFIG,
    RunningCollector,
    RunningJaeger,
    RunningMLflow,
    RunningPhoenix,
    opened,
)

BUILD = ROOT / "tests" / "servers" / "build.py"


class StartCollector(Protocol):
    """Start a Collector with a configuration, and what it needs beside its own addresses."""

    def __call__(
        self,
        config: Path = COLLECTOR_CONFIG,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        options: Sequence[str] = (),
    ) -> RunningCollector: ...


StartJaeger = Callable[[], RunningJaeger]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of the servers' logs, if a test fails while they run."""
    report = yield
    if report.failed:
        report.sections += [(f"the log of {server.name} {server.log}", server.log_tail()) for server in ALIVE]
    return report


def _made(program: str) -> Path:
    """Where a program is; where all tests must run it is made, and the others who need it wait meanwhile."""
    command = [sys.executable, str(BUILD), program, *([] if STRICT else ["--made"]), *(["--older"] if OLDER else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        cannot_run(done.stderr.strip())
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    """The Collector's program."""
    return _made("collector")


@pytest.fixture(scope="session")
def jaeger_binary() -> Path:
    """Jaeger's program."""
    return _made("jaeger")


@pytest.fixture(scope="session")
def mlflow_program() -> Path:
    """The command `mlflow`."""
    return _made("mlflow")


@pytest.fixture(scope="session")
def phoenix_program() -> Path:
    """The command `phoenix`."""
    return _made("phoenix")


@pytest.fixture
def start_collector(collector_binary: Path, tmp_path: Path) -> Iterator[StartCollector]:
    """Starts Collectors, each in a folder of its own, and ends them when the test is over."""
    with ExitStack() as ends:

        def start(
            config: Path = COLLECTOR_CONFIG,
            env: Mapping[str, str] | None = None,
            folder: Path | None = None,
            options: Sequence[str] = (),
        ) -> RunningCollector:
            home = folder or Path(tempfile.mkdtemp(prefix="collector-", dir=tmp_path))
            server = opened(RunningCollector(collector_binary, home, env, config, options))
            ends.callback(server.close)
            return server

        yield start


@pytest.fixture
def start_jaeger(jaeger_binary: Path, tmp_path: Path) -> Iterator[StartJaeger]:
    """Starts Jaegers of this test alone."""
    with ExitStack() as ends:

        def start() -> RunningJaeger:
            home = Path(tempfile.mkdtemp(prefix="jaeger-", dir=tmp_path))
            server = opened(RunningJaeger(jaeger_binary, home))
            ends.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="session")
def jaeger_server(jaeger_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningJaeger]:
    """A Jaeger that all tests share: look for your own trace or service."""
    server = opened(RunningJaeger(jaeger_binary, tmp_path_factory.mktemp("jaeger")))
    yield server
    server.close()


@pytest.fixture(scope="session")
def collector_server(
    collector_binary: Path, jaeger_server: RunningJaeger, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningCollector]:
    """A Collector that all tests share, before the Jaeger that they share."""
    env = {"JAEGER_OTLP_GRPC": jaeger_server.address("otlp_grpc")}
    server = opened(RunningCollector(collector_binary, tmp_path_factory.mktemp("collector"), env))
    yield server
    server.close()


@pytest.fixture(scope="session")
def mlflow_server(mlflow_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMLflow]:
    """An MLflow that all tests share."""
    server = opened(RunningMLflow(mlflow_program, tmp_path_factory.mktemp("mlflow")))
    yield server
    server.close()


@pytest.fixture(scope="session")
def phoenix_server(phoenix_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPhoenix]:
    """A Phoenix that all tests share."""
    server = opened(RunningPhoenix(phoenix_program, tmp_path_factory.mktemp("phoenix")))
    yield server
    server.close()


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClickHouse]:
    """A ClickHouse that all tests share."""
    need_package("chdb", "test")
    need_package("clickhouse-connect", "test")
    server = opened(RunningClickHouse(tmp_path_factory.mktemp("clickhouse")))
    yield server
    server.close()


@pytest.fixture(scope="session")
def clickhouse_templates() -> dict[str, str]:
    """The statements that make the exporter's tables."""
    try:
        return exporter_templates()
    except NoStatementsError as error:
        cannot_run(str(error))


@pytest.fixture
def clickhouse_databases(
    clickhouse_server: RunningClickHouse, clickhouse_templates: dict[str, str]
) -> Iterator[Callable[[], ClickHouseDatabase]]:
    """Makes databases with the exporter's tables, without rows."""
    with ExitStack() as ends:

        def make() -> ClickHouseDatabase:
            name = f"test_{uuid.uuid4().hex}"
            default = ClickHouseDatabase(clickhouse_server, "default", clickhouse_templates)
            default.run(f"CREATE DATABASE {name}")
            ends.callback(default.run, f"DROP DATABASE {name}")
            made = ClickHouseDatabase(clickhouse_server, name, clickhouse_templates)
            made.make_tables()
            return made

        yield make


@pytest.fixture
def clickhouse(clickhouse_databases: Callable[[], ClickHouseDatabase]) -> ClickHouseDatabase:
    """A database of this test alone with the exporter's tables, without rows."""
    return clickhouse_databases()
