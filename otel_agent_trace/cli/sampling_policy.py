"""Stand in for `policies.tail_sampling` until that is there."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from otel_agent_trace.errors import ConfigurationError


class TailSampling(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a policy."""

    keep_errors: bool = True
    keep_tool_errors: bool = False
    keep_slower_than_s: float | None = None
    keep_agents: tuple[str, ...] = ()
    rest: float = 0.1
    wait_s: float = 30
    hold_bytes: int = 64 << 20

    @classmethod
    def parse(cls, text: str) -> TailSampling:
        """Return the policy of a text."""
        given = dict(part.split("=", 1) for part in text.split(",") if part)
        try:
            return msgspec.convert(
                {
                    name: [unquote(each) for each in value.split("|")] if name == "keep_agents" else value
                    for name, value in given.items()
                },
                cls,
                strict=False,
            )
        except msgspec.ValidationError as error:
            raise ConfigurationError(str(error)) from error

    def __str__(self) -> str:
        """Return the text of the policy."""
        return f"keep_errors={self.keep_errors},rest={self.rest}"
