"""The Python on the pages of the documentation runs as it stands there."""

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = [
    "corruptions.md",
    "data.md",
    "detection.md",
    "detection_tutorial.md",
    "evaluation.md",
    "export.md",
    "own_parts.md",
    "pipeline.md",
    "predict.md",
    "python.md",
    "segmentation.md",
    "tasks.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run(page, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, f"docs/{page}", "exec"), names)
    assert capsys.readouterr().out


def test_the_readmes_loop_runs():
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (DOCS.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["loss"].requires_grad
    assert names["loss"].isfinite()


def test_reference_pages_name_what_exists():
    """mkdocstrings leaves out names in ``members`` that a module does not have, without a word."""
    missing = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for module, options in re.findall(r"^::: ([\w.]+)\n((?: +.*\n)*)", text, re.MULTILINE):
            inline = re.search(r"members: \[(.*?)\]", options, re.DOTALL)
            names = re.findall(r"\w+", inline[1]) if inline else re.findall(r"^ +- (\w+)$", options, re.MULTILINE)
            if names:
                documented = importlib.import_module(module)
                missing += [f"{page.name}: {module}.{name}" for name in names if not hasattr(documented, name)]
    assert not missing
