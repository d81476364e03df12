"""What is no Jaeger, or one that does not answer: one clear error each, which says what, where and what to do, and no secret."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from otel_agent_trace import JaegerSource, SourceError, load_run, load_runs, run_to_spans
from tests.support.fake_jaeger import UI, FakeJaeger, Reply, legacy_error, reply, v3_error
from tests.support.sample_runs import make_run

SECRET = "hunter2"
PAGE = Reply(200, b"<html>Sign in with your account</html>", {"Content-Type": "text/html"})
BUSY = {"Retry-After": "0"}


def refusal(source: Any, **options: Any) -> str:
    """The message, which is no more than a line or two."""
    with pytest.raises(SourceError) as refused:
        load_runs(JaegerSource(source, **options) if options else source)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


ANSWERS: dict[str, tuple[Reply, str]] = {
    "some other JSON": (reply({"status": "ok"}), "the response is not that of Jaeger;"),
    "an empty object for everything": (reply({}), "the response is not that of Jaeger;"),
    "a list": (reply([1, 2]), "the response is not that of Jaeger;"),
    "services that are none": (reply({"services": [1]}), "the response is not that of Jaeger;"),
    "text": (Reply(200, b"hello"), "the response is not that of Jaeger;"),
    "no text": (Reply(200, b"\xff\xfe\0"), "the response is not that of Jaeger;"),
    "nothing": (Reply(200), "the response is not that of Jaeger;"),
    "deep JSON": (Reply(200, b'{"services":' + b"[" * 100_000), "the response is not that of Jaeger;"),
    "a page": (PAGE, "a web page"),
    "a page that says nothing of itself": (Reply(200, UI), "a web page"),
    "a redirect": (Reply(302, b"", {"Location": f"https://login.example/?token={SECRET}"}), "login.example (302)"),
    "a redirect to nowhere": (Reply(307, b"", {"Location": "http://[::1"}), "the response is incomplete, or not HTTP"),
    "a permanent redirect to TLS": (Reply(308, b"", {"Location": "https://127.0.0.1/"}), "it redirects to"),
    "who are you": (Reply(401, b"", {"WWW-Authenticate": "Basic"}), "access denied (401 Unauthorized)"),
    "not you": (Reply(403, b"<html>no</html>"), "access denied (403 Forbidden)"),
    "not here": (Reply(404, b"404 page not found\n"), "there is no Jaeger API (404"),
    "not like that": (Reply(405), "there is no Jaeger API (405"),
    "broken": (v3_error(500, "storage is gone"), "the server failed (500): storage is gone"),
    "busy": (Reply(503, b"", BUSY), "busy or not ready (503 Service Unavailable)"),
    "too much": (Reply(429, b"", BUSY), "429 Too Many Requests"),
    "busy for long": (Reply(503, b"", {"Retry-After": "7200"}), "try again in 7200 s"),
    "busy for ever": (Reply(503, b"", {"Retry-After": "9" * 400}), "busy"),
    "a gateway with nothing behind it": (Reply(502, b"<html>", BUSY), "502 Bad Gateway"),
    "cut off": (Reply(200, b'{"services":["a"', cut=True), "the response is incomplete, or not HTTP"),
    "packed badly": (Reply(200, b"no gzip", {"Content-Encoding": "gzip"}), "the response is incomplete, or not HTTP"),
}


@pytest.mark.parametrize(("answer", "expected_message"), ANSWERS.values(), ids=ANSWERS)
def test_something_else_answers(jaeger: FakeJaeger, answer: Reply, expected_message: str) -> None:
    jaeger.behaviour.always = answer
    text = refusal(jaeger.url("/base"))
    assert text.startswith(f"{jaeger.url('/base')}: ")
    assert expected_message in text
    assert SECRET not in text


SEARCHES: dict[str, tuple[Reply, str]] = {
    "cut off": (Reply(200, b'{"result":{"resourceSpans":[', cut=True), "the response is incomplete, or not HTTP"),
    "ends early": (Reply(200, b'{"result":{"resourceSpans":['), "or incomplete"),
    "something else": (reply({"hits": []}), "the response is not that of Jaeger, or incomplete"),
    "a number": (Reply(200, b"17"), "the response is not that of Jaeger, or incomplete"),
    "deep": (Reply(200, b'{"result":' + b'{"a":' * 50_000), "the response is not that of Jaeger, or incomplete"),
    "no text": (Reply(200, b'{"result":\xff}'), "the response is not that of Jaeger, or incomplete"),
    "spans that are none": (
        reply({"result": {"resourceSpans": [{"scopeSpans": 1}]}}),
        "the response is not that of Jaeger, or incomplete",
    ),
    "a page to log in": (PAGE, "perhaps a login page"),
    "a page that is not there": (Reply(404, b"<html>"), "request refused (404): a web page"),
    "not there": (Reply(404, b"no such route"), "request refused (404): no such route"),
    "an error": (v3_error(400, "malformed parameter"), "request refused (400): malformed parameter"),
    "an error without words": (Reply(500), "request refused (500): "),
    "an error of the older interface": (legacy_error(500, "disk is full"), "request refused (500): disk is full"),
    "an error in the middle": (
        reply({"error": {"httpCode": 500, "message": "it is gone"}}),
        "the response ends with an error: it is gone",
    ),
    "an error on lines": (Reply(500, b"a\nb\x1b[31m\n" + b"x" * 5000), "a b\x1b[31m xxx"),
    "a redirect": (Reply(302, b"", {"Location": "/login"}), "another path (302)"),
}


@pytest.mark.parametrize(("answer", "expected_message"), SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("interfaces", [("v3",), ("legacy",)], ids=["v3", "legacy"])
def test_a_search_goes_wrong(
    jaeger: FakeJaeger, answer: Reply, expected_message: str, interfaces: tuple[str, ...]
) -> None:
    """It is Jaeger, until something else answers."""
    if interfaces == ("legacy",) and "ends with an error" in expected_message:
        expected_message = "the response is not that of Jaeger, or incomplete"
    jaeger.fresh(run_to_spans(make_run(1)), for_searches=answer, interfaces=interfaces)
    assert expected_message in refusal(jaeger.url())


def test_nobody_listens(free_port: int) -> None:
    assert "the connection was refused; Jaeger's API is at the port of its web interface" in refusal(
        f"http://127.0.0.1:{free_port}"
    )


def test_no_such_host() -> None:
    assert refusal("http://nowhere.invalid:16686").startswith("http://nowhere.invalid:16686: the host is unknown")


@pytest.fixture
def listener() -> Iterator[Callable[[bytes], int]]:
    """Listeners that say something to whoever connects, and hang up."""
    servers: list[socket.socket] = []

    def start(says: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"\0\0\x12\4\0\0\0\0\0", b"HTTP/1.1 200"])
def test_no_http(listener: Callable[[bytes], int], says: bytes) -> None:
    """Something else listens there, Jaeger's port for gRPC for example."""
    assert "or not HTTP; Jaeger's API is at the port of its web interface" in refusal(
        f"http://127.0.0.1:{listener(says)}"
    )


