import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "topology.md"


def test_the_pages_snippets_run_and_print_what_it_says(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```(python|text)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 7
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, block in blocks:
        if kind == "python":
            capsys.readouterr()
            exec(compile(block, "docs/topology.md", "exec"), names)
        else:
            assert capsys.readouterr().out == block
    assert (tmp_path / "explained.png").stat().st_size > 10_000
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
