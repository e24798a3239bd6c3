"""The same images with boxes in four layouts."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("cat", "dog")
SIZE = (40, 60)  # height, width
BOXES = {
    "a.png": [((0, 0, 20, 10), 0), ((10, 5, 60, 40), 1)],
    "b.png": [((30, 20, 50, 30), 1)],
    "c.png": [],
    "d.png": [((2, 2, 8, 8), 0)],
}
"""File name -> boxes x1, y1, x2, y2 (the last two outside) and classes."""


def pixels(name):
    return np.random.default_rng(ord(name[0])).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def write_images(folder, names=tuple(BOXES)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(pixels(name)).save(folder / name)


def write_voc(folder: Path, boxes=BOXES, lists=None, images=None, difficult=()):
    write_images(folder / "JPEGImages", images or tuple(boxes))
    (folder / "Annotations").mkdir(exist_ok=True)
    for name, found in boxes.items():
        text = "".join(
            f"<object><name>{CLASSES[label] if isinstance(label, int) else label}</name>"
            f"<difficult>{int((name, at) in difficult)}</difficult><bndbox>"
            f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for at, ((x1, y1, x2, y2), label) in enumerate(found)
        )
        path = (folder / "Annotations" / name).with_suffix(".xml")
        path.write_text(f"<annotation><filename>{name}</filename>{text}</annotation>")
    for part, names in (lists or {}).items():
        path = folder / "ImageSets" / "Main" / f"{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(Path(name).stem for name in names))
    return folder


def write_coco(folder: Path, boxes=BOXES, parts=None, crowd=()):
    (folder / "annotations").mkdir(parents=True)
    for part, names in (parts or {"train2017": tuple(boxes)}).items():
        write_images(folder / part, names)
        images = [{"id": 10 + at, "file_name": name, "height": 40, "width": 60} for at, name in enumerate(names)]
        annotations = [
            {
                "id": 100 * at + number,
                "image_id": 10 + at,
                "category_id": 3 + 4 * label,  # ids with gaps, as COCO has them
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "iscrowd": int((name, number) in crowd),
                "area": 1,
            }
            for at, name in enumerate(names)
            for number, ((x1, y1, x2, y2), label) in enumerate(boxes[name])
        ]
        categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return folder


def write_yolo(folder: Path, boxes=BOXES, parts=("train",), described=True):
    height, width = SIZE
    for part in parts:
        write_images(folder / "images" / part, tuple(boxes))
        (folder / "labels" / part).mkdir(parents=True)
        for name, found in boxes.items():
            lines = [
                f"{label} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}"
                for (x1, y1, x2, y2), label in found
            ]
            if lines:  # images without objects have no file
                (folder / "labels" / part / name).with_suffix(".txt").write_text("\n".join(lines) + "\n")
    if described:
        named = "\n".join(f"{part}: images/{part}" for part in parts)
        (folder / "data.yaml").write_text(f"path: .\n{named}\nnames:\n  0: cat\n  1: dog\n")
    else:
        (folder / "classes.txt").write_text("cat\ndog\n")
    return folder


def write_table(folder: Path, boxes=BOXES, box_format=None, stated=None, part="train", **more):
    folder.mkdir(parents=True, exist_ok=True)
    rows, objects = [], []
    for name, found in boxes.items():
        encoded = io.BytesIO()
        Image.fromarray(pixels(name)).save(encoded, "png")
        rows.append({"bytes": encoded.getvalue(), "path": name})
        corners = [[float(value) for value in box] for box, _ in found]
        if box_format == "xywh":
            corners = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]
        entry = {"bbox": corners, "category": [label for _, label in found]}
        objects.append(
            entry | {key: [int((name, at) in which) for at in range(len(found))] for key, which in more.items()}
        )
    fields = [("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.int64()))]
    kind = pa.struct(fields + [(key, pa.list_(pa.int64())) for key in more])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "img": pa.array(rows, image),
            "width": [SIZE[1]] * len(rows),
            "height": [SIZE[0]] * len(rows),
            "objects": pa.array(objects, kind),
        }
    )
    metadata = {"classes": json.dumps(CLASSES)} | ({"bbox_format": stated} if stated else {})
    pq.write_table(table.replace_schema_metadata(metadata), folder / f"{part}.parquet")
    return folder
