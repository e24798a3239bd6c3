"""Show an executed notebook on a page: `<!-- notebook: notebooks/NAME.ipynb -->` becomes its cells with outputs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MARK = re.compile(r"^<!-- notebook: (\S+) -->$", re.MULTILINE)
_LOCAL = re.compile(r'<a href="runs/[^>]*>(.*?)</a>')
"""A link to a file that is there only where the notebook ran."""


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Replace the marks of a page."""
    docs = Path(config["docs_dir"])

    def replace(match: re.Match[str]) -> str:
        notebook = json.loads((docs / match[1]).read_text(encoding="utf-8"))
        return "\n\n".join(part for cell in notebook["cells"] for part in parts(cell))

    return _MARK.sub(replace, markdown)


def parts(cell: dict[str, Any]) -> Iterator[str]:
    """A cell in Markdown: its text, or its code and what came of it."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        shown = output.get("data", {})
        if "text/html" in shown:
            content = _LOCAL.sub(r"\1", "".join(shown["text/html"]))
            yield f"<div>{content}</div>".replace("\n", " ")
        else:
            yield f"```text\n{''.join(shown.get('text/plain', output.get('text', []))).rstrip()}\n```"
