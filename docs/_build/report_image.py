"""Take the image of the README: the top of a comparison's report and its first persistence images.

python docs/_build/report_image.py runs/comparison-tgd_digits-... docs/assets/report.png
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from persistill import report

WIDTH, GAP = 1100, 24


def main(comparison: str, target: str) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = report.write(Path(comparison), Path(folder) / "report.html")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, device_scale_factor=1.5)
        page.goto(page_file.as_uri())
        page.wait_for_timeout(1500)
        shot = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        boxes = page.evaluate(
            """() => {
                const place = (element) => element.getBoundingClientRect();
                const cards = [...document.querySelectorAll(".gallery .entry")].slice(0, 3).map(place);
                return {
                    table: place(document.querySelector("table")).bottom + window.scrollY,
                    top: cards[0].top + window.scrollY,
                    bottom: Math.max(...cards.map((card) => card.bottom)) + window.scrollY,
                };
            }"""
        )
        browser.close()
    scale = shot.width / WIDTH
    parts = [(0, boxes["table"] + 8), (boxes["top"] - GAP, boxes["bottom"] + GAP)]
    crops = [shot.crop((0, round(top * scale), shot.width, round(bottom * scale))) for top, bottom in parts]
    image = Image.new("RGB", (shot.width, sum(crop.height for crop in crops)), "white")
    height = 0
    for crop in crops:
        image.paste(crop, (0, height))
        height += crop.height
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    image.quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
