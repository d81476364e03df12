"""What is no ClickHouse, or does not answer: one clear error each, which names what and where, and no secret."""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from otel_agent_trace import ConfigurationError, SourceError, load_runs, run_to_spans
from otel_agent_trace.sources.clickhouse import ClickHouseSource
from tests.support.clickhouse import PASSWORD
from tests.support.http_servers import serving
from tests.support.sample_runs import make_run

SECRET = "hunter2-hunter2"


def refusal(source: str, **options: Any) -> str:
    """The message, which is one line."""
    with pytest.raises(SourceError) as refused:
        load_runs(ClickHouseSource(source, **options))
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 500
    assert SECRET not in text
    return text


def test_nobody_there(free_port):
    text = refusal(f"clickhouse://me:{SECRET}@127.0.0.1:{free_port}/db")
    assert text.startswith(f"clickhouse://127.0.0.1:{free_port}/db: the connection was refused; the address names")


def test_an_unknown_host():
    assert "the host is unknown" in refusal("clickhouse://no-such-host.invalid/db")


def test_no_such_database(clickhouse):
    address = clickhouse.server.address("http")
    assert refusal(f"clickhouse://{address}/none") == f"clickhouse://{address}/none: there is no database 'none'"


def test_no_such_table(clickhouse):
    text = refusal(f"{clickhouse.url}?table=spans")
    assert f"there is no table 'spans' in the database '{clickhouse.name}'; ?table=NAME names another one" in text


def test_another_table(clickhouse):
    clickhouse.run("CREATE TABLE spans (TraceId String) ENGINE = MergeTree ORDER BY TraceId")
    assert "the table 'spans' is not as the Collector's exporter makes it" in refusal(f"{clickhouse.url}?table=spans")


def test_a_table_of_the_option_json(clickhouse):
    clickhouse.run("CREATE TABLE spans (Timestamp DateTime64(9), SpanAttributes JSON) ENGINE = MergeTree ORDER BY ()")
    clickhouse.run("INSERT INTO spans VALUES (1, '{}')")
    assert "holds attributes as JSON" in refusal(f"{clickhouse.url}?table=spans")


def test_a_wrong_password(clickhouse):
    host = clickhouse.server.address("http")
    text = refusal(f"clickhouse://reader:{SECRET}@{host}/{clickhouse.name}")
    assert text.endswith("access denied: the user or the password is wrong")


def test_the_right_password(clickhouse):
    clickhouse.insert(run_to_spans(make_run(1)))
    url = f"clickhouse://reader:{PASSWORD}@{clickhouse.server.address('http')}/{clickhouse.name}"
    [run] = load_runs(url)
    assert run.run_id == make_run(1).run_id
    assert PASSWORD not in ClickHouseSource(url).name


class Other(BaseHTTPRequestHandler):
    """Give every request the same answer."""

    status, body = 200, b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>hello</html>"), (200, b""), (200, b'{"a": 1}'), (200, b"\xff\xfe\0" * 9), (404, b"no"), (500, b"")],
)
def test_another_server(status, body):
    handler = type("Other", (Other,), {"status": status, "body": body})
    with serving(HTTPServer(("127.0.0.1", 0), handler)) as port:
        assert "the answer is not that of ClickHouse" in refusal(f"clickhouse://me:{SECRET}@127.0.0.1:{port}/db")


def test_a_server_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert "no answer in time" in refusal(f"clickhouse://127.0.0.1:{port}/db", timeout_s=0.5)


def test_tls_where_there_is_none(clickhouse):
    host = clickhouse.server.address("http")
    assert "the TLS connection failed" in refusal(f"clickhouses://{host}/{clickhouse.name}")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'otel-agent-trace\[clickhouse\]'"):
        load_runs(ClickHouseSource(f"clickhouse://me:{SECRET}@127.0.0.1/db"))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("clickhouse:///db", "no valid host"),
        (f"clickhouse://me:{SECRET}@h:x/db", "the address is invalid"),
        ("clickhouse://h/a/b", "the path must be the name of a database"),
        ("clickhouse://h/a?tabel=x", "no parameter 'tabel'"),
        ("clickhouse://h/a?secure=maybe", "secure must be true or false"),
    ],
)
def test_addresses(address, reason):
    assert reason in refusal(address)


def test_names_of_tables_and_databases_are_quoted(clickhouse):
    name = "odd ` table \\ name"
    clickhouse.run(f"CREATE TABLE {quoted(name)} AS otel_traces")
    clickhouse.insert(run_to_spans(make_run(1)), quoted(name))
    assert len(load_runs(f"{clickhouse.url}?table=odd%20%60%20table%20%5C%20name")) == 1


def quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
