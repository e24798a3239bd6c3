"""Both pages in a real browser that reaches nothing but the server."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from asking import Client, epoch
from PIL import Image

from persistill.dashboard import explorer
from persistill.run_folder import RunFolder

LABELLED = """[...document.querySelectorAll('input, select, button')].filter((control) =>
    !control.labels?.length && !control.textContent.trim() && !control.ariaLabel).map((control) => control.id)"""
LAYOUT = "((name) => document.querySelector(`[data-name=${name}] .plot`).layout)"
INK = """(name) => {
    const canvas = document.getElementById(name);
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const data = copy.getImageData(0, 0, canvas.width, canvas.height).data;
    const found = new Set();
    for (let place = 0; place < data.length; place += 4) found.add(data.slice(place, place + 4).join());
    return found.size;
}"""
"""How many colors there are on a canvas."""


class Visit:
    """A page that was opened, with everything that it said and asked for elsewhere."""

    def __init__(self, browser: object, client: Client, path: str, theme: str, width: int) -> None:
        self.said: list[str] = []
        self.elsewhere: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on(
            "request",
            lambda request: request.url.startswith((client.url, "data:")) or self.elsewhere.append(request.url),
        )
        self.page.goto(f"{client.url}{path}?token={client.server.access.token}")

    def until(self, expression: str) -> None:
        """Wait for an expression to become true. (Playwright's own waiting needs what the page's policy forbids.)"""
        for _ in range(1200):  # kernels may have to be compiled first
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never became true: {expression}; the page said {self.said}")

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).first.text_content())

    def told(self, beginning: str) -> str:
        """Wait for the sentence below the level to contain something, and give it."""
        self.until(f"document.getElementById('told').textContent.includes({beginning!r})")
        return self.text("#told")


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: object, client: Client) -> Iterator[Open]:
    visits: list[Visit] = []

    def start(path: str, theme: str = "light", width: int = 1280) -> Visit:
        visits.append(Visit(browser, client, path, theme, width))
        return visits[-1]

    yield start
    for one in visits:
        one.context.close()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_components_merge_and_points_appear(visit: Open, theme: str, width: int) -> None:
    seen = visit("explorer", theme, width)
    first = seen.told("components at level 96")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert min(seen.page.evaluate(INK, name) for name in ("image", "diagram", "persistence-image")) > 20
    assert seen.page.evaluate(LABELLED) == []

    seen.page.locator("#level").focus()
    seen.page.keyboard.press("Home")
    seen.told("at level 0; 0 of 201 have ended")
    assert "0 points" in (seen.page.locator("#diagram").get_attribute("aria-label") or "")
    assert seen.page.locator("#longest tr td:last-child").all_text_contents() == ["not born"] * 12
    colors = seen.page.evaluate(INK, "persistence-image")
    seen.page.keyboard.press("End")
    last = seen.told("1 component at level 255; 201 of 201 have ended, 0 are not born")
    assert last != first
    assert seen.page.evaluate(INK, "persistence-image") > colors + 100
    assert "100 percent" in (seen.page.locator("#persistence-image").get_attribute("aria-label") or "")
    assert seen.page.locator("#longest tr td:last-child").all_text_contents() == ["alive"] + ["ended"] * 11
    assert seen.said == []
    assert seen.elsewhere == []


def test_every_control_has_its_effect(visit: Open) -> None:
    seen = visit("explorer")
    seen.told("components at level 96")
    drawn = "document.getElementById('persistence-image').toDataURL()"
    for name, change in (
        ("bandwidth", "ArrowRight"),
        ("least", "ArrowUp"),
        ("cells", "ArrowUp"),
        ("birth-high", "ArrowDown"),
        ("life-high", "ArrowDown"),
        ("birth-low", "ArrowUp"),
        ("life-low", "ArrowUp"),
    ):
        before = seen.page.evaluate(drawn)
        seen.page.locator(f"#{name}").press(change)
        seen.until(f"{drawn} !== {before!r}")
    for name, choice in (("weight", "constant"), ("channel", "blue"), ("scan", "rows"), ("scan", "columns")):
        before = seen.page.evaluate(drawn)
        seen.page.locator(f"#{name}").select_option(choice)
        seen.until(f"{drawn} !== {before!r}")
    for name in ("published", "fitting"):
        before = seen.page.evaluate(drawn)
        seen.page.locator(f"#{name}").click()
        seen.until(f"{drawn} !== {before!r}")
    seen.page.locator("#sample").select_option("digit-4")
    seen.until("document.getElementById('image').ariaLabel.includes('8 by 8 pixels')")
    assert seen.page.locator("#channel").is_disabled()
    level = int(seen.page.locator("#level").input_value())
    seen.page.locator("#play").press("Enter")
    seen.until(f"Number(document.getElementById('level').value) > {level + 3}")
    assert seen.page.locator("#play").get_attribute("aria-pressed") == "true"
    seen.page.locator("#play").press("Enter")
    assert seen.text("#play") == "Play"
    assert seen.said == []


def test_own_files_and_bad_ones(visit: Open, tmp_path: Path) -> None:
    seen = visit("explorer")
    seen.told("components at level 96")
    (tmp_path / "notes.txt").write_text("no image")
    seen.page.set_input_files("#file", tmp_path / "notes.txt")
    seen.until("document.getElementById('problem').textContent.includes('no image in a known format')")
    stripes = np.zeros((20, 31), np.uint8)
    stripes[:, 10::10] = 200
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    seen.page.set_input_files("#file", tmp_path / "stripes.png")
    seen.told("3 components at level 96; 0 of 2 have ended")
    assert seen.text("#problem") == ""
    assert seen.page.locator("#sample").input_value() == ""
    # A browser tells of every answer that is no success; the page itself said nothing.
    assert [line for line in seen.said if "400 (Bad Request)" not in line] == []


def test_axes_fit_before_there_is_a_point(visit: Open, runs: Path) -> None:
    RunFolder.create(runs, "student", "kd-seed0", {"seed": 0})
    seen = visit("")
    seen.until("document.querySelectorAll('.plot svg.main-svg').length >= 4")
    assert seen.page.locator("#plots h3").all_text_contents() == [
        "Validation accuracy",
        "Loss, in shares of its first value",
    ]
    assert "Computing …" in seen.text("#plots .annotation-text")
    assert seen.page.evaluate(f"{LAYOUT}('accuracy').yaxis.range") == [0, 100]
    assert seen.page.evaluate(f"{LAYOUT}('accuracy').xaxis.showticklabels") is False
    assert seen.said == []


def test_seeds_of_a_network_have_one_button_and_one_color(visit: Open, runs: Path) -> None:
    for number, name in enumerate(["kd-seed0", "kd-seed1", "tgd-seed0", "kd-seed0"]):
        folder = RunFolder.create(runs, "student", name, {"number": number})
        folder.log(**epoch(1, 0.5, ce=2.0 + number))
        folder.log(**epoch(2, 0.5, ce=1.0 + number / 2))
    seen = visit("")
    buttons = seen.page.locator("#networks button")
    seen.until("document.querySelectorAll('[data-name=accuracy] .scatterlayer .trace').length === 4")
    assert sorted(text.strip() for text in buttons.all_text_contents()) == ["kd (2 seeds)", "kd, run 2", "tgd"]
    lines = "document.querySelector('[data-name=\"term loss\"] .plot').data"
    assert len(set(seen.page.evaluate(f"{lines}.map((one) => one.line.color + one.line.dash)"))) == 3
    assert seen.page.evaluate(f"{lines}.map((one) => one.y)") == [[1, 0.5]] * 4  # each in shares of its first value
    assert seen.page.evaluate(f"{lines}[0].customdata") == [2, 1]
    seen.page.locator("#networks button", has_text="2 seeds").click()
    seen.until("document.querySelectorAll('[data-name=accuracy] .scatterlayer .trace').length === 2")
    assert "1 more can be switched on" in seen.text("#few")


def test_a_slow_answer_is_waited_for_in_words(visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    explore = explorer.explore

    def slow(request: object) -> dict[str, object]:
        time.sleep(1)
        return explore(request)

    monkeypatch.setattr(explorer, "explore", slow)
    seen = visit("explorer")
    seen.told("Computing …")
    seen.told("components at level 96")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_training_is_watched(visit: Open, runs: Path, student: RunFolder, theme: str, width: int) -> None:
    folder = RunFolder.create(runs, "comparison", "<b>mine</b>", {})
    folder.file("report.html").write_text("<title>a report</title>")
    seen = visit("", theme, width)
    seen.until("document.querySelectorAll('.plot svg.main-svg').length >= 4")
    titles = seen.page.locator("#plots h3").all_text_contents()
    shares = "Loss, in shares of its first value"
    assert titles == ["Validation accuracy", shares, "Term ce, unweighted", "Term kd, unweighted"]
    points = "document.querySelectorAll('[data-name=accuracy] .scatterlayer .points path').length"
    assert seen.page.evaluate(points) == 2
    assert "tgd-seed0 50.00" in (seen.page.locator(".plot").first.get_attribute("aria-label") or "")
    student.log(**epoch(3, 0.75, ce=1.0, kd=0.25, at=0.1))
    seen.until(f"{points} === 3")
    assert seen.page.locator("#plots h3").all_text_contents() == [*titles, "Term at, unweighted"]
    assert "epoch 3 of 5" in seen.text("#rows tr:nth-child(2)")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.evaluate(f"{LAYOUT}('accuracy').xaxis.range") == [0, 51]  # five epochs of ten steps
    button = seen.page.locator("#networks button")
    button.focus()
    seen.page.keyboard.press("Space")
    seen.until("document.querySelectorAll('.plot').length === 0")
    assert button.get_attribute("aria-pressed") == "false"
    assert seen.said == []
    assert seen.elsewhere == []
    seen.page.get_by_role("link", name="Report of <b>mine</b>").click()
    seen.until("document.title === 'a report'")
