"""Run a notebook of the documentation in an empty folder, and keep its outputs.

python docs/_build/execute_notebook.py docs/notebooks/quickstart.ipynb
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode


def executed(path: Path, folder: Path) -> NotebookNode:
    """The notebook with the outputs that its cells have now; those of standard error, which tell versions, left out.

    Args:
        path: of the notebook.
        folder: in which it works.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        nbformat.write(executed(Path(sys.argv[1]), Path(empty)), sys.argv[1])
