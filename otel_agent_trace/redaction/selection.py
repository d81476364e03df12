"""Select the rules of a redactor: what was asked for, what was added, and what was removed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.redaction.known_values import KnownValue
from otel_agent_trace.redaction.names import NAME_RULES
from otel_agent_trace.redaction.personal import PERSONAL_RULES
from otel_agent_trace.redaction.rules import RULES, plugin_rules
from otel_agent_trace.redaction.search import PLACE_RULES, Search, Searched

RULE_NAMES = frozenset((*(rule.name for rule in RULES), *NAME_RULES, *PLACE_RULES, "known"))
"""Names of all rules of secrets, but for those that other packages add."""
_KINDS = frozenset(rule.name for rule in PERSONAL_RULES)
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


def check(pii: Sequence[str], add: Mapping[str, str | re.Pattern[str]], remove: Sequence[str]) -> None:
    """Check the arguments of a redactor.

    Raises:
        ConfigurationError: a kind or a rule is unknown, a name is none, or a pattern cannot be compiled.
    """
    _check_known(pii, _KINDS, "kinds of personal data")
    taken = sorted(RULE_NAMES.intersection(add))
    if taken:
        msg = f"add: there is a rule {', '.join(taken)} already; give yours a name of its own"
        raise ConfigurationError(msg)
    for name, pattern in add.items():
        _searched(name, pattern)
    if not RULE_NAMES.issuperset(remove):
        _check_known(remove, RULE_NAMES.union(rule.name for rule in plugin_rules()), "rules")


def search(
    pii: Sequence[str], add: Mapping[str, str | re.Pattern[str]], remove: Sequence[str], known: Sequence[KnownValue]
) -> Search:
    """Return the search of a redactor with these arguments, for values that are known."""
    return Search(
        [*RULES, *plugin_rules()],
        () if "known" in remove else known,
        [_searched(name, pattern) for name, pattern in add.items()],
        [rule for rule in PERSONAL_RULES if rule.name in pii],
        frozenset(remove),
    )


def _check_known(names: Iterable[str], known: frozenset[str], what: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"unknown {what}: {', '.join(map(str, unknown))}; known are {', '.join(sorted(known))}"
        raise ConfigurationError(msg)


def _searched(name: str, pattern: str | re.Pattern[str]) -> Searched:
    if not _NAME.fullmatch(name):
        msg = f"the name of a rule must be of lower-case letters, digits and hyphens: {name!r}"
        raise ConfigurationError(msg)
    try:
        compiled = re.compile(pattern)
        compiled.search("")
        if not compiled.pattern:
            msg = f"the pattern of the rule {name!r} is empty"
            raise ConfigurationError(msg)
        return Searched(name, compiled)
    except (re.error, TypeError) as error:
        msg = f"the pattern of the rule {name!r} cannot be compiled: {error}"
        raise ConfigurationError(msg) from error
