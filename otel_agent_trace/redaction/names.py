"""Decide from a name whether what stands under it is a secret: keys, parameters, headers, options, variables.

A name is judged by its words, of which the last noun counts: ``db_password``, ``apiKey`` and ``X-Vault-Token`` name
secrets, ``max_tokens``, ``password_hash``, ``cache_key`` and ``token_endpoint`` do not.
"""

from __future__ import annotations

import functools

import msgspec

from otel_agent_trace.redaction.masks import MASK
from otel_agent_trace.redaction.patterns import lazy_pattern


class NamedSecret(msgspec.Struct, frozen=True):
    """Describe the secret that a name announces.

    Attributes:
        rule: the rule as masks name it.
        is_certain: whether an ordinary word under that name is a secret as well; under ``token``, of which language
            models have another kind, only what looks random is one.
    """

    rule: str
    is_certain: bool = True


NAME_RULES = ("api-key", "authorization", "cookie", "passcode", "password", "secret", "token")
"""Rules of which secrets are known by their names."""

_WORD = lazy_pattern(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|[0-9]+")
_DEFINED = lazy_pattern(r"\A-[DP](?=[a-z])")
"""Match how Java's programs define a property: ``-PapiKey=``."""
_PASSWORDS = frozenset(
    (
        *("password", "passwd", "passphrase", "passwords", "passwort", "kennwort", "contraseña", "contrasena", "senha"),
        *("密码", "密碼", "パスワード", "비밀번호", "пароля", "passe"),
        *("pwd", "pw", "pass", "passwrd", "пароль", "hasło", "mdp", "mnemonic", "psk", "storepass", "keypass"),
    )
)
_UNCERTAIN_PASSWORDS = frozenset({"pwd", "pw", "pass"})
_OWNERS_OF_PASSWORDS = frozenset(
    (
        *("db", "smtp", "mysql", "pg", "postgres", "redis", "user", "admin", "mail", "email", "ftp", "sftp"),
        *("ssh", "proxy", "root", "login", "rabbitmq", "mongo", "ldap", "imap"),
    )
)
"""Words before ``pass`` that leave no doubt; tests pass too."""
_PASSCODES = frozenset({"otp", "totp", "cvv", "cvc", "cvv2", "pin", "passcode"})
KEYS_OF = (
    *("api", "access", "secret", "private", "signing", "encryption", "master", "account", "shared", "subscription"),
    *("admin", "license", "client", "consumer", "hmac", "webhook", "deploy", "function", "functions", "write"),
    *("auth", "service", "app", "application", "jwt", "fernet", "aes", "ssh", "security"),
    *("decryption", "integration", "instrumentation"),
)
_VENDORS = (
    *("openai", "anthropic", "google", "gemini", "azure", "groq", "mistral", "cohere", "deepl", "tavily", "exa", "fal"),
    *("stripe", "sendgrid", "github", "telegram", "maps", "speech", "storage", "cosmos", "sas", "role", "elevenlabs"),
    *("mailgun", "datadog", "dd", "relic", "heroku", "wandb", "replicate", "huggingface", "perplexity", "openrouter"),
    *("xai", "deepseek", "pinecone", "weaviate", "qdrant", "langfuse", "langsmith", "firecrawl", "serper", "serpapi"),
    *("jina", "voyage", "twilio", "cloudflare", "recovery", "activation"),
)
"""Words before ``key`` that stand for a vendor or a service: there is one key to it, and it is a secret."""
_WORDS_OF_KEYS = frozenset((*KEYS_OF, *_VENDORS))
_KEY_NOUNS = frozenset((*(f"{word}key" for word in KEYS_OF), "apitoken"))
_PLURAL_SECRETS = {
    "secrets": "secret",
    "passwords": "password",
    "cookies": "cookie",
    "credentials": "secret",
    "creds": "secret",
}
ORDINARY_TOKENS = frozenset(
    (
        *("eos", "bos", "pad", "unk", "mask", "sep", "cls", "stop", "special", "next", "page", "continuation", "sync"),
        *("start", "end", "begin", "first", "last", "prompt", "image", "audio", "video", "type", "control", "added"),
        *("sentinel", "cursor", "cancellation", "symbol", "time", "per", "design", "color", "input"),
        *("output", "previous", "tik"),
        *(
            "request",
            "idempotency",
            "completion",
            "total",
            "cached",
            "reasoning",
            "thinking",
            "pagination",
            "change",
            "delta",
            "resume",
        ),
    )
)
_QUESTIONS = frozenset(
    (
        *("has", "is", "use", "uses", "no", "with", "without", "show", "hide", "require", "requires"),
        *("required", "needs"),
        *("missing", "invalid", "enable", "enabled", "disable", "disabled", "allow", "validate", "check", "generate"),
        *("create", "get", "fetch", "max", "min", "num", "n", "total", "count", "supports", "forgot", "public"),
    )
)
"""First words of names of numbers, switches and functions, which hold no secret."""
ENDINGS = frozenset(
    (
        *("value", "raw", "plain", "plaintext", "base64", "b64", "header", "string", "str", "prod", "dev", "staging"),
        *("base",),
        *("confirm", "confirmation", "again", "repeat", "old", "new", "current", "live", "primary", "secondary"),
    )
)
"""Last words without which a name names the same."""


@functools.lru_cache(maxsize=4096)
def named_secret(name: str) -> NamedSecret | None:
    """Return what a name announces; None if it is the name of no secret."""
    if "<" in name:
        name = MASK.sub("", name)  # a masked key names a rule, not what stands under it
    words = [word.lower() for word in _WORD.findall(_DEFINED.sub("", name[-100:]))]
    while len(words) > 1 and (words[-1] in ENDINGS or words[-1].isdigit()):
        words.pop()
    if not words or (len(words) > 1 and words[0] in _QUESTIONS):
        return None
    return _of_noun(words[-1], words[-2] if len(words) > 1 else "")


def _of_noun(noun: str, before: str) -> NamedSecret | None:
    if noun in _PASSWORDS or noun.endswith(("password", "passwd", "passphrase", "passwort")):
        return NamedSecret("password", noun not in _UNCERTAIN_PASSWORDS or before in _OWNERS_OF_PASSWORDS)
    if noun in _PASSCODES:
        return NamedSecret("passcode")
    if noun == "phrase" and before in {"seed", "recovery", "pass", "secret"}:
        return NamedSecret("password")
    if noun in {"key", "keys"}:
        return NamedSecret("api-key") if before in _WORDS_OF_KEYS else None
    if noun in _KEY_NOUNS or noun.endswith(("apikey", "accesskey", "secretkey", "privatekey", "accountkey")):
        return NamedSecret("api-key")
    if noun == "secret" or noun.endswith("secret"):
        return NamedSecret("secret", bool(before) or noun != "secret")
    if noun == "token" or noun.endswith("token"):
        return _of_token(noun[:-5] or before)
    if noun in {"authorization", "authorisation"}:
        return NamedSecret("authorization")
    if noun in {"cookie", "cookies"}:
        return NamedSecret("cookie")
    if noun in {"auth", "credential", "credentials", "creds", "pat", "jwt", "bearer", "secrets"}:
        return NamedSecret(_PLURAL_SECRETS.get(noun, "token"), is_certain=False)
    return None


def _of_token(qualifier: str) -> NamedSecret | None:
    if qualifier in ORDINARY_TOKENS:
        return None
    return NamedSecret("token", is_certain=bool(qualifier))
