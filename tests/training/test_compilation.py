"""Trainings through torch.compile: the same numbers, one graph for a network and a size, nothing left behind."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import SyntheticBatches, TinyNet
from torch import Tensor, nn
from torch._dynamo.utils import counters

from persistill.config import Quantize, Train
from persistill.errors import UserError
from persistill.losses import KD, SP
from persistill.models import Network, adapt, build
from persistill.ranks import Ranks, shard_weights
from persistill.run_folder import CHECKPOINT, RunFolder
from persistill.structures import Batch, ModelOutput
from persistill.tasks import Classification
from persistill.training import Criterion, Frozen, OnlineTeacher, StoredTeacher, fit, make_fabric
from persistill.training.compilation import Compilation

SETTINGS = Train(epochs=2, batch_size=8, lr=0.01, schedule="cosine", clip_norm=1.0, compile="default")
PLAIN = SETTINGS.model_copy(update={"compile": "off"})
CPU = torch.device("cpu")


class Graphs:
    """A compiler that changes nothing, and counts what it was given and what was run."""

    def __init__(self) -> None:
        self.compiled, self.run = 0, 0

    def __call__(self, graph: Any, _inputs: Any, **_options: Any) -> Any:
        self.compiled += 1

        def forward(*arguments: Any) -> Any:
            self.run += 1
            return graph(*arguments)

        return forward


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    counting = Graphs()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    counters.clear()
    return counting


class Uneven(SyntheticBatches):
    """Two batches of 8 images and one of 5."""

    def __init__(self, stop_before: int | None = None) -> None:
        super().__init__(batches=3)
        self.stop_before = stop_before

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for step, batch in enumerate(super().epoch(number, start), start):
            if self.stop_before == 3 * number + step:
                raise KeyboardInterrupt
            kept = slice(0, 5 if step == 2 else 8)
            inputs = {name: value[kept] for name, value in batch.inputs.items()}
            yield Batch(inputs, batch.target[kept], batch.index[kept])


class Foreign(nn.Module):
    """Of somebody else, who knows nothing of feature maps."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, width, 1), nn.Conv2d(width, 4, 1), nn.Linear(4, 3)
        self.norm, self.drop = nn.BatchNorm2d(width), nn.Dropout(0.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.drop(self.second(self.norm(self.first(images)).relu()).relu().mean((2, 3))))


def foreign(width: int = 4) -> Network:
    torch.manual_seed(0)
    return adapt(Foreign(width), 1, 3, layers=["first", "second"], image_size=(6, 6))


def tiny() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet(dropout=0.0)


def train(root: Path, network: nn.Module, settings: Train, *, name: str = "run", **options: Any) -> dict[str, Any]:
    torch.manual_seed(2)
    return fit(
        network,
        options.pop("loader", None) or Uneven(),
        criterion=Criterion([KD(), SP()], task=Classification()),
        settings=settings,
        folder=RunFolder.create(root, "student", name, {"name": name}),
        fabric=make_fabric("cpu", settings),
        teachers=options.pop("teachers", None) or [OnlineTeacher(Frozen(foreign()))],
        **options,
    )


def hooks(network: nn.Module) -> int:
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in network.modules())


@pytest.mark.parametrize("make", [tiny, foreign])
def test_each_network_and_size_is_one_graph_and_the_training_stays(tmp_path: Path, graphs: Graphs, make: Any) -> None:
    plain, compiled, asked = make(), make(), []

    def validate(network: nn.Module) -> dict[str, float]:
        before = graphs.run
        with torch.no_grad():
            network.eval()(torch.randn(2, 1, 6, 6))
        asked.append(graphs.run - before)
        return {}

    train(tmp_path, plain, PLAIN, name="plain")
    train(tmp_path, compiled, SETTINGS, name="compiled", validate=validate)
    assert graphs.compiled == 4  # student and teacher, batches of 8 and of 5
    assert graphs.run == 12  # both, at each of 6 steps
    assert not counters["graph_break"]
    assert asked == [0, 0]
    assert hooks(compiled) == 0
    assert torch._dynamo.config.cache_size_limit == 8
    for name, value in plain.state_dict().items():
        assert torch.equal(compiled.state_dict()[name], value), name


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"channels_last": True}, {"accumulate": 2}])
def test_it_goes_with_other_settings(tmp_path: Path, graphs: Graphs, changes: dict[str, Any]) -> None:
    plain, compiled = tiny(), tiny()
    train(tmp_path, plain, PLAIN.model_copy(update=changes), name="plain")
    train(tmp_path, compiled, SETTINGS.model_copy(update=changes), name="compiled")
    assert graphs.run >= 12
    assert not counters["graph_break"]
    for name, value in plain.state_dict().items():
        assert torch.equal(compiled.state_dict()[name], value), name


def test_more_networks_of_one_class_than_torchs_limit_are_all_compiled(tmp_path: Path, graphs: Graphs) -> None:
    teachers = [OnlineTeacher(Frozen(foreign(width))) for width in range(4, 9)]
    train(tmp_path, foreign(), SETTINGS, teachers=[*teachers, teachers[0]])
    assert graphs.compiled == 12
    assert graphs.run == 7 * 6
    assert not counters["graph_break"]


