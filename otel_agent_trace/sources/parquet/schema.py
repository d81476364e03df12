"""Define the columns of ``runs.parquet``, ``spans.parquet`` and ``dropped.parquet``, and how the files are marked as ours.

The first two have `run_number`, which counts the runs of an export from 0: `run_id` need not be unique. Times are there twice: as
timestamps in microseconds, which all engines of SQL read, and as whole Unix nanoseconds.
"""

from __future__ import annotations

import os
from typing import Any

from otel_agent_trace.errors import SourceError
from otel_agent_trace.model import TOKEN_FIELDS
from otel_agent_trace.sources.parquet.packages import pyarrow

RUNS, SPANS, DROPPED = "runs.parquet", "spans.parquet", "dropped.parquet"
NS_PER_US = 1000
_FORMAT_KEY, _FORMAT = b"otel_agent_trace.parquet", b"1"
_EXPORT_KEY = b"otel_agent_trace.export_id"
_PRICES_KEY = b"otel_agent_trace.prices"
_OWN_PRICES_KEY = b"otel_agent_trace.own_prices"
_READERS = ("list", "show", "explain", "sessions", "metrics", "diff", "replay", "scan", "status")

_TIMES = {
    "started_at": "time",
    "ended_at": "time",
    "started_at_ns": "int",
    "ended_at_ns": "int",
    "duration_s": "double",
    "first_chunk_at_ns": "int",
}
_USED = dict.fromkeys(TOKEN_FIELDS, "int") | {"cost_usd": "double", "cost_pico_usd": "int", "priced_calls": "int"}
_ERROR = {"error_type": "text", "error_message": "text", "error_category": "text"}
_ATTRIBUTES = {"attributes": "map", "attribute_types": "map"}

RUN_COLUMNS = {
    "run_number": "int",
    "run_id": "text",
    "run_ids": "texts",
    "trace_id": "text",
    "trace_ids": "texts",
    "parent_run_id": "text",
    "agent_name": "text",
    "user_input": "text",
    "final_output": "text",
    "status": "text",
    "interrupted": "bool",
    "interrupted_for": "text",
    "abandoned": "bool",
    **_TIMES,
    **_ERROR,
    "model": "text",
    **_USED,
    "unpriced": "texts",
    "step_count": "int",
    "has_loop": "bool",
    "retries": "int",
    "has_tool_errors": "bool",
    "user_id": "text",
    "session_id": "text",
    "service_name": "text",
    "service_version": "text",
    "environment": "text",
    "prompt_name": "text",
    "prompt_version": "text",
    "replay_of": "text",
    "continues": "text",
    "sampling_probability": "double",
    "tags": "texts",
    "tools": "texts",
    "failed_tools": "texts",
    "models": "texts",
    "providers": "texts",
    "services": "texts",
    "scores": "scores",
    "metadata": "map",
    "metadata_types": "map",
    **_ATTRIBUTES,
    "resource": "map",
    "resource_types": "map",
}
"""Column of ``runs.parquet`` → its type; they are fields of `AgentRun`, and what is known of all that is below it.

`run_ids`, `tools`, `failed_tools`, `models`, `providers`, `services`, `scores`, `step_count`, the tokens and the cost are of
the run and of its sub-agents; the tokens are those of `usage`, none of which counts twice, the scores those that count.
`cost_pico_usd` is the cost in 1e-12 dollars, `priced_calls` of how many calls; it is NULL where the cost does not fit.
`unpriced` has the model of each call without a price, `retries` are calls, `providers` are empty for calls without one.
"""

SPAN_COLUMNS = {
    "run_number": "int",
    "run_id": "text",
    "trace_id": "text",
    "span_id": "text",
    "parent_span_id": "text",
    "step_id": "text",
    "index": "int",
    "kind": "text",
    "name": "text",
    "agent_name": "text",
    **_TIMES,
    "input": "text",
    "output": "text",
    "abandoned": "bool",
    "paused": "bool",
    **_ERROR,
    "model": "text",
    "request_model": "text",
    **_USED,
    "is_innermost": "bool",
    "is_loop": "bool",
    "is_retry": "bool",
    "prompt_name": "text",
    "prompt_version": "text",
    "sampling_probability": "double",
    "span_name": "text",
    "span_kind": "int",
    "status_code": "int",
    "status_message": "text",
    "trace_state": "text",
    "flags": "int",
    **_ATTRIBUTES,
    "events": "events",
    "links": "links",
    "resource": "map",
    "resource_types": "map",
    "resource_schema_url": "text",
    "scope_name": "text",
    "scope_version": "text",
    "scope": "map",
    "scope_types": "map",
    "scope_schema_url": "text",
}
"""Column of ``spans.parquet`` → its type. Fields of `AgentStep` first, without a value for the span of an outermost run.

`agent_name` is that of a sub-agent, for a step of kind agent; `is_innermost` whether the tokens of a call count, since it
wraps no other call that has some; `is_loop` is true for one call of a tool that looped in its outermost run.
The cost of a tool is that of the model calls below it; where a tool is below itself, one of the two steps has it.
`sampling_probability` is that of the outermost run. The rest, from `span_name` on, is the span itself.
"""


