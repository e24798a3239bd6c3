"""The long fuzzing: every case over and over with new inputs, counted by kind.

    python tests/fuzz/fuzz_soak.py --inputs 1000000 --seconds 3600

It ends with 1 at the first input that is a fault, and names the seed that makes it again.
"""

import argparse
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_fuzz import CASES
from tiny_run import run

SHARES = {"signals": 4.0, "JSON": 4.0, "arguments": 3.0, "--set": 3.0}
"""Of the time, where it is not 1: what costs microseconds gets more of it."""
_ROUND = 0.5
"""Seconds for a case of share 1, before the next one's turn."""


def soak(inputs: int, seconds: float, seed: int) -> int:
    """Fuzz until so many inputs were tried, or the time is over; the exit code."""
    counts, spent = dict.fromkeys(CASES, 0), dict.fromkeys(CASES, 0.0)
    began, call = time.monotonic(), 0
    fault = ""
    with tempfile.TemporaryDirectory(prefix="persistill-fuzz-") as folder:
        place = Path(folder)
        run(place / "runs")
        while not fault and sum(counts.values()) < inputs and time.monotonic() - began < seconds:
            for name, case in CASES.items():
                started = time.monotonic()
                while not fault and time.monotonic() - started < _ROUND * SHARES.get(name, 1.0):
                    call += 1
                    try:
                        counts[name] += case(random.Random(f"{seed} {call}"), place)
                    except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
                        traceback.print_exc()
                        fault = f"{name}, random.Random({f'{seed} {call}'!r})"
                spent[name] += time.monotonic() - started
    for name, count in counts.items():
        print(f"{name:20} {count:>10,} inputs {spent[name]:>8.0f} s")
    print(f"{'all':20} {sum(counts.values()):>10,} inputs {time.monotonic() - began:>8.0f} s, seed {seed}")
    print(f"A fault: {fault}" if fault else "No fault.")
    return int(bool(fault))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    warnings.simplefilter("error")
    sys.exit(soak(given.inputs, given.seconds, given.seed))
