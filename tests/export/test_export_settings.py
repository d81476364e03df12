"""Where and how to send: the arguments, the environment, and which goes first."""

from __future__ import annotations

from typing import Any

import pytest

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.http import retry_after_s
from otel_agent_trace.otlp import settings_of

OTLP = "OTEL_EXPORTER_OTLP_"


@pytest.mark.parametrize(
    ("endpoint", "protocol", "url", "secure"),
    [
        ("http://h:4318", "http/protobuf", "http://h:4318/v1/traces", False),
        (" http://h:4318/ ", "http/protobuf", "http://h:4318/v1/traces", False),
        ("https://h/api/public/otel", "http/protobuf", "https://h/api/public/otel/v1/traces", True),
        ("https://h/v1/traces/?key=a", "http/protobuf", "https://h/v1/traces?key=a", True),
        ("http://[::1]:4318", "http/protobuf", "http://[::1]:4318/v1/traces", False),
        ("grpc://h:4317", "grpc", "h:4317", False),
        ("grpcs://h", "grpc", "h:4317", True),
        ("grpc://[::1]", "grpc", "[::1]:4317", False),
    ],
)
def test_endpoints(endpoint: str, protocol: Any, url: str, secure: bool) -> None:
    """The scheme says the protocol and whether TLS is spoken; HTTP gets its path."""
    settings = settings_of(endpoint, environ={})
    assert (settings.protocol, settings.url, settings.secure) == (protocol, url, secure)


def test_protocols_of_the_environment() -> None:
    """It chooses between the two of HTTP, the one for traces first; gRPC is for the address or the caller to say."""
    environ = {f"{OTLP}PROTOCOL": "http/protobuf", f"{OTLP}TRACES_PROTOCOL": "http/json"}
    assert settings_of("http://h", environ=environ).protocol == "http/json"
    assert settings_of("http://h", environ=environ, protocol="http/protobuf").protocol == "http/protobuf"
    assert settings_of("grpc://h", environ=environ).protocol == "grpc"
    assert settings_of("http://h", environ={f"{OTLP}PROTOCOL": "grpc"}).protocol == "http/protobuf"
    assert settings_of("http://h:1", environ={}, protocol="grpc").url == "h:1"


@pytest.mark.parametrize(("insecure", "secure"), [(None, True), ("false", True), ("TRUE", False)])
def test_insecure_is_for_addresses_without_a_scheme(insecure: str | None, secure: bool) -> None:
    """As OpenTelemetry has it."""
    environ = {} if insecure is None else {f"{OTLP}INSECURE": insecure}
    assert settings_of("h:4317", protocol="grpc", environ=environ).secure is secure
    assert settings_of("grpcs://h", environ=environ).secure
    assert not settings_of("grpc://h", environ=environ).secure


def test_headers() -> None:
    """The variable for traces replaces the general one; the caller's own go before both; names have no case."""
    environ = {f"{OTLP}HEADERS": "a=1,b=2", f"{OTLP}TRACES_HEADERS": "Api-Key=x%20y%3D%2C , c=d=e,"}
    settings = settings_of("http://h", headers={"API-KEY": " mine "}, environ=environ)
    assert settings.headers == {"api-key": "mine", "c": "d=e"}
    assert settings_of("http://h", environ=environ).headers["api-key"] == "x y=,"


def test_a_password_of_the_address_is_a_header() -> None:
    """It is shown nowhere."""
    settings = settings_of("https://me:s%40cret@h/x?token=tt", environ={})
    assert settings.headers == {"authorization": "Basic bWU6c0BjcmV0"}
    assert "cret" not in settings.url
    assert settings.shown == "https://h/x/v1/traces"
    assert "bWU6" not in repr(settings)


@pytest.mark.parametrize(("text", "seconds"), [("10", 10), ("2.5", 2.5), ("1000", 1), ("30000", 30)])
def test_timeouts(text: str, seconds: float) -> None:
    """Milliseconds, as OpenTelemetry has them; fewer than a thousand are seconds, as its SDK for Python reads them."""
    assert settings_of("http://h", environ={f"{OTLP}TIMEOUT": text}).timeout_s == seconds
    assert settings_of("http://h", environ={f"{OTLP}TIMEOUT": text}, timeout_s=7).timeout_s == 7


@pytest.mark.parametrize(
    ("endpoint", "options", "environ", "expected_message"),
    [
        ("", {}, {}, "no endpoint"),
        ("ftp://h", {}, {}, "no endpoint"),
        ("http://h:port", {}, {}, "no endpoint"),
        ("http://me:secret@", {}, {}, "no endpoint"),
        ("h:4317", {}, {}, "http/protobuf"),
        ("grpc://h", {"protocol": "http/json"}, {}, "grpc://"),
        ("grpc://h?insecure=secret&b", {}, {}, "h:4317: a grpc:// address takes no parameters, got 'insecure', 'b'"),
        ("http://h", {"protocol": "thrift"}, {}, "thrift"),
        ("http://h", {}, {"PROTOCOL": "thrift"}, f"{OTLP}PROTOCOL"),
        ("http://h", {}, {"TRACES_HEADERS": "a=secret,secret"}, "entry 2"),
        ("http://h", {"headers": {"a b": "secret"}}, {}, "name of a header"),
        ("http://h", {"headers": {"a": "secret\nx: y"}}, {}, "header a"),
        ("http://h", {"timeout_s": 0}, {}, "timeout"),
        ("http://h", {}, {"TIMEOUT": "soon"}, f"{OTLP}TIMEOUT"),
        ("http://h", {}, {"COMPRESSION": "lzma"}, "lzma"),
    ],
)
def test_what_cannot_be_meant(endpoint: str, options: dict, environ: dict[str, str], expected_message: str) -> None:
    """Says what is wrong, and no secret."""
    with pytest.raises(ConfigurationError) as caught:
        settings_of(endpoint, **options, environ={OTLP + name: value for name, value in environ.items()})
    assert expected_message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [
        ("localhost:4318", "write http://localhost:4318"),
        ("127.0.0.1:4318", "write http://127.0.0.1:4318"),
        ("localhost", "write http://localhost:4318"),
        ("myhost:4318/v1/traces", "write http://myhost:4318/v1/traces"),
        (" my-host.example.org:80 ", "write http://my-host.example.org:80"),
        ("[::1]:4318", "write http://[::1]:4318"),
        ("me:secret@h:4318", "write http://h:4318"),
        ("127.0.0.1:4317", "write grpc://127.0.0.1:4317, or http://127.0.0.1:4317 if it uses HTTP"),
    ],
)
def test_an_address_without_a_scheme_is_refused_with_what_it_lacks(endpoint: str, advice: str) -> None:
    """What was given, what is wrong, what to write instead; and no secret."""
    with pytest.raises(ConfigurationError) as caught:
        settings_of(endpoint, environ={})
    given = endpoint.rpartition("@")[2]
    assert str(caught.value) == f"{given!r} has no http://, which http/protobuf needs; {advice}"


def test_retry_after() -> None:
    """Seconds, a date, or nothing that can be read."""
    assert retry_after_s("3") == 3
    assert retry_after_s("-1") == 0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (retry_after_s("Wed, 21 Oct 2099 07:28:00 GMT") or 0) > 10**9
    assert [retry_after_s(text) for text in (None, "soon", "inf", "nan")] == [None] * 4
