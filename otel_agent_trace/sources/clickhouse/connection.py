"""Send statements to a ClickHouse server by `clickhouse-connect`, and raise errors that name what is wrong."""

from __future__ import annotations

import logging
import math
import re
import struct
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from otel_agent_trace.errors import AgentTraceError, SourceError
from otel_agent_trace.extras import needed_by
from otel_agent_trace.http import SecretScrubber
from otel_agent_trace.sources.clickhouse.address import DEFAULT_PORT, ClickHouseAddress

Row = Sequence[Any]
_CONNECT_S = 10
_CODE = re.compile(r"ClickHouse exception, code: (\d+)|\bCode: (\d+)\. DB::Exception")
_TEXT = re.compile(r"DB::Exception: (.*?)(?: \(version [^)]*\)+.*)?$", re.DOTALL)
_UNKNOWN_TABLE, _UNKNOWN_DATABASE, _UNKNOWN_IDENTIFIER = 60, 81, 47
_TIMEOUTS = frozenset({159, 209})
_DENIALS = frozenset({192, 193, 194, 516})
_ADVICE = f"the address names ClickHouse's HTTP port, by default {DEFAULT_PORT}"


class Options(NamedTuple):
    """Hold how to connect: the timeout of a response in seconds, and how to check the certificate of the server."""

    timeout_s: float
    verify: bool | str


class Connection:
    """Send statements to a server, in the database of its address.

    Args:
        address: the address.
        client: the client of `clickhouse_connect`.
    """

    def __init__(self, address: ClickHouseAddress, client: Any) -> None:
        self._address, self._client = address, client
        self.table = quoted(address.table)
        """Name of the table with the spans, quoted for statements."""

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Return all rows of a statement, in which ``{name:Type}`` stands for a parameter.

        Raises:
            SourceError: the statement cannot be run.
        """
        with _errors_named(self._address):
            rows: list[Row] = self._client.query(statement, dict(parameters or {})).result_rows
            return rows

    def blocks(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Generator[list[Row]]:
        """Yield the rows of a statement in the blocks in which the server sends them.

        Raises:
            SourceError: the statement cannot be run, or ends early.
        """
        with (
            _errors_named(self._address),
            self._client.query_row_block_stream(statement, dict(parameters or {})) as stream,
        ):
            yield from stream


@contextmanager
def connected(address: ClickHouseAddress, options: Options) -> Iterator[Connection]:
    """Connect to a server for the time of a block.

    Raises:
        ConfigurationError: `clickhouse-connect` is not installed.
        SourceError: nobody answers, there is no such database, or access is denied.
    """
    with _errors_named(address):
        client = _client(address, options)
    try:
        yield Connection(address, client)
    finally:
        client.close()


def quoted(identifier: str) -> str:
    """Return the name of a database, a table or a column as it stands in statements."""
    escaped = identifier.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _client(address: ClickHouseAddress, options: Options) -> Any:
    with needed_by(address.name, "clickhouse"):
        import clickhouse_connect  # noqa: PLC0415 - slow, and not everybody has it
    # It logs what it raises as well; without a handler, Python would print that on stderr.
    logging.getLogger("clickhouse_connect").addHandler(_NO_OUTPUT)
    login: dict[str, Any] = (
        {} if address.login is None else {"username": address.login.user, "password": address.login.password}
    )
    return clickhouse_connect.get_client(
        host=address.host,
        port=address.port,
        database=address.database,
        secure=address.is_secure,
        verify=options.verify is not False,
        ca_cert=options.verify if isinstance(options.verify, str) else None,
        connect_timeout=_CONNECT_S,
        send_receive_timeout=math.ceil(options.timeout_s),
        query_limit=0,
        autogenerate_session_id=False,  # a session allows one statement at a time
        **login,
    )


_NO_OUTPUT = logging.NullHandler()


@contextmanager
def _errors_named(address: ClickHouseAddress) -> Iterator[None]:
    """Raise the errors of the client as `SourceError`s with the name of the server.

    A server of another kind may send anything, on which decoding fails with an error of Python's own.
    """
    try:
        yield
    except AgentTraceError:
        raise
    except Exception as error:
        if not _is_of_client(error):
            raise
        raise SourceError(f"{address.name}: {_reason(address, error)}") from None


_DECODE_ERRORS = (LookupError, ValueError, TypeError, EOFError, struct.error)


def _is_of_client(error: Exception) -> bool:
    """Return whether the client raised an error of its own, or one of Python's on an answer that it cannot decode."""
    return type(error).__module__.startswith(("clickhouse_connect", "urllib3")) or isinstance(error, _DECODE_ERRORS)


def _reason(address: ClickHouseAddress, error: Exception) -> str:
    """Return what an error means, with advice, on one line and without secrets."""
    text = str(error)
    code = _code(text)
    if code == _UNKNOWN_DATABASE:
        return f"there is no database {address.database!r}"
    if code == _UNKNOWN_TABLE:
        return (
            f"there is no table {address.table!r} in the database {address.database!r}; ?table=NAME names another one"
        )
    if code in _DENIALS:
        return "access denied: the user or the password is wrong"
    shown = SecretScrubber(() if address.login is None else address.login)
    if code == _UNKNOWN_IDENTIFIER:
        return f"the table {address.table!r} is not as the Collector's exporter makes it: {shown(_text(text))}"
    if code is not None:
        return f"the statement failed ({code}): {shown(_text(text))}"
    return f"{_failure(error)}; {_ADVICE}"


def _code(text: str) -> int | None:
    found = _CODE.search(text)
    return None if found is None else int(found[1] or found[2])


def _text(text: str) -> str:
    found = _TEXT.search(text)
    return text if found is None else found[1]


def _failure(error: BaseException) -> str:
    """Return why there is no answer, by the causes of an error."""
    names = set()
    cause: BaseException | None = error
    while cause is not None:
        names.add(type(cause).__name__)
        cause = getattr(cause, "reason", None) if _has_reason(cause) else cause.__cause__ or cause.__context__
    if names & {"ConnectTimeoutError", "ReadTimeoutError"}:
        return "no answer in time; ask for a shorter time (since, until), or wait longer (timeout_s)"
    if "NameResolutionError" in names:
        return "the host is unknown"
    if names & {"SSLError", "SSLCertVerificationError"}:
        return "the TLS connection failed"
    if names & {"NewConnectionError", "ConnectionRefusedError"}:
        return "the connection was refused"
    return "the answer is not that of ClickHouse, or incomplete"


def _has_reason(error: BaseException) -> bool:
    return isinstance(getattr(error, "reason", None), BaseException)
