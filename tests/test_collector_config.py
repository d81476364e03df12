"""The configurations of Collector and Jaeger, and the compose file for both, are complete and keep to this machine.

That the real programs understand them is in `tests/servers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes import ROOT

FILE = ROOT / "collector-config.yaml"
DEPLOY = ROOT / "examples" / "deploy"
KINDS = ("receivers", "processors", "exporters")
VARIABLE = re.compile(r"\$\{env:(\w+):-([^}]*)\}")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The Collector's configuration, as it is where no variable is set."""
    return _load(FILE)


@pytest.fixture(scope="module")
def jaeger() -> dict[str, Any]:
    """Jaeger's configuration, as it is where no variable is set."""
    return _load(DEPLOY / "jaeger.yaml")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file."""
    return _load(DEPLOY / "compose.yaml")


def _load(path: Path) -> dict[str, Any]:
    """A file every key of which is given once, with the defaults of its variables."""
    return yaml.load(VARIABLE.sub(r"\2", path.read_text(encoding="utf-8")), _UniqueKeys)


def _variables(path: Path) -> set[str]:
    return {name for name, _ in VARIABLE.findall(path.read_text(encoding="utf-8"))}


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of equal keys win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def _walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _walk(value, (*path, str(key)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_used_is_defined_and_vice_versa(config: dict[str, Any], kind: str) -> None:
    """No pipeline names a component that is not there, and none is there for nothing."""
    used = [name for pipeline in config["service"]["pipelines"].values() for name in pipeline[kind]]
    assert sorted(set(used)) == sorted(config[kind])


def test_only_known_sections(config: dict[str, Any]) -> None:
    """Extensions are defined only where the service starts them."""
    assert set(config) <= {*KINDS, "connectors", "extensions", "service"}
    assert set(config.get("extensions", ())) == set(config["service"].get("extensions", ()))


def test_all_endpoints_are_on_this_machine(config: dict[str, Any]) -> None:
    """Nothing listens to, or sends to, another machine."""
    endpoints = {".".join(path): value for path, value in _walk(config) if path and path[-1] == "endpoint"}
    assert endpoints == {
        "extensions.health_check.endpoint": "127.0.0.1:13133",
        "receivers.otlp.protocols.grpc.endpoint": "127.0.0.1:4317",
        "receivers.otlp.protocols.http.endpoint": "127.0.0.1:4318",
        "exporters.otlp_grpc/jaeger.endpoint": "127.0.0.1:14317",
    }


def test_memory_is_limited_first(config: dict[str, Any]) -> None:
    """The limiter stands before all other processors, so that senders learn of it at once."""
    limiter = config["processors"]["memory_limiter"]
    assert config["service"]["pipelines"]["traces"]["processors"][0] == "memory_limiter"
    assert 0 < limiter["spike_limit_mib"] < limiter["limit_mib"]


def test_batches_are_made_by_the_exporter(config: dict[str, Any], jaeger: dict[str, Any]) -> None:
    """The queue makes the batches: as large as one span can be, and not larger than what Jaeger takes."""
    batch = config["exporters"]["otlp_grpc/jaeger"]["sending_queue"]["batch"]
    received = [_largest_request(receiver) for receiver in (config, jaeger)]
    assert 0 < batch["min_size"] <= batch["max_size"]
    assert max(received[0]) <= batch["max_size"] < min(received[1])
    assert batch["sizer"] == config["exporters"]["otlp_grpc/jaeger"]["sending_queue"]["sizer"] == "bytes"
    assert not any(name.split("/")[0] == "batch" for name in config["processors"])


def _largest_request(config: dict[str, Any]) -> list[int]:
    protocols = config["receivers"]["otlp"]["protocols"]
    return [protocols["grpc"]["max_recv_msg_size_mib"] << 20, protocols["http"]["max_request_body_size"]]


def test_spans_for_jaeger_wait_on_the_disk(config: dict[str, Any]) -> None:
    """Answered with 200 is written to the disk, and tried for ever."""
    exporter = config["exporters"]["otlp_grpc/jaeger"]
    storage = config["extensions"][exporter["sending_queue"]["storage"]]
    assert storage["fsync"] is True
    assert storage["directory"] == storage["compaction"]["directory"]
    assert exporter["retry_on_failure"]["max_elapsed_time"] == "0s"
    assert exporter["sending_queue"]["block_on_overflow"] is True


def test_redaction_deletes_nothing(config: dict[str, Any]) -> None:
    """Without that setting it would delete every attribute."""
    assert config["processors"]["redaction"]["allow_all_keys"] is True


def test_file_is_one_that_we_read(config: dict[str, Any]) -> None:
    """The file exporter writes JSON lines, and keeps what is there when it starts."""
    exporter = config["exporters"]["file/traces"]
    assert exporter["format"] == "json"
    assert exporter["path"].endswith(".jsonl")
    assert "compression" not in exporter
    assert "rotation" in exporter
    assert not exporter.get("append")  # rotation forbids it, and appends anyway


def test_comments_say_what_the_configuration_does(config: dict[str, Any]) -> None:
    """Files in the comments are those of the configuration or of this project, and ports those of the configuration."""
    comments = "\n".join(line for line in FILE.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    assert f"otel-agent-trace list {config['exporters']['file/traces']['path']}" in comments
    assert 'configure(otlp="http://localhost:4318")' in comments
    mentioned = set(re.findall(r"\S+\.yaml", comments))
    assert mentioned == {"collector-config.yaml", "examples/deploy/jaeger.yaml", "examples/deploy/compose.yaml"}
    assert all((ROOT / name).exists() for name in mentioned)


def test_version_that_is_named_is_the_one_that_is_tested(compose: dict[str, Any]) -> None:
    """The Collector of the comments and of the compose file is the one that the tests build."""
    built = _load(ROOT / "tests" / "servers" / "collector" / "builder.yaml")["dist"]["version"]
    assert f"{built} is the one that this file is tested with" in FILE.read_text(encoding="utf-8")
    assert compose["services"]["collector"]["image"].rpartition(":")[2] == built


def test_jaeger_and_collector_use_no_port_twice(config: dict[str, Any], jaeger: dict[str, Any]) -> None:
    """Both run on one machine, and the Collector sends to where Jaeger listens."""
    listens = [
        str(value)
        for one in (config, jaeger)
        for path, value in _walk(one)
        if path and path[0] in ("extensions", "receivers") and path[-1] == "endpoint"
    ]
    assert len(listens) == len(set(listens)) == 8
    assert all(endpoint.startswith("127.0.0.1:") for endpoint in listens)
    assert config["exporters"]["otlp_grpc/jaeger"]["endpoint"] in listens


def test_compose_starts_both_with_these_files(compose: dict[str, Any]) -> None:
    """Each service runs a pinned image with a file of this project, which stands where it is mounted from."""
    assert set(compose["services"]) == {"collector", "jaeger"}
    for name, file in (("collector", FILE), ("jaeger", DEPLOY / "jaeger.yaml")):
        service = compose["services"][name]
        assert re.fullmatch(r"[a-z/-]+:\d+\.\d+\.\d+", service["image"])
        [option, path] = service["command"]
        assert option == "--config"
        mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
        [source] = [source for source, target in mounts.items() if target == path]
        assert (DEPLOY / source).resolve() == file
        assert all((DEPLOY / source).exists() for source in mounts)


def test_compose_sets_only_variables_that_are_read(compose: dict[str, Any]) -> None:
    """Every variable of the files that is set is one that they read, and paths are on the mounted volume."""
    collector, jaeger = (compose["services"][name]["environment"] for name in ("collector", "jaeger"))
    assert set(collector) <= _variables(FILE)
    assert set(jaeger) - {"OTEL_TRACES_SAMPLER"} <= _variables(DEPLOY / "jaeger.yaml")
    assert all(collector[name].startswith("/data/") for name in ("COLLECTOR_FILE", "COLLECTOR_QUEUE"))
    assert collector["JAEGER_OTLP_GRPC"].split(":")[1] == jaeger["JAEGER_OTLP_GRPC"].split(":")[1]


def test_compose_opens_ports_to_this_machine_only(compose: dict[str, Any]) -> None:
    """Every published port is bound to the loopback address, and is one that the service listens to."""
    for service in compose["services"].values():
        inside = {value.rpartition(":")[2] for value in service["environment"].values() if value.startswith("0.0.0.0")}
        for port in service["ports"]:
            host, outer, inner = port.split(":")
            assert (host, outer) == ("127.0.0.1", inner)
            assert inner in inside | {"8888"}
