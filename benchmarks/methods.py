"""What every method adds to a training step, beside a plain one.

    python benchmarks/methods.py [--quick] [--device cpu] [--only KD TGD]

CIFAR-10 shapes: WRN-16-1 student, WRN-16-2 teacher on 3x32x32 images (a second teacher, WRN-16-1, on 6x50x50
persistence images for methods that need two), batch 128, default settings. Measured in turns, in one run, medians:
the plain step; the answer of each frozen teacher; and every method's loss, forward and backward down to the student's
features and the method's own parameters. The steps are their sums: "stored" has the teachers' features at hand,
"asked" asks the teachers every time. Time is processor time on a CPU, so that other work on the machine is not in it,
and wall time on a GPU. Memory is what the method keeps for its backward pass, each tensor counted once; parameters
are those that are trained along.
"""

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from persistill import losses
from persistill.losses import DistillationLoss, MethodContext
from persistill.models import Network, build
from persistill.structures import Batch, ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion, Frozen
from persistill.utils.units import counted

BATCH, CLASSES = 128, 10


class Bench:
    """A student, its teachers and one batch."""

    def __init__(self, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.student = build("wrn-16-1", 3, CLASSES).to(device)
        self.teachers = [
            Frozen(build("wrn-16-2", 3, CLASSES).to(device)),
            Frozen(build("wrn-16-1", 6, CLASSES).to(device)),
        ]
        self.views = [torch.randn(BATCH, 3, 32, 32, device=device), torch.randn(BATCH, 6, 50, 50, device=device)]
        target = torch.arange(BATCH, device=device) % CLASSES
        self.batch = Batch({"image": self.views[0]}, target, torch.arange(BATCH, device=device))
        self.stored = [self.ask(0), self.ask(1)]

    def ask(self, number: int) -> ModelOutput:
        """One teacher's features of the batch."""
        features: ModelOutput = self.teachers[number](self.views[number])
        return features

    def plain(self) -> float:
        """Seconds of a step without teachers."""
        self.student.zero_grad()
        begun = self.now()
        F.cross_entropy(self.student(self.views[0]).logits, self.batch.target).backward()
        return self.now() - begun

    def criterion(self, used: DistillationLoss) -> tuple[Network, Criterion]:
        """The student as a method trains it, and the cross-entropy with that method."""
        with torch.no_grad():
            features = self.student.eval()(self.views[0][:2])
        taught = [
            ModelOutput(t.logits[:2], t.embedding[:2], {k: m[:2] for k, m in t.feature_maps.items()})
            for t in self.stored
        ]
        classifiers = [teacher.network.get_classifier() for teacher in self.teachers]
        targets = torch.arange(5000) % CLASSES
        context = MethodContext(features, taught[: used.num_teachers], targets, classifiers=classifiers)
        student = used.student_network(self.student, context).to(self.device).train()
        return student, Criterion([used], contexts=[context], task=Classification()).to(self.device)

    def loss(self, student: Network, criterion: Criterion, count: int) -> tuple[float, int]:
        """Seconds of a loss on given features, forward and backward, and the bytes kept for the backward pass."""
        kept: dict[int, int] = {}
        known = {tensor.untyped_storage().data_ptr() for features in self.stored for tensor in leaves(features)}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        criterion.zero_grad()
        with torch.no_grad():
            seen = student(self.views[0])
        seen = ModelOutput(
            *(part.requires_grad_() for part in seen[:2]), {k: m.requires_grad_() for k, m in seen.feature_maps.items()}
        )
        known |= {tensor.untyped_storage().data_ptr() for tensor in leaves(seen)}
        begun = self.now()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = criterion(seen, self.stored[:count], self.batch).total
        loss.backward()
        return self.now() - begun, sum(kept.values())

    def now(self) -> float:
        """Seconds on the clock that counts here."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


def leaves(features: ModelOutput) -> list[torch.Tensor]:
    """All tensors of some features."""
    return [features.logits, features.embedding, *features.feature_maps.values()]


def classes() -> Iterator[type[DistillationLoss]]:
    """All losses of the package."""
    for name in losses.__all__:
        found = getattr(losses, name)
        if isinstance(found, type) and issubclass(found, DistillationLoss) and found is not DistillationLoss:
            yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="6 rounds instead of 30")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", help="names of methods")
    options = parser.parse_args()
    bench = Bench(torch.device(options.device))
    used = {one.__name__: one() for one in classes() if not options.only or one.__name__ in options.only}
    criteria = {name: bench.criterion(loss) for name, loss in used.items()}
    labels = Criterion(task=Classification()).to(bench.device)
    plain, own, asked = list[float](), list[float](), [list[float](), list[float]()]
    times: dict[str, list[float]] = {name: [] for name in used}
    memory: dict[str, int] = {}
    for number in range(7 if options.quick else 31):
        rounds = [(plain, bench.plain())] if number % 3 == 0 else []
        rounds.append((own, bench.loss(bench.student, labels, 0)[0]))
        for teacher in (0, 1):
            begun = bench.now()
            bench.ask(teacher)
            rounds.append((asked[teacher], bench.now() - begun))
        for name, (student, criterion) in criteria.items():
            seconds, memory[name] = bench.loss(student, criterion, used[name].num_teachers)
            rounds.append((times[name], seconds))
        if number:  # the first is warm-up
            for series, seconds in rounds:
                series.append(seconds)
    step, labeled = statistics.median(plain), statistics.median(own)
    teachers = [statistics.median(series) for series in asked]
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {options.device}, {counted(threads, 'thread')}; plain step {1e3 * step:.0f} ms")
    print()
    print("| method | teachers | adds, ms | step, stored | step, asked | memory, MB | parameters |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, (_, criterion) in criteria.items():
        needed = used[name].num_teachers
        adds = statistics.median(times[name]) - labeled
        parameters = sum(parameter.numel() for parameter in criterion.parameters() if parameter.requires_grad)
        print(
            f"| {name} | {needed} | {1e3 * adds:.1f} | {1 + adds / step:.2f} | "
            f"{1 + (adds + sum(teachers[:needed])) / step:.2f} | {memory[name] / 1e6:.1f} | {parameters:,} |"
        )


if __name__ == "__main__":
    main()
