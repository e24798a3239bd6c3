"""Data sets of several times what a process may take: read for two epochs, under a limit of the operating system.

    python benchmarks/streaming_memory.py [--quick]

Images of 800 x 800 (BMP, 1.9 MB each) in class folders, tar files and Parquet. A process of its own reads each layout,
after ``RLIMIT_DATA``, which Linux enforces on all memory that a process may write to, was set to what it has after its
imports and 192 MiB more. Its peaks are read from /proc. Linux only.
"""

import argparse
import io
import json
import re
import resource
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import datasets  # noqa: F401 - imported by the reader of Parquet; here, so that its memory is not measured
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from persistill.config import Data
from persistill.data import Loader, load, splits_reader
from persistill.data.sources import row_groups

HEADROOM, BUFFER = 192 * 1024**2, 48 * 1024**2
SHARDS = 8


def photograph(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "BMP")
    return out.getvalue()


def write(root: Path, layout: str, count: int) -> int:
    """One set in one layout, and the bytes of its images, which are of 16 kinds, so that writing them is quick."""
    kinds = [photograph(number) for number in range(16)]
    images = [kinds[i % 16] for i in range(count)]
    if layout == "folder":
        for name in ("a", "b"):
            (root / name).mkdir(parents=True)
        for i, data in enumerate(images):
            (root / "ab"[i // 2 % 2] / f"{i:05d}.bmp").write_bytes(data)
        return sum(map(len, images))
    root.mkdir()
    for shard in range(SHARDS):
        numbers = range(shard * count // SHARDS, (shard + 1) * count // SHARDS)
        if layout == "tar":
            with tarfile.open(root / f"train-{shard}.tar", "w") as archive:
                for i in numbers:
                    for ending, content in (("bmp", images[i]), ("cls", b"%d" % (i // 2 % 2))):
                        member = tarfile.TarInfo(f"{i:05d}.{ending}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
            continue
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array([{"bytes": images[i], "path": None} for i in numbers], struct)
        table = pa.table({"image": column, "label": [i // 2 % 2 for i in numbers]})
        pq.write_table(table, root / f"train-{shard}.parquet", row_group_size=5, compression="none")
    return sum(map(len, images))


def status(field: str) -> int:
    """Bytes that /proc tells of this process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1]) * 1024


def read(source: str, layout: str) -> dict[str, float]:
    """Two epochs under the limit: images a second, and peaks above what was there before."""
    threading.stack_size(2**20)
    splits_reader.MEMORY_LIMIT, row_groups.BUFFER = 0, BUFFER
    before, resident = status("VmData"), status("RssAnon")
    resource.setrlimit(resource.RLIMIT_DATA, (before + HEADROOM,) * 2)
    peaks, done = [0, 0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peaks[0] = max(peaks[0], status("VmData") - before)
            peaks[1] = max(peaks[1], status("RssAnon") - resident)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    how = "in_place" if layout == "parquet" else "copied"
    train = load(Data(source=source, size=(224, 224), parquet=how, validation=8, test=8)).train
    loader = Loader(train, {}, batch_size=8, mean=(0.5,) * 3, std=(0.5,) * 3, shuffle_seed=0)
    begun, count = time.perf_counter(), 0
    for epoch in (1, 2):
        count += sum(len(batch.target) for batch in loader.epoch(epoch))
    seconds = time.perf_counter() - begun
    done.set()
    watcher.join()
    return {"images a second": count / seconds, "data": peaks[0], "resident": peaks[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="1 GB instead of 2.9")
    parser.add_argument("--read", nargs=2, metavar=("SOURCE", "LAYOUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.read:
        print(json.dumps(read(*options.read)))
        return
    print(f"limit: {HEADROOM / 1e6:,.0f} MB above the imports\n")
    print("| layout | encoded, MB | images a second | most data, MB | resident, MB |\n|---|---:|---:|---:|---:|")
    for layout in ("folder", "tar", "parquet"):
        with tempfile.TemporaryDirectory() as root:
            source = Path(root) / layout
            size = write(source, layout, 500 if options.quick else 1500) / 1e6
            command = [sys.executable, __file__, "--read", str(source), layout]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            data, resident = found["data"] / 1e6, found["resident"] / 1e6
            print(f"| {layout} | {size:,.0f} | {found['images a second']:,.0f} | {data:,.0f} | {resident:,.0f} |")


if __name__ == "__main__":
    main()
