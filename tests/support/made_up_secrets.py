"""Secrets that were never issued, made at run time, where agents leak them; and what only looks like them.

Code hosts refuse commits that hold well-formed tokens: their prefixes stand here, the rest is made by chance.
"""

from __future__ import annotations

import base64
import json
import random
import string
import urllib.parse
from collections.abc import Iterator
from typing import Any, NamedTuple

_random = random.Random(7)
ALPHANUMERIC = string.ascii_letters + string.digits


class Labelled(NamedTuple):
    """A value as agents have it.

    kind: what it is; value: the value; secrets: texts that may not survive; keep: texts that must.
    """

    kind: str
    value: Any
    secrets: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


def _chosen(characters: str, count: int) -> str:
    return "".join(_random.choices(characters, k=count))


def alnum(count: int) -> str:
    return _chosen(ALPHANUMERIC, count)


def url(count: int) -> str:
    return _chosen(ALPHANUMERIC + "-_", count)


def hexa(count: int) -> str:
    return _chosen("0123456789abcdef", count)


def low(count: int) -> str:
    return _chosen(string.ascii_lowercase + string.digits, count)


def up(count: int) -> str:
    return _chosen(string.ascii_uppercase + "234567", count)


def letters(count: int) -> str:
    return _chosen(string.ascii_letters, count)


def b64(count: int) -> str:
    return _chosen(ALPHANUMERIC + "+/", count)


def digits(count: int) -> str:
    return _chosen("123456789", count)


def password() -> str:
    return alnum(1) + _chosen(ALPHANUMERIC + "!#%*+-_.^@?$&", 10) + _chosen(string.digits, 1) + alnum(2)


def uuid() -> str:
    return f"{hexa(8)}-{hexa(4)}-4{hexa(3)}-a{hexa(3)}-{hexa(12)}"


