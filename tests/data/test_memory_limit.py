"""Data sets that are larger than what a process may take, which the operating system sees to."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_tar_shards import write_tar

IMAGES, SIDE = 64, 1024
HEADROOM = 96
"""Megabytes; the encoded images take 201."""


def photograph(number):
    pixels = np.full((SIDE, SIDE, 3), number, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "BMP")
    return out.getvalue()


def tar_shards(folder):
    for shard in range(4):
        numbers = range(shard * IMAGES // 4, (shard + 1) * IMAGES // 4)
        files = {f"{i}.bmp": photograph(i) for i in numbers} | {f"{i}.cls": i % 2 for i in numbers}
        write_tar(folder / f"train-{shard}.tar", files)


def parquet_shards(folder):
    layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for shard in range(4):
        numbers = range(shard * IMAGES // 4, (shard + 1) * IMAGES // 4)
        images = pa.array([{"bytes": photograph(i), "path": f"{i}.bmp"} for i in numbers], layout)
        table = pa.table({"image": images, "label": [i % 2 for i in numbers]})
        pq.write_table(table, folder / f"train-{shard}.parquet", row_group_size=2, compression="none")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What became of reading, by layout: without holding images, and with. All in one process."""
    if sys.platform != "linux":
        pytest.skip("limits on the data of a process are Linux's")
    streamed, held = [], []
    for write in (tar_shards, parquet_shards):
        write(place := tmp_path_factory.mktemp(write.__name__))
        streamed.append((str(place), 16 * 1024**2, "stream"))
        held.append((str(place), 2**30, "stream" if write is parquet_shards else "hold"))
    script = Path(__file__).with_name("limited_reading.py")
    # What is freed goes back at once, or what the allocator keeps for later would be measured.
    calm = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(2**20), "ARROW_DEFAULT_MEMORY_POOL": "system"}
    command = [sys.executable, str(script), str(HEADROOM), json.dumps([*streamed, *held])]
    environment = {**os.environ, **calm, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    return {"tar": (results[0], results[2]), "parquet": (results[1], results[3])}


@pytest.mark.parametrize("layout", ["tar", "parquet"])
def test_a_set_larger_than_the_limit_is_read(found, layout):
    streamed, held = found[layout]
    assert streamed == ""
    # The limit is one: what holds the images, decoded or as row groups, ends at it.
    assert any(word in held.lower() for word in ("memory", "alloc"))