DROPPED_COLUMNS = {"agent": "text", "status": "text", "hour": "time", "traces": "int", "is_certain": "bool"}
"""Column of ``dropped.parquet`` → its type; a row has the fields of `sampling.DroppedTraces`.

Exports of earlier versions lack the file; without rows, nothing is known of what was dropped.
"""
COLUMNS = {RUNS: RUN_COLUMNS, SPANS: SPAN_COLUMNS, DROPPED: DROPPED_COLUMNS}
"""Name of a file → its columns."""


def is_parquet_folder(path: str) -> bool:
    """Return whether a path is a folder with ``runs.parquet``."""
    return os.path.isfile(os.path.join(path, RUNS))


def check_is_no_export(path: str) -> None:
    """Check that a path is neither the folder of an export nor a file of one.

    Raises:
        SourceError: it is; the message has what to do.
    """
    folder, name = os.path.split(path)
    if is_parquet_folder(path):
        msg = f"{path}: a Parquet export, which only {', '.join(_READERS)} and export read; this takes files of spans"
        raise SourceError(msg)
    if name in COLUMNS and is_parquet_folder(folder):
        msg = f"{path}: a file of a Parquet export, which is read as a whole: name its folder, {folder or '.'}"
        raise SourceError(msg)


def schema_of(columns: dict[str, str], export_id: str, prices: str, own_prices: str = "") -> Any:
    """Return the schema of a file with some columns, with the marks of an export.

    These are its id, the version of its prices, and those of them that are one's own, as `Prices.own_text` has them.
    """
    pa = pyarrow()
    types = _types(pa)
    marks = {_FORMAT_KEY: _FORMAT, _EXPORT_KEY: export_id.encode(), _PRICES_KEY: prices.encode()}
    marks[_OWN_PRICES_KEY] = own_prices.encode()
    fields = [pa.field(name, types[kind]) for name, kind in columns.items()]
    return pa.schema(fields, metadata=marks)


def _types(pa: Any) -> dict[str, Any]:
    text, integer = pa.string(), pa.int64()
    texts = pa.map_(text, text)
    attributes = [("attributes", texts), ("attribute_types", texts)]
    score = [
        *(
            ("name", text),
            ("value", pa.float64()),
            ("value_text", text),
            ("is_bool", pa.bool_()),
            ("label", text),
            ("explanation", text),
        ),
        *(("source", text), ("at_ns", integer), ("is_of_run", pa.bool_())),
    ]
    link = [("trace_id", text), ("span_id", text), ("trace_state", text), *attributes]
    return {
        "int": integer,
        "double": pa.float64(),
        "bool": pa.bool_(),
        "text": text,
        "texts": pa.list_(text),
        "time": pa.timestamp("us", tz="UTC"),
        "map": texts,
        "events": pa.list_(pa.struct([("name", text), ("time_ns", integer), *attributes])),
        "links": pa.list_(pa.struct(link)),
        "scores": pa.list_(pa.struct(score)),
    }


def opened(folder: str, name: str) -> Any:
    """Return a `pyarrow.parquet.ParquetFile` of a folder.

    Raises:
        SourceError: there is none, it is damaged, or it is not one that ``export --to parquet`` writes.
        ConfigurationError: pyarrow is not installed.
    """
    pa, path = pyarrow(), os.path.join(folder, name)
    try:
        file = pa.parquet.ParquetFile(path)
    except FileNotFoundError as error:
        msg = f"{path}: No such file or directory; '{RUNS}' and '{SPANS}' belong together"
        raise SourceError(msg) from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    found = file.schema_arrow
    if (found.metadata or {}).get(_FORMAT_KEY) != _FORMAT or not found.equals(schema_of(COLUMNS[name], "", "")):
        file.close()
        msg = f"{path}: a Parquet file that 'otel-agent-trace export --to parquet' of this version has not written"
        raise SourceError(msg)
    return file


def export_id_of(file: Any) -> bytes:
    """Return the id of the export that a file belongs to, which is the same in all of its files."""
    found: bytes = file.schema_arrow.metadata.get(_EXPORT_KEY, b"")
    return found


def own_prices_in(file: Any) -> str:
    """Return the prices of one's own that an export was written with, as `Prices.own_text` has them."""
    found: bytes = file.schema_arrow.metadata.get(_OWN_PRICES_KEY, b"")
    return found.decode()


def prices_of(folder: str) -> str:
    """Return the version of the prices that an export was made with.

    Raises:
        SourceError: as `opened` does.
        ConfigurationError: pyarrow is not installed.
    """
    with opened(folder, RUNS) as file:
        found: bytes = file.schema_arrow.metadata.get(_PRICES_KEY, b"")
    return found.decode()


def damaged(path: str, error: Exception) -> SourceError:
    """Return the error for a file that cannot be read."""
    return SourceError(f"{path}: damaged, or no Parquet file: {error}")
