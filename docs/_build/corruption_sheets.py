"""Draw the images of the page on corruptions from a photograph that ships with scikit-learn.

    python docs/_build/corruption_sheets.py docs/assets

Photograph by danielbuechele, https://creativecommons.org/licenses/by/2.0/, cropped and made smaller.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from torch import Tensor

from persistill.perturbations.corruptions import (CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt)

NAMES = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
BOX = (190, 30, 530, 370)
GAP, LABEL, LINE = 3, 108, 14


def photograph(side: int) -> Tensor:
    image = Image.fromarray(load_sample_image("flower.jpg")).crop(BOX).resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def tile(image: Tensor, side: int) -> Image.Image:
    levels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(levels).resize((side, side), Image.Resampling.NEAREST)


def corrupted(image: Tensor, name: str, severity: int) -> Tensor:
    return corrupt(image, name, severity, 0, torch.tensor([1]))


def by_severity(side: int, shown: int) -> Image.Image:
    """One corruption a row, the image and its five severities."""
    clean, step = photograph(side), shown + GAP
    sheet = Image.new("RGB", (LABEL + 6 * step, len(NAMES) * step + LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(("clean", *SEVERITIES)):
        draw.text((LABEL + column * step + 2, 1), str(title), fill="black")
    for row, name in enumerate(NAMES):
        draw.text((2, LINE + row * step + shown // 2 - 6), name, fill="black")
        for column, image in enumerate([clean, *(corrupted(clean, name, severity) for severity in SEVERITIES)]):
            sheet.paste(tile(image, shown), (LABEL + column * step, LINE + row * step))
    return sheet


def at_severity(severity: int, side: int, columns: int) -> Image.Image:
    """The image and all its corruptions at one severity."""
    clean, step = photograph(side), side + GAP
    images = {"clean": clean, **{name: corrupted(clean, name, severity) for name in NAMES}}
    sheet = Image.new("RGB", (columns * step, -(-len(images) // columns) * (step + LINE)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (name, image) in enumerate(images.items()):
        left, top = place % columns * step, place // columns * (step + LINE)
        draw.text((left + 2, top + 1), name, fill="black")
        sheet.paste(tile(image, side), (left, top + LINE))
    return sheet


def main(target: str) -> None:
    for name, sheet in (("corruptions_32", by_severity(32, 64)), ("corruptions_160", at_severity(4, 160, 5))):
        sheet.save(Path(target) / f"{name}.webp", quality=85, method=6)


if __name__ == "__main__":
    main(*sys.argv[1:])
