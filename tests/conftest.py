"""Fixtures that all tests may use."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


# The same inputs in every run, so that a suite which passed once passes again; `make soak` draws new ones.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", deadline=None)
settings.load_profile("same")


# One thread, as in `make test`: where none is stated, a run measures how many are the fastest.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    """Keep what ``datasets`` caches out of the home of whoever runs the tests."""
    os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="persistill-datasets-")
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"


def pytest_unconfigure() -> None:
    """Remove it."""
    shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def shared() -> Callable[..., Path]:
    """Paths below the folder of oracles and real data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("PERSISTILL_SHARED", ROOT.parent / "shared"))

    def path(*parts: str) -> Path:
        found = folder.joinpath(*parts)
        if not found.exists():
            pytest.skip(f"{found} does not exist: set PERSISTILL_SHARED to the folder of oracles and real data")
        return found

    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A real browser without a window; tests that want it are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def write_scenes() -> Callable[..., str]:
    """Writes images and masks of a square and a disk on the ground; the two rows on top have no class."""

    def write(root: Path, count: int = 30, size: tuple[int, int] = (24, 32)) -> str:
        random = np.random.default_rng(0)
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True)
        (root / "classes.txt").write_text("ground\nsquare\ndisk")
        height, width = size
        ys, xs = np.mgrid[:height, :width]
        for number in range(count):
            mask = np.zeros(size, np.uint8)
            top, left = random.integers(2, height - 9), random.integers(0, width - 8)
            mask[top : top + 8, left : left + 8] = 1
            y, x = random.integers(6, height - 4), random.integers(4, width - 4)
            mask[(ys - y) ** 2 + (xs - x) ** 2 < 20] = 2
            mask[:2] = 255
            color = np.array([[60, 60, 80], [170, 60, 80], [60, 170, 80], [0, 0, 0]])[np.where(mask == 255, 3, mask)]
            noisy = (color + random.normal(0, 10, color.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / "images" / f"{number:02}.png")
            Image.fromarray(mask).save(root / "masks" / f"{number:02}.png")
        return str(root)

    return write


@pytest.fixture(scope="session")
def write_squares() -> Callable[..., str]:
    """Writes images of one or two red or blue squares on gray noise, with their boxes, in the layout of YOLO."""

    def write(root: Path, count: int = 28, side: int = 64) -> str:
        random, half, colors = np.random.default_rng(0), side // 2, ("red", "blue")
        for name in ("images", "labels"):
            (root / name).mkdir(parents=True)
        for number in range(count):
            pixels, lines = random.integers(90, 150, (side, side, 3), dtype=np.uint8), []
            for left in (0, half)[: 1 + number % 2]:
                extent = int(random.integers(side * 7 // 32, half - 6))
                x, y = left + int(random.integers(0, half - extent)), int(random.integers(0, side - extent))
                color = int(random.integers(2))
                pixels[y : y + extent, x : x + extent] = ((255, 0, 0), (0, 0, 255))[color]
                center = (x + extent / 2) / side, (y + extent / 2) / side
                lines.append(f"{color} {center[0]} {center[1]} {extent / side} {extent / side}")
            Image.fromarray(pixels).save(root / "images" / f"{number:03}.png")
            (root / "labels" / f"{number:03}.txt").write_text("\n".join(lines))
        (root / "classes.txt").write_text("\n".join(colors))
        return str(root)

    return write
