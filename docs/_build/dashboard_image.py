"""Take the image of the explorer's page, with the flower that ships with scikit-learn.

    python docs/_build/dashboard_image.py docs/assets/explorer.png

Photograph by vultilion, https://creativecommons.org/licenses/by/2.0/, made smaller.
"""

import io
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from persistill.dashboard import DashboardServer

WIDTH, LEVEL = 1180, 90


def main(target: str) -> None:
    with tempfile.TemporaryDirectory() as folder, DashboardServer(Path(folder)) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, device_scale_factor=1.5)
        page.goto(f"{server.url}explorer?token={server.access.token}")
        page.locator("#level").evaluate(f"(slider) => {{ slider.value = {LEVEL}; }}")
        page.locator("#level").dispatch_event("input")
        told = page.locator("#told")
        while f"level {LEVEL};" not in (told.text_content() or ""):
            page.wait_for_timeout(100)
        bottom = page.locator("#settings").evaluate("(form) => form.getBoundingClientRect().bottom")
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        browser.close()
        server.shutdown()
    top = round(shot.width * 40 / WIDTH)
    image = shot.crop((0, top, shot.width, round(shot.width * (bottom + 32) / WIDTH))).convert("RGB")
    image.quantize(256, Image.Quantize.MAXCOVERAGE).save(target, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
