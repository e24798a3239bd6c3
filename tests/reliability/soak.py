"""Kills and damage without end: what the tests of this folder do for a minute, for as long as is asked.

    python tests/reliability/soak.py --seconds 3600
    python tests/reliability/soak.py --kills 10000

Every try draws anew; a failed one is printed with the seed that repeats it, and the exit code is 1.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kill_harness import Counts, Kills, Server
from runs_equal import LEFT_OUT

from persistill.run_folder import DamagedRunError, RunFolder, find

WEIGHTS = {"export": 0.1, "cost": 0.5, "comparison": 0.5}
"""How often kinds of stages are chosen beside the others, since they take longer."""
KILLS = (3, 12)
"""Of one chain, before it is let be and compared."""
_adding = threading.Lock()


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


def soak(seconds: float, most: int, seed: int, stop: threading.Event, total: Counts) -> tuple[Counter[str], int]:
    """Try until the time is over or there were enough kills of all that count them together.

    Args:
        seconds: until then, once a run is there to compare with.
        most: kills, of all workers.
        seed: of what is drawn.
        stop: ends it before.
        total: what all workers have tried.

    Returns:
        Ways of damage -> how many were noticed, and how many tries failed.
    """
    failed, damages = 0, Counter[str]()
    with Server() as server, tempfile.TemporaryDirectory() as folder:
        kills = Kills(server, Path(folder), any_moment=True)
        jobs, began = [*kills.jobs, *kills.commands], time.monotonic()
        weights = [WEIGHTS.get(job.kind, 1.0) for job in jobs]
        number = 0
        while time.monotonic() - began < seconds and total.kills.total() < most and not stop.is_set():
            number += 1
            chance = random.Random(f"{seed}-{number}")
            (job,) = chance.choices(jobs, weights)
            kills.counts = Counts()
            try:
                if number % 20 == 0:
                    kills.beside_each_other(chance.choice(kills.jobs))
                kills.chain(job, chance.randint(*KILLS), chance)
                damages[damage(kills, chance)] += 1
            except AssertionError as error:
                failed += 1
                print(f"seed {seed}, try {number}: {error}", flush=True)
            with _adding:
                total.add(kills.counts)
            if number % 20 == 0:
                print(f"{time.monotonic() - began:.0f} s: {total}", flush=True)
    return damages, failed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="until then")
    parser.add_argument("--kills", type=int, default=10_000, help="at most")
    parser.add_argument("--seed", type=int, default=None, help="of what is drawn; by default another every time")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="that kill beside each other")
    given = parser.parse_args()
    stop, total = threading.Event(), Counts()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    with ThreadPoolExecutor(given.workers) as pool:
        at_work = [
            pool.submit(soak, given.seconds, given.kills, seed + 1000 * worker, stop, total)
            for worker in range(given.workers)
        ]
        found = [future.result() for future in at_work]
    damages, failed = sum((ways for ways, _ in found), Counter[str]()), sum(number for _, number in found)
    ways = ", ".join(f"{way} {count:,}" for way, count in sorted(damages.items()))
    print(f"{total}; {damages.total():,} damaged files noticed ({ways}); {failed} tries failed")
    sys.exit(min(1, failed))


if __name__ == "__main__":
    main()