def test_a_training_goes_on_as_if_it_had_not_been_interrupted(tmp_path: Path, graphs: Graphs) -> None:
    whole, resumed = foreign(), foreign()
    train(tmp_path, whole, SETTINGS, name="whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, foreign(), SETTINGS, name="cut", loader=Uneven(stop_before=4))
    before = graphs.run
    train(tmp_path, resumed, SETTINGS, name="cut")
    assert graphs.run - before == 6
    assert graphs.compiled == 3 * 4  # nothing is left of a training that has ended
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    found = RunFolder.create(tmp_path, "student", "cut", {"name": "cut"}).file(CHECKPOINT).read_bytes()
    assert b"network.module.first.weight" in found
    assert b"_orig_mod" not in found


def test_torchs_own_compiler_gives_the_same_training(tmp_path: Path) -> None:
    plain, compiled, batches = tiny(), tiny(), SyntheticBatches(batches=3)
    with torch.no_grad():
        says = tiny().eval()(next(batches.epoch(0)).inputs["image"])  # read, so that one network is compiled
    teachers = [StoredTeacher(lambda _: says)]
    expected = train(tmp_path, plain, PLAIN, name="plain", loader=batches, teachers=teachers)
    record = train(tmp_path, compiled, SETTINGS, name="compiled", loader=batches, teachers=teachers)
    assert record["terms"] == pytest.approx(expected["terms"], rel=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["timm/test_resnet", "lraspp:resnet-8"])
def test_networks_of_libraries_and_of_pixels_are_one_graph(graphs: Graphs, name: str) -> None:
    network = build(name, 3, 4, (16, 16)).eval()
    compilation = Compilation(SETTINGS, Ranks(), CPU)
    asked, images = compilation.of(network), torch.randn(2, 3, 16, 16)
    with torch.no_grad(), compilation:
        found, expected = asked(images), network(images)
    assert graphs.compiled == graphs.run == 1
    assert torch.equal(found.logits, expected.logits)
    assert [*found.feature_maps] == [*expected.feature_maps]


def test_answers_of_cuda_graphs_are_copied_and_their_steps_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    marked: list[bool] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marked.append(True))
    monkeypatch.setattr(torch, "compile", lambda network, **options: network)
    said = ModelOutput(torch.ones(1, requires_grad=True), torch.ones(1), {"a": torch.ones(1)})

    class Reuses(nn.Module):
        def forward(self, _images: Tensor) -> ModelOutput:
            return said

    for mode, device, copied in (
        ("reduce-overhead", "cuda", True),
        ("max-autotune", "cuda", True),
        ("default", "cuda", False),
        ("reduce-overhead", "cpu", False),
    ):
        marked.clear()
        settings = SETTINGS.with_value("compile", mode)
        compilation = Compilation(settings, Ranks(), torch.device(device))
        found = compilation.of(Reuses())(torch.ones(1))
        compilation.begin_step()
        assert marked == [True] * copied
        for one, other in zip(
            (found.logits, found.embedding, found.feature_maps["a"]),
            (said.logits, said.embedding, said.feature_maps["a"]),
            strict=True,
        ):
            assert (one.data_ptr() != other.data_ptr()) == copied
            assert torch.equal(one, other)
        assert found.logits.requires_grad


def test_features_that_are_read_are_not_compiled() -> None:
    stored = StoredTeacher(lambda index: ModelOutput(index, index, {}), network=Frozen(tiny()))
    assert Compilation(SETTINGS, Ranks(), CPU).of_teachers([stored]) == [stored]


def test_teachers_of_which_ranks_hold_parts_are_not_compiled() -> None:
    several, network = Ranks(), tiny()
    several.size = 2
    shard_weights(network, several, smallest=1)
    teacher = OnlineTeacher(Frozen(network))
    assert Compilation(SETTINGS, Ranks(), CPU).of_teachers([teacher]) == [teacher]


def test_without_it_networks_are_asked_themselves() -> None:
    compilation, network = Compilation(PLAIN, Ranks(), CPU), tiny()
    assert compilation.of(network) is network


def test_no_compiler_is_told_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    with config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(UserError) as caught:
        train(tmp_path, foreign(), SETTINGS)
    message = str(caught.value)
    assert "train.compile=default: torch.compile failed (" in message
    assert "no-such-compiler" in message
    assert "g++ or clang++" in message
    assert "pip install triton" in message


def test_other_errors_are_left_alone(tmp_path: Path, graphs: Graphs) -> None:
    network = foreign()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, network, SETTINGS, loader=Uneven(stop_before=1))
    assert hooks(network) == 0


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.compile=default: detectors compute with objects"):
        Compilation(SETTINGS, Ranks(), CPU).of(Frozen(build("fcos:resnet-8", 3, 2, (32, 32))))
    several = Ranks()
    several.size = 2
    with pytest.raises(UserError, match=r"Set train\.sync_batchnorm=False"):
        Compilation(SETTINGS, several, CPU)
    Compilation(SETTINGS.with_value("sync_batchnorm", "false"), several, CPU)


def test_rounded_copies_are_not_compiled() -> None:
    assert Quantize().training(SETTINGS).compile == "off"
