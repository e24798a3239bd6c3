"""The Python on the pages of the documentation runs as it stands there."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ["corruptions.md", "data.md", "evaluation.md", "export.md", "pipeline.md", "predict.md", "python.md"]


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
