"""The page in a real browser without network."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from made_up_examples import keep_images
from made_up_runs import Maker

from persistill.report import write

PLOTS = 10  # differences, accuracy, validation, loss, three terms, noise, calibration, confusion
HUE_1 = {"light": "rgb(0, 114, 178)", "dark": "rgb(75, 163, 220)"}


class Visit:
    """A page that was opened, with everything that it said and asked for."""

    def __init__(
        self, browser: object, path: Path, theme: str = "light", width: int = 1280, *, busy: bool = False
    ) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))

        def answer(route: object) -> None:
            if route.request.url == path.as_uri():
                route.continue_()
            else:
                self.asked.append(route.request.url)
                route.abort()

        self.page.route("**/*", answer)
        if busy:  # so that the browser never finds the time to draw what nobody looks at
            self.page.add_init_script("window.requestIdleCallback = () => 0;")
        self.page.goto(path.as_uri())
        if busy:
            return
        self.until("[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('svg.main-svg'))")

    def until(self, expression: str) -> None:
        """Wait for an expression to become true. (Playwright's own waiting needs what the page's policy forbids.)"""
        for _ in range(100):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never became true: {expression}")

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: object) -> Iterator[Open]:
    visits: list[Visit] = []

    def start(path: Path, theme: str = "light", width: int = 1280, *, busy: bool = False) -> Visit:
        visits.append(Visit(browser, path, theme, width, busy=busy))
        return visits[-1]

    yield start
    for one in visits:
        one.context.close()


@pytest.fixture(scope="module")
def report(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(finished, tmp_path_factory.mktemp("browser") / "report.html")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everything_is_drawn_in_silence(visit: Open, report: Path, theme: str, width: int) -> None:
    seen = visit(report, theme, width)
    assert seen.said == []
    assert seen.asked == []
    assert seen.count(".plot.js-plotly-plot") == PLOTS
    drawn = seen.page.evaluate(
        "[...document.querySelectorAll('.plot')].map((plot) =>"
        " plot.querySelectorAll('.scatterlayer .points path, .heatmaplayer image').length)"
    )
    assert all(drawn), drawn
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    wide = seen.page.evaluate(
        "[...document.querySelectorAll('.plot svg.main-svg')].filter((plot) =>"
        " plot.getBoundingClientRect().right > document.documentElement.clientWidth).length"
    )
    assert wide == 0
    stroke = seen.page.evaluate(
        "getComputedStyle(document.querySelectorAll('#noise-plot .scatterlayer .trace path.js-line')[1]).stroke"
    )
    assert stroke == HUE_1[theme]
    assert seen.page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_plots_are_drawn_as_they_come_near_and_all_of_them_on_paper(visit: Open, report: Path) -> None:
    seen = visit(report, busy=True)
    seen.until("document.querySelector('#significance-plot svg.main-svg')")
    assert seen.count(".plot.js-plotly-plot") < PLOTS
    assert seen.count("#confusion-plot svg.main-svg") == 0
    seen.page.locator("nav a", has_text="Confusion").click()
    seen.until("document.querySelector('#confusion-plot svg.main-svg')")
    seen.page.emulate_media(color_scheme="dark")
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert seen.count(".plot.js-plotly-plot") == PLOTS
    assert seen.said == []


def test_plots_follow_a_change_of_theme_and_of_width(visit: Open, report: Path) -> None:
    seen = visit(report)
    line = "document.querySelectorAll('#noise-plot .scatterlayer .trace path.js-line')[1]"
    assert seen.page.evaluate(f"getComputedStyle({line}).stroke") == HUE_1["light"]
    seen.page.emulate_media(color_scheme="dark")
    seen.until(f"getComputedStyle({line}).stroke === '{HUE_1['dark']}'")
    seen.page.set_viewport_size({"width": 390, "height": 800})
    seen.until("document.querySelector('#noise-plot svg.main-svg').clientWidth < 390")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_key_is_worked_by_keyboard(visit: Open, report: Path) -> None:
    seen = visit(report)
    lines = "#training .plot .scatterlayer .trace"
    button = seen.page.locator("#training .key button", has_text="kd")
    before = seen.count(lines)
    button.focus()
    seen.page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "false"
    after = seen.count(lines)
    assert after == before - 16  # three seeds and a mean, in four plots: accuracy, loss, ce, kd
    teacher = seen.page.locator("#training .key button", has_text="teacher: image")
    assert teacher.get_attribute("aria-pressed") == "false"
    teacher.focus()
    seen.page.keyboard.press("Space")
    assert seen.count(lines) == after + 3
    assert seen.count("#noise .plot .scatterlayer .trace") == 3  # other sections keep theirs


def test_every_control_can_be_reached(visit: Open, report: Path) -> None:
    seen = visit(report)
    controls = set(range(seen.count("a, button, select, summary")))
    reached = set()
    for _ in range(200):
        seen.page.keyboard.press("Tab")
        reached.add(
            seen.page.evaluate(
                "[...document.querySelectorAll('a, button, select, summary')].indexOf(document.activeElement)"
            )
        )
        if controls <= reached:
            break
    assert controls <= reached


def test_the_confusion_matrix_of_each_network(visit: Open, report: Path) -> None:
    seen = visit(report)
    text = "[...document.querySelectorAll('#confusion-plot .heatmap-label')].map((label) => label.textContent)"
    first = seen.page.evaluate(text)
    assert seen.count("#confusion-plot .heatmaplayer image") == 1
    seen.page.locator("#confusion select").select_option(label="tgd (3 seeds)")
    assert seen.count("#confusion-plot .heatmaplayer image") == 1
    assert seen.page.evaluate(text) != first


def test_curves_depend_on_the_corruption_and_on_the_key(visit: Open, full: Path, tmp_path: Path) -> None:
    seen = visit(write(full, tmp_path / "report.html"))
    lines = "#severity-plot .scatterlayer .trace path.js-line"
    shapes = f"[...document.querySelectorAll('{lines}')].map((line) => line.getAttribute('d'))"
    tables = "[...document.querySelectorAll('#corruptions [data-choice]')].map((table) => table.hidden)"
    chooser = seen.page.get_by_label("Curves under")
    before = seen.page.evaluate(shapes)
    assert len(before) == 3
    assert seen.page.evaluate(tables) == [False, True, True, True, True]
    chooser.focus()
    seen.page.keyboard.press("ArrowDown")
    seen.until(f"{shapes}.join() !== '{','.join(before)}'")
    assert seen.count(lines) == 3
    assert seen.page.evaluate(tables) == [True, False, True, True, True]
    seen.page.locator("#corruptions .key button", has_text="kd").click()
    assert seen.count(lines) == 2
    assert seen.count("#corruptions-plot .heatmaplayer image") == 2
    chooser.select_option(label="fog")
    assert seen.count(lines) == 2  # the key holds for every choice
    assert seen.page.evaluate(tables) == [True, True, False, True, True]


def test_a_second_map_is_chosen_beside_the_first(visit: Open, full: Path, tmp_path: Path) -> None:
    seen = visit(write(full, tmp_path / "report.html"))
    places = {
        name: f"[...document.querySelectorAll('#{name} .points path')].map((one) => one.getAttribute('transform'))"
        for name in ("embeddings-plot", "embeddings-chosen-plot")
    }
    first, second = (seen.page.evaluate(where) for where in places.values())
    assert len(first) == len(second) == 60
    seen.page.get_by_label("Second map", exact=True).focus()
    seen.page.keyboard.press("End")  # the last network
    seen.until(f"{places['embeddings-chosen-plot']}.join() !== '{','.join(second)}'")
    assert seen.page.evaluate(places["embeddings-plot"]) == first
    assert len(seen.page.evaluate(places["embeddings-chosen-plot"])) == 60
    seen.page.locator("#embeddings .key button", has_text="cat").click()
    left = [len(seen.page.evaluate(where)) for where in places.values()]
    with np.load(full / "embedding_maps.npz") as file:
        assert left == [int((file["target"] != 3).sum())] * 2
    seen.page.locator("#embeddings-plot .point").first.scroll_into_view_if_needed()
    seen.page.locator("#embeddings-plot .point").first.hover(force=True)
    label = seen.page.locator("#embeddings-plot .hoverlayer .hovertext").first.text_content()
    assert re.fullmatch(r"\w+, (right|taken for \w+)test image \d+", label or "")
    assert seen.said == []


def test_hover_tells_the_number(visit: Open, report: Path, finished: Path) -> None:
    from persistill.report import read

    run = read(finished).arms[1].runs[2]
    seen = visit(report)
    seen.page.locator("#accuracy-plot").scroll_into_view_if_needed()
    seen.page.locator("#accuracy-plot .trace").nth(2).locator("path").nth(2).hover(force=True)
    label = seen.page.locator("#accuracy-plot .hoverlayer .hovertext").first.text_content()
    assert label == f"kd, seed 2: {100 * run.score:.2f} %"


def test_the_verdict_is_seen_on_a_phone_and_cut_tables_show_it(visit: Open, report: Path) -> None:
    seen = visit(report, "light", 420)
    region = "document.querySelector('#decision .scroll')"
    assert seen.page.evaluate(f"{region}.scrollWidth <= {region}.clientWidth")
    assert "gradient" in seen.page.evaluate(f"getComputedStyle({region}).backgroundImage")


def test_print_is_light_and_fits(visit: Open, report: Path) -> None:
    seen = visit(report, "dark")
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    line = "document.querySelectorAll('#noise-plot .scatterlayer .trace path.js-line')[1]"
    assert seen.page.evaluate(f"getComputedStyle({line}).stroke") == HUE_1["light"]
    widths = seen.page.evaluate("[...document.querySelectorAll('.plot svg.main-svg')].map((s) => s.clientWidth)")
    assert max(widths) <= 640
    seen.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert seen.page.evaluate(f"getComputedStyle({line}).stroke") == HUE_1["dark"]
    assert seen.page.pdf(format="A4").startswith(b"%PDF")


def test_names_are_shown_and_not_run(visit: Open, maker: Maker) -> None:
    evil = "<img src=x onerror=console.log(1)>"
    script = "</script><script>console.log(2)</script>"
    folder = maker.comparison(name=script, arms=("alone", evil), seeds=(0,), classes=[script, *"abcdefghi"])
    seen = visit(write(folder))
    assert seen.said == []
    assert seen.asked == []
    ticks = seen.page.locator("#accuracy-plot .ytick text").all_text_contents()
    assert ticks == ["alone", f"{evil[:23]}…"]
    assert seen.page.locator("h1").text_content() == script
    assert f"{script[:13]}…" in seen.page.locator("#confusion-plot .ytick text").all_text_contents()


def test_without_plots_the_page_is_whole(visit: Open, maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,), epochs=1, noise=(), teachers=(), views=(), classes=[])
    seen = visit(write(folder), width=390)
    assert seen.said == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
    assert seen.page.locator(".lead").text_content() == "Take alone, seed 0: no other student was trained."
    assert re.search(r"Of 200 test images, alone classifies", seen.page.locator("#table").text_content() or "")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_everything_that_evaluations_measure_is_drawn(
    visit: Open, full: Path, tmp_path: Path, theme: str, width: int
) -> None:
    seen = visit(write(full, tmp_path / "report.html"), theme, width)
    assert seen.said == []
    assert seen.count(".plot.js-plotly-plot") == PLOTS + 7  # latency, size, selective, corruptions, severity, two maps
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    cells = "#corruptions-plot .heatmaplayer image"
    assert seen.count(cells) == 3  # a column for each student
    button = seen.page.locator("#corruptions .key button", has_text="teacher: image")
    button.focus()
    seen.page.keyboard.press("Enter")
    assert seen.count(cells) == 4
    assert seen.count("#latency-plot .scatterlayer .trace") == 5  # teachers from the start


@pytest.mark.parametrize("width", [1280, 390])
def test_answers_to_images_unfold_and_are_marked_without_color(visit: Open, maker: Maker, width: int) -> None:
    folder = maker.comparison(arms=("alone", "kd", "a-long-name-without-any-spaces-in-it", "third", "tgd"), seeds=(0,))
    keep_images(folder)
    seen = visit(write(folder), width=width)
    marks = (
        "Object.fromEntries(['right', 'wrong'].map((kind) =>"
        " [kind, getComputedStyle(document.querySelector(`.answers .${kind}`), '::before').content]))"
    )
    assert seen.page.evaluate(marks) == {"right": '"✓\u00a0" / "right: "', "wrong": '"✗\u00a0" / "wrong: "'}
    rows = (
        "[...document.querySelectorAll('#hardest .case:first-child tbody tr')].filter((row) => row.checkVisibility())"
    )
    assert seen.page.evaluate(f"{rows}.length") == 4
    seen.page.locator("#hardest summary").first.focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate(f"{rows}.length") == 7
    wide = (
        "[...document.querySelectorAll('.cases *')].filter((e) => e.getBoundingClientRect().right > innerWidth).length"
    )
    assert seen.page.evaluate(wide) == 0
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
