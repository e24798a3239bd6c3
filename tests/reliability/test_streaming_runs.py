"""Runs on images that are streamed, by several processes: with the results of one."""

import io
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import streaming_runs
import torch
from PIL import Image
from runs_equal import differences
from safetensors.torch import load_file

from persistill.data import splits_reader
from persistill.data.resized_cache import ResizedDataset
from persistill.data.sources import row_groups
from persistill.pipeline import Pipeline
from persistill.pipeline.executors.job import Job, Outcome
from persistill.pipeline.executors.worker import Workplace
from persistill.ranks import Ranks
from persistill.utils.progress import Silent

ROOT = Path(__file__).resolve().parents[2]


def photograph(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(60 * (number % 2), 190 + 60 * (number % 2), (12, 10, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """44 images in class folders, tar files and Parquet files."""
    root = tmp_path_factory.mktemp("images")
    found = [photograph(number) for number in range(44)]
    for name in ("tar", "parquet", "folder/0", "folder/1"):
        (root / name).mkdir(parents=True)
    for shard in range(2):
        numbers = range(22 * shard, 22 * shard + 22)
        with tarfile.open(root / "tar" / f"train-{shard}.tar", "w") as archive:
            for i in numbers:
                (root / "folder" / str(i % 2) / f"{i}.png").write_bytes(found[i])
                for ending, content in (("png", found[i]), ("cls", b"%d" % (i % 2))):
                    member = tarfile.TarInfo(f"{i:03d}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array([{"bytes": found[i], "path": None} for i in numbers], layout)
        table = pa.table({"image": column, "label": [i % 2 for i in numbers]})
        pq.write_table(table, root / "parquet" / f"train-{shard}.parquet", row_group_size=3)
    return root


@pytest.fixture
def _streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits_reader, "MEMORY_LIMIT", splits_reader.MEMORY_LIMIT)  # so that they are put back
    monkeypatch.setattr(row_groups, "BUFFER", row_groups.BUFFER)
    streaming_runs.stream()


@pytest.mark.usefixtures("_streamed")
@pytest.mark.skipif(sys.platform == "win32", reason="several devices need Linux or macOS")
def test_two_ranks_train_on_streamed_images_as_one_process_does(images: Path, tmp_path: Path) -> None:
    streaming_runs.train_all(images, tmp_path / "one", Ranks())
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, streaming_runs.__file__, str(images), str(tmp_path / "two")],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=300)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    for kind in streaming_runs.KINDS:
        students = [next((tmp_path / place / kind).glob("student-*")) for place in ("one", "two")]
        assert students[0].name == students[1].name
        one, two = (load_file(student / "model.safetensors") for student in students)
        for name, weights in one.items():
            assert (weights.float() - two[name].float()).abs().max() < 1e-3, (kind, name)


@pytest.mark.usefixtures("_streamed")
@pytest.mark.parametrize("kind", streaming_runs.KINDS)
def test_workers_train_on_streamed_images_as_one_process_does(images: Path, tmp_path: Path, kind: str) -> None:
    recipe = streaming_runs.recipe(images, kind)
    pipelines = [Pipeline(recipe, tmp_path / place, device="cpu") for place in ("one", "two")]
    student = pipelines[0].graph.students["alone", 0].folder_name
    pipelines[0].run_stage(student)
    assert isinstance(pipelines[0].splits.train, ResizedDataset) == (kind == "resized")
    # What a process of --workers does with what it is sent, here, where its images count as too many for the memory.
    threads = torch.get_num_threads()
    outcome = Workplace("cpu", Silent()).work(Job.of(pipelines[1].context).packed(), student)
    torch.set_num_threads(threads)
    assert outcome == Outcome("done")
    assert differences(tmp_path / "one" / student, tmp_path / "two" / student) == []
