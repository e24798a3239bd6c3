"""Tables, figures and model cards as files of their own."""

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up_runs import Maker
from PIL import Image

from persistill.errors import UserError
from persistill.report import Comparison, model_card, read, rows, write_paper
from persistill.report.figure import Section
from persistill.report.latex import as_latex
from persistill.report.matplotlib_backend import draw
from persistill.report.sections import sections_of
from persistill.report.table import Table, overview


@pytest.fixture(scope="module")
def comparison(full: Path) -> Comparison:
    return read(full)


def section(comparison: Comparison, name: str) -> Section:
    return next(p for p in sections_of(comparison) if isinstance(p, Section) and p.name == name)


def test_latex_is_ruled_and_escaped() -> None:
    table = Table("50 % of_it.", ("Arm & co", "ECE %"), (("a_b{c}\\", "1.20 ± 0.30"), ("x#$~^", "−3")))
    text = as_latex(table)
    assert text.count("{") == text.count("}")
    inside = text.split("\\midrule\n")[1].split("    \\bottomrule")[0].splitlines()
    assert inside[0] == r"    a\_b\{c\}\textbackslash{} & 1.20 $\pm$ 0.30 \\"
    assert inside[1] == r"    x\#\$\textasciitilde{}\textasciicircum{} & $-$3 \\"
    assert r"\caption{50 \% of\_it.}" in text
    assert r"\begin{tabular}{lr}" in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))


def test_latex_holds_the_cells_of_the_headline_table(comparison: Comparison) -> None:
    lines = as_latex(overview(comparison)).splitlines()
    found = [line.strip().removesuffix(r" \\").replace(r"$\pm$", "±").replace("--", "—") for line in lines]
    for cells in rows(comparison):
        assert " & ".join(cells) in found


def test_everything_is_written_and_can_be_read(maker: Maker, tmp_path: Path) -> None:
    comparison = read(maker.comparison(arms=("alone", "kd: best?"), seeds=(0, 1), epochs=2, views=(), noise=(0.02,)))
    folder = write_paper(comparison, tmp_path / "paper")
    drawings = {path.stem for path in (folder / "figures").glob("*.svg")}
    assert {"accuracy", "significance", "noise", "calibration", "loss", "confusion-1", "confusion-4"} <= drawings
    assert drawings == {path.stem for path in (folder / "figures").glob("*.png")}
    for path in (folder / "figures").glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
    tables = {path.name for path in (folder / "tables").iterdir()}
    assert {"overview.md", "overview.tex", "significance-1.tex", "noise.md"} <= tables
    assert sorted(path.name for path in (folder / "cards").iterdir()) == ["alone.md", "kd-best.md"]
    write_paper(comparison, folder)  # and again, over what is there


def test_a_drawing_is_the_same_every_time(comparison: Comparison) -> None:
    part = section(comparison, "cost")
    assert draw(part, part.figures[0], "svg") == draw(part, part.figures[0], "svg")


def test_a_drawing_shows_its_networks_in_their_colors(comparison: Comparison) -> None:
    part = section(comparison, "corruptions")
    text = draw(part, part.figures[0], "svg", 0).decode()
    labels = re.findall(r">([^<>]+)</text>", text)
    assert {"alone", "kd", "tgd", "severity"} <= set(labels)
    assert "teacher: image" not in labels  # off on the page, too
    assert "#0072b2" in text
    assert draw(part, part.figures[0], "svg", 1).decode() != text  # another corruption
    with Image.open(io.BytesIO(draw(part, part.figures[1], "png"))) as image:
        assert np.asarray(image.convert("L")).std() > 5


def front(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_tells_what_was_measured(comparison: Comparison) -> None:
    card = model_card(comparison, "tgd")
    arm = comparison.arms[2]
    about = front(card)
    assert about["datasets"] == ["uoft-cs/cifar10"]
    (result,) = about["model-index"][0]["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["accuracy"] == pytest.approx(arm.runs[0].score)
    assert values["nll"] == pytest.approx(arm.runs[0].figure("nll"), rel=1e-5)
    assert values["corruption_error"] == pytest.approx(arm.runs[0].metrics["corruptions"]["error"], rel=1e-5)
    assert f"| Accuracy % | {100 * arm.runs[0].score:.2f} | {100 * arm.score.mean:.2f} ± " in card
    assert "learned from image, persistence by KD, TGD" in card
    assert "tgd is " in card
    assert f"temperature {arm.runs[0].metrics['calibrated']['temperature']:.3f}" in card
    assert "airplane, automobile" in card


def test_a_card_of_another_seed(comparison: Comparison) -> None:
    card = model_card(comparison, "kd", seed=2)
    (result,) = front(card)["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(comparison.arms[1].runs[2].score)
    assert "seed 2" in card


def test_the_hub_accepts_a_card(comparison: Comparison) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(model_card(comparison, "kd"))
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.eval_results[0].metric_type == "accuracy"


def test_a_card_of_the_baseline_and_of_old_folders(finished: Path) -> None:
    card = model_card(read(finished), "alone")
    assert "trained without teachers" in card
    assert "alone is " not in card
    assert "corruption" not in card
    assert "temperature" not in card


def test_a_card_needs_an_arm_and_a_seed_that_are_there(comparison: Comparison) -> None:
    with pytest.raises(UserError, match="kdd"):
        model_card(comparison, "kdd")
    with pytest.raises(UserError, match="no complete network of seed 7"):
        model_card(comparison, "kd", seed=7)
