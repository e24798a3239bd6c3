"""Turn the formulas of a page into MathML while the site is built: browsers draw it without any script."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

_SIZE = re.compile(r"\\[bB]igg?[lrm]?(?=\\[lr]?([vV]ert|angle))")
"""Sizes of brackets that latex2mathml would show as they are written."""
_FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex marked."""

    def replace(match: re.Match[str]) -> str:
        latex = html.unescape(match[2]).strip()
        display = "block" if latex.startswith(r"\[") else "inline"
        formula = convert(_SIZE.sub("", latex[2:-2]), display=display)
        return f'<{match[1]} class="formula">{formula}</{match[1]}>'

    return _FORMULA.sub(replace, content)
