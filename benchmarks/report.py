"""What the report of a comparison of 50 networks costs: to write, to keep, and to open in a browser.

    python benchmarks/report.py [--arms 16] [--seeds 3]
    python benchmarks/report.py runs/comparison-...    # one of your own instead

Made-up run folders of full size: 10,000 test images of ten classes, two teachers, 30 epochs, noise, all corruptions
at five severities, attacks, maps of embeddings, persistence images. Headless Chromium (Playwright) opens the page,
each time a new one with nothing in its cache, in a window as wide as a laptop's and a phone's: the clock from
navigation until the text is painted, until the plots within the window are drawn, and until all are; in brackets the
processor time of the page's main thread until then, in which other work on the machine is not. Medians.
"""

import argparse
import shutil
import statistics
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import CDPSession, Page, sync_playwright

from persistill import report
from persistill.perturbations.corruptions import CORRUPTIONS
from persistill.run_folder import RunFolder
from persistill.utils.atomic_io import atomic

IMAGES, CLASSES, EPOCHS, NOISE = 10_000, 10, 30, (0.02, 0.04, 0.08)
TEACHERS, STAGES = ("image", "topology"), ("stage1", "stage2", "stage3")
WIDTHS = {"laptop": 1280, "phone": 390}
DRAWN = "plot.querySelector('svg.main-svg')"
NEAR = "plot.getBoundingClientRect().top >= innerHeight"
Arrays = dict[str, Any]


def random_of(*names: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(names).encode()))


def store(path: Path, arrays: Arrays) -> None:
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def network(root: Path, kind: Any, name: str, seed: int) -> str:
    """A training's folder: its name."""
    folder = RunFolder.create(root, kind, f"{name}-seed{seed}", {"name": name, "seed": seed})
    random, terms = random_of(name, seed), ("ce",) if name == "arm 0" else ("ce", "kd", "sp")
    for epoch in range(1, EPOCHS + 1):
        means = {term: float(np.exp(-epoch / 10) + random.uniform(0, 0.1)) for term in terms}
        folder.log(
            type="epoch", epoch=epoch, step=390 * epoch, epochs=EPOCHS, loss=sum(means.values()), terms=means,
            weights=dict.fromkeys(terms, 1.0), lr=0.1, train_accuracy=0.9 - 0.5 / epoch,
            validation={"accuracy": 0.8 - 0.5 / epoch, "nll": 0.5 + 1.8 / epoch}, seconds=20.0 * epoch,
        )  # fmt: skip
    shares = {"train_accuracy": 0.9, "validation": {"accuracy": 0.8, "nll": 0.5}}
    folder.finish({"epochs": EPOCHS, "parameters": 175_066, "seconds": 600.0, **shares})
    return folder.path.name


