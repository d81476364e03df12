"""`sampling-config` prints a policy as the Collector has it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import TailSampling
from otel_agent_trace.cli import main
from otel_agent_trace.cli.sampling_config import config_of
from tests.support.processes import ROOT
from tests.support.running_servers import WITH_TRACE_STATE

FAILED = "span.status.code == STATUS_CODE_ERROR"
ERRORS = {"name": "errors", "type": "ottl_condition", "ottl_condition": {"span": [f"IsRootSpan() and {FAILED}"]}}
REST = {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}}
VARIABLE = "OTEL_AGENT_TRACE_SAMPLING"


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """The settings of the processor, which is all that is printed beside comments."""
    assert main(["sampling-config", *options]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config.keys(), config["processors"].keys()) == ({"processors"}, {"tail_sampling"})
    settings: dict[str, Any] = config["processors"]["tail_sampling"]
    return settings


def test_the_default_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == {"decision_wait": "30s", "policies": [ERRORS, REST]}


def test_it_names_the_feature_gate(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sampling-config"])
    assert WITH_TRACE_STATE in capsys.readouterr().out


def test_options_change_the_policy_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "keep_errors=false,keep_tool_errors=true,keep_agents=vip,rest=0.5,wait_s=7")
    tool_errors = {"span": [f'span.attributes["gen_ai.operation.name"] == "execute_tool" and {FAILED}']}
    is_run = 'span.attributes["gen_ai.operation.name"] == "invoke_agent"'
    assert printed(capsys, "--keep-slower-than", "2m", "--rest", "0.07", "--decision-wait", "1500ms") == {
        "decision_wait": "1.5s",
        "policies": [
            {"name": "tool-errors", "type": "ottl_condition", "ottl_condition": tool_errors},
            {"name": "slow", "type": "latency", "latency": {"threshold_ms": 120_000}},
            {
                "name": "agents",
                "type": "ottl_condition",
                "ottl_condition": {"span": [f'{is_run} and (span.attributes["gen_ai.agent.name"] == "vip")']},
            },
            {**REST, "probabilistic": {"sampling_percentage": 7}},
        ],
    }
    options = ["--keep-errors", "--no-keep-tool-errors", "--keep-agent", "a", "--keep-agent", "b"]
    names = [each["name"] for each in printed(capsys, *options)["policies"]]
    assert names == ["errors", "agents", "rest"]


@pytest.mark.parametrize(
    "options",
    [
        ["--rest", "2"],
        ["--rest", "x"],
        ["--decision-wait", "soon"],
        ["--decision-wait", "0"],
        ["--keep-slower-than", "-1"],
    ],
)
def test_bad_options(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sampling-config", *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_a_bad_variable(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "rest=often")
    assert main(["sampling-config"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [("false", f"{VARIABLE}=false: no sampling"), ("0", f"{VARIABLE}=0: no sampling"), ("wait_s=0", "--decision-wait")],
)
def test_a_variable_of_which_the_collector_can_make_nothing(
    text: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert main(["sampling-config"]) == 2
    out, err = capsys.readouterr()
    assert (out, message in err, err.count("\n")) == ("", True, 1)


@given(st.text(min_size=1, max_size=20).filter(str.strip))
def test_any_name_of_an_agent(name: str) -> None:
    """It is read back from YAML, from the Collector's variables, and from the text of the condition."""
    (_, agents, _) = yaml.safe_load(config_of(TailSampling(keep_agents=(name,))))["processors"]["tail_sampling"][
        "policies"
    ]
    (condition,) = agents["ottl_condition"]["span"]
    assert re.fullmatch(r"([^$]|\$\$)*", condition)
    quoted = condition.replace("$$", "$").partition('"gen_ai.agent.name"] == ')[2][:-1]
    assert yaml.safe_load(quoted) == name


def test_the_gateway_has_the_same_policy(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "examples" / "deploy" / "gateway.yaml").read_text(encoding="utf-8")
    gateway = yaml.safe_load(re.sub(r"\$\{env:\w+:-([^}]*)\}", r"\1", text))["processors"]["tail_sampling"]
    assert gateway["policies"] == printed(capsys, "--keep-slower-than", "2m")["policies"]
    assert WITH_TRACE_STATE in text
