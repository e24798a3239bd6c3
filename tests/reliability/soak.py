"""Kills and damage without end: what the tests of this folder do for a minute, for as long as is asked.

    python tests/reliability/soak.py --seconds 3600
    python tests/reliability/soak.py --kills 10000

Every try draws anew; a failed one is printed with the seed that repeats it, and the exit code is 1.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from kill_harness import Kills, Server
from runs_equal import LEFT_OUT

from persistill.run_folder import DamagedRunError, RunFolder, find

WEIGHTS = {"export": 0.1, "cost": 0.5, "comparison": 0.5}
"""How often kinds of stages are chosen beside the others, since they take longer."""


def damage(kills: Kills, chance: random.Random) -> str:
    """Damage one file of a finished folder, and see that it is noticed; the way of the damage."""
    folder = chance.choice(find(kills.reference))
    files = [path for path in folder.path.rglob("*") if path.is_file() and path.stat().st_size]
    kept = [path for path in files if path.relative_to(folder.path).parts[0] not in LEFT_OUT - {"files.json"}]
    file = chance.choice(kept)
    way = chance.choice(("bit", "cut", "longer", "empty", "gone"))
    copy = RunFolder(Path(shutil.copytree(folder.path, kills.folder / "damaged")), folder.about)
    target = copy.path / file.relative_to(folder.path)
    content = bytearray(target.read_bytes())
    if way == "gone":
        target.unlink()
    elif way == "bit":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif way == "cut":
        del content[chance.randrange(len(content)) :]
    elif way == "longer":
        content += chance.randbytes(chance.randint(1, 9))
    if way != "gone":
        target.write_bytes(b"" if way == "empty" else content)
    try:
        if copy.complete:
            copy.verify()
            raise AssertionError(f"{file} of {folder.path.name} was damaged ({way}), and nothing noticed it")
    except DamagedRunError:
        pass
    finally:
        shutil.rmtree(copy.path)
    return way


def soak(seconds: float, most: int, seed: int) -> int:
    """Try until the time is over or there were enough kills; how many tries failed."""
    began, failed, damages = time.monotonic(), 0, Counter[str]()
    with Server() as server, tempfile.TemporaryDirectory() as folder:
        kills = Kills(server, Path(folder), any_moment=True)
        stages = server.plan
        weights = [WEIGHTS.get(stage["kind"], 1.0) for stage in stages]
        number = 0
        while time.monotonic() - began < seconds and kills.counts.kills.total() < most:
            number += 1
            chance = random.Random(f"{seed}-{number}")
            (stage,) = chance.choices(stages, weights)
            try:
                if number % 10 == 0:
                    kills.beside_each_other(stage)
                kills.chain(stage, chance.randint(1, 5), chance)
                for _ in range(5):
                    damages[damage(kills, chance)] += 1
            except AssertionError as error:
                failed += 1
                print(f"seed {seed}, try {number}: {error}", flush=True)
            if number % 100 == 0:
                print(f"{time.monotonic() - began:.0f} s: {kills.counts}", flush=True)
    ways = ", ".join(f"{way} {count:,}" for way, count in sorted(damages.items()))
    print(f"{kills.counts}; {damages.total():,} damaged files noticed ({ways}); {failed} tries failed")
    return failed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="until then")
    parser.add_argument("--kills", type=int, default=10_000, help="at most")
    parser.add_argument("--seed", type=int, default=None, help="of what is drawn; by default another every time")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    sys.exit(min(1, soak(given.seconds, given.kills, seed)))


if __name__ == "__main__":
    main()
