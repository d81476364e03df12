"""Nothing that a web page in a browser of this machine can send is written, or even read."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.own_receiver import JSON, Receiver, a_span, json_of, receiving


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path / "t.jsonl") as started:
        yield started


def refused(running: Receiver, headers: Mapping[str, str], status: int = 403, method: str = "POST") -> None:
    """The request is refused, without any header that lets a page read the answer, and nothing is written."""
    answer = running.post(json_of(a_span(1)), headers, method=method)
    assert answer.status == status
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert running.spans() == []


FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:4318",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost.",
    "localhost@evil.example",
    "127.0.0.2",
    "0.0.0.0",
    "[::2]:4318",
    "localhost:4318:4318",
    "localhost:",
    "",
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_host_that_was_bound_to_this_address_is_refused(running: Receiver, host: str) -> None:
    refused(running, JSON | {"host": host})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:4318", "127.0.0.1", "127.0.0.1:9", "[::1]:4318"])
def test_names_of_loopback_are_not(running: Receiver, host: str) -> None:
    assert running.post(json_of(a_span(1)), JSON | {"host": host}).status == 200


def test_two_hosts_are_refused(running: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n"
            b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert running.sink.stats() == {}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:4318", "http://127.0.0.1:3000"])
def test_pages_are_refused_whatever_their_origin(running: Receiver, origin: str) -> None:
    refused(running, JSON | {"origin": origin})


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_of_other_sites_are_refused(running: Receiver, site: str) -> None:
    refused(running, JSON | {"sec-fetch-site": site})


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_simple_requests_which_need_no_preflight_are_refused(running: Receiver, kind: str) -> None:
    refused(running, {"content-type": kind}, 415)


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/", "*"])
def test_preflights_are_refused(running: Receiver, path: str) -> None:
    asked = {
        "origin": "https://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    answer = running.post(b"", asked, path, "OPTIONS")
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_options_without_an_origin_is_no_method_here(running: Receiver) -> None:
    refused(running, {}, 405, "OPTIONS")


def test_further_names_can_be_trusted(tmp_path: Path) -> None:
    with receiving(tmp_path / "t.jsonl", trusted_hosts=["traces.internal"]) as running:
        assert running.post(json_of(a_span(1)), JSON | {"host": "Traces.Internal:80"}).status == 200
        assert running.post(json_of(a_span(2)), JSON | {"host": "evil.example"}).status == 403
        assert running.spans() == [a_span(1)]
