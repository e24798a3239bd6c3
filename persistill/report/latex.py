"""Tables for papers, in LaTeX."""

from persistill.report.table import Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "—": "--",
    "\N{EN DASH}": "--",
    "→": r"$\to$",
    "“": "``",
    "”": "''",
    "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\n": " ",
}


def as_latex(table: Table) -> str:
    r"""A table environment with its caption, ruled by booktabs; numbers to the right, words to the left.

    Put ``\usepackage{booktabs}`` into the preamble. Names are escaped.
    """
    columns = "l" + ("l" if table.words else "r") * (len(table.header) - 1)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_escaped(table.caption)}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        _row(table.header),
        r"    \midrule",
        *map(_row, table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"    {' & '.join(map(_escaped, cells))} \\\\"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(sign, sign) for sign in text)
