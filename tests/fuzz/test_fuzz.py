"""A short fuzzing of everything that reads what anybody may have written; ``make fuzz`` is the long one."""

import random
from pathlib import Path

import fuzz_arguments
import fuzz_commands
import fuzz_engine
import fuzz_files
import fuzz_requests
import fuzz_settings
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = {"commands": 6, "cubical images": 40, "point clouds": 30, "Parquet": 15, "run folders": 80, "requests": 40}
CASES = {
    **fuzz_engine.CASES,
    **fuzz_arguments.CASES,
    **fuzz_settings.CASES,
    **fuzz_files.CASES,
    **fuzz_requests.CASES,
    **fuzz_commands.CASES,
}


@pytest.mark.parametrize("name", CASES)
def test_no_input_is_a_fault(name: str, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tiny)

    @settings(max_examples=EXAMPLES.get(name, 120), suppress_health_check=list(HealthCheck), database=None)
    @given(st.integers(0, 2**32))
    def fuzzed(seed: int) -> None:
        assert CASES[name](random.Random(seed), tmp_path) > 0

    fuzzed()
