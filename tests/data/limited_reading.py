"""Reads images for an epoch in a process that may take so much memory more than it has: run by a test.

python limited_reading.py MEGABYTES '[[SOURCE, BUFFER, "stream" or "hold"], ...]'
"""

import faulthandler
import json
import os
import re
import resource
import sys
import threading
from pathlib import Path

import datasets  # noqa: F401  imported by sources when they need it
import torch

from persistill.config import Data
from persistill.data import Loader, load, splits_reader
from persistill.data.sources import row_groups

MEMORY_LIMIT = splits_reader.MEMORY_LIMIT


def data_of_process() -> int:
    """Bytes that the process may write to, whether it did or not."""
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) * 1024


def read(source: str, buffer: int, mode: str) -> None:
    splits_reader.MEMORY_LIMIT = 0 if mode == "stream" else MEMORY_LIMIT
    row_groups.BUFFER = buffer
    size = (32, 32) if mode == "stream" else None
    parquet = "in_place" if any(Path(source).glob("*.parquet")) else "copied"
    train = load(Data(source=source, size=size, parquet=parquet, validation=4, test=4)).train
    batches = Loader(train, {}, batch_size=8, mean=(0.5,) * 3, std=(0.5,) * 3, shuffle_seed=0)
    seen = torch.cat([batch.index for batch in batches.epoch(1)])
    assert sorted(seen.tolist()) == list(range(len(train)))


def told(source: str, buffer: int, mode: str) -> str:
    """What an attempt ended with, "" if it succeeded."""
    try:
        read(source, buffer, mode)
    except Exception as error:  # noqa: BLE001  errors of memory have several types
        return repr(error)
    return ""


if __name__ == "__main__":
    faulthandler.dump_traceback_later(300, exit=True)
    os.cpu_count = lambda: 2  # type: ignore[assignment]  # more threads decode more images at a time
    threading.stack_size(2**20)  # eight times as much is reserved without, for what never uses it
    limit = data_of_process() + int(sys.argv[1]) * 1024**2
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    sys.stdout.write(json.dumps([told(*case) for case in json.loads(sys.argv[2])]))
