"""Each module of the package can be imported by each Python that is supported."""

from __future__ import annotations

import subprocess
import sys

IMPORT_ALL = """
import importlib
import pkgutil
import otel_agent_trace

for module in pkgutil.walk_packages(otel_agent_trace.__path__, "otel_agent_trace."):
    if module.name.endswith(("__main__", "sitecustomize")):  # they do something
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:  # of an extra, or of a framework
        if error.name is None or error.name.startswith("otel_agent_trace"):
            raise
    print(module.name)
"""


def test_each_module_can_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "otel_agent_trace.viewer.app" in done.stdout.split()
