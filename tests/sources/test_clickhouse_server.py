"""The server of the tests: ClickHouse's engine, the exporter's tables, and the client that the library uses."""

from __future__ import annotations

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from otel_agent_trace import run_to_spans
from tests.support.clickhouse import PASSWORD, ClickHouseDatabase
from tests.support.sample_runs import BEGAN_NS, make_run


def _client(database: ClickHouseDatabase, **options):
    port = database.server.port("http")
    return clickhouse_connect.get_client(host="127.0.0.1", port=port, **{"database": database.name, **options})


def _spans_of_runs(count: int):
    return [span for number in range(count) for span in run_to_spans(make_run(number))]


def test_rows_of_spans_come_back(clickhouse):
    spans = _spans_of_runs(3)
    clickhouse.insert(spans)
    with _client(clickhouse) as client:
        found = client.query("SELECT SpanId, toUnixTimestamp64Nano(Timestamp) FROM otel_traces").result_rows
        times = client.query("SELECT count(), toUnixTimestamp(min(Start)) FROM otel_traces_trace_id_ts").result_rows
    assert sorted(found) == sorted((span.span_id, span.start_ns) for span in spans)
    assert times == [(3, BEGAN_NS // 10**9)]


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "lz4"])
def test_the_client_inserts_and_binds_parameters(clickhouse, compress):
    with _client(clickhouse, compress=compress) as client:
        client.command("CREATE TABLE made (name String, many Int64) ENGINE = MergeTree ORDER BY name")
        client.insert("made", [["it's\n\\", -1], ["other", 2**63 - 1]], column_names=["name", "many"])
        found = client.query("SELECT many FROM made WHERE name = {name:String}", {"name": "it's\n\\"}).result_rows
        with client.query_row_block_stream("SELECT number FROM numbers(200000)") as blocks:
            sizes = [len(block) for block in blocks]
    assert found == [(-1,)]
    assert sum(sizes) == 200_000
    assert len(sizes) > 1


@pytest.mark.parametrize(
    ("statement", "code"), [("SELECT * FROM missing", 60), ("SELECT )", 62), ("SELECT {a:String}", 456)]
)
def test_errors_have_the_engines_numbers(clickhouse, statement, code):
    with _client(clickhouse) as client, pytest.raises(DatabaseError) as raised:
        client.query(statement)
    assert raised.value.code == code


def test_a_user_needs_the_password(clickhouse):
    with _client(clickhouse, username="reader", password=PASSWORD) as client:
        assert client.query("SELECT 1").result_rows == [(1,)]
    with pytest.raises(DatabaseError) as raised:
        _client(clickhouse, username="reader", password="wrong")
    assert raised.value.code == 516


def test_each_database_is_its_own(clickhouse_databases):
    one, other = clickhouse_databases(), clickhouse_databases()
    one.insert(_spans_of_runs(1))
    assert other.run("SELECT count() FROM otel_traces") == b"0\n"
