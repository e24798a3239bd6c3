"""Fixtures that all tests may use."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


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
