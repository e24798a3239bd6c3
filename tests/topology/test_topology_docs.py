import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "fewest"),
    [
        ("topology", 7),
        ("topology_images", 6),
        ("topology_clouds", 7),
        ("topology_diagrams", 9),
        ("topology_backends", 2),
    ],
)
def test_the_pages_snippets_run_and_print_what_it_says(page, fewest, tmp_path, monkeypatch, capsys):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|text)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= fewest
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, block in blocks:
        if kind == "python":
            capsys.readouterr()
            exec(compile(block, f"docs/{page}.md", "exec"), names)
        else:
            assert capsys.readouterr().out == block
    if page == "topology":
        assert (tmp_path / "explained.png").stat().st_size > 10_000
        assert (tmp_path / "sheet.png").stat().st_size > 10_000
