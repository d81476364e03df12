"""The Collector's configuration is complete, keeps to this machine, and is understood by a real Collector."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).parents[1] / "collector-config.yaml"
KINDS = ("receivers", "processors", "exporters")
COLLECTORS = ("otelcol", "otelcol-contrib")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The configuration, every key of which is given once."""
    return yaml.load(FILE.read_text(encoding="utf-8"), _UniqueKeys)


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
        "receivers.otlp.protocols.grpc.endpoint": "127.0.0.1:4317",
        "receivers.otlp.protocols.http.endpoint": "127.0.0.1:4318",
        "exporters.otlp_grpc/jaeger.endpoint": "127.0.0.1:14317",
    }


def test_memory_is_limited_first(config: dict[str, Any]) -> None:
    """The limiter stands before all other processors, so that senders are told at once."""
    limiter = config["processors"]["memory_limiter"]
    assert config["service"]["pipelines"]["traces"]["processors"][0] == "memory_limiter"
    assert 0 < limiter["spike_limit_mib"] < limiter["limit_mib"]


def test_batches_are_made_by_the_exporter(config: dict[str, Any]) -> None:
    """The queue makes the batches, of a size that gRPC takes, and there is no processor that hides errors before it."""
    batch = config["exporters"]["otlp_grpc/jaeger"]["sending_queue"]["batch"]
    assert 0 < batch["min_size"] <= batch["max_size"] < 4 << 20
    assert batch["sizer"] == config["exporters"]["otlp_grpc/jaeger"]["sending_queue"]["sizer"] == "bytes"
    assert not any(name.split("/")[0] == "batch" for name in config["processors"])


def test_file_is_one_that_we_read(config: dict[str, Any]) -> None:
    """The file exporter writes JSON lines, and keeps what is there when it starts."""
    exporter = config["exporters"]["file/traces"]
    assert exporter["format"] == "json"
    assert exporter["path"].endswith(".jsonl")
    assert "compression" not in exporter
    assert "rotation" in exporter
    assert not exporter.get("append")  # rotation forbids it, and appends anyway


def test_comments_say_what_the_configuration_does(config: dict[str, Any]) -> None:
    """File, ports and endpoint in the comments are those of the configuration, and Jaeger stays off 4317 and 4318."""
    comments = "\n".join(line for line in FILE.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    assert f"otel-agent-trace list {config['exporters']['file/traces']['path']}" in comments
    assert 'configure(otlp="http://localhost:4318")' in comments
    published = re.findall(r"-p 127\.0\.0\.1:(\d+):\d+", comments)
    assert published == ["16686", "14317"]
    [jaeger] = re.findall(r"^#      (receivers: (?:.|\n)*?)^#\n", comments, re.MULTILINE)
    jaeger_config = yaml.load(re.sub(r"^#      ", "", jaeger, flags=re.MULTILINE), _UniqueKeys)
    [traces] = jaeger_config["service"]["pipelines"].values()
    assert set(traces["receivers"]) == set(jaeger_config["receivers"])
    assert set(traces["exporters"]) == set(jaeger_config["exporters"])
    assert jaeger_config["receivers"]["otlp"]["protocols"] == {"grpc": {"endpoint": "127.0.0.1:14317"}}


def test_collector_understands_it(tmp_path: Path) -> None:
    """A Collector, where there is one, says that the configuration is valid."""
    program = next(filter(None, map(shutil.which, COLLECTORS)), None)
    if program is None:
        pytest.skip(f"neither {' nor '.join(COLLECTORS)} is on PATH")
    command = [program, "validate", "--config", str(FILE)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
