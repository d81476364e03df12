"""What web pages and other machines may not do to the server, over real connections."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from otel_agent_trace.viewer.guard import CONTENT_SECURITY_POLICY
from tests.support.viewed import Viewed, viewing

JSON = {"content-type": "application/json"}
SCORES = "api/runs/one/scores"
OTLP = b'{"resourceSpans": []}'


def get(viewed: Viewed, *headers: str, path: str = "/api/about", method: str = "GET", body: bytes = b"") -> int:
    """Send a request with exactly these headers, and return the status."""
    lines = [f"{method} {path} HTTP/1.1", *headers, f"content-length: {len(body)}", "connection: close"]
    return viewed.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)[0]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_names_of_this_machine_are_hosts(viewed: Viewed, name: str) -> None:
    assert get(viewed, f"host: {name}:{viewed.port}") == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "localhost.evil.example:{port}", "127.0.0.1.evil.example:{port}"),
        *(
            "localhost",
            "localhost:1",
            "localhost:{port}:80",
            "localhost.:{port}",
            "0.0.0.0:{port}",
            "169.254.1.1:{port}",
        ),
        *("", "user@localhost:{port}", "localhost:{port}, evil.example"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/runs", "/assets/icon.svg"])
def test_another_host_is_refused(viewed: Viewed, host: str, path: str) -> None:
    """As after DNS rebinding: the name is the attacker's, the address ours."""
    assert get(viewed, f"host: {host.format(port=viewed.port)}", path=path) == 400


def test_one_host_is_named(viewed: Viewed) -> None:
    good = f"host: localhost:{viewed.port}"
    assert get(viewed, good) == 200
    assert get(viewed, good, "host: evil.example") == 400
    assert get(viewed, "host: evil.example", good) == 400
    assert viewed.send(b"GET /api/about HTTP/1.0\r\n\r\n")[0] == 400


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://evil.example:443", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/events", "/assets/icon.svg"])
def test_another_origin_is_refused(viewed: Viewed, origin: str, path: str) -> None:
    assert viewed.client.get(path, headers={"origin": origin}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
@pytest.mark.parametrize("path", ["/", "/runs/one", "/api/runs", "/api/events", "/assets/icon.svg"])
def test_what_another_site_fetches_is_refused(viewed: Viewed, site: str, path: str) -> None:
    for mode, dest in (("cors", "empty"), ("no-cors", "image"), ("navigate", "iframe"), ("no-cors", "script")):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        assert viewed.client.get(path, headers=headers).status_code == 403


def test_a_link_of_another_site_opens_pages_and_no_data(viewed: Viewed) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert viewed.client.get("/runs/one", headers=headers).status_code == 200
    assert viewed.client.get("/api/runs", headers=headers).status_code == 403
    assert viewed.client.post("/", headers=headers).status_code in (403, 405)


def test_the_page_itself_may(viewed: Viewed) -> None:
    headers = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
    assert viewed.client.get("/api/runs", headers=headers).status_code == 200
    origin = f"http://127.0.0.1:{viewed.port}"
    assert viewed.client.get("/api/runs", headers={**headers, "origin": origin}).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "multipart/form-data", None],
)
@pytest.mark.parametrize("path", [SCORES, "api/login"])
def test_a_simple_post_is_refused(viewed: Viewed, content_type: str | None, path: str) -> None:
    """Pages may send those types to any server without asking it first."""
    headers = {} if content_type is None else {"content-type": content_type}
    body = json.dumps({"name": "bad", "value": 1})
    assert viewed.client.post(path, headers=headers, content=body).status_code == 415
    assert viewed.json("api/runs/one")["head"]["scores"] == []


def test_a_post_of_another_page_is_refused(viewed: Viewed) -> None:
    body = json.dumps({"name": "bad", "value": 1})
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "same-site"}):
        assert viewed.client.post(SCORES, headers={**JSON, **headers}, content=body).status_code == 403
    assert viewed.json("api/runs/one")["head"]["scores"] == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(viewed: Viewed, method: str) -> None:
    answer = viewed.client.request(method, "api/runs")
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["v1/traces", "v1/logs", "v1/metrics", "", "api/runs", "runs/one"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-protobuf"])
def test_otlp_is_not_taken_here(viewed: Viewed, path: str, content_type: str) -> None:
    answer = viewed.client.post(path, headers={"content-type": content_type}, content=OTLP)
    assert answer.status_code in ((404, 405) if not path.startswith("api") else (405, 415))


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_large_body_is_refused(viewed: Viewed) -> None:
    body = b'{"name": "' + b"x" * 70_000 + b'"}'
    assert viewed.client.post(SCORES, headers=JSON, content=body).status_code == 413
    head = f"POST /{SCORES} HTTP/1.1\r\nhost: localhost:{viewed.port}\r\ncontent-type: application/json\r\n"
    assert viewed.send((head + f"content-length: {10**12}\r\n\r\n").encode())[0] == 413  # as it is announced


def test_a_body_without_end_is_refused(viewed: Viewed) -> None:
    """Its length is not announced; no more than what is taken is read."""

    def chunks() -> Iterator[bytes]:
        while True:
            yield b" " * 65_536

    with pytest.raises((httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError, AssertionError)):
        assert viewed.client.post(SCORES, headers=JSON, content=chunks()).status_code != 413
    assert viewed.json("api/about")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_a_compressed_body_is_refused(viewed: Viewed, encoding: str) -> None:
    """Whatever it would be decompressed to: a bomb is not opened."""
    bomb = b"\x1f\x8b\x08" + b"\x00" * 1000
    assert viewed.client.post(SCORES, headers={**JSON, "content-encoding": encoding}, content=bomb).status_code == 415


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 60_000, b'{"a":' * 10_000])
def test_an_unreadable_body_is_an_error(viewed: Viewed, body: bytes) -> None:
    answer = viewed.client.post(SCORES, headers=JSON, content=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        *("/assets/../guard.py", "/assets/..%2fguard.py", "/assets/%2e%2e/guard.py", "/assets/..%5cguard.py"),
        *("/../../../../etc/passwd", "/assets//etc/passwd", "/assets/%2fetc%2fpasswd", "/assets/index.html"),
        *(
            "/assets/",
            "/assets/.",
            "/assets/icon.svg%00",
            "/assets/icon.svg/",
            "//assets/icon.svg",
            "/%61ssets/icon.svg",
        ),
        *("/api/runs/one/media/..%2f..%2f..%2fetc%2fpasswd", "/api/runs/..%2f..%2ftraces.jsonl", "/traces.jsonl"),
    ],
)
def test_no_path_leads_elsewhere(viewed: Viewed, path: str) -> None:
    status, answer = viewed.send(
        f"GET {path} HTTP/1.1\r\nhost: localhost:{viewed.port}\r\nconnection: close\r\n\r\n".encode()
    )
    assert status == 404
    assert b"root:" not in answer
    assert b"Guard" not in answer


