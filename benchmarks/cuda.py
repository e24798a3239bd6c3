"""What topology costs on a CUDA GPU, as Markdown: times, agreement with the CPU, and whether the host ever waits.

    python benchmarks/cuda.py              # about two minutes, most of them for compiling and for the CPU's results
    python benchmarks/cuda.py --quick      # fewer images
    python benchmarks/cuda.py --profile    # also the time of each kernel

Times on the device are between CUDA events around a call, medians over rounds after two that warm up; "queued" is
the time until the call returned to the host. Images are the CIFAR-10 test images, repeated, from below the folder
that PERSISTILL_SHARED names (or ../shared), and smooth noise where it is absent, which the output says. Without a GPU
nothing is measured.
"""

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from persistill.topology import PersistenceImageConfig, mst_lengths, scan_persistence_images, sublevel_persistence
from persistill.topology._reference import vietoris_rips_h0 as reference

TGD = PersistenceImageConfig.tgd()
FITTED = PersistenceImageConfig(
    (32, 32), bandwidth=0.02, births=(0, 1), persistences=(0, 0.5), grid="tiled", scaling="log", scale=0.01
)
Job = Callable[[], object]


def real_images(count: int) -> tuple[Tensor, str]:
    """(count, 3, 32, 32) uint8, and what they are."""
    folder = Path(os.environ.get("PERSISTILL_SHARED", Path(__file__).resolve().parent.parent.parent / "shared"))
    file = folder / "data" / "cifar10" / "test.parquet"
    if file.exists():
        import pyarrow.parquet as pq  # noqa: PLC0415
        from PIL import Image  # noqa: PLC0415

        column = pq.read_table(file, columns=["img"])["img"][:count]
        opened = [np.asarray(Image.open(io.BytesIO(one["bytes"].as_py())).convert("RGB")) for one in column]
        images, kind = torch.from_numpy(np.stack(opened)).permute(0, 3, 1, 2), "CIFAR-10 test images"
    else:
        random = torch.Generator().manual_seed(0)
        noise = torch.randn(min(count, 10_000), 3, 32, 32, generator=random)
        frequency = torch.hypot(torch.fft.fftfreq(32)[:, None], torch.fft.fftfreq(32)[None]) + 1 / 32
        smooth = torch.fft.ifft2(torch.fft.fft2(noise) / frequency**1.5).real
        smooth /= smooth.std((1, 2, 3), keepdim=True)
        images, kind = (120 + 60 * smooth).clamp(0, 255).byte(), "SYNTHETIC images (smooth noise; no CIFAR-10 here)"
    return images.repeat(-(-count // len(images)), 1, 1, 1)[:count].contiguous(), kind


def embeddings(count: int, n: int, d: int) -> Tensor:
    """Clouds of ten class clusters behind a ReLU."""
    random = torch.Generator().manual_seed(n)
    centers = torch.randn(count, 10, d, generator=random)
    classes = torch.randint(0, 10, (count, n, 1), generator=random).expand(-1, -1, d)
    return (centers.gather(1, classes) + 0.5 * torch.randn(count, n, d, generator=random)).relu()


def timed(job: Job, rounds: int) -> tuple[float, float]:
    """Median milliseconds on the device, and until the host was free."""
    device, host = [], []
    for number in range(rounds + 2):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        begun = time.perf_counter()
        job()
        queued = time.perf_counter() - begun
        end.record()
        torch.cuda.synchronize()
        if number >= 2:
            device.append(start.elapsed_time(end))
            host.append(1000 * queued)
    return statistics.median(device), statistics.median(host)


def waits(job: Job) -> str:
    """Whether a warm call makes the host wait for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        job()
    except RuntimeError as error:
        return f"YES: {str(error).splitlines()[0]}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "no"


def cloud_step(points: Tensor) -> Job:
    def job() -> None:
        points.grad = None
        mst_lengths(points).square().sum().backward()

    return job


def torch_step(points: Tensor) -> Job:
    def job() -> None:
        points.grad = None
        reference.mst_lengths(points, distances=False).square().sum().backward()

    return job


def heading(title: str, *columns: str) -> None:
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' + '---:|' * (len(columns) - 1)}")


def times(images: Tensor, rounds: int) -> None:
    count = len(images)
    out = torch.empty((count, 6, *TGD.pixels), device="cuda")
    floats = images.float() / 255
    large = images[:49].reshape(7, 7, 3, 32, 32).permute(2, 0, 3, 1, 4).reshape(1, 3, 224, 224).repeat(32, 1, 1, 1)
    jobs: dict[str, tuple[Job, str]] = {
        f"persistence images of {count:,} images, into a buffer": (
            lambda: scan_persistence_images(images, TGD, out=out),
            "200",
        ),
        f"the same, float32, {count:,}": (lambda: scan_persistence_images(floats, TGD, out=out), ""),
        "a plain fill of that buffer": (lambda: out.fill_(1.0), ""),
        "a batch of 128 images": (lambda: scan_persistence_images(images[:128], TGD), ""),
        "the same, float32": (lambda: scan_persistence_images(floats[:128], TGD), ""),
        "32 images of 224 x 224": (lambda: scan_persistence_images(large, TGD), ""),
        "diagrams of 1,000 images, read row by row (a ragged result: the host must wait)": (
            lambda: sublevel_persistence(images[:1000].flatten(2), min_persistence=5),
            "",
        ),
    }
    for n, d in ((64, 64), (128, 64), (256, 256), (512, 512)):
        points = embeddings(64, n, d).cuda()
        leaf = points.clone().requires_grad_()
        jobs[f"trees of 64 clouds, {n} x {d}, forward"] = (lambda points=points: mst_lengths(points)), ""
        jobs[f"trees of 64 clouds, {n} x {d}, forward and backward"] = cloud_step(leaf), "0.3" if n == 64 else ""
        if n <= 128:
            jobs[f"the same by torch operations, {n} x {d}"] = torch_step(leaf), ""
    heading("Times", "job", "device, ms", "to reach, ms", "queued, ms", "does the host wait?")
    for name, (job, goal) in jobs.items():
        device, host = timed(job, rounds)
        print(f"| {name} | {device:.3f} | {goal} | {host:.3f} | {waits(job)} |", flush=True)


def agreement(images: Tensor) -> None:
    """Largest differences from the kernels of the CPU, which the tests hold to persim and SciPy."""
    heading("Agreement with the CPU", "job", "largest difference", "allowed")
    plain = images.cpu()
    for name, settings in (("published settings", TGD), ("logarithmic, 32 x 32", FITTED)):
        for kind, values in (("8-bit", plain), ("float32", plain.float() / 255), ("float64", plain.double() / 255)):
            found = scan_persistence_images(values.cuda(), settings).cpu()
            expected = scan_persistence_images(values, settings)
            print(
                f"| {len(plain):,} images, {name}, {kind} | {(found - expected).abs().max():.1e} | 1e-06 |",
                flush=True,
            )
    bars = sublevel_persistence(plain.cuda().flatten(2), min_persistence=5).numpy()
    wanted = sublevel_persistence(plain.flatten(2), min_persistence=5).numpy()
    pairs = zip(bars.to_list()[:600], wanted.to_list()[:600], strict=True)
    differing = [sorted(map(tuple, one)) != sorted(map(tuple, other)) for one, other in pairs]
    print(f"| diagrams that differ, of {len(differing)} | {sum(differing)} | 0 |")
    for n, d in ((64, 64), (300, 20)):
        points = embeddings(8, n, d)
        here, there = points.clone().requires_grad_(), points.cuda().requires_grad_()
        lengths, found = mst_lengths(here), mst_lengths(there)
        difference = ((found.cpu() - lengths).abs() / lengths.clamp(min=1e-30)).max()
        print(f"| lengths of trees, {n} x {d}, relative | {difference:.1e} | 1e-06 |")
        lengths.square().sum().backward()
        found.square().sum().backward()
        assert here.grad is not None
        assert there.grad is not None
        print(f"| their gradients | {(here.grad - there.grad.cpu()).abs().max():.1e} | 2e-05 |")


def profile(images: Tensor) -> None:
    leaf = embeddings(64, 64, 64).cuda().requires_grad_()
    step = cloud_step(leaf)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        scan_persistence_images(images, TGD)
        scan_persistence_images(images.float() / 255, TGD)
        step()
        torch.cuda.synchronize()
    print(f"\n```\n{found.key_averages().table(sort_by='cuda_time_total', row_limit=25)}\n```")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--profile", action="store_true", help="also list the time of each kernel")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA GPU here: nothing was measured.")
        return
    import triton  # noqa: PLC0415  (not there without CUDA)

    images, kind = real_images(5_000 if options.quick else 50_000)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Triton {triton.__version__}, "
        f"Python {sys.version.split()[0]}; {kind}."
    )
    begun = time.perf_counter()
    scan_persistence_images(images[:1].cuda(), TGD)
    torch.cuda.synchronize()
    print(f"First call, with CUDA's start and compilation or its cache: {time.perf_counter() - begun:.1f} s.")
    agreement(images[: 200 if options.quick else 10_000].contiguous())
    placed = images.cuda()
    times(placed, 5 if options.quick else 15)
    if options.profile:
        profile(placed[:10_000])


if __name__ == "__main__":
    main()
