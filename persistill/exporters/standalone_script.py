"""Scripts that travel with an export and need neither persistill nor torch."""

import inspect
import textwrap

from persistill.utils import preprocessing

_OPEN = """\
session = onnxruntime.InferenceSession(str(pathlib.Path(__file__).with_name("model.onnx")))
about = json.loads(session.get_modelmeta().custom_metadata_map["persistill"])
shape = tuple(about["input"]["shape"][1:])
preprocessing = Preprocessing.from_json(about["input"]["preprocessing"])
"""


def standalone_script(docstring: str, work: str) -> str:
    """A script for an ONNX file that reads images by the code with which they were read in training.

    Args:
        docstring: what the script does.
        work: its last lines. They find ``session``, ``about`` (the content of model.json), ``shape`` (C, H, W),
            ``preprocessing`` and ``read_pixels``; and ``json``, ``pathlib``, ``sys``, ``np`` and ``Image``.
    """
    _, _, source = inspect.getsource(preprocessing).removeprefix('"""').partition('"""')
    first = textwrap.fill(docstring, 118, initial_indent='"""', break_long_words=False)
    return (
        f"{first}\n\nNeeds Python 3.11 or newer. Images are read by the code with which they were read in training, "
        f'which follows.\n"""\n\nimport json\nimport pathlib\nimport sys\n\nimport onnxruntime\n{source.strip()}\n\n\n'
        f"{_OPEN}{work}"
    )
