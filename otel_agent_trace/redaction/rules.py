r"""Hold the rules for secrets that are recognized by their own shape: vendors' tokens, keys, signed addresses.

Rules are data. A literal that every such secret has makes a text worth a look; the pattern is then matched there and
nowhere else, so that a text without literals costs one scan for all of them. Patterns are compiled when a literal is
found for the first time. `docs/rules.md` lists them.

Patterns end before punctuation, not only before quotes and blanks, and repeat a bounded number of times. ``\b`` is not
used: letters of Chinese and Japanese texts are word characters.
"""

from __future__ import annotations

import binascii
import functools
import logging
import re
from collections.abc import Callable

import msgspec

from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.redaction.ordinary import is_password, looks_random
from otel_agent_trace.signals import is_of_signal_handler

ENTRY_POINT_GROUP = "otel_agent_trace.redaction"
_log = logging.getLogger("otel_agent_trace")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Describe secrets of one kind, or ordinary values that are no secrets of users.

    Attributes:
        name: the rule as masks, settings and `docs/rules.md` name it; rules of the same name belong together.
        literals: texts of which every such secret has one; letters have the case of the literal.
        pattern: a regular expression, matched where a literal is found; its group ``secret``, if it has one, is masked,
            else the whole match is.
        since: the year since when there are such secrets, "" if unknown.
        source: who defines the shape.
        behind: the number of characters before the literal at which the pattern may begin.
        inside: whether letters or digits may stand right before the match.
        test: a function that returns whether a matched text is such a secret.
    """

    name: str
    literals: tuple[str, ...]
    pattern: str
    since: str = ""
    source: str = ""
    behind: int = 0
    inside: bool = False
    test: Callable[[str], bool] | None = None

    def compiled(self) -> re.Pattern[str]:
        """Return the pattern, compiled once in a process."""
        return _compiled(self.pattern)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _has_both_cases_and_digits(text: str) -> bool:
    return not text.isupper() and not text.islower() and any(character.isdigit() for character in text)


def _is_user_and_password(text: str) -> bool:
    """Return whether a text is the base64 of a name and a password, as in ``Authorization: Basic``."""
    try:
        decoded = binascii.a2b_base64(text.replace("-", "+").replace("_", "/").replace("%3D", "") + "==").decode(
            "utf-8"
        )
    except (binascii.Error, ValueError):
        return False
    return ":" in decoded and decoded.isprintable()


def _vendor(name: str, literals: str, pattern: str, since: str = "", source: str = "betterleaks, kingfisher") -> Rule:
    return Rule(name=name, literals=tuple(literals.split()), pattern=pattern, since=since, source=source)


_ARGUMENTS = r"(?: [^\n|;&]{0,200}?)?"
"""Match arguments of a command, and none of the next one."""


def _command(literals: str, before: str, source: str) -> Rule:
    """Return a rule for what stands after a pattern in a command, where the program expects a password."""
    return Rule(name="password", literals=tuple(literals.split("|")), pattern=rf"{before}[\"']?(?P<secret>[^\s\"'\\]{{4,1024}})", source=source, test=is_password)  # fmt: skip


def _is_private_key(text: str) -> bool:
    """Return whether a text is the base64 of a PEM file of a private key, not of a certificate."""
    return b"PRIVATE KEY" in binascii.a2b_base64(text[:80])


_DIGIT = r"(?=[A-Za-z_-]{0,60}[0-9])"
"""Demand a digit among the next characters: random texts have one, words joined by hyphens seldom."""

RULES: tuple[Rule, ...] = (
    # ── models ──
    _vendor("anthropic", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{20,300}", "2023", "Anthropic"),
    _vendor("openai", "sk-proj- sk-svcacct- sk-admin- sk-None-", r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,300}", "2024", "OpenAI"),
    _vendor("openrouter", "sk-or-", r"sk-or-(?:v[0-9]-)?[0-9a-f]{32,80}", "2023"),
    _vendor("langfuse", "sk-lf-", r"sk-lf-[0-9a-f-]{32,40}", "2023", "Langfuse"),
    _vendor("minimax", "sk-api- sk-cp-", r"sk-(?:api|cp)-[A-Za-z0-9_-]{40,200}", "2025", "MiniMax"),
    _vendor("helicone", "sk-helicone-", r"sk-helicone-[a-z0-9-]{24,60}", "2023", "Helicone"),
    _vendor("api-key", "sk-", rf"sk-(?:[a-z0-9]{{2,10}}-){{0,2}}{_DIGIT}[A-Za-z0-9_]{{20,300}}(?![A-Za-z0-9_-])", "2020", "OpenAI, DeepSeek, Kimi and others"),
    Rule(name="api-key", literals=("sk-",), pattern=r"sk-[A-Za-z0-9_-]{32,300}", source="as above", test=_has_both_cases_and_digits),
    _vendor("elevenlabs", "sk_", r"sk_[0-9a-f]{48}(?![A-Za-z0-9])"),
    _vendor("google", "AIza", r"AIza[A-Za-z0-9_-]{35}", "2010", "Google"),
    _vendor("google", "AQ.", r"AQ\.[A-Za-z0-9_-]{40,80}", "2025", "Gemini API"),
    _vendor("google-oauth", "ya29.", r"ya29\.[A-Za-z0-9_.-]{20,2048}[A-Za-z0-9_-]", "2011", "Google"),
    _vendor("google-oauth", "1//0", r"1//0[A-Za-z0-9_-]{30,200}", "", "Google"),
    _vendor("google-oauth", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{24,40}", "2021", "Google"),
    _vendor("huggingface", "hf_", r"hf_[A-Za-z0-9]{30,60}(?![A-Za-z0-9_])", "2022", "Hugging Face"),
    _vendor("huggingface", "api_org_", r"api_org_[A-Za-z0-9]{30,60}(?![A-Za-z0-9_])", "2022", "Hugging Face"),
    _vendor("groq", "gsk_", r"gsk_[A-Za-z0-9]{40,80}", "2024"),
    _vendor("xai", "xai-", r"xai-[A-Za-z0-9_-]{60,150}", "2024"),
    _vendor("perplexity", "pplx-", r"pplx-[A-Za-z0-9]{40,80}", "2023"),
    _vendor("replicate", "r8_", r"r8_[A-Za-z0-9_-]{37}(?![A-Za-z0-9_-])", "2023"),
    _vendor("nvidia", "nvapi-", r"nvapi-[A-Za-z0-9_-]{50,90}", "2023"),
    _vendor("together", "tgp_v1_", r"tgp_v1_[A-Za-z0-9_-]{35,60}", "2025"),
    _vendor("fireworks", "fw_", rf"fw_{_DIGIT}[A-Za-z0-9]{{20,32}}(?![A-Za-z0-9_])", "2024"),
    _vendor("cerebras", "csk-", r"csk-[A-Za-z0-9]{40,60}", "2024"),
    _vendor("langsmith", "lsv2_ ls__", r"(?:lsv2_(?:pt|sk|sc)_[0-9a-f]{32}_[0-9a-f]{10}|ls__[0-9a-f]{32})", "2024", "LangSmith"),
    _vendor("logfire", "pylf_v", r"pylf_v[0-9]{1,2}_[a-z]{2,12}_[A-Za-z0-9_]{20,80}", "2024", "Logfire"),
    _vendor("tavily", "tvly-", rf"tvly-(?:dev-|prod-)?{_DIGIT}[A-Za-z0-9_-]{{20,80}}", "2024"),
    _vendor("pinecone", "pcsk_", r"pcsk_[A-Za-z0-9_]{40,100}", "2024"),
    _vendor("wandb", "wandb_v1_", r"wandb_v1_[A-Za-z0-9_-]{60,120}", "2025"),
    _vendor("firecrawl", "fc-", r"fc-[0-9a-f]{32}(?![A-Za-z0-9])", "2024"),
    _vendor("e2b", "e2b_", r"e2b_[0-9a-f]{40}(?![A-Za-z0-9])", "2024"),
    _vendor("jina", "jina_", rf"jina_{_DIGIT}[A-Za-z0-9]{{40,90}}", "2023"),
    _vendor("voyage", "pa-", rf"pa-{_DIGIT}[A-Za-z0-9_-]{{43}}(?![A-Za-z0-9_-])", "2024"),
    _vendor("bedrock", "ABSK", r"ABSK(?:[A-Za-z0-9+/]|%2[BbFf]){60,400}(?:=|%3[Dd]){0,2}", "2025", "AWS"),
    _vendor("bedrock", "bedrock-api-key-", r"bedrock-api-key-[A-Za-z0-9+/_-]{40,4096}={0,2}", "2025", "AWS"),
    _vendor("mem0", "m0-", r"m0-[A-Za-z0-9]{40}(?![A-Za-z0-9_-])", "2024", "Mem0"),
    _vendor("runpod", "rpa_", r"rpa_[A-Z0-9]{30,50}[a-z]{0,8}(?![A-Za-z0-9_])", "2024"),
    _vendor("brave", "BSA", rf"BSA{_DIGIT}[A-Za-z0-9_-]{{27,28}}(?![A-Za-z0-9_-])", "2023", "Brave"),
    _vendor("context7", "ctx7sk-", r"ctx7sk-[0-9a-f-]{32,40}", "2025", "Context7"),
    _vendor("lambda", "secret_", r"secret_[a-z0-9-]{1,60}_[0-9a-f]{32}\.[A-Za-z0-9]{32}", "2023"),
    _vendor("apify", "apify_api_", r"apify_api_[A-Za-z0-9]{30,60}"),
    _vendor("browserbase", "bb_live_", r"bb_live_[A-Za-z0-9_-]{20,60}"),
    # ── code and packages ──
    _vendor("github", "ghp_ gho_ ghu_ ghr_", r"gh[pour]_[A-Za-z0-9]{36,255}", "2021", "GitHub"),
    _vendor("github", "ghs_", r"ghs_(?=[A-Za-z0-9._-]{36})[A-Za-z0-9_-]{1,1000}(?:\.[A-Za-z0-9_-]{1,2000}){0,4}", "2021", "GitHub; since October 2026 with a JSON web token"),
    _vendor("github", "github_pat_", r"github_pat_[A-Za-z0-9_]{36,255}", "2022", "GitHub"),
    _vendor("gitlab", "glpat- glrt- glrtr- gldt- glcbt- glptt- glft- glagent- gloas- glsoat- glimt- glffct- glwt-", r"gl(?:pat|rtr?|dt|cbt|ptt|ft|agent|oas|soat|imt|ffct|wt)-[A-Za-z0-9_-]{20,400}(?:\.[A-Za-z0-9_-]{2,40}){0,2}", "2021", "GitLab"),
    _vendor("gitlab", "GR1348941", r"GR1348941[A-Za-z0-9_-]{20,40}", "", "GitLab"),
    _vendor("atlassian", "ATATT3 ATCTT3 ATBB", r"(?:AT[AC]TT3[A-Za-z0-9_-]{60,300}(?:=[A-Za-z0-9]{4,16})?|ATBB[A-Za-z0-9]{32}(?![A-Za-z0-9]))", "2023"),
    _vendor("npm", "npm_", r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9_])", "2021", "npm"),
    _vendor("pypi", "pypi-AgE", r"pypi-AgE[A-Za-z0-9_-]{50,1000}", "2019", "PyPI"),
    _vendor("rubygems", "rubygems_", r"rubygems_[0-9a-f]{48}"),
    _vendor("docker", "dckr_pat_ dckr_oat_", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,60}", "2021"),
    _vendor("sonar", "squ_ sqp_ sqa_", r"sq[upa]_[0-9a-f]{40}"),
    _vendor("openai", "sess-", r"sess-[A-Za-z0-9]{40}(?![A-Za-z0-9_-])", "", "OpenAI"),
    _vendor("nuget", "oy2", r"oy2[a-z0-9]{43}(?![A-Za-z0-9_])"),
    _vendor("artifactory", "AKCp cmVmdGtu", r"(?:AKCp[A-Za-z0-9]{69}|cmVmdGtu[A-Za-z0-9]{56})(?![A-Za-z0-9+/=_-])", "", "JFrog"),
    _vendor("circleci", "CCIPAT_ CCIPRJ_", r"CCI(?:PAT|PRJ)_[A-Za-z0-9]{20,24}_[0-9a-f]{40}", "2023"),
    _vendor("buildkite", "bkua_", r"bkua_[0-9a-f]{40}"),
    _vendor("sourcegraph", "sgp_", r"sgp_(?:(?:[0-9a-f]{16}|local)_)?[0-9a-f]{40}"),
    _vendor("cursor", "crsr_ key_", r"(?:crsr|key)_[0-9a-f]{64}(?![A-Za-z0-9_])", "2025", "Cursor"),
    _vendor("contentful", "CFPAT-", r"CFPAT-[A-Za-z0-9_-]{43}"),
    _vendor("readme", "rdme_", r"rdme_[a-z0-9]{70}"),
    _vendor("prefect", "pnu_ pnb_", r"pn[ub]_[A-Za-z0-9]{36}(?![A-Za-z0-9_])"),
    _vendor("infracost", "ico-", rf"ico-{_DIGIT}[A-Za-z0-9]{{32}}(?![A-Za-z0-9_-])"),
    _vendor("django", "django-insecure-", r"django-insecure-[A-Za-z0-9!@#$%^&*()_=+-]{40,60}", "2020", "Django"),
    _vendor("postman", "PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    _vendor("figma", "figd_ figu_ figo_ figoh_ figor_", r"fig(?:[duo]|oh|or)_[A-Za-z0-9_-]{38,60}", "2023"),
    _vendor("linear", "lin_api_ lin_oauth_", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,80}"),
    _vendor("notion", "ntn_", r"ntn_[A-Za-z0-9]{40,60}", "2024", "Notion"),
    _vendor("notion", "secret_", rf"secret_{_DIGIT}[A-Za-z0-9]{{43}}(?![A-Za-z0-9_])", "2021", "Notion"),
    # ── clouds and hosts ──
    _vendor("aws", "AKIA ASIA ABIA ACCA", r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])", "", "AWS"),
    _vendor("aws", "FwoGZXIvYXdz IQoJb3JpZ2lu", r"(?:FwoGZXIvYXdz|IQoJb3JpZ2lu)[A-Za-z0-9+/%]{80,4096}={0,2}", "", "AWS"),
    Rule(name="azure", literals=("Q~",), pattern=r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}(?![A-Za-z0-9_~-])", since="2021", source="Microsoft Entra", behind=4),
    Rule(name="azure", literals=("JQQJ99",), pattern=r"(?<![A-Za-z0-9])(?=[A-Za-z0-9]{84}(?![A-Za-z0-9]))[A-Za-z0-9]{0,78}JQQJ99[A-Za-z0-9]{0,78}", since="2024", source="Azure OpenAI", behind=78),
    _vendor("databricks", "dapi dose", r"(?:dapi|dose)[0-9a-f]{32}(?:-[0-9])?(?![A-Za-z0-9])"),
    _vendor("digitalocean", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[0-9a-f]{64}", "2022"),
    _vendor("supabase", "sbp_ sb_secret_", r"(?:sbp_(?:v0_)?[0-9a-f]{40}|sb_secret_[A-Za-z0-9_-]{20,60})", "2025", "Supabase"),
    _vendor("cloudflare", "cfut_ cfat_ cfk_", r"cf(?:[ua]t|k)_[A-Za-z0-9_-]{40,60}", "2026", "Cloudflare"),
    _vendor("cloudflare", "v1.0-", r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}", "", "Cloudflare"),
    _vendor("vercel", "vercel_blob_rw_", r"vercel_blob_rw_[A-Za-z0-9_]{30,80}", "2023"),
    _vendor("vercel", "vck_ vcp_ vca_ vci_ vcr_", r"vc[kpair]_[A-Za-z0-9]{40,80}", "2025"),
    _vendor("heroku", "HRKU-AA", r"HRKU-AA[A-Za-z0-9_-]{50,80}", "2024"),
    _vendor("neon", "napi_", r"napi_[A-Za-z0-9]{50,80}"),
    _vendor("planetscale", "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,64}"),
    _vendor("netlify", "nfp_", r"nfp_[A-Za-z0-9]{36,60}"),
    _vendor("fly", "FlyV1 fm1r_ fm2_ fo1_", r"(?:FlyV1 )?f(?:m1[ar]|m2|o1)_(?:[A-Za-z0-9+/_-]|%2[BbFf]){40,1000}(?:=|%3[Dd]){0,3}"),
    _vendor("render", "rnd_", rf"rnd_{_DIGIT}[A-Za-z0-9]{{28,40}}(?![A-Za-z0-9_])"),
    _vendor("pulumi", "pul-", r"pul-[0-9a-f]{40}"),
    Rule(name="terraform", literals=(".atlasv1.",), pattern=r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}", source="HashiCorp", behind=14),
    _vendor("vault", "hvs. hvb. hvr.", r"hv[sbr]\.[A-Za-z0-9_-]{24,300}", "2022", "HashiCorp"),
    _vendor("doppler", "dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}"),
    _vendor("1password", "ops_eyJ", r"ops_eyJ[A-Za-z0-9+/_-]{60,4096}={0,2}", "2023"),
    _vendor("tailscale", "tskey-", r"tskey-(?:[a-z]{2,12}-)?[A-Za-z0-9]{8,40}(?:-[A-Za-z0-9]{8,80})?"),
    _vendor("age", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    _vendor("alibaba", "LTAI", r"LTAI[A-Za-z0-9]{16,26}(?![A-Za-z0-9])"),
    _vendor("yandex", "AQVN", r"AQVN[A-Za-z0-9_-]{35,38}(?![A-Za-z0-9_-])"),
    _vendor("scaleway", "SCW", r"SCW[A-Z0-9]{17}(?![A-Za-z0-9])"),
    _vendor("clickhouse", "4b1d", r"4b1d[A-Za-z0-9]{38}(?![A-Za-z0-9])", "", "ClickHouse Cloud"),
    _vendor("confluent", "cflt", r"cflt[A-Za-z0-9+/]{60}(?![A-Za-z0-9+/])", "2025"),
    _vendor("tencent", "AKID", rf"AKID{_DIGIT}[A-Za-z0-9]{{32}}(?![A-Za-z0-9])"),
    # ── operations ──
    _vendor("grafana", "glsa_ glc_", r"(?:glsa_[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}|glc_[A-Za-z0-9+/]{32,400}={0,2})", "2022"),
    _vendor("newrelic", "NRAK- NRII- NRAL-", r"NR(?:AK|II|AL)-[A-Za-z0-9_-]{27,40}"),
    Rule(name="newrelic", literals=("FFFFNRAL",), pattern=r"[0-9a-f]{36}FFFFNRAL", source="New Relic", behind=36),
    _vendor("sentry", "sntrys_ sntryu_", r"sntry(?:u_[0-9a-f]{64}|s_(?:[A-Za-z0-9+/=_-]|%2[BbFf]|%3[Dd]){40,500})", "2023"),
    _vendor("posthog", "phx_ phs_", r"ph[xs]_[A-Za-z0-9_]{40,64}"),
    _vendor("dynatrace", "dt0c01. dt0s16.", r"dt0(?:c01|s16)\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    # ── messages and money ──
    _vendor("slack", "xoxa- xoxb- xoxp- xoxr- xoxs- xoxc- xoxe- xoxd-", r"xox[abprsced]-(?:[A-Za-z0-9-]|%[0-9A-F]{2}){16,500}", "2015", "Slack"),
    _vendor("slack", "xoxe.xox", r"xoxe\.xox[bp]-[A-Za-z0-9-]{20,400}", "2021", "Slack"),
    _vendor("slack", "xapp-", r"xapp-[0-9]-[A-Za-z0-9-]{20,200}", "2021", "Slack"),
    _vendor("slack-webhook", "hooks.slack.com/", r"hooks\.slack\.com\\?/(?:services|workflows|triggers)\\?/(?P<secret>[A-Za-z0-9_/\\-]{20,200})", "2014", "Slack"),
    Rule(name="discord-webhook", literals=("/api/webhooks/",), pattern=r"/api/webhooks/[0-9]{15,25}/(?P<secret>[A-Za-z0-9_-]{50,100})", source="Discord", inside=True),
    _vendor("stripe", "sk_live_ sk_test_ rk_live_ rk_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,255}", "2012", "Stripe"),
    _vendor("stripe", "whsec_", r"whsec_[A-Za-z0-9+/]{24,100}={0,2}", "", "Stripe"),
    _vendor("shopify", "shpat_ shpca_ shppa_ shpss_ shpua_", r"shp(?:at|ca|pa|ss|ua)_[0-9a-fA-F]{32}", "2020"),
    _vendor("square", "sq0csp- sq0atp- EAAA", r"(?:sq0[a-z]{3}-[A-Za-z0-9_-]{22,43}|EAAA[A-Za-z0-9_-]{60}(?![A-Za-z0-9_-]))"),
    Rule(name="telegram", literals=(":AA",), pattern=r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])", since="2015", source="Telegram", behind=10, inside=True),
    _vendor("twilio", "SK", r"SK[0-9a-f]{32}(?![A-Za-z0-9])", "", "Twilio"),
    _vendor("sendgrid", "SG.", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}", "", "SendGrid"),
    _vendor("brevo", "xkeysib- xsmtpsib-", r"x(?:key|smtp)sib-[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    _vendor("mailgun", "key-", r"key-[0-9a-f]{32}(?![A-Za-z0-9])"),
    Rule(name="mailchimp", literals=tuple(f"-us{digit}" for digit in range(1, 10)), pattern=r"[0-9a-f]{32}-us[0-9]{1,2}(?![A-Za-z0-9_-])", source="Mailchimp", behind=32),
    _vendor("hubspot", "pat-na pat-eu pat-ap", r"pat-(?:na|eu|ap)[0-9]-[0-9a-f-]{36}", "2021", "HubSpot"),
    _vendor("dropbox", "sl.B sl.u.", r"sl\.(?:u\.)?[A-Za-z0-9_-]{120,2000}", "2021", "Dropbox"),
    _vendor("facebook", "EAA", r"EAA[A-Za-z0-9]{100,400}(?![A-Za-z0-9+/=_-])", "", "Meta"),
    _vendor("mapbox", "sk.eyJ", r"sk\.eyJ[A-Za-z0-9_-]{40,200}\.[A-Za-z0-9_-]{22}", "", "Mapbox"),
    _vendor("typeform", "tfp_", r"tfp_[A-Za-z0-9_.-]{59,64}"),
    _vendor("frameio", "fio-u-", r"fio-u-[A-Za-z0-9_-]{64}"),
    _vendor("duffel", "duffel_live_ duffel_test_", r"duffel_(?:live|test)_[A-Za-z0-9_-]{43}"),
    _vendor("easypost", "EZAK EZTK", r"EZ[AT]K[A-Za-z0-9]{54}"),
    _vendor("flutterwave", "FLWSECK", r"FLWSECK(?:_TEST)?-[0-9A-Za-z]{12,40}(?:-X)?"),
    _vendor("paypal", "access_token$", r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}"),
    _vendor("plaid", "access-production- access-sandbox- access-development-", r"access-(?:production|sandbox|development)-[0-9a-f-]{36}"),
    _vendor("intra42", "s-s4t2ud- s-s4t2af-", r"s-s4t2(?:ud|af)-[0-9a-f]{64}"),
    _vendor("resend", "re_", rf"re_{_DIGIT}[A-Za-z0-9]{{8}}_[A-Za-z0-9]{{24}}(?![A-Za-z0-9_])"),
    # ── everywhere ──
    _vendor("jwt", "eyJ", r"eyJ[A-Za-z0-9_-]{10,4096}\.(?:eyJ[A-Za-z0-9_-]{6,20000}(?:\.[A-Za-z0-9_-]{0,4096})?|[A-Za-z0-9_-]{0,4096}(?:\.[A-Za-z0-9_-]{8,20000}){2,3})", "2015", "RFC 7519, RFC 7516"),
    Rule(name="authorization", literals=("Basic ", "basic ", "BASIC ", "Basic%20"), pattern=r"(?i:basic)(?: {1,4}|%20)(?P<secret>[A-Za-z0-9+/_-]{8,2048}(?:={0,2}|(?:%3D){0,2})(?![A-Za-z0-9]))", since="1996", source="RFC 7617", test=_is_user_and_password),
    Rule(name="authorization", literals=("Bearer ", "bearer ", "BEARER ", "Bearer%20", "bearer%20"), pattern=r"(?i:bearer)(?: {1,4}|%20)(?:[\"'] {0,4}\+ {0,4}[bf]?[\"'])?(?P<secret>[A-Za-z0-9._~+/=|:%-]{12,8192})", since="2012", source="RFC 6750", test=looks_random),
    _command("sshpass", r"sshpass {1,4}-p ?", "sshpass"),
    _command("mysql|mariadb", rf"(?:mysql|mariadb)(?:dump|admin|-dump|-admin)?{_ARGUMENTS} -p", "mysql"),
    _command("redis-cli", rf"redis-cli{_ARGUMENTS} -a {{1,4}}", "redis-cli"),
    _command("docker login|podman login|helm registry login|az login|twine upload|mongosh ", rf"(?:(?:docker|podman|helm registry|az) login|twine upload|mongosh){_ARGUMENTS} -p {{1,4}}", "docker, az, twine, mongosh"),
    _command("sqlcmd |unzip |zip ", rf"(?:sqlcmd|unzip|zip){_ARGUMENTS} -P {{0,4}}", "sqlcmd, zip"),
    _command("7z |7za ", rf"7za?{_ARGUMENTS} -p", "7-Zip"),
    _command("ldapsearch |ldapmodify |ldapadd ", rf"ldap(?:search|modify|add){_ARGUMENTS} -w {{1,4}}", "OpenLDAP"),
    _command("ssh-keygen ", rf"ssh-keygen{_ARGUMENTS} -[NP] {{1,4}}", "OpenSSH"),
    _command("rabbitmqctl ", r"rabbitmqctl (?:add_user|change_password) [^\s]{1,100} ", "RabbitMQ"),
    _command("htpasswd ", r"htpasswd -[A-Za-z]{0,6}b[A-Za-z]{0,6} (?:[^\s-][^\s]{0,200} )?[^\s-][^\s]{0,100} ", "Apache"),
    _command("secret set |secret put ", rf"secret (?:set|put){_ARGUMENTS} (?:--body|-b|<<<) {{0,4}}", "gh, wrangler"),
    _command("user-secrets set ", r"user-secrets set [^\s]{1,100} ", "dotnet"),
    _command("poetry config ", r"poetry config (?:pypi-token|http-basic)\.[^\s]{1,60} (?:[^\s]{1,100} )?", "Poetry"),
    _command("snyk auth |wandb login |ngrok config add-authtoken ", r"(?:snyk auth|wandb login|ngrok config add-authtoken) ", "snyk, wandb, ngrok"),
    Rule(name="password", literals=("echo ", "printf "), pattern=r"(?:echo|printf)(?: -[ne])? {1,4}[\"']?(?P<secret>[^\s\"'\\|$]{4,256})[\"']? {0,4}\| {0,4}(?:sudo [^\n|]{0,20}-S(?![A-Za-z])|[^\n|]{1,120}--(?:password-stdin|with-token))", source="docker, gh, sudo", test=is_password),
    Rule(name="password", literals=(":5432:",), pattern=r":5432:[^:\s\"']{1,64}:[^:\s\"']{1,64}:(?P<secret>[^\s\"'\\]{4,128})", source="pgpass", inside=True, test=is_password),
    Rule(name="private-key", literals=("LS0tLS1CRUdJTi",), pattern=r"LS0tLS1CRUdJTi[A-Za-z0-9+/]{60,20000}={0,2}", source="PEM in base64, as of Kubernetes", test=_is_private_key),
    Rule(name="cookie", literals=("\tTRUE\t", "\tFALSE\t", "\\tTRUE\\", "\\tFALSE\\"), pattern=r"(?:\t|\\{1,8}t)(?:TRUE|FALSE)(?:\t|\\{1,8}t)/[^\s\\]{0,200}(?:\t|\\{1,8}t)(?:TRUE|FALSE)(?:\t|\\{1,8}t)[0-9]{1,12}(?:\t|\\{1,8}t)[^\s\\]{1,128}(?:\t|\\{1,8}t)(?P<secret>[^\s\"'\\]{8,4096})", source="cookies.txt of Netscape, curl and browsers", inside=True, test=looks_random),
    Rule(name="cookie", literals=("PHPSESSID=", "JSESSIONID=", "connect.sid=", "laravel_session=", "_gitlab_session=", "ASP.NET_SessionId="), pattern=r"[A-Za-z_.]{9,18}=(?P<secret>[A-Za-z0-9%._~+/-]{16,1024})", source="PHP, Jakarta Servlet, Express, Laravel, GitLab, ASP.NET", test=looks_random),
    Rule(name="cookie", literals=("curl ",), pattern=r"curl [^\n|;]{0,200}?-b {0,4}[\"']?[^=\s\"']{1,64}=(?P<secret>[^\s\"';\\]{8,4096})", source="curl", test=looks_random),
    Rule(name="password", literals=("IDENTIFIED BY", "identified by"), pattern=r"(?i:identified by) {1,4}(?:PASSWORD {1,4})?[\"'](?P<secret>[^\"'\n\\]{4,128})[\"']", source="SQL", test=is_password),
)  # fmt: skip


@functools.lru_cache(maxsize=1)
def plugin_rules() -> tuple[Rule, ...]:
    """Return the rules that other packages add by entry points, each a `Rule` or a sequence of them."""
    with NO_FORK:
        from importlib import metadata  # noqa: PLC0415 - slow, and needed with the first text only

    rules: list[Rule] = []
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            found = point.load()
            rules += [_as_given(rule) for rule in ([found] if isinstance(found, Rule) else found)]
        except Exception as error:  # a package of others must not cost the program all values
            if is_of_signal_handler(error):
                raise
            _log.warning(
                "the redaction rules %s (%s) cannot be used: %s: %s",
                point.name,
                point.value,
                type(error).__name__,
                error,
            )
    return tuple(rules)


def _as_given(rule: Rule) -> Rule:
    """Return a rule of another package, of which every match counts unless it has a test of its own."""
    return rule if rule.test is not None else msgspec.structs.replace(rule, test=_every_match)


def _every_match(_text: str) -> bool:
    return True
