"""The page as text: what it holds, that it equals the folders, and that nothing of a recipe can run in it."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_runs import CLASSES, NOISE, Maker, softmax
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, confusion_matrix

from persistill.report import Comparison, header, read, rows, write
from persistill.report.figure import Figure, Section, marks
from persistill.report.predictions import predictions, reliability
from persistill.report.sections import sections_of
from persistill.run_folder import RunFolder

VOID = {"meta", "link", "img", "br", "input"}


class Reader(HTMLParser):
    """Elements in order with their attributes, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID and tag not in {"path", "circle"}:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and tag not in {"path", "circle"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def page(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(finished, tmp_path_factory.mktemp("page") / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def parsed(page: str) -> Reader:
    return Reader(page)


def sections(comparison: Comparison) -> dict[str, Section]:
    made = sections_of(comparison)
    return {part.name: part for part in made if isinstance(part, Section)}


def figures(comparison: Comparison) -> dict[str, Figure]:
    return {figure.name: figure for part in sections(comparison).values() for figure in part.figures}


def answers(comparison: Comparison, arm: int) -> list[tuple[np.ndarray, np.ndarray]]:
    found = []
    for run in comparison.everyone[arm].runs:
        with np.load(run.evaluation / "predictions.npz") as file:
            found.append((file["target"], file["logits"]))
    return found


def test_default_place_and_replacing(maker: Maker) -> None:
    folder = maker.comparison(seeds=(0,))
    (folder / "report.html").write_text("old")
    assert write(folder) == folder / "report.html"
    assert (folder / "report.html").read_text(encoding="utf-8")[:3] != "old"
    assert sorted(path.name for path in folder.iterdir()) == ["done.json", "files.json", "report.html", "run.json"]


def test_same_folders_give_the_same_page(finished: Path, page: str, tmp_path: Path) -> None:
    assert write(finished, tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_nothing_is_fetched(parsed: Reader) -> None:
    for _, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert not parsed.all("iframe")
    policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert re.search(r"script-src( 'sha256-[\w+/=]+'){2};", policy)


def test_plotly_is_inlined_once(page: str) -> None:
    assert len(re.findall(r"\* plotly\.js v", page)) == 1
    assert len(page) < 6_000_000


def test_structure(parsed: Reader) -> None:
    assert parsed.open == []
    names = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = [attributes["href"][1:] for attributes in parsed.all("a")]
    assert set(links) <= set(names)
    for attribute in ("aria-labelledby", "for"):
        used = [attributes[attribute] for _, attributes in parsed.elements if attribute in attributes]
        assert set(used) <= set(names)
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert parsed.elements[0] == ("html", {"lang": "en"})


def test_every_figure_has_a_text_alternative(parsed: Reader) -> None:
    assert len(parsed.texts["figcaption"]) == len(parsed.texts["figure"])
    assert all(text.strip() for text in parsed.texts["figcaption"])
    assert all(attributes["alt"] for attributes in parsed.all("img"))
    plots = [attributes for attributes in parsed.all("div") if attributes.get("class") == "plot"]
    assert len(plots) == 10
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)
    for text, element in zip(parsed.texts["figure"], parsed.all("figure"), strict=True):
        assert element["class"] == "entry" or ": numbers" in text


def test_headline_table_is_the_one_of_the_terminal(finished: Path, page: str) -> None:
    comparison = read(finished)
    start = page.index('<table class="overview"')
    table = page[start : page.index("</table>", start)]
    cells = [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", table, re.DOTALL)]
    width = len(header(comparison))
    assert cells[:width] == header(comparison)
    assert [cells[i : i + width] for i in range(width, len(cells), width)] == rows(comparison)
    assert "<b>" not in table
    assert "<strong>" not in table


def test_accuracies_of_seeds(finished: Path) -> None:
    comparison = read(finished)
    figure = figures(comparison)["accuracy-plot"]
    dots = [trace for trace in figure.traces if trace["marker"]["symbol"] != "line-ns-open"]
    strokes = [trace for trace in figure.traces if trace["marker"]["symbol"] == "line-ns-open"]
    assert len(dots) == len(strokes) == 3
    for arm in range(3):
        expected = [100 * accuracy_score(t, z.argmax(1)) for t, z in answers(comparison, arm)]
        assert dots[arm]["x"] == pytest.approx(expected)
        assert strokes[arm]["x"] == pytest.approx([np.mean(expected)])
        assert len(set(dots[arm]["y"])) == 3
    assert len(figure.tables[0].rows) == 3 * 3 + 2


def test_curves_are_the_logged_ones(finished: Path) -> None:
    comparison = read(finished)
    logged = []
    for run in comparison.arms[2].runs:
        lines = (finished.parent / run.folder / "log.jsonl").read_text().splitlines()
        logged.append([record for record in map(json.loads, lines) if record["type"] == "epoch"])
    wanted = {
        "validation-plot": [[100 * r["validation"]["accuracy"] for r in run] for run in logged],
        "loss-plot": [[r["loss"] for r in run] for run in logged],
        "term-0-plot": [[r["terms"]["ce"] for r in run] for run in logged],
        "term-1-plot": [[r["terms"]["kd"] for r in run] for run in logged],
        "term-2-plot": [[r["terms"]["sp"] for r in run] for run in logged],
    }
    drawn = figures(comparison)
    for name, values in wanted.items():
        traces = [trace for trace in drawn[name].traces if trace["legendgroup"] == "2"]
        assert [trace["y"] for trace in traces[:3]] == values
        assert traces[3]["y"] == pytest.approx(np.mean(values, axis=0))
        assert all(trace["x"] == list(range(1, 9)) for trace in traces)
    assert [trace["legendgroup"] for trace in drawn["term-2-plot"].traces] == ["2"] * 4
    assert "weight 1000" in drawn["term-2-plot"].traces[3]["customdata"][0][1]
    weights = sections(comparison)["training"].tables[0]
    assert [row[:4] for row in weights.rows] == [
        ("ce", "1", "0.1", "0.1"),
        ("kd", "—", "0.9", "0.9"),
        ("sp", "—", "—", "1000"),
    ]


def test_a_weight_that_changes_is_told(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    run = RunFolder.open(maker.root / read(folder).arms[0].runs[0].folder)
    run.log(type="epoch", epoch=9, loss=0.1, terms={"ce": 0.2}, weights={"ce": 0.5}, validation={})
    table = sections(read(folder))["training"].tables[0]
    assert table.rows[0][1] == "1 → 0.5"


def test_noise_curves(finished: Path) -> None:
    comparison = read(finished)
    figure = figures(comparison)["noise-plot"]
    for position, (arm, trace) in enumerate(zip(comparison.everyone, figure.traces, strict=True)):
        measured = [[accuracy_score(t, z.argmax(1)) for t, z in answers(comparison, position)]]
        for level in NOISE:
            files = [np.load(run.evaluation / "predictions.npz") for run in arm.runs]
            measured.append([accuracy_score(file["target"], file[f"noise_{level:g}"]) for file in files])
            for file in files:
                file.close()
        assert trace["x"] == [0.0, *NOISE]
        assert trace["y"] == pytest.approx([100 * np.mean(values) for values in measured])
        if arm.role == "student":
            expected = [100 * np.std(values, ddof=1) for values in measured]
            assert trace["error_y"]["array"] == pytest.approx(expected)
        else:
            assert not trace["error_y"]["visible"]


def test_confusion_sums_over_seeds(finished: Path) -> None:
    comparison = read(finished)
    figure = figures(comparison)["confusion-plot"]
    for position, (arm, trace) in enumerate(zip(comparison.everyone, figure.traces, strict=True)):
        expected = sum(confusion_matrix(t, z.argmax(1)) for t, z in answers(comparison, position))
        assert trace["customdata"] == expected.tolist()
        shares = 100 * confusion_matrix(
            np.concatenate([t for t, _ in answers(comparison, position)]),
            np.concatenate([z.argmax(1) for _, z in answers(comparison, position)]),
            normalize="true",
        )
        assert np.asarray(trace["z"]) == pytest.approx(shares, abs=1e-3)
        assert trace["x"] == trace["y"] == CLASSES
        counts = figure.chosen[position]
        assert counts.caption.startswith(f"{arm.label}:")
        assert [[int(cell) for cell in row[1:]] for row in counts.rows] == expected.tolist()
        mistakes = expected - np.diag(np.diag(expected))
        true, answer = np.unravel_index(mistakes.argmax(), mistakes.shape)
        worst = next(row for row in figure.tables[0].rows if row[0] == arm.label)
        assert worst[1:4] == (CLASSES[true], CLASSES[answer], str(mistakes.max()))


def test_reliability_by_scikit_learn(finished: Path) -> None:
    for target, logits in answers(read(finished), 0):
        probability = softmax(logits)
        confidence, right = probability.max(axis=1), probability.argmax(axis=1) == target
        accuracy, mean = calibration_curve(right, confidence, n_bins=15)
        found = reliability(target, logits, 15)
        assert found.accuracy[found.size > 0] == pytest.approx(accuracy)
        assert found.confidence[found.size > 0] == pytest.approx(mean)
        assert found.size.sum() == len(target)
        filled = np.flatnonzero(found.size)
        assert (found.confidence[filled] > filled / 15).all()
        assert (found.confidence[filled] <= (filled + 1) / 15).all()


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    assert reliability(np.array([0]), np.zeros((1, 2), np.float32), 2).size.tolist() == [1, 0]


def test_reliability_leaves_out_what_is_not_finite() -> None:
    logits = np.array([[0.0, 100.0], [np.nan, 0.0], [100.0, 0.0]], np.float32)
    found = reliability(np.array([1, 0, 1]), logits, 10)
    assert found.size.tolist() == [0] * 9 + [2]
    assert found.accuracy[9] == 0.5
    assert found.confidence[9] == pytest.approx(1.0)


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gallery_shows_what_the_view_keeps(maker: Maker, channels: int) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,), views=())
    done = json.loads((folder / "done.json").read_text())
    RunFolder.open(folder).finish({**done, "views": {"persistence": maker.view("persistence", channels=channels)}})
    comparison = read(folder)
    with np.load(comparison.views[0].folder / "gallery.npz") as file:
        kept = dict(file)
    entries = sections(comparison)["gallery"].content["views"][0]["entries"]
    assert [entry.name for entry in entries] == [CLASSES[target] for target in kept["target"]]
    for number, entry in enumerate(entries):
        with decoded(entry.image.source) as image:
            shown = np.asarray(image)
        if channels == 3:
            assert (shown.transpose(2, 0, 1) == kept["images"][number]).all()
        else:
            assert np.abs(shown - kept["images"][number].mean(axis=0)).max() <= 0.5
        levels = []
        for raster in entry.channels:
            with decoded(raster.source) as image:
                assert image.mode == "P"
                levels.append(np.asarray(image))
        assert np.abs(np.stack(levels) / 255 - kept["view"][number]).max() <= 0.5 / 255 + 1e-6
        offsets = kept["offsets"][2 * channels * number :]
        assert [points.number for points in entry.points] == [
            offsets[channels] - offsets[0],
            offsets[2 * channels] - offsets[channels],
        ]
    # The first scan's points, by hand: birth to the right, death upwards, 100 units for [0, 1].
    points = kept["values"][: kept["offsets"][channels]].astype(float)
    path = {tuple(map(float, place)) for place in re.findall(r"M([\d.]+) ([\d.]+)h0", entries[0].points[0].path)}
    assert all(min(abs(100 * b - x) + abs(100 - 100 * d - y) for x, y in path) <= 0.5 + 1e-6 for b, d in points)
    labels = [raster.label for raster in entries[0].channels]
    assert labels[0] == {1: "rows", 3: "rows red", 4: "rows channel 1"}[channels]
    assert labels[channels].startswith("columns")


def test_points_that_never_die_lie_on_the_upper_edge(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    path = read(folder).views[0].folder / "gallery.npz"
    with np.load(path) as file:
        kept = dict(file)
    kept["values"][0] = (0.25, np.inf)
    np.savez(path, **kept)
    entry = sections(read(folder))["gallery"].content["views"][0]["entries"][0]
    assert "M25 0h0" in entry.points[0].path
    del kept["target"]  # of images whose pixels have classes
    np.savez(path, **kept)
    entries = sections(read(folder))["gallery"].content["views"][0]["entries"]
    assert [entry.name for entry in entries][:2] == ["image 1", "image 2"]


def test_names_cannot_run_or_break_anything(maker: Maker) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{7*7}}&amp;"
    folder = maker.comparison(
        name=evil, arms=(evil, "kd"), teachers=(evil,), seeds=(0,), classes=[evil, *CLASSES[1:]], command=evil
    )
    text = write(folder).read_text(encoding="utf-8")
    parsed = Reader(text)
    assert evil in parsed.texts["h1"][0]
    assert len(parsed.all("script")) == 10 + 2 - 1  # one term less than the page of three arms has
    assert not [attributes for attributes in parsed.all("img") if "onerror" in attributes]
    assert "alert(1)</script>" not in text
    for source in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
        for string in re.findall(r'"((?:[^"\\]|\\.)*)"', source):
            assert "<img" not in json.loads(f'"{string}"')


def without(what: str, maker: Maker) -> tuple[Path, str]:
    """A comparison that lacks something, and the sentence that says so."""
    if what == "views":
        return maker.comparison(views=(), teachers=("image",)), "no teacher of this comparison saw anything but images"
    if what == "noise":
        return maker.comparison(noise=()), "the recipe asked for no noise"
    folder = maker.comparison(seeds=(0,))
    comparison = read(folder)
    runs = [run for arm in comparison.everyone for run in arm.runs]
    if what == "gallery":
        (comparison.views[0].folder / "gallery.npz").write_bytes(b"PK\x03\x04 cut short")
        return folder, "cannot be shown"
    if what == "view folder":
        shutil.rmtree(comparison.views[0].folder)
        return folder, "Left out view &#39;persistence&#39;"
    if what == "logs":
        for run in runs:
            (maker.root / run.folder / "log.jsonl").unlink()
        return folder, "holds a log of its epochs"
    if what == "predictions":
        (runs[0].evaluation / "predictions.npz").unlink()
        return folder, "Calibration: there is no file"
    if what == "damaged predictions":
        path = runs[0].evaluation / "predictions.npz"
        path.write_bytes(path.read_bytes()[:1000])
        return folder, "Confusion matrix: "
    if what == "export":
        shutil.rmtree(maker.root / str(comparison.export["folder"]))
        return folder, "Left out the export"
    for run in runs:
        (run.evaluation / "done.json").unlink()
    return folder, "No run of this comparison is complete."


@pytest.mark.parametrize(
    "what",
    ["views", "noise", "gallery", "view folder", "logs", "predictions", "damaged predictions", "export", "any run"],
)
def test_what_is_missing_is_said(maker: Maker, what: str) -> None:
    folder, sentence = without(what, maker)
    text = write(folder).read_text(encoding="utf-8")
    assert sentence in text
    assert Reader(text).open == []


def test_the_smallest_comparison(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(3,), epochs=1, noise=(), teachers=(), views=(), classes=[])
    parsed = Reader(write(folder).read_text(encoding="utf-8"))
    assert parsed.open == []
    assert parsed.texts["h2"][:2] == ["What to take", "The comparison"]
    assert "Accuracy by seed" not in parsed.texts["h2"]  # its picture stands beside the decision
    assert "Not in this report" in parsed.texts["h2"]


def test_a_teacher_that_was_trained_elsewhere(maker: Maker) -> None:
    folder = maker.comparison(seeds=(0,))
    run = RunFolder.open(maker.root / read(folder).teachers[0].runs[0].folder)
    run.finish({"seconds": 0.01, "epochs": 0, "parameters": 7, "weights": "teacher.safetensors"})
    (run.path / "log.jsonl").unlink()
    comparison = read(folder)
    assert comparison.teachers[0].seeds == ()
    assert rows(comparison)[3][-2:] == ["7", "—"]
    write(folder)


def test_many_classes(maker: Maker) -> None:
    """Above a dozen classes the matrix has no numbers in its cells; equal names stay apart."""
    names = [f"a class with a long name {number}" for number in range(40)]
    folder = maker.comparison(arms=("alone",), seeds=(0,), classes=names, teachers=())
    path = read(folder).arms[0].runs[0].evaluation / "predictions.npz"
    random = np.random.default_rng(0)
    target = np.arange(200) % 40
    np.savez(path, target=target, index=target, logits=random.normal(size=(200, 40)).astype(np.float32))
    trace = figures(read(folder))["confusion-plot"].traces[0]
    assert len(set(trace["x"])) == 40
    assert "text" not in trace
    write(folder)


def contrast(first: str, second: str) -> float:
    """WCAG 2.1, relative luminance and contrast ratio."""

    def luminance(color: str) -> float:
        channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_colors_can_be_seen_in_both_themes(parsed: Reader) -> None:
    themes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in parsed.texts["style"][0].split("color-scheme:")[1:]
    ]
    themes = [theme for theme in themes if theme]
    assert len(themes) == 2
    for theme in themes:
        for name in ("ink", "quiet", "accent"):
            assert contrast(theme[name], theme["paper"]) >= 4.5
            assert contrast(theme[name], theme["wash"]) >= 4.5
        for number in range(7):
            assert contrast(theme[f"hue-{number}"], theme["paper"]) >= 3
        assert all(contrast(theme["ink"], theme[f"heat-{number}"]) >= 4.5 for number in range(3))


def test_marks_differ_without_color(maker: Maker) -> None:
    arms = tuple(f"arm {number}" for number in range(12))
    shown = marks(read(maker.comparison(arms=arms, seeds=(0,))))
    assert len({(mark.dash, mark.symbol) for mark in shown}) == len(shown) == 14
    assert len({mark.color for mark in shown[:7]}) == 7


def test_predictions_must_fit_together(finished: Path, tmp_path: Path) -> None:
    from persistill.errors import UserError

    np.savez(tmp_path / "predictions.npz", target=np.zeros(3, int), logits=np.zeros((2, 4), np.float32))
    with pytest.raises(UserError, match="one row of logits for each target"):
        predictions(tmp_path)
    with pytest.raises(UserError, match="there is no file"):
        predictions(finished)


def test_plots_hold_plain_json(finished: Path) -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)
        else:
            assert value is None or isinstance(value, (str, int, float, bool))

    for figure in figures(read(finished)).values():
        check(figure.plot)
        json.dumps(figure.plot, allow_nan=False)


def test_the_snippet_of_the_documentation_runs(maker: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/report.md", "exec"), names)
    names["remake"](maker.comparison(arms=("alone",), seeds=(0, 1)))
    assert capsys.readouterr().out.startswith("| Network | Seeds |")
