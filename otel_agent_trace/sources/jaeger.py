"""Read spans from Jaeger, by its HTTP API v3, or by the older API where that is missing.

The API has no pagination, so traces are read in windows of time, the newest first, each as narrow as needed for a complete
response. In memory are the traces of one window, and about 100 bytes for each trace that was read. A trace is yielded
once, as it is when it is first found: spans that arrive afterwards are missing, unless their whole trace is new.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.formats import jaeger_json, otlp_json
from otel_agent_trace.json_repair import repaired
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.assemble import by_trace
from otel_agent_trace.sources.addresses import Address, parse_address
from otel_agent_trace.sources.http import Answer, HttpReader, TooLargeError
from otel_agent_trace.sources.jaeger_changes import as_sent
from otel_agent_trace.sources.windows import NS_PER_S, Found, TooMuchError, Traces, Windows
from otel_agent_trace.span import Capabilities, Notice, Problem, SpanRecord

HEADERS_VARIABLE = "OTEL_AGENT_TRACE_JAEGER_HEADERS"
SEARCH_DEPTH = 100
"""Number of traces that are requested at once; Jaeger's own default."""
MAX_ANSWER_BYTES = 32 << 20
"""Most bytes of all responses for one window; a single trace may have eight times as many."""

_HOUR_NS, _DAY_NS = 3600 * NS_PER_S, 86400 * NS_PER_S
_END_OF_TIME_NS = 9_190_000_000 * NS_PER_S  # in 2261: Jaeger counts nanoseconds in 63 bits
_BRIEF_NS = NS_PER_S // 1000
_LARGE = 8
_FIRST_CHECKS, _CHECKS = 3, 8
_TRACE_DIGITS = 32
_SHOWN_SERVICES = 20
_HEX = frozenset("0123456789abcdef")
_ADVICE = "Jaeger's API is at the port of its web interface, by default 16686"
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class JaegerSource:
    """Read spans from a Jaeger server; a `SpanSource`.

    Args:
        url: the address ``http(s)://[USER:PASSWORD@]HOST:PORT[/BASE]``, with ``?service=NAME`` for the traces in which
            that service takes part (by default all), or a link to one trace in the web interface or API, which is then
            the only one that is read.
        service: the name of the service, instead of that in the address.
        headers: the headers of every request, which replace those of ``OTEL_AGENT_TRACE_JAEGER_HEADERS`` (``k=v,k2=v2``,
            percent-encoded) with the same names.
        timeout_s: the timeout of one response in seconds, and of all attempts while the server is busy.
        verify: whether to check the certificate of the server, or the path of the CA's file to check it with.
        search_depth: the number of traces to request at once.
        max_answer_bytes: the most bytes of responses that are held in memory at once; larger ones are requested in parts.
        on_progress: called with the number of traces read and None after each trace.

    Raises:
        SourceError: `url` is not a valid address.
        ConfigurationError: an argument has an invalid value.
    """

    capabilities = Capabilities(filters=frozenset({"since", "until", "service", "run_id"}), newest_first=True)

    def __init__(
        self,
        url: str,
        *,
        service: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        verify: bool | str | os.PathLike[str] = True,
        search_depth: int = SEARCH_DEPTH,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        on_progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        if not timeout_s > 0 or search_depth < 1 or max_answer_bytes < 1:
            msg = "timeout_s, search_depth and max_answer_bytes must be greater than 0"
            raise ConfigurationError(msg)
        self._address = parse_address(url)
        self._services = self._address.services if service is None else (service,)
        self._headers = _environment_headers() | {key.lower(): value for key, value in (headers or {}).items()}
        if "authorization" in self._headers:
            self._address = self._address._replace(login=None)
        self._timeout_s, self._verify = timeout_s, verify if isinstance(verify, bool) else os.fspath(verify)
        self._depth, self._max_bytes = search_depth, max_answer_bytes
        self._on_progress = on_progress
        self._query = RunQuery()

    @property
    def name(self) -> str:
        """Return the address without user, password and query."""
        return self._address.name

    def narrowed(self, query: RunQuery) -> JaegerSource:
        """Return the same server with the filters of a query that it can apply: times, service and run id."""
        services = self._services or (() if query.service is None else (query.service,))
        narrow = copy.copy(self)
        narrow.__dict__.update(_query=query, _services=services)
        return narrow

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, those with the latest start first.

        Raises:
            SourceError: the server cannot be reached, denies access, or is no Jaeger server.
        """
        http = _reader(self._address, self._headers, self._timeout_s, self._verify)
        try:
            api = _find_api(http, lambda reason: on_problem(Problem(self.name, 0, reason)))
            limits = _Limits(self._depth, self._max_bytes)
            reading = _Reading(self.name, api, self._services, limits, on_problem)
            count = 0
            for count, spans in enumerate(self._selected(reading), 1):
                if self._on_progress is not None:
                    self._on_progress(count, None)
                yield spans
            if count == 0:
                self._report_unknown_services(api.services, on_problem)
        finally:
            http.close()

    def _report_unknown_services(self, known: tuple[str, ...], on_problem: Callable[[Problem], None]) -> None:
        """Report the selected services that the server does not list, and those that it does."""
        unknown = [service for service in self._services if service not in known]
        if unknown:
            has = f"it has {_some_of(sorted(known))}" if known else "it has none"
            on_problem(Notice(self.name, 0, f"the server lists no service {_some_of(unknown)}; {has}"))

    def _selected(self, reading: _Reading) -> Iterator[list[SpanRecord]]:
        """Yield the traces that address and query select: by id if possible, else by run id or time."""
        query = self._query
        trace_id = self._address.trace_id
        if trace_id is not None:
            yield from reading.one(trace_id)
            return
        begin_ns, end_ns = query.since_ns or 0, query.until_ns
        if not query.run_id:
            yield from reading.all(begin_ns, end_ns)
            return
        found = list(reading.one(query.run_id[:_TRACE_DIGITS])) if _begins_with_trace_id(query.run_id) else []
        yield from found or reading.of_run(query.run_id, begin_ns, end_ns)


def _begins_with_trace_id(run_id: str) -> bool:
    """Return whether a run id is a trace id, or one followed by a span id, as the runs of sub-agents have it."""
    return (
        len(run_id) >= _TRACE_DIGITS
        and _HEX.issuperset(run_id[:_TRACE_DIGITS])
        and run_id[_TRACE_DIGITS : _TRACE_DIGITS + 1] in {"", "-"}
    )


def _some_of(names: list[str]) -> str:
    """Return the first names for a message, and how many there are besides."""
    more = len(names) - _SHOWN_SERVICES
    return ", ".join(map(repr, names[:_SHOWN_SERVICES])) + (f" and {more} more" if more > 0 else "")


def _environment_headers() -> dict[str, str]:
    """Return the headers of ``OTEL_AGENT_TRACE_JAEGER_HEADERS``, with names in lower case."""
    pairs = (pair.partition("=") for pair in os.environ.get(HEADERS_VARIABLE, "").split(",") if pair.strip())
    return {unquote(key).strip().lower(): unquote(value).strip() for key, _, value in pairs}


def _reader(address: Address, headers: Mapping[str, str], timeout_s: float, verify: bool | str) -> HttpReader:
    return HttpReader(
        address.name,
        address.base_url,
        login=address.login,
        headers=headers,
        timeout_s=timeout_s,
        verify=verify,
        advice=_ADVICE,
    )


# ── the two APIs ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Query(NamedTuple):
    """Define a search for traces with a span of a service that started between two times (Unix nanoseconds)."""

    service: str
    begin_ns: int
    end_ns: int
    depth: int
    attributes: Mapping[str, str]


class _Received(NamedTuple):
    traces: Traces
    size: int


class _RefusedError(SourceError):
    """Report that Jaeger refused a request with an error of its own."""


class _Api(Protocol):
    """Describe one of Jaeger's APIs; `smallest_ns` is the resolution of its times."""

    smallest_ns: int
    services: tuple[str, ...]

    def trace(self, trace_id: str, most_bytes: int) -> _Received:
        """Return the trace with an id, or no trace."""
        ...

    def search(self, query: _Query, most_bytes: int) -> _Received:
        """Return the traces that match a query, up to its depth."""
        ...


def _find_api(http: HttpReader, on_bad: Callable[[str], None]) -> _Api:
    """Return the newest API of the server, recognised by its list of services.

    Raises:
        SourceError: the server is no Jaeger server.
    """
    answer = http.get("/api/v3/services", {}, MAX_ANSWER_BYTES)
    services = _listed(answer, "services")
    if services:
        return _V3(http, services, on_bad)
    older = http.get("/api/services", {}, MAX_ANSWER_BYTES)
    older_services = _listed(older, "data")
    if services is not None and (older_services is not None or older.status != _OK or older.is_page):
        return _V3(http, services, on_bad)  # without services; a server that answers {} to every path is another
    if older_services is not None:
        return _Legacy(http, older_services, on_bad)
    raise _other_server_error(http, older if older.status == _OK else answer)


_OK, _NOT_FOUND, _FIRST_ERROR = 200, 404, 400


def _listed(answer: Answer, key: str) -> tuple[str, ...] | None:
    """Return the names of services in a response, or None if it is not a list of them."""
    if answer.status != _OK:
        return None
    try:
        document = msgspec.json.decode(answer.body, type=dict[str, Any])
    except _DECODE_ERRORS:
        return None
    names = document.get(key)
    if names is None and (key in document or document == _EMPTY[key]):  # Go writes an empty list as null, or not at all
        return ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(dict.fromkeys(names))


_EMPTY: dict[str, dict[str, Any] | None] = {"services": {}, "data": None}


def _other_server_error(http: HttpReader, answer: Answer) -> SourceError:
    """Return the error for a server that has none of the APIs."""
    if answer.status >= 500:
        return http.error(f"the server failed ({answer.status}): {_reason_in(http, answer)}")
    if answer.status != _OK:
        return http.error(f"there is no Jaeger API ({answer.status}); {_ADVICE}")
    if answer.is_page:
        return http.error(
            "there is a web page in place of Jaeger's API: perhaps a login page "
            f"(set {HEADERS_VARIABLE}), or the address lacks its base path; {_ADVICE}"
        )
    return http.error(f"the response is not that of Jaeger; {_ADVICE}")


class _V3:
    """Read from ``/api/v3``, which returns OTLP with nanoseconds.

    Requests have the old and the new names of parameters, since each version of Jaeger knows one of them.
    """

    smallest_ns = 1

    def __init__(self, http: HttpReader, services: tuple[str, ...], on_bad: Callable[[str], None]) -> None:
        self._http, self.services, self._on_bad = http, services, on_bad

    def trace(self, trace_id: str, most_bytes: int) -> _Received:
        """Return the trace with an id, or no trace."""
        raw = {"raw_traces": "true", "rawTraces": "true"}
        return self._received(self._http.get(f"/api/v3/traces/{trace_id}", raw, most_bytes))

    def search(self, query: _Query, most_bytes: int) -> _Received:
        """Return the traces that match a query, up to its depth."""
        begin, end, depth = _rfc3339(query.begin_ns), _rfc3339(query.end_ns), str(query.depth)
        parameters = {
            "query.service_name": query.service,
            "query.serviceName": query.service,
            "query.start_time_min": begin,
            "query.startTimeMin": begin,
            "query.start_time_max": end,
            "query.startTimeMax": end,
            "query.num_traces": depth,
            "query.search_depth": depth,
            "query.searchDepth": depth,
            "query.raw_traces": "true",
            "query.rawTraces": "true",
        }
        if query.attributes:
            parameters["query.attributes"] = _json_text(query.attributes)
        return self._received(self._http.get("/api/v3/traces", parameters, most_bytes))

    def _received(self, answer: Answer) -> _Received:
        body = _result_body(self._http, answer)
        try:
            records = [record for part in self._results(body) for record in self._records(part)]
        except (*_DECODE_ERRORS, otlp_json.OtlpJsonError):
            raise _unreadable(self._http, answer) from None
        return _Received(by_trace(map(as_sent, records)), len(body))

    def _results(self, body: bytes) -> list[bytes]:
        try:
            return list(_otlp_results(self._http, body))
        except _DECODE_ERRORS:
            return list(_otlp_results(self._http, _repaired(body, self._on_bad)))

    def _records(self, data: bytes) -> list[SpanRecord]:
        try:
            return otlp_json.decode(data)
        except otlp_json.OtlpJsonError:
            whole = _repaired(data, self._on_bad)
            return otlp_json.decode_each(whole, lambda reason: self._on_bad(f"a span that is not valid OTLP: {reason}"))


class _Legacy:
    """Read from ``/api``, which returns Jaeger's own JSON with microseconds."""

    smallest_ns = 1000

    def __init__(self, http: HttpReader, services: tuple[str, ...], on_bad: Callable[[str], None]) -> None:
        self._http, self.services, self._on_bad = http, services, on_bad

    def trace(self, trace_id: str, most_bytes: int) -> _Received:
        """Return the trace with an id, or no trace."""
        return self._received(self._http.get(f"/api/traces/{trace_id}", {"raw": "true"}, most_bytes))

    def search(self, query: _Query, most_bytes: int) -> _Received:
        """Return the traces that match a query, up to its depth."""
        parameters = {
            "service": query.service,
            "start": str(query.begin_ns // 1000),
            "end": str(-(-query.end_ns // 1000)),
            "limit": str(query.depth),
            "raw": "true",
        }
        if query.attributes:
            parameters["tags"] = _json_text(query.attributes)
        answer = self._http.get("/api/traces", parameters, most_bytes)
        received = self._received(answer)
        for trace_id in self._adjusted(answer):
            received.traces.update(self.trace(trace_id, most_bytes).traces)
        return received

    def _adjusted(self, answer: Answer) -> set[str]:
        """Return the ids of the traces whose times Jaeger adjusted in a search, though ``raw`` was set; single ones are raw."""
        if answer.status != _OK:
            return set()
        try:
            return jaeger_json.adjusted(answer.body)
        except jaeger_json.NotJaegerError:
            return set()  # `_received` has reported it

    def _received(self, answer: Answer) -> _Received:
        body = _result_body(self._http, answer)
        try:
            records = self._records(body) if body else []
        except jaeger_json.NotJaegerError:
            raise _unreadable(self._http, answer) from None
        return _Received(by_trace(records), len(body))

    def _records(self, body: bytes) -> list[SpanRecord]:
        reasons: list[str] = []
        with suppress(jaeger_json.NotJaegerError):
            records = jaeger_json.decode(body, reasons.append)
            if not reasons:
                return records
        return jaeger_json.decode(_repaired(body, self._on_bad), self._on_bad)


def _repaired(data: bytes, on_bad: Callable[[str], None]) -> bytes:
    """Return a response with what is wrong in its texts and numbers replaced; `on_bad` is called with what that is."""
    data, what = repaired(data)
    if what:
        on_bad(f"repaired: {what}")
    return data


def _result_body(http: HttpReader, answer: Answer) -> bytes:
    """Return the body of a response, empty where nothing was found (404 with JSON).

    Raises:
        _RefusedError: the response is an error.
    """
    if answer.status == _NOT_FOUND and answer.body.lstrip().startswith(b"{"):
        return b""
    if answer.status >= _FIRST_ERROR:
        raise _RefusedError(str(http.error(f"request refused ({answer.status}): {_reason_in(http, answer)}")))
    return answer.body


def _unreadable(http: HttpReader, answer: Answer) -> SourceError:
    """Return the error for a response that cannot be decoded."""
    if answer.is_page:
        return http.error(f"the response is a web page, perhaps a login page; set {HEADERS_VARIABLE}")
    return http.error("the response is not that of Jaeger, or incomplete")


def _json_text(attributes: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(attributes)).decode()


def _rfc3339(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, NS_PER_S)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


# ── responses ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Error(msgspec.Struct):
    message: str = ""
    msg: str = ""


class _Result(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()
    error: _Error | None = None
    errors: list[_Error] | None = None


_result_decoder = msgspec.json.Decoder(_Result)


def _otlp_results(http: HttpReader, body: bytes) -> Iterator[bytes]:
    """Yield the OTLP objects of a response: one, or one a line (older versions), or none.

    Raises:
        _RefusedError: an error is among them.
        msgspec.DecodeError: the response is something else.
    """
    try:
        parts = [_result_decoder.decode(body)] if body.strip() else []
    except msgspec.DecodeError:
        parts = [_result_decoder.decode(line) for line in body.splitlines() if line.strip()]
    for part in parts:
        if part.error is not None:
            raise _RefusedError(str(http.error(f"the response ends with an error: {http.shown(part.error.message)}")))
        if not bytes(part.result):
            raise msgspec.DecodeError
        if bytes(part.result) not in _EMPTY_RESULTS:
            yield bytes(part.result)


_EMPTY_RESULTS = (b"{}", b"null", b'{"resourceSpans":null}')


def _reason_in(http: HttpReader, answer: Answer) -> str:
    """Return the error in a response of either API, or the beginning of the response as it is."""
    try:
        result = _result_decoder.decode(answer.body)
    except _DECODE_ERRORS:
        return "a web page" if answer.is_page else http.shown(answer.body[:_REASON_BYTES].decode("utf-8", "replace"))
    errors = [result.error] if result.error is not None else result.errors or []
    return http.shown("; ".join(error.message or error.msg for error in errors)) or "no reason given"


_REASON_BYTES = 1000


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Limits(NamedTuple):
    """Hold the number of traces to request at once, and the most bytes that they may have."""

    depth: int
    most_bytes: int


class _Reading:
    """Read the traces of a server, and remember which were yielded, so that each is yielded once."""

    def __init__(
        self,
        name: str,
        api: _Api,
        services: tuple[str, ...],
        limits: _Limits,
        on_problem: Callable[[Problem], None],
    ) -> None:
        self._name, self._api, self._on_problem = name, api, on_problem
        self._selected_services, self._services = services, services or api.services
        self._depth, self._max_bytes = limits
        self._attributes: dict[str, str] = {}
        self._yielded: set[int] = set()
        self._checks_left, self._searches_left = _FIRST_CHECKS, _CHECKS

    def one(self, trace_id: str) -> Iterator[list[SpanRecord]]:
        """Yield the trace with an id, if there is one."""
        spans = self._fetch_trace(trace_id)
        if spans:
            yield spans

    def of_run(self, run_id: str, begin_ns: int, end_ns: int | None) -> Iterator[list[SpanRecord]]:
        """Yield the traces with a run, found by its attribute; or all traces if Jaeger refuses that or finds none."""
        self._attributes = {semconv.RUN_ID: run_id}
        is_found = False
        try:
            for spans in self.all(begin_ns, end_ns):
                is_found = True
                yield spans
        except _RefusedError:
            is_found = False
        self._attributes = {}
        if not is_found:
            yield from self.all(begin_ns, end_ns)

    def all(self, begin_ns: int, end_ns: int | None) -> Iterator[list[SpanRecord]]:
        """Yield every trace that has a span between two times, those with the latest start first."""
        windows = Windows(self._fetch_window, self._depth, self._api.smallest_ns, self._report_cut)
        now_ns = min(time.time_ns(), _END_OF_TIME_NS)
        end_ns = _END_OF_TIME_NS if end_ns is None else min(end_ns, _END_OF_TIME_NS)
        begin_ns = max(begin_ns, 0)
        yield from self._new(self._future(windows, max(begin_ns, now_ns), end_ns, now_ns))
        yield from self._new(windows.back(begin_ns, min(now_ns, end_ns)))

    def _future(self, windows: Windows, begin_ns: int, end_ns: int, now_ns: int) -> Iterator[Traces]:
        """Yield traces of the future, since clocks may differ or be wrong; of one day only if the store refuses more."""
        try:
            yield from windows.back(begin_ns, end_ns, max(1, end_ns - begin_ns))
        except _RefusedError:
            yield from windows.back(begin_ns, min(end_ns, now_ns + _DAY_NS))

    def _fetch_window(self, begin_ns: int, end_ns: int, depth: int) -> Found:
        """Return the traces of all services in a window."""
        traces: Traces = {}
        largest = size = 0
        budget = self._max_bytes * (_LARGE if end_ns - begin_ns <= _BRIEF_NS else 1)
        for service in self._services:
            query = _Query(service, begin_ns, end_ns, depth, self._attributes)
            received = self._search(query, budget - size)
            largest, size = max(largest, len(received.traces)), size + received.size
            for trace_id, spans in received.traces.items():
                _add_new(traces.setdefault(trace_id, []), spans)
        return Found(traces, largest, size / self._max_bytes)

    def _search(self, query: _Query, most_bytes: int) -> _Received:
        """Return the traces that match a query.

        Raises:
            TooMuchError: the response is too large, or the window wider than the store searches.
            _RefusedError: Jaeger refused the request.
        """
        try:
            return self._api.search(query, most_bytes)
        except TooLargeError:
            raise TooMuchError from None
        except _RefusedError:
            if query.end_ns - query.begin_ns <= _DAY_NS or query.begin_ns > time.time_ns():
                raise
            raise TooMuchError from None  # some stores limit the width of the window that they search

    def _report_cut(self, begin_ns: int, end_ns: int) -> None:
        reason = (
            f"between {_rfc3339(begin_ns)} and {_rfc3339(end_ns)} there are more traces than the server returns at once; "
            "some are missing"
        )
        self._on_problem(Problem(self._name, 0, reason))

    def _new(self, windows: Iterator[Traces]) -> Iterator[list[SpanRecord]]:
        """Yield the traces that were not yielded before, completed, those with the latest start first."""
        for traces in windows:
            new = {trace_id: spans for trace_id, spans in traces.items() if int(trace_id, 16) not in self._yielded}
            traces.clear()
            for trace_id in sorted(new, key=lambda trace_id: _latest_start(new[trace_id]), reverse=True):
                spans = new.pop(trace_id)
                self._yielded.add(int(trace_id, 16))
                if self._has_selected_service(spans):
                    yield self._completed(trace_id, spans)

    def _has_selected_service(self, spans: list[SpanRecord]) -> bool:
        """Return whether a selected service takes part in a trace; one without a name may have been named by Jaeger."""
        services = self._selected_services
        names = (span.resource.attributes.get(semconv.SERVICE_NAME) for span in spans)
        return not services or any(name in (*services, None) for name in names)

    def _completed(self, trace_id: str, spans: list[SpanRecord]) -> list[SpanRecord]:
        """Return a trace with the spans that a search left out, which are fetched by its id where some may be missing.

        Jaeger returns whole traces, so that few need the check: the first ones, further ones as long as a check finds
        spans, and those with a missing parent, unless such checks never find any (a parent may be missing everywhere).
        """
        lacks_parents = self._searches_left > 0 and _lacks_parents(spans)
        if self._checks_left > 0 or lacks_parents:
            known = len(spans)
            _add_new(spans, self._fetch_trace(trace_id))
            if len(spans) > known:
                self._checks_left = self._searches_left = _CHECKS
            else:
                self._checks_left -= 1
                self._searches_left -= lacks_parents
        return spans

    def _fetch_trace(self, trace_id: str) -> list[SpanRecord]:
        """Return the spans of a trace, or none if it is not there, or too large, which is reported."""
        try:
            return self._api.trace(trace_id, self._max_bytes * _LARGE).traces.get(trace_id, [])
        except TooLargeError:
            size = self._max_bytes * _LARGE >> 20
            self._on_problem(Problem(self._name, 0, f"trace {trace_id} has more than {size} MiB"))
            return []


def _add_new(spans: list[SpanRecord], more: list[SpanRecord]) -> None:
    """Add the spans that are not in the list yet."""
    known = {span.span_id for span in spans}
    spans.extend(span for span in more if span.span_id not in known)


def _latest_start(spans: list[SpanRecord]) -> int:
    return max(span.start_ns for span in spans)


def _lacks_parents(spans: list[SpanRecord]) -> bool:
    known = {span.span_id for span in spans}
    return any(span.parent_span_id not in known for span in spans if span.parent_span_id is not None)
