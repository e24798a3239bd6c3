import copy
import signal
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from test_criterion import Adapted, Pull, Ramp, context
from tiny_training import SyntheticBatches, TinyNet

from persistill.config import Train
from persistill.errors import UserError
from persistill.run_folder import CHECKPOINT, RunFolder
from persistill.structures import ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion, Frozen, OnlineTeacher, fit, make_fabric, trainer
from persistill.utils.progress import Silent

SETTINGS = Train(epochs=3, batch_size=8, lr=0.05, schedule="cosine", clip_norm=1.0)


def folder_in(root: Path, name: str = "run") -> RunFolder:
    return RunFolder.create(root, "student", name, {"name": name})


def train(root: Path, network: TinyNet, *, settings: Train = SETTINGS, name: str = "run", **options) -> dict:
    options = {"loader": SyntheticBatches(), "criterion": Criterion(task=Classification())} | options
    loader = options.pop("loader")
    return fit(
        network, loader, settings=settings, folder=folder_in(root, name), fabric=make_fabric("cpu", settings), **options
    )


def fresh() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet()


class StopsAfter(SyntheticBatches):
    """Raises ctrl-C in the middle of a run, as the terminal does."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def epoch(self, number: int, start: int = 0):
        for batch in super().epoch(number, start):
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
            self.left -= 1
            yield batch


def test_a_training_learns(tmp_path: Path) -> None:
    network = fresh()
    record = train(tmp_path, network, settings=Train(epochs=12, lr=0.1, schedule="one-cycle", batch_size=8))
    assert record["train_accuracy"] > 0.8
    assert record["epoch"] == record["epochs"] == 12


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("stop", [1, 6, 9, 17])
def test_an_interrupted_training_ends_with_the_same_weights_bit_for_bit(
    tmp_path: Path, stop: int, optimizer: str
) -> None:
    settings = SETTINGS.with_value("optimizer", optimizer)
    whole, cut = fresh(), fresh()
    torch.manual_seed(7)
    expected = train(tmp_path, whole, settings=settings, name="whole")
    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, cut, settings=settings, name="cut", loader=StopsAfter(stop))
    torch.manual_seed(99)  # another process has another random state
    resumed = TinyNet()
    record = train(tmp_path, resumed, settings=settings, name="cut")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert record["terms"] == expected["terms"]
    assert record["train_accuracy"] == expected["train_accuracy"]

    def numbers(run: str) -> list[dict]:
        return [{k: v for k, v in r.items() if k != "seconds"} for r in folder_in(tmp_path, run).records()]

    assert numbers("whole") == numbers("cut")


def test_parts_that_learn_are_trained_along_and_come_back_after_an_interruption(tmp_path: Path) -> None:
    def options() -> dict:
        teacher = Frozen(TinyNet(classes=5))
        with torch.random.fork_rng():
            torch.manual_seed(3)
            criterion = Criterion([Adapted(weight=2.0)], contexts=[context(3, 5)], task=Classification())
        teacher.load_state_dict(fixed)
        return {"criterion": criterion, "teachers": [OnlineTeacher(teacher)]}

    fixed = {f"network.{name}": value for name, value in TinyNet(classes=5).state_dict().items()}
    whole, cut, resumed = options(), options(), options()
    before = copy.deepcopy(whole["criterion"].state_dict())
    torch.manual_seed(7)
    train(tmp_path, fresh(), name="whole", **whole)
    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fresh(), name="cut", loader=StopsAfter(8), **cut)
    torch.manual_seed(99)
    train(tmp_path, TinyNet(), name="cut", **resumed)
    for name, value in whole["criterion"].state_dict().items():
        assert not torch.equal(value, before[name]), name
        assert torch.equal(value, resumed["criterion"].state_dict()[name]), name


def test_the_log_after_a_crash_goes_back_to_the_checkpoint(tmp_path: Path) -> None:
    class Crashes(SyntheticBatches):
        def epoch(self, number: int, start: int = 0):
            if number == 2:
                folder_in(tmp_path).log(type="step", note="written after the checkpoint, lost with the crash")
                raise OSError(5, "the machine went away")
            return super().epoch(number, start)

    with pytest.raises(OSError, match="went away"):
        train(tmp_path, fresh(), loader=Crashes())
    train(tmp_path, TinyNet())
    records = folder_in(tmp_path).records()
    assert [record["epoch"] for record in records if record["type"] == "epoch"] == [1, 2, 3]
    assert not any("note" in record for record in records)


def test_a_run_whose_last_checkpoint_was_written_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path, fresh())
    loader = SyntheticBatches()
    again = train(tmp_path, TinyNet(), loader=loader)
    assert loader.served == []
    assert again["terms"] == first["terms"]


def test_every_term_is_logged_unweighted_with_its_weight(tmp_path: Path) -> None:
    teacher = Frozen(fresh())
    criterion = Criterion([Pull(weight=0.5)], cross_entropy=0.25, task=Classification())
    train(tmp_path, TinyNet(), criterion=criterion, teachers=[OnlineTeacher(teacher, "persistence")])
    for record in folder_in(tmp_path).records():
        total = sum(record["weights"][name] * value for name, value in record["terms"].items())
        assert record["weights"] == {"ce": 0.25, "pull": 0.5}
        assert record["loss"] == pytest.approx(total, rel=1e-5)
        assert record["lr"] > 0
        assert record["seconds"] > 0


def test_terms_of_methods_that_weigh_nothing_are_logged_and_not_shown(tmp_path: Path) -> None:
    shown: list[set[str]] = []

    class Bars(Silent):
        def advance(self, _count: int, _note: str = "", values: Mapping[str, float] = MappingProxyType({})) -> None:
            shown.append(set(values))

    criterion = Criterion([Pull(weight=0.0)], task=Classification())
    teachers = [OnlineTeacher(Frozen(fresh()), "persistence")]
    train(tmp_path, TinyNet(), criterion=criterion, teachers=teachers, progress=Bars())
    assert all("pull" in record["terms"] for record in folder_in(tmp_path).records())
    assert set[str]().union(*shown) == {"loss", "ce"}


def test_a_schedule_sees_step_and_epoch_and_is_logged(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Watched(Ramp):
        def schedule(self, step: int, epoch: int) -> float:
            seen.append((step, epoch))
            return super().schedule(step, epoch)

    train(
        tmp_path,
        TinyNet(),
        criterion=Criterion([Watched(weight=4.0)], task=Classification()),
        teachers=[OnlineTeacher(Frozen(fresh()))],
    )
    assert sorted(set(seen)) == [(step, step // 6) for step in range(18)]
    for record in folder_in(tmp_path).records():
        assert record["weights"] == {"ce": 1.0, "pull": 2.0 * (record["epoch"] - 1)}
        total = sum(record["weights"][name] * value for name, value in record["terms"].items())
        assert record["loss"] == pytest.approx(total, rel=1e-5)


def test_teachers_see_their_view_and_never_change(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    class Watching(TinyNet):
        def forward(self, images: torch.Tensor) -> ModelOutput:
            seen.append(images)
            return super().forward(images)

    network = Watching(dropout=0.0)
    before = copy.deepcopy(network.state_dict())
    train(
        tmp_path,
        fresh(),
        criterion=Criterion([Pull()], task=Classification()),
        teachers=[OnlineTeacher(Frozen(network), "persistence")],
    )
    batch = next(SyntheticBatches().epoch(0))
    assert torch.equal(seen[0], batch.inputs["persistence"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_validation_is_called_each_epoch_and_logged(tmp_path: Path) -> None:
    record = train(tmp_path, fresh(), validate=lambda _: {"accuracy": 0.5, "nll": 1.0})
    assert record["validation"] == {"accuracy": 0.5, "nll": 1.0}
    epochs = [record for record in folder_in(tmp_path).records() if record["type"] == "epoch"]
    assert [record["validation"]["accuracy"] for record in epochs] == [0.5] * 3


def test_a_diverging_loss_stops_with_the_name_of_its_term(tmp_path: Path) -> None:
    class Explodes(Pull):
        def terms(self, student, teachers, target):
            return {"pull": student.logits.sum() * float("inf")}

    with pytest.raises(UserError, match=r"were not: pull\."):
        train(
            tmp_path,
            fresh(),
            criterion=Criterion([Explodes()], task=Classification()),
            teachers=[OnlineTeacher(Frozen(fresh()), "image")],
        )
    assert not folder_in(tmp_path).file(CHECKPOINT).exists()


def test_a_checkpoint_of_another_run_is_refused_and_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fresh(), name="one", loader=StopsAfter(3))
    target = folder_in(tmp_path, "two").file(CHECKPOINT)
    target.write_bytes(folder_in(tmp_path, "one").file(CHECKPOINT).read_bytes())
    with pytest.raises(UserError, match=r"belongs to run .* Remove .*checkpoint\.safetensors"):
        train(tmp_path, fresh(), name="two")
    assert target.exists()


def test_a_checkpoint_cut_short_is_refused_and_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fresh(), loader=StopsAfter(3))
    path = folder_in(tmp_path).file(CHECKPOINT)
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="cut short or no checkpoint"):
            train(tmp_path, fresh())
        assert path.read_bytes() == whole[:size]


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fresh(), loader=StopsAfter(3))
    with pytest.raises(UserError, match=r"another model: 'network\.conv\.weight' differs"):
        train(tmp_path, TinyNet(width=5))


def test_half_precision_on_the_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        make_fabric("cpu", Train(precision="fp16"))


def test_mixed_precision_learns_and_resumes(tmp_path: Path) -> None:
    settings = Train(epochs=6, lr=0.1, schedule="one-cycle", batch_size=8, precision="bf16")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fresh(), settings=settings, loader=StopsAfter(10))
    record = train(tmp_path, fresh(), settings=settings)
    assert record["train_accuracy"] > 0.6


def test_channels_last_gives_the_same_training(tmp_path: Path) -> None:
    plain, last = fresh(), fresh()
    torch.manual_seed(1)
    train(tmp_path, plain, name="plain")
    torch.manual_seed(1)
    train(tmp_path, last, name="last", settings=SETTINGS.with_value("channels_last", "true"))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(last.state_dict()[name].contiguous(), value, rtol=1e-4, atol=1e-5)


def test_a_gpu_may_be_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(trainer, "Fabric", lambda **options: asked.append((options["accelerator"], options["devices"])))
    for device in ("cpu", "cuda", "cuda:0", "cuda:3", "mps:0"):
        make_fabric(device, SETTINGS)
    assert asked == [("cpu", 1), ("cuda", 1), ("cuda", [0]), ("cuda", [3]), ("mps", [0])]
    for wrong in ("cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:0", ":0"):
        with pytest.raises(UserError, match="cuda:0"):
            make_fabric(wrong, SETTINGS)


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        make_fabric("gpu", SETTINGS)
    if not torch.cuda.is_available():
        for device in ("cuda", "cuda:0"):
            with pytest.raises(UserError, match="--device auto or cpu"):
                make_fabric(device, SETTINGS)
