"""Small images, and the command called upon them."""

import contextlib
import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from persistill.cli import main

SMALL = ["--preset", "tgd", "--pixels", "6x5", "--births", "0,1", "--persistences", "0,1", "--bandwidth", "0.1"]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments: object, command: str = "topology") -> Answer:
    """Call the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([command, *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
    assert "Traceback" not in out.getvalue() + err.getvalue(), err.getvalue()
    return Answer(code, " ".join(out.getvalue().split()), " ".join(err.getvalue().split()))


def photographs(place: Path, count: int, form: str = "folder", first: int = 0) -> Path:
    """Write smooth random images, of two sizes where the form allows it; gives the source."""
    place.mkdir()
    images = []
    for k in range(first, first + count):
        size = (8, 9) if k % 3 or form in ("npy", "npz") else (10, 7)
        rough = np.random.default_rng(k).normal(size=(3, *size)).cumsum(-1).cumsum(-2)
        images.append(np.uint8(255 * (rough - rough.min()) / np.ptp(rough)))
    if form == "npy":
        np.save(place / "x.npy", np.stack(images))
        return place / "x.npy"
    if form == "npz":
        np.savez_compressed(place / "x.npz", images=np.stack(images), labels=np.zeros(count))
        return place / "x.npz"
    encoded = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "PNG")
        encoded.append(file.getvalue())
    if form == "parquet":
        layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        for number, part in enumerate((encoded[:6], encoded[6:])):
            column = pa.array([{"bytes": data, "path": None} for data in part], layout)
            pq.write_table(pa.table({"image": column}), place / f"{number}.parquet", row_group_size=4)
    elif form == "tar":
        with tarfile.open(place / "train-0.tar", "w") as archive:
            for k, data in enumerate(encoded):
                member = tarfile.TarInfo(f"{k:02d}.png")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    else:
        for k, data in enumerate(encoded):
            (place / f"{k:02d}.png").write_bytes(data)
    return place