def evaluation(root: Path, name: str, seed: int) -> str:
    """An evaluation's folder: its name."""
    folder = RunFolder.create(root, "evaluation", f"{name}-seed{seed}", {"network": {"name": name, "seed": seed}})
    random, target = random_of("evaluation", name, seed), np.arange(IMAGES) % CLASSES
    logits = random.normal(size=(IMAGES, CLASSES)).astype(np.float32) * 1.3
    logits[np.arange(IMAGES), target] += 2.5
    index, right = np.arange(IMAGES), logits.argmax(1) == target
    store(folder.file("predictions.npz"), {"target": target, "index": index, "logits": logits})
    rows = np.argsort(target, kind="stable")[:: IMAGES // 100]
    embedded = np.arange(0, IMAGES, 5)
    embedding = random.normal(size=(len(embedded), 64)) + 3 * np.eye(CLASSES, 64)[target[embedded]]
    features = {"similarity_rows": rows, "embedding_rows": embedded, "embedding": embedding.astype(np.float16)}
    for stage in STAGES:
        maps = np.abs(random.normal(size=(len(rows), 64))) + np.eye(CLASSES, 64)[target[rows]]
        features[f"gram_{stage}"] = (maps @ maps.T).astype(np.float32)
    store(folder.file("features.npz"), features)
    accuracy, errors = float(right.mean()), {"brier": 0.3, "ece_equal_mass": 0.05, "classwise_ece": 0.02}
    coverage = [number / 20 for number in range(1, 21)]
    metrics = {
        "accuracy": accuracy, "nll": 0.9, "ece": 0.05, "aurc": 0.1, "v_measure": 0.5, **errors,
        "top_k": {"k": 5, "accuracy": 0.97},
        "noise": {f"{level:g}": accuracy - level for level in NOISE},
        "calibrated": {"temperature": 1.3, "nll": 0.85, "ece": 0.01, **errors},
        "selective": {"coverage": coverage, "accuracy": [1 - (1 - accuracy) * share for share in coverage]},
        "attacks": {
            "images": 500, "steps": 10, "accuracy": accuracy,
            "fgsm": {"2": 0.3, "8": 0.1}, "pgd": {"2": 0.2, "8": 0.0},
        },
        "ood": {"source": "digits", "images": 1797, "max_softmax": 0.9, "energy": 0.92},
        "corruptions": {
            "images": 1000, "clean": accuracy, "error": 0.4,
            "accuracy": {kind: {str(s): accuracy - s * random.uniform(0, 0.1) for s in range(1, 6)}
                         for kind in CORRUPTIONS},
        },
    }  # fmt: skip
    folder.finish({"metrics": metrics, "images": IMAGES, "seconds": 25.0})
    return folder.path.name


def view(root: Path, images: int = 10, channels: int = 6) -> str:
    """A folder of persistence images: its name."""
    folder, random = RunFolder.create(root, "view", "topology", {}), random_of("view")
    bars = np.sort(random.uniform(size=(images * channels, 200, 2)), axis=2).astype(np.float32)
    gallery = {
        "images": random.integers(0, 256, (images, 3, 32, 32), np.uint8),
        "target": np.arange(images) % CLASSES,
        "persistence_images": random.uniform(size=(images, channels, 50, 50)).astype(np.float32),
        "values": bars.reshape(-1, 2),
        "offsets": np.arange(0, 200 * images * channels + 1, 200),
    }
    store(folder.file("gallery.npz"), gallery)
    about = {"shape": [channels, 50, 50], "mean": [0.1] * channels, "std": [0.2] * channels}
    settings = {"is": "PersistenceImageConfig", "pixels": 50, "bandwidth": 0.02}
    window = {"births": [0.0, 1.0], "persistences": [0.0, 0.5]}
    about |= {"scans": ["rows", "columns"], "settings": settings, "range": window, "count": {"train": 45_000}}
    folder.finish({**about, "seconds": 4.0})
    return folder.path.name


def cost(root: Path, name: str, parameters: int) -> str:
    """A folder of what a network costs: its name."""
    folder = RunFolder.create(root, "cost", name, {"model": name})
    sizes = [(batch, threads, batch / threads / 1000) for batch in (1, 64) for threads in (1, 2)]
    latency = [{"batch": b, "threads": t, "median": m, "low": m, "high": m, "calls": 50} for b, t, m in sizes]
    memory = {"1": 6 * parameters, "64": 60 * parameters}
    about = {"parameters": parameters, "macs": 150 * parameters, "bytes": 4 * parameters, "memory": memory}
    folder.finish({**about, "latency": latency, "joules": None})
    return folder.path.name


def kept(folder: Path, mapped: list[str], few: int = 20) -> None:
    """What a comparison keeps of its own: images, and maps of embeddings."""
    random = random_of("kept")
    rows = np.sort(random.permutation(IMAGES)[: 2 * few])
    images = {
        "rows": rows,
        "target": rows % CLASSES,
        "images": random.integers(0, 256, (len(rows), 3, 32, 32), np.uint8),
        "hardest": np.arange(few),
        "only_topology_not_image": np.arange(few, 2 * few),
        "view_topology": random.integers(0, 256, (len(rows), 6, 50, 50), np.uint8),
    }
    store(folder / "images.npz", images)
    rows = random.permutation(IMAGES)[:1000]
    maps = {"rows": rows, "target": rows % CLASSES}
    for name in mapped:
        maps[f"map_{name}"] = random.normal(size=(len(rows), 2)).astype(np.float32)
        maps[f"answer_{name}"] = random.integers(0, CLASSES, len(rows))
    store(folder / "embedding_maps.npz", maps)


def comparison(root: Path, arms: int, seeds: int) -> Path:
    """A whole comparison: its folder."""
    names = [f"arm {number}" for number in range(arms)]
    recipe = {
        "is": "Recipe", "name": "made up", "data": {"is": "Data", "source": "uoft-cs/cifar10"},
        "student": {"is": "Model", "name": "wrn-16-1"},
        "arms": {
            name: {
                "is": "Arm", "start": None, "teachers": list(TEACHERS) if number else [],
                "methods": [{"is": "TGD", "alphas": [0.7, 0.3], "merge": "published"}] if number else [],
            } for number, name in enumerate(names)
        },
        "teachers": {name: {"is": "Teacher", "view": name} for name in TEACHERS},
        "seeds": list(range(seeds)), "teacher_seed": 0,
        "evaluate": {"is": "Evaluate", "noise": list(NOISE), "ece_bins": 15},
    }  # fmt: skip
    rows = [
        {"arm": name, "seed": s, "run": network(root, "student", name, s), "evaluation": evaluation(root, name, s)}
        for name in names
        for s in range(seeds)
    ]
    teachers = {
        name: {"run": network(root, "teacher", name, 0), "evaluation": evaluation(root, f"teacher-{name}", 0)}
        for name in TEACHERS
    }
    everyone = [row["run"] for row in rows] + [teachers["image"]["run"]]
    alike = {"agreement": 0.8, "kl": 0.5, "cka": 0.7, "diagram_distance": 2.0}
    folder = RunFolder.create(root, "comparison", "made-up", {"recipe": recipe})
    kept(folder.path, [of["run"] for of in (*teachers.values(), *rows[::seeds])])
    result = {
        "recipe": "made up", "command": "persistill run made_up", "seconds": 1.0, "rows": rows, "teachers": teachers,
        "classes": [f"class {number}" for number in range(CLASSES)],
        "views": {"topology": view(root)}, "export": None,
        "relative_corruption_error": {"baseline": names[0], "of": dict.fromkeys(everyone, 1.0)},
        "likeness": {row["run"]: dict.fromkeys(TEACHERS, alike) for row in rows},
        "costs": {
            "student": cost(root, "student", 175_066),
            "teachers": {name: cost(root, name, 1_549_530) for name in TEACHERS},
        },
    }  # fmt: skip
    folder.finish(result)
    return folder.path


def until(page: Page, expression: str) -> None:
    while not page.evaluate(expression):
        time.sleep(0.005)


def busy(session: CDPSession) -> float:
    """Seconds of processor time that the page's main thread has taken."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(item["value"] for item in metrics if item["name"] == "TaskDuration"))


@contextmanager
def opened(width: int) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        yield browser.new_page(viewport={"width": width, "height": 900})
        browser.close()


def visit(path: Path, width: int) -> tuple[float, ...]:
    """Seconds until the text is painted; clock and main thread until plots in the window are drawn, and all; plots."""
    with opened(width) as page:
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        begun = time.perf_counter()
        page.goto(path.as_uri(), wait_until="commit")
        times = []
        for enough in (f"{DRAWN} || {NEAR}", DRAWN):
            plots = f"[...document.querySelectorAll('.plot')].every((plot) => {enough})"
            until(page, f"document.readyState === 'complete' && {plots}")
            times += [time.perf_counter() - begun, busy(session)]
        painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
        return painted, *times, page.locator(".plot").count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path, nargs="?", help="the folder of a finished comparison")
    parser.add_argument("--arms", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--visits", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.comparison or comparison(Path(scratch) / "runs", given.arms, given.seeds)
        path, begun = Path(scratch) / "report.html", time.process_time()
        report.write(folder, path)
        seconds, found = time.process_time() - begun, report.read(folder)
        networks = sum(len(arm.runs) for arm in (*found.arms, *found.teachers))
        print(f"{networks} networks: {seconds:.1f} s of one thread to write, {path.stat().st_size / 1e6:.1f} MB.\n")
        print("| window | plots | text | plots in the window | all plots |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, width in WIDTHS.items():
            columns = zip(*(visit(path, width) for _ in range(given.visits)), strict=True)
            painted, near, near_busy, drawn, drawn_busy, plots = map(statistics.median, columns)
            clocks = f"{near:.2f} s ({near_busy:.2f} s) | {drawn:.2f} s ({drawn_busy:.2f} s)"
            print(f"| {name}, {width} px | {plots:.0f} | {painted:.2f} s | {clocks} |")


if __name__ == "__main__":
    main()
