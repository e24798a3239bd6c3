"""Scripts that travel with an export and need neither persistill nor torch."""

import inspect
import textwrap

from persistill.utils import preprocessing

_OPEN = """\
if len(sys.argv) < 2 or not {"-h", "--help"}.isdisjoint(sys.argv[1:]):
    asked = len(sys.argv) > 1
    print(f"usage: python {pathlib.Path(__file__).name} IMAGE...", file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked else 2)

session = onnxruntime.InferenceSession(str(pathlib.Path(__file__).with_name("MODEL")))
about = json.loads(session.get_modelmeta().custom_metadata_map["persistill"])
shape = tuple(about["input"]["shape"][1:])
preprocessing = Preprocessing.from_json(about["input"]["preprocessing"])
unreadable = []


def readable_images(paths):
    for path in paths:
        try:
            with Image.open(path) as image:
                pixels = read_pixels(image, shape, preprocessing)
        except Exception as error:  # decoders raise whatever comes to hand on damaged files
            unreadable.append(path)
            print(f"Left out: {path} ({error})", file=sys.stderr)
        else:
            yield path, pixels


"""
_BESIDE = """\
written = set()


def place_beside(path):
    image = pathlib.Path(path)
    place = image.with_suffix("SUFFIX")
    if place in written:  # street.jpg and street.png
        place = image.with_name(image.name + "SUFFIX")
    written.add(place)
    return place


own = [path for path in sys.argv[1:] if path.endswith("SUFFIX")]
if own:
    print(f"Passed over, as written by this script: {', '.join(own)}", file=sys.stderr)
    sys.argv[1:] = [path for path in sys.argv[1:] if path not in own]

"""
_CLOSE = """\
if unreadable:
    sys.exit(2 if len(unreadable) == len(sys.argv) - 1 else 3)
"""


def standalone_script(
    docstring: str, work: str, *, file: str = "model.onnx", imports: str = "", writes: str = ""
) -> str:
    """A script for an ONNX file that reads images by the code with which they were read in training.

    Args:
        docstring: what the script does.
        work: what it does with ``readable_images(paths)``, which gives (path, pixels) each and names on stderr what
            cannot be read. It finds ``session`` and ``about`` (the content of model.json) as well; and ``pathlib``,
            ``sys``, ``np``, ``Image`` and ``ImageOps``.
        file: that it runs.
        imports: lines of further imports of Pillow's.
        writes: how the names of files end that it writes, where ``place_beside(path)`` says. Such files are passed
            over.

    Returns:
        Its text. It ends with exit code 3 where some images could not be read, as ``persistill predict``, and with 2
        where all could not or none was named.
    """
    _, _, source = inspect.getsource(preprocessing).removeprefix('"""').partition('"""')
    first = textwrap.fill(docstring, 118, initial_indent='"""', break_long_words=False)
    return (
        f"{first}\n\nNeeds Python 3.11 or newer. Images are read by the code with which they were read in training, "
        'which follows.\n"""\n\nimport json\nimport pathlib\nimport sys\n\nimport onnxruntime\n'
        f"{imports}{source.strip()}\n\n\n"
        f"{_OPEN.replace('MODEL', file)}{_BESIDE.replace('SUFFIX', writes) if writes else ''}{work}{_CLOSE}"
    )
