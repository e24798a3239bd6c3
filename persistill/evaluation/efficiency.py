"""What a network costs to run: numbers that hold everywhere, and times of this machine."""

import contextlib
import math
import statistics
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from persistill.evaluation.predict import evaluating
from persistill.utils.memory import is_out_of_memory
from persistill.utils.progress import Progress, Silent
from persistill.utils.thread_count import computing_with

BATCHES = (1, 64)
LEAST, MOST, SECONDS = 5, 100, 0.5
"""Calls that are timed in one setting: as many as fit into the seconds, but no fewer and no more than these."""
LONGEST = 10.0
"""Seconds: more than one image at a time are not measured where a call would take longer by the time of one image."""
_WARM = 2  # calls before the first that is timed
_RAPL = Path("/sys/class/powercap")


def macs(network: nn.Module, image: tuple[int, ...]) -> int:
    """Multiplications with addition that one image takes in convolutions and matrix products.

    They are counted by torch as the network runs, whatever its modules are; normalization, activation and pooling are
    not counted, as is customary.

    Args:
        network: takes (B, C, H, W).
        image: (C, H, W).
    """
    images = torch.zeros(1, *image, device=_device(network))
    with evaluating(network), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops()) // 2


def stored_bytes(network: nn.Module) -> int:
    """Bytes of parameters and buffers, which is what a file of weights takes, but for a header of some kB."""
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


def peak_bytes(network: nn.Module, images: Tensor) -> int:
    """The most memory that tensors take at a time during a forward pass, weights and images included.

    Every tensor that an operation makes counts from then until it is freed, whatever device it is on. Scratch memory
    that a library takes inside an operation is not seen.

    Args:
        network: takes (B, C, H, W).
        images: (B, C, H, W), on the network's device.
    """
    with evaluating(network), torch.no_grad(), _Living() as living:
        for tensor in (*network.state_dict().values(), images):
            living.count(tensor)
        network(images)
    return int(living.peak)


def latency(call: Callable[[], object], wait: Callable[[], None]) -> dict[str, float]:
    """Wall-clock of a call, warm.

    Args:
        call: what is timed.
        wait: waits until its work is done.

    Returns:
        Seconds: "median", and the quartiles "low" and "high"; and "calls", how many were timed.
    """
    for _ in range(_WARM):
        call()
    wait()
    times: list[float] = []
    while len(times) < LEAST or (len(times) < MOST and math.fsum(times) < SECONDS):
        began = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - began)
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "calls": len(times)}


def measure_cost(
    network: nn.Module,
    image: tuple[int, int, int],
    device: torch.device,
    progress: Progress | None = None,
    label: str = "latency",
) -> dict[str, Any]:
    """What ``docs/evaluation.md`` lists under cost.

    Args:
        network: returns ``ModelOutput``; it is left as it was, on ``device``.
        image: (C, H, W) of what it sees.
        device: where it runs. On the CPU it is timed on one thread and on as many as torch has now.
        progress: one stage is started and finished on it.
        label: the stage's name.

    Returns:
        ``{"parameters", "macs", "bytes", "memory": {"1": bytes, "64": bytes}, "latency": [{"batch", "threads",
        "median", "low", "high", "calls"}, ...], "joules": per image, or None where the machine does not tell}``.
        Threads are None on a GPU. 64 images are missing where a call would take longer than ``LONGEST`` seconds, or
        there is no memory for them.
    """
    progress = progress or Silent()
    network.to(device)
    all_threads = torch.get_num_threads()
    threads = sorted({1, all_threads}) if device.type == "cpu" else [None]
    progress.start(label, len(BATCHES) * len(threads))
    memory: dict[str, int] = {}
    timed: list[dict[str, Any]] = []
    with evaluating(network), torch.no_grad():
        for batch in BATCHES:
            if timed and batch * timed[-1]["median"] > LONGEST:
                break
            images = torch.rand(batch, *image, generator=torch.Generator().manual_seed(batch)).to(device)
            try:
                memory[str(batch)] = peak_bytes(network, images)
            except RuntimeError as error:
                if batch == BATCHES[0] or not is_out_of_memory(error):
                    raise
                break
            for count in threads:
                meter = Energy()
                with computing_with(count or all_threads):
                    found = latency(lambda images=images: network(images), _waiting(device))  # type: ignore[misc]
                joules = meter.joules()
                timed.append({"batch": batch, "threads": count, **found})
                progress.advance(1)
    # That of the last setting, the largest batch on all threads, whose calls fill the time best.
    joules = None if joules is None else joules / (timed[-1]["batch"] * (timed[-1]["calls"] + _WARM))
    progress.finish()
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": macs(network, image),
        "bytes": stored_bytes(network),
        "memory": memory,
        "latency": timed,
        "joules": joules,
    }


class Energy:
    """What the processors of this machine took since the meter was made, as Intel's and AMD's RAPL counters tell it.

    They count everything that runs on the machine meanwhile.

    Args:
        root: where the kernel shows the counters.
    """

    def __init__(self, root: Path = _RAPL) -> None:
        # A package is a whole processor. Other zones are parts of one, or the platform that holds them all.
        self._zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")]
        self._before = self._read()

    def joules(self) -> float | None:
        """Joules; None where there are no counters, or they may not be read."""
        before, now = self._before, self._read()
        if not now or before.keys() != now.keys():
            return None
        micro = 0
        for zone, value in now.items():
            if value < before[zone]:  # they start again from 0
                value += int((zone / "max_energy_range_uj").read_text())  # noqa: PLW2901
            micro += value - before[zone]
        return micro / 1e6

    def _read(self) -> Mapping[Path, int]:
        with contextlib.suppress(OSError):
            return {zone: int((zone / "energy_uj").read_text()) for zone in self._zones}
        return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class _Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storage of all tensors that operations make, as long as it lives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known = WeakIdKeyDictionary()

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else [out]:
            if isinstance(item, Tensor):
                self.count(item)
        return out


def _waiting(device: torch.device) -> Callable[[], None]:
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def _device(network: nn.Module) -> torch.device:
    return next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
