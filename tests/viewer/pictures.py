"""Take the pictures of the README: of the list, a failed run, and two runs beside each other.

    python -m tests.viewer.pictures

needs Chromium with the fonts of the browser tests, and pngquant.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from playwright.sync_api import expect

from tests.support.browser import Tabs, chromium
from tests.support.sample_runs import write_runs_to
from tests.support.shown_runs import shown_runs
from tests.support.viewed import viewing

_TOP = Path(__file__).parents[2]
_PICTURES = {
    "runs": ("", "light", "Which of our three suppliers"),
    "run": ("runs/supplier-report", "light", "Stack trace"),
    "compare": ("compare?a=refund-before&b=refund-after", "dark", "30 equal steps"),
}
_SIZE = {"width": 1280, "height": 640}


def main() -> None:
    """Write the pictures to docs/pictures, each with a palette."""
    pictures = _TOP / "docs" / "pictures"
    pictures.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        store = write_runs_to(Path(folder) / "traces.jsonl", shown_runs(time.time_ns()))
        with viewing("traces.jsonl", "--port", 0, "--no-open", cwd=store.parent) as viewed:
            tabs = Tabs(browser)
            for name, (path, theme, text) in _PICTURES.items():
                page = tabs.open(viewed.url + path, color_scheme=theme, viewport=_SIZE, reduced_motion="reduce")
                expect(page.get_by_text(text).first).to_be_visible()
                expect(page.get_by_role("img", name="live", exact=True)).to_be_visible()
                if not path:
                    expect(page.locator(".histogram rect").first).to_be_attached()
                page.screenshot(path=pictures / f"{name}.png")
                palette = [
                    "pngquant",
                    "--force",
                    "--ext",
                    ".png",
                    "--speed",
                    "1",
                    "--strip",
                    str(pictures / f"{name}.png"),
                ]
                subprocess.run(palette, check=True)
            tabs.close()


if __name__ == "__main__":
    main()
