"""The notebook of the documentation runs from its first cell to its last, and what it shows is what is kept."""

import json
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "notebooks" / "quickstart.ipynb"


def shown(cell: dict) -> list[tuple[str, ...]]:
    """What kinds of output a cell has; several texts in a row count as one."""
    kinds = [(output["output_type"], *sorted(output.get("data", {}))) for output in cell["outputs"]]
    return [kind for place, kind in enumerate(kinds) if kind != ("stream",) or kinds[place - 1 : place] != [kind]]


@pytest.mark.slow
def test_the_notebook_runs_and_its_outputs_are_kept(tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    monkeypatch.syspath_prepend(ROOT / "docs" / "_build")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # jupyter_client warns of its own event loop, and of kernels that are reached over TCP.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from execute_notebook import executed

        fresh = executed(NOTEBOOK, tmp_path)
    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert [cell["source"] for cell in fresh["cells"]] == ["".join(cell["source"]) for cell in kept["cells"]]
    code = [place for place, cell in enumerate(fresh["cells"]) if cell["cell_type"] == "code"]
    assert len(code) >= 8
    for place in code:
        assert shown(fresh["cells"][place]) == shown(kept["cells"][place]), fresh["cells"][place]["source"]
    assert "kd is" in json.dumps(fresh)
    assert "/tmp" not in NOTEBOOK.read_text(encoding="utf-8")


def test_the_page_shows_every_cell(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "_build")
    from notebook_page import on_page_markdown

    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    shown_page = on_page_markdown(page, config={"docs_dir": str(ROOT / "docs")})
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        assert "".join(cell["source"]) in shown_page
    assert "<table>" in shown_page
    assert "<!-- notebook" not in shown_page
    assert str(sys.prefix) not in shown_page
    assert 'href="runs' not in shown_page
