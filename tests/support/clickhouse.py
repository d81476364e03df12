"""ClickHouse for tests: a running server, the exporter's statements out of its Go module, and a database with rows."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from otel_agent_trace.span import SpanRecord
from tests.support.clickhouse_rows import row_of
from tests.support.processes import ROOT
from tests.support.running_servers import RunningServer

PASSWORD = "made-up-passw0rd"
"""That of the user `reader`; the user `default` needs none."""
TABLE = "otel_traces"
_PROGRAM = Path(__file__).with_name("clickhouse_server.py")
_MANIFEST = ROOT / "tests" / "servers" / "collector" / "builder.yaml"
_EXPORTER = re.compile(r"gomod: (\S+/clickhouseexporter) (v\S+)")
_TEMPLATES = ("traces_table.sql", "traces_id_ts_lookup_table.sql", "traces_id_ts_lookup_mv.sql")
_VERB = re.compile(r"%[qs]")
_ANSWER_S = 60.0


class RunningClickHouse(RunningServer):
    """ClickHouse's engine behind its HTTP interface."""

    name = "clickhouse"
    roles = ("http",)
    health = ("http", "/ping")

    def __init__(self, folder: Path) -> None:
        super().__init__(Path(sys.executable), folder)

    def command(self) -> list[str]:
        """Run the program beside this module."""
        return [str(self.program), str(_PROGRAM), str(self.port("http")), PASSWORD]

    def environment(self) -> dict[str, str]:
        """It needs none."""
        return {}


class NoStatementsError(Exception):
    """The statements of the exporter cannot be had here; holds why."""


def exporter_templates() -> dict[str, str]:
    """Return the statements by which the exporter of the tests' Collector makes its tables for traces, by file.

    Raises:
        NoStatementsError: there is no Go, or its module proxy has not the module.
    """
    found = _EXPORTER.search(_MANIFEST.read_text(encoding="utf-8"))
    assert found, f"{_MANIFEST} names no clickhouseexporter"
    if shutil.which("go") is None:
        raise NoStatementsError(
            "the statements of the Collector's clickhouseexporter come with Go, which is not on PATH"
        )
    command = ["go", "mod", "download", "-json", "@".join(found.groups())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_MANIFEST.parent)
    if done.returncode:
        raise NoStatementsError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    folder = Path(json.loads(done.stdout)["Dir"]) / "internal" / "sqltemplates"
    return {name: (folder / name).read_text(encoding="utf-8") for name in _TEMPLATES}


@dataclass(frozen=True)
class ClickHouseDatabase:
    """A database of a server; `table` is where its spans are."""

    server: RunningClickHouse
    name: str
    templates: dict[str, str]

    @property
    def url(self) -> str:
        """The address for the library."""
        return f"clickhouse://{self.server.address('http')}/{self.name}"

    def run(self, statement: str, body: bytes = b"", **settings: Any) -> bytes:
        """Run a statement, which the body may complete, and return the answer."""
        query = urlencode({"query": statement, "database": self.name, **settings})
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port("http"), timeout=_ANSWER_S)
        try:
            connection.request("POST", f"/?{query}", body)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status == http.client.OK, answer.decode()
        return answer

    def make_tables(self, table: str = TABLE) -> None:
        """Make the tables as the exporter does at its start."""
        table_of_traces, table_of_times, view = (self.templates[name] for name in _TEMPLATES)
        self.run(_rendered(table_of_traces, self.name, table, "", "MergeTree()", ""))
        self.run(_rendered(table_of_times, self.name, table, "", "MergeTree()", ""))
        self.run(_rendered(view, self.name, table, "", self.name, table, self.name, table))

    def insert(self, spans: Iterable[SpanRecord], table: str = TABLE) -> None:
        """Add the rows of spans, as one insert."""
        rows = b"\n".join(msgspec.json.encode(row_of(span)) for span in spans)
        if rows:
            self.run(f"INSERT INTO {table} FORMAT JSONEachRow", rows)


def _rendered(template: str, *arguments: str) -> str:
    """Return a format of Go with its arguments in place of its verbs."""
    rest = iter(arguments)
    return _VERB.sub(lambda verb: f'"{next(rest)}"' if verb[0] == "%q" else next(rest), template)
