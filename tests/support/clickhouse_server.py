"""A program: ClickHouse's engine (chdb) behind as much of its HTTP interface as clients of it use.

    python clickhouse_server.py PORT PASSWORD

Each request has a session of its own: the database and settings of its parameters, bound parameters (`param_NAME`), and
what is inserted in the body, compressed or not. The user is `default`, with any password; or `reader`, with that one.
"""

from __future__ import annotations

import base64
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from itertools import chain
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb

_OWN_PARAMETERS = frozenset(
    ("query", "database", "user", "password", "query_id", "session_id", "compress", "decompress", "wait_end_of_query")
    + ("buffer_size", "client_protocol_version", "default_format", "enable_http_compression", "role")
    + ("send_progress_in_http_headers", "http_headers_progress_interval_ms", "quota_key", "session_timeout")
)
"""Parameters that are no settings of the engine."""
_STREAMED = frozenset({"Native", "TabSeparated", "TSV", "JSONEachRow", "RowBinary"})  # those without a head
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT = re.compile(rb"\s*INSERT\b.*?\bFORMAT\s+\w+", re.IGNORECASE | re.DOTALL)
_DECOMPRESSORS = {"gzip": "gzip", "lz4": "lz4.frame", "zstd": "zstandard"}
_READS = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")
_STATUSES = {"60": 404, "81": 404, "47": 404, "62": 400, "456": 400, "159": 408, "194": 401, "516": 403}
"""Number of an error → HTTP status; others are 500."""
_READER = "reader"


class Server(ThreadingHTTPServer):
    """The server; it ends with the program."""

    daemon_threads = True

    def __init__(self, port: int, password: str) -> None:
        self.password = password
        self.engine = chdb.connect(":memory:")  # the engine is there as long as this one is open
        super().__init__(("127.0.0.1", port), Handler)


class Refused(RuntimeError):
    """An error of the engine's kind."""


class Handler(BaseHTTPRequestHandler):
    """Answer requests as ClickHouse does."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # small packets wait for each other's acknowledgement
    server: Server

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/ping":
            self._send(200, b"Ok.\n")
        else:
            self._answer(b"")

    def do_POST(self) -> None:
        body = self._body()
        if self.headers.get_content_type() == "multipart/form-data":  # what would make the address too long
            self._answer(b"", fields_of(self.headers["Content-Type"], body))
        else:
            self._answer(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing but errors."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _decompressed(self, body: bytes) -> bytes:
        encoding = self.headers.get("Content-Encoding")
        return import_module(_DECOMPRESSORS[encoding]).decompress(body) if encoding else body

    def _answer(self, body: bytes, fields: Mapping[str, str] = MappingProxyType({})) -> None:
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)) | dict(fields)
        try:
            self._log_in(parameters)
            with session(parameters) as engine:
                self._run(engine, parameters, body)
        except RuntimeError as error:
            self._refuse(str(error))

    def _log_in(self, parameters: dict[str, str]) -> None:
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(encoded).decode().partition(":") if scheme == "Basic" else ("", "", "")
        user, password = parameters.get("user", user), parameters.get("password", password)
        if user not in ("", "default") and (user, password) != (_READER, self.server.password):
            text = f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
            raise Refused(f"Code: 516. DB::Exception: {text} (AUTHENTICATION_FAILED)")

    def _run(self, engine: Any, parameters: dict[str, str], body: bytes) -> None:
        query, body = statement_and_data(parameters.get("query", ""), self._decompressed(body))
        bound = {name.removeprefix("param_"): text for name, text in parameters.items() if name.startswith("param_")}
        if body:
            with tempfile.NamedTemporaryFile() as file:
                file.write(body)
                file.flush()
                engine.query(with_file(query, file.name), "TabSeparated", params=bound)
            self._send(200, b"")
            return
        found = _FORMAT.search(query)
        form = found[1] if found else parameters.get("default_format", "TabSeparated")
        if form in _STREAMED and _READS.match(query):
            self._stream(form, (part.bytes() for part in engine.send_query(query, form, params=bound)))
        else:
            self._send(200, engine.query(query, form, params=bound).bytes(), form)

    def _stream(self, form: str, parts: Iterator[bytes]) -> None:
        """Send parts as they come; an error after the first one stands at the end of a torn answer."""
        first = next(parts, b"")
        self._head(200, form)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in filter(None, chain([first], parts)):
                self._chunk(part)
        except RuntimeError as error:
            self._chunk(f"\r\n{error}".encode())
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, part: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def _refuse(self, text: str) -> None:
        [code] = _CODE.findall(text)[:1] or ["1001"]
        body = f"{text} (version {chdb.engine_version})\n".encode()
        self._head(_STATUSES.get(code, 500), "TabSeparated")
        self.send_header("X-ClickHouse-Exception-Code", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, status: int, body: bytes, form: str = "TabSeparated") -> None:
        self._head(status, form)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, status: int, form: str) -> None:
        self.send_response(status)
        self.send_header("X-ClickHouse-Format", form)
        self.send_header("X-ClickHouse-Timezone", "UTC")


@contextmanager
def session(parameters: dict[str, str]) -> Iterator[Any]:
    """A connection to the engine with the database and the settings of a request."""
    engine = chdb.connect(":memory:")
    try:
        if parameters.get("database"):
            engine.query(f"USE {quoted(parameters['database'], '`')}")
        for name, text in parameters.items():
            if name not in _OWN_PARAMETERS and not name.startswith("param_"):
                engine.query(f"SET {quoted(name, '`')} = {quoted(text, chr(39))}")
        yield engine
    finally:
        engine.close()


def fields_of(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a form, among them the statement as `query`."""
    form = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    parts = form.get_payload()
    assert isinstance(parts, list)
    return {
        str(part.get_param("name", header="Content-Disposition")): part.get_payload(decode=True).decode()
        for part in parts
    }


def statement_and_data(query: str, body: bytes) -> tuple[str, bytes]:
    """The statement, of which the body holds the whole or the rest, and the data to insert behind it."""
    inserts = _INSERT.match(query.encode() if query else body)
    if inserts is None:
        return f"{query}\n{body.decode()}".strip(), b""
    return (query, body) if query else (inserts[0].decode(), body[inserts.end() :].removeprefix(b"\n"))


def with_file(query: str, path: str) -> str:
    """The statement that inserts what stands in a file, in place of one that inserts what follows it."""
    found = _FORMAT.search(query)
    statement, form = (query[: found.start()], found[1]) if found else (query, "Values")
    return f"{statement} FROM INFILE {quoted(path, chr(39))} FORMAT {form}"


def quoted(text: str, quote: str) -> str:
    """A text as it stands in SQL."""
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return f"{quote}{escaped}{quote}"


if __name__ == "__main__":
    Server(int(sys.argv[1]), sys.argv[2]).serve_forever()
