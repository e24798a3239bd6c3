"""Fuzzing that is guided by coverage: atheris (libFuzzer) keeps inputs that reach lines which none before reached.

    python tests/fuzz/fuzz_guided.py --case weights corpus/weights -max_total_time=600
    python tests/fuzz/fuzz_guided.py --case weights crash-0123...        one input again

All but ``--case`` is libFuzzer's. At the first fault it ends with its traceback, and leaves the input as a file. What a
case draws comes out of the input (``guided_draws.py``); the cases are those of ``fuzz_soak.py``.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))

# Kernels must stay as they are: numba compiles their code, and keeps what it compiled.
_KERNELS = Path(__file__).parents[2] / "persistill" / "topology" / "_numba"
_excluded = [f"persistill.topology._numba.{path.stem}" for path in _KERNELS.glob("*.py")]
with atheris.instrument_imports(include=["persistill"], exclude=_excluded):
    from guided_draws import GuidedDraws
    from test_fuzz import CASES
    from tiny_run import run


def main(words: list[str]) -> None:
    """Fuzz one case."""
    if "--case" not in words[:-1] or words[words.index("--case") + 1] not in CASES:
        sys.exit(f"say which: --case {'|'.join(CASES)}")
    place = words.index("--case")
    name = words[place + 1]
    with tempfile.TemporaryDirectory(prefix="persistill-guided-") as folder:
        run(Path(folder) / "runs")
        warnings.simplefilter("error")

        def try_one(content: bytes) -> None:
            CASES[name](GuidedDraws(content), Path(folder))

        atheris.Setup([*words[:place], *words[place + 2 :]], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
