"""The page of the rules is made of the rules: ``python tests/redaction/test_rules.py`` writes it."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from otel_agent_trace.redaction.named_values import NAME_LITERALS, PARAMETER_LITERALS
from otel_agent_trace.redaction.names import NAME_RULES
from otel_agent_trace.redaction.personal import PERSONAL_RULES
from otel_agent_trace.redaction.rules import RULES, Rule
from otel_agent_trace.redaction.search import PLACES
from otel_agent_trace.redaction.selection import RULE_NAMES

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"
START = """# Rules of redaction

What `Redactor` masks, by the name that stands in its masks, `<secret:{rule}:{digits}>`. `Redactor(remove=["twilio"])` leaves a rule out,
`Redactor(add={"ticket": r"ACME-[0-9]+"})` adds one. Other packages add a `Rule`, or a sequence of them, by an entry point:

```toml
[project.entry-points."otel_agent_trace.redaction"]
acme = "acme_tracing:RULES"
```

## By value

`known`: values of the environment's variables whose names are those of secrets (8 characters or more, no words), passwords of addresses
there, and what `add_secret` registers; as they are, escaped, percent-encoded and in base64.

## By name

Values of keys, parameters, headers, options and variables of these names, in JSON, code, commands, logs, forms,
validation errors and prose. Words, references
to variables and files, placeholders and calls are no secrets.

| rule | names, for example |
|---|---|
| `password` | `password`, `db_passwd`, `passphrase`, `SMTP_PASS`, `Passwort`, `mot de passe`, `contraseña`, `密码` |
| `api-key` | `api_key`, `X-Api-Key`, `secretAccessKey`, `signing_key`, `AccountKey`; not `cache_key`, `primary_key`, `public_key` |
| `token` | `access_token`, `X-Vault-Token`, `authToken`; `token` itself where the value looks random; not `max_tokens`, `eos_token`, `page_token` |
| `secret` | `client_secret`, `JWT_SECRET`, `secrets`; not `secret_name`, `has_secret` |
| `authorization` | `Authorization`, `Proxy-Authorization`: what stands after the scheme |
| `cookie` | `Cookie`, `Set-Cookie`, `cookies`: values that look random or are those of sessions |
| `passcode` | `otp`, `cvv`, `pin`: three to ten digits |

## By place

| rule | place |
|---|---|
| `url-credentials` | password, or token alone, before the `@` of an address |
| `signed-url` | `sig`, `signature` of an address, 16 random characters or more |
| `url-parameter` | `key`, `code`, `sid`, `session`, `appid`, `ticket` of an address, 16 random characters or more |
| `private-key` | lines of a private key in PEM, with or without its last line |
| `cookie` | the value of a cookie as an object of JSON, beside `httpOnly` or `sameSite` |
| `password` | `-u user:password` of commands |
| `unscanned` | a value that no rule could look at in time, or on which one failed |

## By shape

`…` stands for the rest of a secret.

"""
PERSONAL = """
## Personal data

On request, `Redactor(pii=["email", "phone"])`; masks are `<email:{digits}>`.

| kind | what |
|---|---|
"""


RULES_IN_A_ROW = 8


def page() -> str:
    return "".join((START, *_by_shape(), PERSONAL, *(f"| `{rule.name}` | {rule.shape} |\n" for rule in PERSONAL_RULES)))


def _by_shape() -> Iterator[str]:
    yield "| rule | begins with or has | since | defined by |\n|---|---|---|---|\n"
    for name, rules in groupby(sorted(RULES, key=lambda rule: rule.name), key=lambda rule: rule.name):
        group = list(rules)
        for start in range(0, len(group), RULES_IN_A_ROW):
            yield _row(name, group[start : start + RULES_IN_A_ROW])


def _row(name: str, rules: list[Rule]) -> str:
    literals = ", ".join(f"`{literal}…`" for rule in rules for literal in rule.literals)
    since = ", ".join(dict.fromkeys(rule.since for rule in rules if rule.since))
    sources = ", ".join(dict.fromkeys(rule.source for rule in rules))
    return f"| `{name}` | {literals} | {since} | {sources} |\n"


def test_the_page_lists_the_rules() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"run python {Path(__file__).name}"


def test_the_page_names_every_rule() -> None:
    assert [name for name in RULE_NAMES if f"| `{name}` |" not in page() and name != "known"] == []
    assert set(NAME_RULES) <= RULE_NAMES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name} {rule.literals[0]}")
def test_a_rule_is_well_formed(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", rule.name)
    assert all(len(literal) >= 2 for literal in rule.literals)
    assert rule.source
    pattern = rule.compiled()
    assert pattern is rule.compiled()
    assert not re.search(r"(?<!\\)[*+](?![^\[]*\])", re.sub(r"\[[^\]]*\]|\\.", "x", rule.pattern)), "unbounded"


def test_literals_of_names_are_in_lower_case() -> None:
    literals = (*NAME_LITERALS, *PARAMETER_LITERALS)
    assert [literal for literal in literals if set(literal) & set(string.ascii_uppercase)] == []
    assert all(literals for _, literals, _ in PLACES)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