# ── headers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/", 200), ("/runs/one", 200), ("/assets/icon.svg", 200), ("/api/about", 200), ("/api/runs/none", 404)),
        *(("/nowhere", 404), ("/api/runs?status=odd", 400), ("/api/search?text=x", 200)),
    ],
)
def test_headers_of_every_answer(viewed: Viewed, path: str, status: int) -> None:
    answer = viewed.client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers.get_list("cache-control") == (
        ["no-store"] if path.startswith("/api") else ["no-cache"][: status == 200]
    )
    assert not [name for name in answer.headers if name.startswith("access-control") or name == "server"]


def test_the_policy_allows_nothing_of_elsewhere() -> None:
    policy = dict(part.strip().split(" ", 1) for part in CONTENT_SECURITY_POLICY.split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_refusals_have_the_headers_too(viewed: Viewed) -> None:
    answer = viewed.client.get("/api/runs", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["cache-control"] == "no-store"


# ── the token ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def opened(store: Path) -> Iterator[Viewed]:
    """The page where other machines reach it."""
    with viewing(store, "--port", 0, "--no-open", "--host", "0.0.0.0", "--trusted-host", "traces.example") as running:
        yield running


def login(opened: Viewed, token: object) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{opened.port}/api/login", json={"token": token}, trust_env=False)


@pytest.mark.parametrize("path", ["api/about", "api/runs", "api/events", "api/search", "api/runs/one", "api/none"])
@pytest.mark.parametrize(
    "cookie", ["", "otel_agent_trace_{port}=wrong", "otel_agent_trace_{port}=", "=;=;", "\xff=\xff"]
)
def test_without_the_cookie_there_is_no_data(opened: Viewed, path: str, cookie: str) -> None:
    """Nor for a client of this machine."""
    headers = {b"cookie": cookie.format(port=opened.port).encode("latin-1")} if cookie else {}
    answer = opened.client.get(path, headers=headers)
    assert answer.status_code == 401
    assert "one" not in answer.text.split()


def test_the_token_is_no_cookie_and_no_parameter(opened: Viewed) -> None:
    assert len(opened.token) >= 32
    assert opened.client.get(f"api/runs?token={opened.token}").status_code == 401
    cookie = {"cookie": f"otel_agent_trace_{opened.port}={opened.token}"}
    assert opened.client.get("api/runs", headers=cookie).status_code == 401


@pytest.mark.parametrize("token", ["", "wrong", None, 1, ["x"], "é"])
def test_a_wrong_token_is_refused(opened: Viewed, token: object) -> None:
    answer = login(opened, token)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_token_is_exchanged_for_a_strict_cookie(opened: Viewed) -> None:
    answer = login(opened, opened.token)
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert opened.token not in cookie
    name_and_value = {"cookie": f"other=1; {cookie.partition(';')[0]}"}
    assert opened.client.get("api/runs", headers=name_and_value).json()["total"] == 5
    post = opened.client.post("api/login", headers={"origin": "http://evil.example"}, json={"token": opened.token})
    assert post.status_code == 403


def test_the_page_itself_needs_no_cookie(opened: Viewed) -> None:
    assert opened.client.get("/").status_code == 200
    assert opened.client.get("/assets/icon.svg").status_code == 200


def test_trusted_hosts_and_the_address_itself(opened: Viewed) -> None:
    for host in ("traces.example", "TRACES.example", f"traces.example:{opened.port}", f"127.0.0.1:{opened.port}"):
        assert get(opened, f"host: {host}", path="/") == 200
    for host in ("evil.example", "traces.example:1", f"192.0.2.1:{opened.port}", f"0.0.0.0:{opened.port}"):
        assert get(opened, f"host: {host}", path="/") == 400
    assert get(opened, "host: traces.example", "origin: https://traces.example", path="/") == 200


def test_on_loopback_there_is_no_token(viewed: Viewed) -> None:
    assert "#" not in viewed.url
    assert viewed.client.post("api/login", json={"token": "x"}).status_code == 204