def test_no_answer_in_time(jaeger: FakeJaeger) -> None:
    jaeger.fresh(for_searches=Reply(held=True))
    jaeger.keep(run_to_spans(make_run(1)))
    assert "no complete response within 0.2 s" in refusal(jaeger.url(), timeout_s=0.2)


@pytest.mark.parametrize(
    ("address", "expected_message"),
    [
        ("http://", "the address has no valid host"),
        ("http://:16686", "the address has no valid host"),
        ("http://[::1", "the address is invalid"),
        ("http://host:port", "the address is invalid"),
        ("http://host:99999", "the address is invalid"),
        ("http://a b:1", "the address has no valid host"),
        (f"http://u:{SECRET}@host:99999/x?y", "http://host:99999/x: the address is invalid"),
        (f"http://u:{SECRET}@/", "the address has no valid host"),
        ("http://host/trace/xyz", "the trace id must have 1 to 32 hex digits"),
        ("http://host/trace/" + "a" * 33, "the trace id must have 1 to 32 hex digits"),
        ("http://" + "a" * 300, ""),
        ("http://xn--a:1/", ""),
    ],
)
def test_no_address(address: str, expected_message: str) -> None:
    text = refusal(address)
    assert expected_message in text
    assert SECRET not in text


# ── trying again ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "first",
    [
        [Reply(503, b"", BUSY)],
        [Reply(429, b"", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), Reply(502), Reply(504, b"", BUSY)],
        [Reply(200, b'{"ser', cut=True)],
        [Reply(503, b"", {"Retry-After": "soon"})],
    ],
)
def test_what_passes_is_waited_for(jaeger: FakeJaeger, first: list[Reply], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    run = make_run(1)
    jaeger.fresh(run_to_spans(run), first=first)
    assert load_runs(jaeger.url()) == [run]


def test_it_starts_while_it_is_asked(jaeger: FakeJaeger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is tried again."""
    run = make_run(1)
    jaeger.fresh(run_to_spans(run))
    usual = socket.create_connection
    refused: list[Any] = []

    def connect(*args: Any, **kwargs: Any) -> socket.socket:
        if len(refused) < 2:
            refused.append(args)
            raise ConnectionRefusedError
        return usual(*args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", connect)
    assert load_runs(jaeger.url()) == [run]
    assert len(refused) == 2


# ── who we are ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_headers_of_the_argument_and_of_the_environment(jaeger: FakeJaeger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument has the last word; the environment's are percent-encoded."""
    monkeypatch.setenv("OTEL_AGENT_TRACE_JAEGER_HEADERS", "Authorization=Bearer%20abc, x-tenant=a%2Cb,x-other=1,,")
    jaeger.fresh(run_to_spans(make_run(1)))
    load_runs(JaegerSource(jaeger.url(), headers={"X-Other": "2"}))
    sent = {
        tuple(request.headers.get(name) for name in ("authorization", "x-tenant", "x-other"))
        for request in jaeger.requests
    }
    assert sent == {("Bearer abc", "a,b", "2")}


def test_user_and_password_of_the_address(jaeger: FakeJaeger) -> None:
    """They are sent, and never shown."""
    jaeger.fresh(run_to_spans(make_run(1)))
    url = jaeger.url().replace("http://", f"http://me:{SECRET}%21@")
    assert len(load_runs(url)) == 1
    assert {request.headers["authorization"] for request in jaeger.requests} == {"Basic bWU6aHVudGVyMiE="}
    with pytest.raises(LookupError) as missed:
        load_run(url, "no-such-run")
    assert SECRET not in str(missed.value)
    jaeger.behaviour.always = Reply(401)
    assert SECRET not in refusal(url)


@pytest.mark.parametrize("value", [f"{SECRET}\r\nx: y", f"{SECRET}\0", f"{SECRET}\u2603", f"{SECRET}\ud800"])
def test_headers_that_cannot_be_sent(jaeger: FakeJaeger, value: str) -> None:
    """It is reported, without what stands in them."""
    with pytest.raises(SourceError, match="header") as refused:
        load_runs(JaegerSource(jaeger.url(), headers={"authorization": value}))
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


def test_redirects_are_not_followed(jaeger: FakeJaeger) -> None:
    """Else the headers would go to whoever they lead to."""
    jaeger.behaviour.always = Reply(307, b"", {"Location": jaeger.url("/elsewhere")})
    refusal(jaeger.url(), headers={"authorization": SECRET})
    assert [request.path for request in jaeger.requests] == ["/api/v3/services"]


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[FakeJaeger]:
    """A stand-in with a certificate for this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FakeJaeger(context) as server:
        server.keep(run_to_spans(make_run(1)))
        yield server


def test_a_ca_of_our_own(secure: FakeJaeger, authority: trustme.CA, tmp_path: Any) -> None:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    assert load_runs(JaegerSource(secure.url(), verify=file)) == [make_run(1)]
    assert load_runs(JaegerSource(secure.url(), verify=False)) == [make_run(1)]


def test_a_ca_by_the_usual_variable(
    secure: FakeJaeger, authority: trustme.CA, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the command, which has no option for it."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert load_runs(secure.url()) == [make_run(1)]


def test_a_certificate_that_nobody_knows(secure: FakeJaeger) -> None:
    assert "its certificate is not trusted" in refusal(secure.url())


def test_no_tls_there(jaeger: FakeJaeger) -> None:
    assert "the TLS connection failed" in refusal(jaeger.url().replace("http:", "https:"))


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_no_file_of_a_ca(jaeger: FakeJaeger, tmp_path: Any, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    assert "has no certificate of a CA" in refusal("https://localhost:1", verify=path)


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bomb_is_not_unpacked(jaeger: FakeJaeger) -> None:
    """An answer that is far larger than it comes is refused before it is held."""
    import gzip

    bomb = gzip.compress(b" " * (100 << 20))
    jaeger.behaviour.always = Reply(200, bomb, {"Content-Encoding": "gzip"})
    assert "more than 32 MiB" in refusal(jaeger.url())


def test_nothing_that_is_secret_is_in_any_error_or_log(
    jaeger: FakeJaeger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers, password and query, whatever goes wrong."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setenv("OTEL_AGENT_TRACE_JAEGER_HEADERS", f"x-key={SECRET}")
    url = jaeger.url(f"/?token={SECRET}").replace("http://", f"http://u:{SECRET}@")
    for answer, _ in [*ANSWERS.values(), *SEARCHES.values()]:
        jaeger.behaviour.always = answer
        assert SECRET not in refusal(url, headers={"y-key": SECRET})
    assert SECRET not in caplog.text
    assert SECRET not in json.dumps([str(record.__dict__) for record in caplog.records])
