"""How a page is set: one file, its plots drawn by scripts that it holds and no others."""

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs


def rendered(template: str, **content: Any) -> str:
    """A page as text. Everything that comes from recipes and data is escaped, and no script of theirs may run.

    Args:
        template: its file in ``report/templates``.
        content: what that needs beside style and scripts.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("persistill.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # plots without a space in them
    scripts = [get_plotlyjs(), _file("page.js")]
    return templates.get_template(template).render(
        style=_file("page.css"),
        scripts=scripts,
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        **content,
    )


def _file(name: str) -> str:
    return (resources.files("persistill.report") / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
