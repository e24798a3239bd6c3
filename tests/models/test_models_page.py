"""The page about networks: its Python runs, and its table states what the networks are."""

import re
from pathlib import Path

import torch

from persistill.models import NAMES, build

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_snippets_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "docs/models.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_the_table_is_true():
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d,]+) \| (\d+) \| (.*?) ?\|$", PAGE, re.MULTILINE)
    stated = {name for name, *_ in rows}
    assert stated <= set(NAMES)
    assert all(name in stated or f"-{name.partition('-')[2]}`" in PAGE for name in NAMES)
    for name, parameters, width, maps in rows:
        with torch.device("meta"):
            network = build(name, 3, 100)
        assert sum(parameter.numel() for parameter in network.parameters()) == int(parameters.replace(",", ""))
        assert network.spec.embedding_dim == int(width)
        if maps:
            assert maps == ", ".join(f"{channels}/{stride}" for channels, stride in network.spec.feature_maps.values())