def _b(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _ub(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def jwt() -> str:
    head = _ub(json.dumps({"alg": "RS256", "typ": "JWT", "kid": alnum(6)}))
    return f"{head}.{_ub(json.dumps({'sub': digits(9), 'exp': 1795859000}))}.{url(43)}"


def private_key(kind: str = "RSA ") -> str:
    body = "\n".join(b64(64) for _ in range(6)) + "\n" + b64(30) + "=="
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


TOKENS = {
    "openai": lambda: "sk-proj-" + url(74) + "T3Blbk" + "FJ" + url(74),
    "openai-old": lambda: "sk-" + alnum(20) + "T3Blbk" + "FJ" + alnum(20),
    "svcacct": lambda: "sk-svcacct-" + url(58) + "T3Blbk" + "FJ" + url(58),
    "anthropic": lambda: "sk-ant-api03-" + url(93) + "AA",
    "ant-oat": lambda: "sk-ant-oat01-" + url(93) + "AA",
    "openrouter": lambda: "sk-or-v1-" + hexa(64),
    "deepseek": lambda: "sk-" + hexa(32),
    "kimi": lambda: "sk-" + alnum(48),
    "minimax": lambda: "sk-api-" + url(119),
    "langfuse": lambda: "sk-lf-" + uuid(),
    "google": lambda: "AIza" + url(35),
    "gemini": lambda: "AQ.Ab8RN6" + url(44),
    "goauth": lambda: "ya29." + url(120),
    "gorefresh": lambda: "1//0" + url(60),
    "gsecret": lambda: "GOCSPX-" + url(28),
    "hf": lambda: "hf_" + letters(34),
    "groq": lambda: "gsk_" + alnum(52),
    "xai": lambda: "xai-" + alnum(80),
    "pplx": lambda: "pplx-" + alnum(48),
    "replicate": lambda: "r8_" + alnum(37),
    "nvidia": lambda: "nvapi-" + url(64),
    "together": lambda: "tgp_v1_" + url(43),
    "fireworks": lambda: "fw_" + alnum(24),
    "cerebras": lambda: "csk-" + low(48),
    "langsmith": lambda: "lsv2_sk_" + hexa(32) + "_" + hexa(10),
    "logfire": lambda: "pylf_v1_us_" + alnum(43),
    "tavily": lambda: "tvly-dev-" + alnum(32),
    "pinecone": lambda: "pcsk_" + alnum(6) + "_" + alnum(63),
    "vercel": lambda: "vck_" + alnum(56),
    "wandb": lambda: "wandb_v1_" + alnum(77),
    "eleven": lambda: "sk_" + hexa(48),
    "firecrawl": lambda: "fc-" + hexa(32),
    "e2b": lambda: "e2b_" + hexa(40),
    "jina": lambda: "jina_" + alnum(60),
    "voyage": lambda: "pa-" + url(43),
    "ghp": lambda: "ghp_" + alnum(36),
    "ghs": lambda: "ghs_" + digits(7) + "_" + jwt(),
    "ghpat": lambda: "github_pat_" + alnum(22) + "_" + alnum(59),
    "glpat": lambda: "glpat-" + url(20),
    "glrt": lambda: "glrt-" + url(27) + ".01." + low(9),
    "akia": lambda: "AKIA" + up(16),
    "asia": lambda: "ASIA" + up(16),
    "absk": lambda: "ABSK" + b64(128),
    "azuread": lambda: alnum(3) + "8Q~" + alnum(31) + "~" + alnum(2),
    "azoai": lambda: alnum(52) + "JQQJ99" + alnum(26),
    "xoxb": lambda: "xoxb-" + digits(12) + "-" + digits(13) + "-" + alnum(24),
    "xapp": lambda: "xapp-1-A" + up(9) + "-" + digits(13) + "-" + hexa(64),
    "stripe": lambda: "sk_live_" + alnum(99),
    "rk": lambda: "rk_test_" + alnum(24),
    "whsec": lambda: "whsec_" + b64(32),
    "npm": lambda: "npm_" + alnum(36),
    "pypi": lambda: "pypi-AgE" + "IcHlwaS5vcmc" + url(120),
    "docker": lambda: "dckr_pat_" + url(27),
    "dapi": lambda: "dapi" + hexa(32),
    "do": lambda: "dop_v1_" + hexa(64),
    "sbp": lambda: "sbp_" + hexa(40),
    "sbs": lambda: "sb_secret_" + url(31),
    "cf": lambda: "cfut_" + alnum(48),
    "linear": lambda: "lin_api_" + alnum(40),
    "notion": lambda: "ntn_" + alnum(46),
    "figma": lambda: "figd_" + url(40),
    "shopify": lambda: "shpat_" + hexa(32),
    "vault": lambda: "hvs." + url(90),
    "vaultb": lambda: "hvb." + url(140),
    "glsa": lambda: "glsa_" + alnum(32) + "_" + hexa(8),
    "glc": lambda: "glc_" + _b(json.dumps({"o": digits(6), "n": "x", "k": alnum(24)})).rstrip("="),
    "nrak": lambda: "NRAK-" + up(27),
    "sntrys": lambda: "sntrys_" + _b(json.dumps({"iat": 1, "url": "https://sentry.io"})) + "_" + b64(43),
    "sntryu": lambda: "sntryu_" + hexa(64),
    "pmak": lambda: "PMAK-" + hexa(24) + "-" + hexa(34),
    "atatt": lambda: "ATATT3" + url(180) + "=" + hexa(8).upper(),
    "ops": lambda: "ops_" + _ub(json.dumps({"signInAddress": "my.1password.com", "x": alnum(200)})),
    "tskey": lambda: "tskey-auth-" + alnum(16) + "-" + alnum(32),
    "heroku": lambda: "HRKU-AA" + url(58),
    "neon": lambda: "napi_" + low(64),
    "pscale": lambda: "pscale_tkn_" + url(43),
    "phx": lambda: "phx_" + alnum(47),
    "age": lambda: "AGE-SECRET-KEY-1" + up(58),
    "telegram": lambda: digits(10) + ":AA" + url(33),
    "twilio": lambda: "SK" + hexa(32),
    "sendgrid": lambda: "SG." + url(22) + "." + url(43),
    "jwt": jwt,
    "kimi-code": lambda: "sk-kimi-" + alnum(64),
    "minimax-plan": lambda: "sk-cp-" + url(118) + "x",
    "helicone": lambda: "sk-helicone-" + "-".join(low(7) for _ in range(4)),
    "mem0": lambda: "m0-" + alnum(40),
    "runpod": lambda: "rpa_" + up(40) + "abcdef",
    "lambda": lambda: "secret_cloud_" + hexa(32) + "." + alnum(32),
    "glrtr": lambda: "glrtr-" + url(20),
    "figo": lambda: "figo_" + url(40),
    "circleci": lambda: "CCIPAT_" + alnum(22) + "_" + hexa(40),
    "buildkite": lambda: "bkua_" + hexa(40),
    "sourcegraph": lambda: "sgp_" + hexa(16) + "_" + hexa(40),
    "cursor": lambda: "crsr_" + hexa(64),
    "contentful": lambda: "CFPAT-" + url(43),
    "artifactory": lambda: "AKCp" + alnum(69),
    "nuget": lambda: "oy2" + low(43),
    "cloudflare-origin": lambda: "v1.0-" + hexa(24) + "-" + hexa(146),
    "dose": lambda: "dose" + hexa(32),
    "newrelic-license": lambda: hexa(36) + "FFFFNRAL",
    "phs": lambda: "phs_" + alnum(43),
    "hubspot": lambda: "pat-na1-" + uuid(),
    "dropbox": lambda: "sl.u." + url(140) + "x",
    "mailchimp": lambda: hexa(32) + "-us" + digits(2),
    "mapbox": lambda: "sk.eyJ" + alnum(60) + "." + url(22),
    "plaid": lambda: "access-production-" + uuid(),
    "paypal": lambda: "access_token$production$" + low(16) + "$" + hexa(32),
    "easypost": lambda: "EZAK" + alnum(54),
    "clickhouse": lambda: "4b1d" + alnum(38),
    "brave": lambda: "BSA" + digits(1) + url(27),
    "prefect": lambda: "pnu_" + alnum(36),
}


PLACES = [
    lambda s: f"I'll use {s} for the call, ok?",
    lambda s: f"キーは{s}。",
    lambda s: f"密钥是{s},请保密",
    lambda s: f"({s})",
    lambda s: f"error: invalid key {s}: not found",
    lambda s: f"key={s}.",
    lambda s: {"result": [{"text": "found " + s + ", done"}]},
    lambda s: json.dumps({"stdout": json.dumps({"x": f"a\n{s}\nb"})}),
    lambda s: f"https://x.example.com/?a=1&zz={s}&b=2",
    lambda s: f"https://x.example.com/?u=https%3A%2F%2Fy.com%2F%3Fzz%3D{s}%26q",
    lambda s: repr({"k": s}),
    lambda s: f"`{s}`",
    lambda s: {s: "active"},
    lambda s: f"\x1b[31m{s}\x1b[0m",
    lambda s: f'Traceback (most recent call last):\n  File "a.py", line 3\nValueError: bad {s!r}',
    lambda s: f"<b>{s}</b>",
    lambda s: ["run", f"--x={s}"],
    lambda s: f"&quot;{s}&quot;",
]

"""Where a token is found by its shape."""

NAMES = [
    "password",
    "db_password",
    "API_KEY",
    "apiKey",
    "X-Api-Key",
    "access_token",
    "clientSecret",
    "secret_key",
    "authToken",
    "refreshToken",
    "MYSQL_PWD",
    "passphrase",
    "private_token",
    "x-vault-token",
    "aws_secret_access_key",
    "AccountKey",
    "SMTP_PASS",
    "bot_token",
    "signing_key",
    "xi-api-key",
    "Ocp-Apim-Subscription-Key",
    "webhookSecret",
    "COHERE_API_KEY",
    "DD_APP_KEY",
    "jwt_secret",
    "adminPassword",
    "new_password",
    "passwd",
    "encryption_key",
    "secretAccessKey",
    "dbPassword",
    "github_token",
    "TWILIO_AUTH_TOKEN",
    "MISTRAL_API_KEY",
]
"""Names of secrets."""

NAMED_PLACES = [
    ("key", lambda n, v: {"user": "eva", n: v, "n": 1}),
    ("json", lambda n, v: json.dumps({"user": "eva", n: v})),
    ("json2", lambda n, v: json.dumps({"in": json.dumps({"user": "eva", n: v})})),
    ("json3", lambda n, v: json.dumps([json.dumps({"in": json.dumps({"user": "eva", n: v})})])),
    ("repr", lambda n, v: repr({"user": "eva", n: v})),
    ("pretty", lambda n, v: json.dumps({"user": "eva", n: v}, indent=2)),
    ("env", lambda n, v: f"HOME=/root\n{n.upper().replace('-', '_')}={v}\nUSER=eva\n"),
    ("export", lambda n, v: f"export {n.upper().replace('-', '_')}='{v}' && run eva"),
    ("yaml", lambda n, v: f"auth:\n  user: eva\n  {n}: {v}\n  port: 1"),
    ("flag", lambda n, v: f"tool --{n.replace('_', '-')} {v} --user eva"),
    ("flageq", lambda n, v: f"tool --{n.replace('_', '-')}={v} --user eva"),
    ("args", lambda n, v: ["tool", "--" + n.replace("_", "-"), v, "--user", "eva"]),
    ("pair", lambda n, v: [[n, v], ["user", "eva"]]),
    ("pairobj", lambda n, v: [{"name": n, "value": v}, {"name": "user", "value": "eva"}]),
    ("kwargs", lambda n, v: f"connect(host='eva', {n.replace('-', '_')}='{v}', port=5)"),
    ("code", lambda n, v: f'const {n.replace("-", "_")} = "{v}"; // eva'),
    ("urlp", lambda n, v: f"https://api.x.io/v1?user=eva&{n}={urllib.parse.quote(v, safe='')}&z=1"),
    ("header", lambda n, v: f"GET / HTTP/1.1\r\nHost: eva\r\n{n}: {v}\r\nAccept: */*\r\n"),
    ("conn", lambda n, v: f"Server=eva;{n}={v};Encrypt=true"),
    ("xml", lambda n, v: f"<c><user>eva</user><{n}>{v}</{n}></c>"),
    ("prose", lambda n, v: f"eva, the {n} is {v}, keep it safe"),
    ("prose2", lambda n, v: f"eva: {n}: `{v}`"),
    ("toml", lambda n, v: f'[a]\nuser = "eva"\n{n} = "{v}"\n'),
    ("form", lambda n, v: f"user=eva&{n}={urllib.parse.quote(v, safe='')}"),
    ("html", lambda n, v: f"&quot;user&quot;: &quot;eva&quot;, &quot;{n}&quot;: &quot;{v}&quot;"),
    ("pctjson", lambda n, v: urllib.parse.quote(json.dumps({"user": "eva", n: v}))),
    ("ansi", lambda n, v: f"eva \x1b[36m{n}\x1b[0m=\x1b[33m{v}\x1b[0m\n"),
    ("argsrepr", lambda n, v: repr(["tool", "--" + n.replace("_", "-"), v, "eva"])),
    ("jsonpair", lambda n, v: json.dumps([[n, v], ["user", "eva"]])),
    ("jsonpairobj", lambda n, v: json.dumps([{"name": n, "value": v}, {"name": "user", "value": "eva"}])),
    ("bytesrepr", lambda n, v: f"[(b'{n.lower()}', b'{v}'), (b'user', b'eva')]"),
    ("multipart", lambda n, v: f'--b\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n--b eva'),
    ("dictval", lambda n, v: {n: {"value": v}, "user": "eva"}),
    ("goheader", lambda n, v: {n: [v], "user": ["eva"]}),
    (
        "otlp",
        lambda n, v: {
            "attributes": [{"key": n, "value": {"stringValue": v}}, {"key": "user", "value": {"stringValue": "eva"}}]
        },
    ),
    ("md", lambda n, v: f"- **{n}:** {v}\n- eva"),
    ("yamlpair", lambda n, v: f'env:\n- name: {n}\n  value: "{v}"\n- name: eva\n  value: x'),
    ("folded", lambda n, v: f"{n}: >-\n  {v}\nuser: eva"),
    ("terraform", lambda n, v: f'variable "{n}" {{\n  type = string\n  default = "{v}"\n}}\neva'),
    ("property", lambda n, v: f'<property name="{n}">{v}</property> eva'),
    ("plist", lambda n, v: f"<key>{n}</key>\n<string>{v}</string><!-- eva -->"),
    ("htmlxml", lambda n, v: f"&lt;{n}&gt;{v}&lt;/{n}&gt; eva"),
    ("cdata", lambda n, v: f"<{n}><![CDATA[{v}]]></{n}> eva"),
    ("box", lambda n, v: f"│ {n} │ {v} │ eva │"),
    ("jq", lambda n, v: f'\x1b[34;1m"{n}"\x1b[0m\x1b[39m:\x1b[0m \x1b[0;32m"{v}"\x1b[0m eva'),
    ("pctparameter", lambda n, v: f"https://x.io/?next=%2Fa%3F{n}%3D{v}%26user%3Deva"),
    ("escapedlines", lambda n, v: json.dumps({"out": json.dumps(f"a=1\r\n{n}: {v}\n\tuser: eva")})),
    ("fill", lambda n, v: f"page.fill('input[name=\"{n}\"]', '{v}') # eva"),
    ("sendkeys", lambda n, v: f"page.get_by_label('{n}').fill('{v}') # eva"),
    ("rust", lambda n, v: f'Config {{ {n}: Some("{v}"), user: "eva" }}'),
    (
        "pydantic",
        lambda n, v: (
            f"1 validation error for Eva\n{n}\n  Extra inputs [type=x, input_value='{v}', input_type=str]".replace(
                "Eva", "eva"
            )
        ),
    ),
    ("nestedvalue", lambda n, v: json.dumps({n: {"value": v}, "user": "eva"})),
]
"""Where a value is found by its name."""


def value_for(name: str) -> str:
    """Return a value as stands under a name: people's passwords, and what programs make."""
    if "pass" in name.lower() or "pwd" in name.lower():
        return alnum(9) + _chosen(string.digits, 1) + alnum(2)
    return _random.choice([lambda: alnum(32), lambda: hexa(40), lambda: alnum(24), uuid])()


def by_shape() -> Iterator[Labelled]:
    """Yield each kind of token in two places."""
    for number, (kind, make) in enumerate(TOKENS.items()):
        for place in (PLACES[2 * number % len(PLACES)], PLACES[(2 * number + 1) % len(PLACES)]):
            token = make()
            yield Labelled(kind, place(token), (token,))


def by_name() -> Iterator[Labelled]:
    """Yield each kind of place with four names."""
    for turn in range(4):
        for number, (place, put) in enumerate(NAMED_PLACES):
            name = NAMES[(turn * 11 + number * 3) % len(NAMES)]
            value = value_for(name)
            yield Labelled(place, put(name, value), (value, urllib.parse.quote(value, safe="")), ("eva",))


def by_form() -> Iterator[Labelled]:
    """Yield credentials in the forms that headers, addresses, commands and files have for them."""
    secret, token, word, cookie = password(), url(40), alnum(9) + "7" + alnum(4), alnum(32)
    basic, key = _b(f"eva:{secret}"), private_key()
    lines = tuple(key.split("\n")[1:-1])
    insecure = "(" + _chosen(string.ascii_lowercase + "&*(!#^", 48) + ")"
    signature, app = hexa(64), TOKENS["ghs"]()
    sas = urllib.parse.quote(b64(43) + "=", safe="")
    yield from (
        Labelled("basic", {"Authorization": f"Basic {basic}"}, (basic,)),
        Labelled("basic in a command", f"curl -H 'Authorization: Basic {basic}' https://x/", (basic,), ("https://x/",)),
        Labelled("bearer in a log", f"> authorization: Bearer {token}\n> accept: */*", (token,), ("accept: */*",)),
        Labelled("bearer in JSON", json.dumps({"headers": {"Authorization": f"Bearer {token}"}}), (token,)),
        Labelled("bearer in raw headers", {"rawHeaders": ["Host", "x.io", "Authorization", f"Bearer {token}"]}, (token,), ("x.io",)),
        Labelled("bearer in arguments", ["curl", "-H", f"Authorization: Bearer {token}", "https://x.io"], (token,), ("https://x.io",)),
        Labelled("bearer in prose", f"Then send Bearer {token} in the header", (token,), ("in the header",)),
        Labelled("bearer in a repr", f"<Request headers={{'Authorization': 'Bearer {token}', 'Accept': '*/*'}}>", (token,), ("*/*",)),
        Labelled("digest", f'Authorization: Token token="{token}"', (token,)),
        Labelled("set-cookie", {"set-cookie": [f"sid={cookie}; Path=/; HttpOnly; SameSite=Lax"]}, (cookie,), ("Path=/; HttpOnly",)),
        Labelled("cookie in a text", f"Cookie: theme=dark; PHPSESSID={cookie}; lang=en\r\nHost: x", (cookie,), ("Host: x",)),
        Labelled("cookie object", [{"name": "session", "value": cookie, "domain": ".x.io", "httpOnly": True}], (cookie,), (".x.io",)),
        Labelled("cookie object in JSON", json.dumps([{"name": "session", "value": cookie, "domain": ".x.io", "httpOnly": True}]), (cookie,), (".x.io",)),
        Labelled("cookies as a dict", {"cookies": {"sessionid": cookie, "lang": "en"}}, (cookie,), ("en",)),
        Labelled("address", f"postgres://app:{word}@db.internal:5432/x", (word,), ("db.internal:5432/x",)),
        Labelled("address with a token", f"git clone https://x-access-token:{token}@github.com/a/b.git failed", (token,), ("failed",)),
        Labelled("address in JSON", json.dumps({"dsn": f"amqp://u:{word}@mq/v"}).replace("/", "\\/"), (word,)),
        Labelled("signed by S3", f"https://b.s3.amazonaws.com/k?X-Amz-Expires=6&X-Amz-Signature={signature}&x=1", (signature,), ("x=1",)),
        Labelled("signed by Azure", f"https://a.blob.core.windows.net/c?sv=2025-01-05&sp=r&sig={sas}", (sas,), ("sp=r",)),
        Labelled("user option", f"curl -u eva:{word} https://x.io/api", (word,), ("https://x.io/api",)),
        Labelled("user option in a list", ["curl", "-u", f"eva:{word}", "https://x.io/api"], (word,), ("https://x.io/api",)),
        Labelled("sshpass", f"sshpass -p '{word}' ssh root@h", (word,)),
        Labelled("mysql", f"mysql -u root -p{word} shop", (word,), ("shop",)),
        Labelled("redis-cli", f"redis-cli -h r -a {word} ping", (word,), ("ping",)),
        Labelled("netrc", f"machine x.io login eva password {word}", (word,)),
        Labelled("SQL", f"ALTER USER eva WITH PASSWORD '{word}';", (word,)),
        Labelled("private key", f"cat key:\n{key}\ndone now", lines, ("done now",)),
        Labelled("private key without end", f"log: {key[:330]}", lines[:4]),
        Labelled("private key in JSON in JSON", json.dumps({"a": json.dumps({"private_key": key})}), lines),
        Labelled("private key in one line", key.replace("\n", " "), lines),
        Labelled("private key in YAML", "key: |\n    " + key.replace("\n", "\n    ") + "\nport: 1", lines, ("port: 1",)),
        Labelled("in the midst of a large text", "x " * 50_000 + (large := TOKENS["ghp"]()) + " y" * 50_000, (large,)),
        Labelled("wrapped", f"key: {(long := TOKENS['anthropic']())[:60]}\n{long[60:]} ok", (long[:60], long[60:])),
        Labelled("one-time password", {"otp": (code := digits(6))}, (code,)),
        Labelled("German", f"Das Passwort lautet {word} und gilt bis morgen", (word,), ("gilt bis morgen",)),
        Labelled("Chinese", f"密码：{word}", (word,)),
        Labelled("Japanese", f"パスワードは {word} です", (word,), ("です",)),
        Labelled("French", f"Mot de passe : {word}", (word,)),
        Labelled("Spanish", f"la contraseña es {word}.", (word,)),
        Labelled("npmrc", f"//registry.npmjs.org/:_authToken={(found := uuid())}", (found,)),
        Labelled("container", f"docker run -e POSTGRES_PASSWORD={word} -e X=1 postgres:17", (word,), ("postgres:17",)),
        Labelled("kubectl", f"kubectl create secret generic s --from-literal=password={word}", (word,)),
        Labelled("terraform", f'resource "x" {{\n  admin_password = "{secret}"\n}}', (secret,)),
        Labelled("key of a storage", f"AccountName=x;AccountKey={(account := b64(86) + '==')};EndpointSuffix=core.windows.net", (account,), ("EndpointSuffix",)),
        Labelled("log line", f'level=info msg="login" password="{secret}" user=eva', (secret,), ("user=eva",)),
        Labelled("fragment", f"wss://rt.x.io/ws?access_token={token}#frag", (token,), ("#frag",)),
        Labelled("stack trace", f"  File \"x.py\", line 2, in f\n    login(user='eva', password='{word}')\nTypeError", (word,), ("TypeError",)),
        Labelled("quote inside", json.dumps({"password": word[:6] + '"' + word[6:]}), (word[:6], word[6:])),
        Labelled("user and password", {"auth": ("eva", secret)}, (secret,), ("eva",)),
        Labelled("number", json.dumps({"password": int(pin := digits(8)), "a": 1}), (pin,)),
        Labelled("headers in JSON", json.dumps({"h": [["authorization", f"Bearer {token}"]]}), (token,)),
        Labelled("password for somebody", f"password for eva: {word}", (word,), ("eva",)),
        Labelled("password without a sign", f"use password {word} to log in", (word,), ("to log in",)),
        Labelled("key of two words", f"the API key is {cookie}.", (cookie,), ("the API key",)),
        Labelled("invalid token", f"ValueError: invalid token: {token}", (token,), ("ValueError",)),
        Labelled("arguments of mysql", ["mysql", "-u", "root", f"-p{word}", "shop"], (word,), ("shop",)),
        Labelled("arguments of sshpass", ["sshpass", "-p", word, "ssh", "h"], (word,), ("ssh",)),
        Labelled("arguments of docker", ["docker", "login", "-u", "eva", "-p", word], (word,), ("eva",)),
        Labelled("repr of arguments", f"['tool', '--secret', '{cookie}']", (cookie,), ("tool",)),
        Labelled("cookie of curl", f"curl -b sid={cookie} https://x", (cookie,), ("https://x",)),
        Labelled("cookies as objects", {"cookies": [{"name": "sid", "value": cookie}]}, (cookie,), ("sid",)),
        Labelled("credentials", {"credentials": {"username": "eva", "password": secret}}, (secret,), ("eva",)),
        Labelled("environment as pairs", {"Env": [{"Name": "API_SECRET", "Value": cookie}]}, (cookie,), ("API_SECRET",)),
        Labelled("secrets of a workflow", {"secrets": {"FOO": cookie}}, (cookie,), ("FOO",)),
        Labelled("lines of a key", {"lines": [*key.split("\n"), "eva"]}, lines, ("eva",)),
        Labelled("lines of a key with numbers", "".join(f"{n:6}\t{line}\n" for n, line in enumerate(key.split("\n"), 1)), lines),
        Labelled("lines of a key with arrows", "".join(f"{n:6}→{line}\n" for n, line in enumerate(key.split("\n"), 1)), lines),
        Labelled("private key in base64", f"TLS_KEY_B64={_b(key)}\nX=1", (_b(key)[60:200],), ("X=1",)),
        Labelled("wrapped in many lines", "\n".join(app[at : at + 60] for at in range(0, len(app), 60)), (app[-40:],)),
        Labelled("sequence", f"Authorization: Bearer {'abcdef' + '0123456789' + 'abcdef'}", ("abcdef0123456789",)),
        Labelled("token with a number", "token=" + "abcdEFGH" + "1234", ("abcdEFGH1234",)),
        Labelled("token of an address", f"https://x-access-token:{cookie}@github.com/a/b", (cookie,), ("github.com/a/b",)),
        Labelled("Django", f"SECRET_KEY = 'django-insecure-{insecure}'", (insecure,)),
        Labelled("cookies.txt", f".x.io\tTRUE\t/\tTRUE\t1795859000\tPHPSESSID\t{cookie}", (cookie,), (".x.io",)),
        Labelled("pgpass", f"db.internal:5432:shop:eva:{word}", (word,), ("db.internal",)),
        Labelled("sudo", f"echo '{word}' | sudo -S apt update", (word,), ("apt update",)),
        Labelled("standard input of docker", f"echo {word} | docker login -u eva --password-stdin", (word,), ("--password-stdin",)),
        Labelled("secret of a workflow", f"gh secret set X --body {cookie}", (cookie,), ("gh secret set X",)),
        Labelled("discord", f"https://discord.com/api/webhooks/{digits(18)}/{(hook := url(68))}", (hook,), ("discord.com",)),
        Labelled("typed into a page", {"element": "Password field", "ref": "e1", "text": secret}, (secret,), ("e1",)),
        Labelled("typed, as an argument of a model", {"arguments": json.dumps({"element": "Password field", "text": word})}, (word,)),
        Labelled("options in JSON", json.dumps({"command": ["curl", "-u", f"eva:{word}", "https://x.io"]}), (word,), ("https://x.io",)),
        Labelled("escaped name", json.dumps({"パスワード": word, "x": json.dumps({"密码": word})}), (word,), ("x",)),
        Labelled("provided key", f"Incorrect API key provided: {cookie}. You can find", (cookie,), ("You can find",)),
        Labelled("key in brackets", f"Your API key ({cookie}) is invalid", (cookie,), ("is invalid",)),
        Labelled("user option with a token", f"curl -u {(only := TOKENS['stripe']())}: https://x.io", (only,), ("https://x.io",)),
        Labelled("key of a dictionary", {(name := TOKENS["groq"]()): {"active": True}}, (name,)),
    )  # fmt: skip
