"""The page below a prefix of another address, as a proxy has it: no link and no request leads out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import Tabs, is_shown_at
from tests.support.http_servers import serving
from tests.support.prefix_proxy import PrefixProxy
from tests.support.sample_runs import write_runs_to
from tests.support.shown_runs import shown_runs
from tests.support.viewed import viewing
from tests.viewer.browser.test_live import is_live, write_run

pytestmark = pytest.mark.slow
_NOW_NS = 1_800_000_000 * 10**9


def test_all_pages_are_below_the_prefix(tabs: Tabs, tmp_path: Path) -> None:
    path = Path(write_runs_to(tmp_path / "traces.jsonl", shown_runs(_NOW_NS)))
    proxy = PrefixProxy("/some/prefix")
    host = f"traces.localhost:{proxy.server_port}"
    options = ("--port", 0, "--no-open", "--host", "0.0.0.0", "--trusted-host", host)
    with serving(proxy), viewing(path, *options) as viewed:
        proxy.upstream_port = viewed.port
        tabs.expect_problem("40[13]")
        page = tabs.open(f"http://{host}/some/prefix/")
        expect(page.get_by_role("alert")).to_contain_text("the token is missing")
        page.goto(f"http://{host}/some/prefix/#token=wrong")
        expect(page.get_by_role("alert")).to_contain_text("the token in the address is wrong")
        is_shown_at(page, r"/some/prefix/$")
        page.goto(f"http://{host}/some/prefix/#token={viewed.token}")
        rows = page.locator(".list [data-run]")
        is_shown_at(page, r"/some/prefix/$")
        is_live(page)
        rows.first.get_by_role("link").click()
        is_shown_at(page, r"/some/prefix/runs/supplier-report\?step=\w+$")
        page.reload()
        expect(page.get_by_role("treegrid")).to_contain_text("query_table")
        page.get_by_role("button", name="Helpful", exact=True).click()
        expect(page.get_by_role("region", name="Step").get_by_role("listitem")).to_contain_text("helpful")
        page.get_by_role("link", name="Session board-report").click()
        is_shown_at(page, r"/some/prefix/sessions/board-report$")
        page.get_by_role("link", name="Turn 1").click()
        is_shown_at(page, r"/some/prefix/runs/")
        page.get_by_role("link", name="Metrics").click()
        page.locator(".charts a").first.click()
        is_shown_at(page, r"/some/prefix/\?since=")
        page.goto(f"http://{host}/some/prefix/compare?a=supplier-report&b=supplier-report")
        expect(page.get_by_role("status").filter(has_text="The runs do not differ")).to_be_visible()
        page.get_by_role("link", name="Runs").click()
        expect(rows.first).to_be_visible()
        write_run(path, "new")
        expect(page.get_by_role("button", name="1 new")).to_be_visible()
        page.close()
