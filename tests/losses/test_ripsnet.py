"""RipsNet: its shape, its fit, going on after an interruption, and the published form of TopKD that uses it."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from persistill.errors import UserError
from persistill.losses import MethodContext, TopKD
from persistill.losses.topkd import ripsnet
from persistill.losses.topkd.persistence_images import CloudImages
from persistill.losses.topkd.ripsnet import (
    CHECKPOINT,
    NETWORK,
    Clouds,
    RipsNet,
    Surrogate,
    fit_ripsnet,
    load_ripsnet,
)
from persistill.structures import Batch, ModelOutput
from persistill.utils.progress import Silent

SMALL = Surrogate(cloud_epochs=3, batch_size=4, epochs=4, patience=2)


class StopError(Exception):
    pass


class Interrupted(Silent):
    """A progress that ends the work when it was told so much."""

    def __init__(self, after):
        self.left = after

    def advance(self, units, note="", values=None):
        self.left -= 1
        if self.left == 0:
            raise StopError


def teacher_batches(width=3, clouds=5, points=8, log=None):
    def one_epoch(epoch):
        if log is not None:
            log.append(epoch)
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(clouds):
            torch.rand(1)  # what loaders draw must not matter
            yield [ModelOutput(torch.zeros(0), torch.randn(points, width, generator=generator), {})]

    return one_epoch


def prepare(folder, surrogate=SMALL, progress=None, **options):
    torch.manual_seed(5)
    method = TopKD.published(surrogate)
    return method.preparation.prepare(teacher_batches(**options), folder, progress or Silent())


@pytest.mark.parametrize(("width", "parameters"), [(64, 113_896), (128, 137_128)])
def test_it_has_the_parameters_of_the_published_logs(width, parameters):
    assert sum(parameter.numel() for parameter in RipsNet(width).parameters()) == parameters


@pytest.mark.parametrize(("width", "as_of"), [(3, 16), (192, 256), (2048, 2048), (4096, 2048)])
def test_other_widths_have_the_layers_of_the_next(width, as_of):
    mine, known = ([parameter.shape for parameter in RipsNet(size).parameters()] for size in (width, as_of))
    assert mine[0] == (known[0][0], width)
    assert mine[1:] == known[1:]


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_it_is_its_loops(pooling):
    """One point and one layer at a time."""
    torch.manual_seed(0)
    network, cloud = RipsNet(16, pooling).double(), torch.randn(7, 16, dtype=torch.float64)
    weights = list(network.parameters())
    pooled = torch.zeros(16, dtype=torch.float64)
    for point in cloud:
        seen = point
        for layer in range(3):
            seen = (weights[2 * layer] @ seen + weights[2 * layer + 1]).clamp(min=0)
        pooled += seen / (7 if pooling == "mean" else 1)
    for matrix in weights[6:9]:
        pooled = (matrix @ pooled).clamp(min=0)
    expected = 1 / (1 + (-weights[9] @ pooled).exp())
    found = network(cloud)
    assert found.shape == (20, 20)
    torch.testing.assert_close(found.flatten(), expected)
    torch.testing.assert_close(network(torch.stack([cloud, cloud.flip(0)])), torch.stack([found, found]))


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_an_interrupted_preparation_goes_on_bit_for_bit(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(ripsnet, "CHECKPOINT_SECONDS", seconds)
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = prepare(whole)
    wanted = (whole / NETWORK).read_bytes()
    assert expected["epochs"] == 4
    for after in range(1, 8):  # three epochs of clouds, four of the fit
        folder = tmp_path / str(after)
        folder.mkdir()
        with pytest.raises(StopError):
            prepare(folder, progress=Interrupted(after))
        assert not (folder / NETWORK).exists()
        assert (folder / CHECKPOINT).exists() == (after > 3 and seconds == 0)
        log = []
        torch.rand(after)
        assert prepare(folder, log=log) == expected
        assert (folder / NETWORK).read_bytes() == wanted
        assert log == [0, *range(min(3, after), 3)]  # one lesson tells the device
        assert sorted(file.name for file in folder.iterdir()) == ["images.json", NETWORK]
        assert prepare(folder) == expected


def test_the_network_of_the_lowest_error_is_kept(tmp_path):
    """At a rate that is too high the error soon rises, and the network from before it rose counts."""
    result = prepare(tmp_path, Surrogate(cloud_epochs=3, batch_size=4, epochs=50, patience=3, lr=0.03))
    assert result["epochs"] == result["best_epoch"] + 3
    network, about = load_ripsnet(tmp_path / NETWORK)
    assert about == {name: value for name, value in result.items() if name != "images"}
    images = CloudImages.load(tmp_path / "images.json")
    embeddings = torch.stack([taught[0].embedding for epoch in range(3) for taught in teacher_batches()(epoch)])
    seen = embeddings.half().float()
    targets, shown = images.draw(seen), images.draw(seen[:11]).mean(0)
    with torch.no_grad():
        error = (network(seen[11:]) - targets[11:]).square().mean()
    constant = (shown - targets[11:]).square().mean()
    assert result["mse"] == pytest.approx(error.item(), rel=1e-5)
    assert result["mse_of_mean_image"] == pytest.approx(constant.item(), rel=1e-5)
    assert result["r_squared"] == pytest.approx(1 - (error / constant).item(), rel=1e-4)


def stored(folder, clouds):
    """Clouds, (epochs, k, n, C), as they lie on disk."""
    files = [folder / f"{i}.npy" for i in range(len(clouds))]
    for file, epoch in zip(files, clouds, strict=True):
        np.save(file, epoch.half().numpy())
    return Clouds(files)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_it_learns_how_large_clouds_are(tmp_path, pooling):
    generator = torch.Generator().manual_seed(0)
    sizes = 0.5 + 3 * torch.rand(4, 30, 1, 1, generator=generator)
    clouds = stored(tmp_path, sizes * torch.randn(4, 30, 16, 4, generator=generator))
    torch.manual_seed(0)
    settings = Surrogate(pooling=pooling, epochs=40, batch_size=8, lr=2e-3)
    assert fit_ripsnet(clouds, CloudImages.fit(clouds.epochs()), settings, tmp_path, Silent())["r_squared"] > 0.5


def test_it_learns_more_of_real_images_than_the_mean_image(tmp_path):
    """Of clouds of handwritten digits, behind a layer that was not trained, it learns little, and only from sums."""
    generator = torch.Generator().manual_seed(0)
    images = torch.from_numpy(load_digits().data).float() / 16
    embeddings = (images @ torch.randn(64, 64, generator=generator)).relu() / 4
    order = torch.stack([torch.randperm(len(images), generator=generator)[:1000] for _ in range(10)])
    clouds = stored(tmp_path, embeddings[order].reshape(10, 100, 10, 64))
    torch.manual_seed(0)
    settings = Surrogate(pooling="sum", epochs=40, batch_size=16, lr=4e-3)
    result = fit_ripsnet(clouds, CloudImages.fit(clouds.epochs()), settings, tmp_path, Silent())
    assert result["clouds"] == 1000
    assert result["r_squared"] > 0.03


def test_the_published_form_is_the_frozen_network_behind_an_adapter(tmp_path, made_up):
    prepare(tmp_path)
    student, teacher = made_up(0, dtype=torch.float32), made_up(1, dtype=torch.float32)
    method, batch = TopKD.published(SMALL), Batch({}, torch.zeros(4), torch.arange(4))
    network, _ = load_ripsnet(tmp_path / NETWORK)
    same = method.build(MethodContext(student, [teacher], batch.target, tmp_path))
    assert [parameter for parameter in same.parameters() if parameter.requires_grad] == []
    expected = (network(student.embedding) - network(teacher.embedding)).square().mean()
    assert same.terms(student, [teacher], batch)["topkd"].item() == pytest.approx(expected.item())
    assert same.terms(teacher, [teacher], batch)["topkd"] == 0

    wide = student._replace(embedding=torch.randn(4, 5, requires_grad=True))
    other = method.build(MethodContext(wide, [teacher], batch.target, tmp_path))
    trained = {name for name, parameter in other.named_parameters() if parameter.requires_grad}
    assert trained == {"adapter.weight", "adapter.bias"}
    brought = wide.embedding @ other.adapter.weight.T + other.adapter.bias
    expected = (network(brought) - network(teacher.embedding)).square().mean()
    term = other.terms(wide, [teacher], batch)["topkd"]
    assert term.item() == pytest.approx(expected.item())
    term.backward()
    assert wide.embedding.grad.abs().max() > 0
    assert other.adapter.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in other.network.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_full(made_up, dtype):
    student, teacher = made_up(0, dtype=dtype), made_up(1, dtype=dtype)
    learner = TopKD.published().build(MethodContext(student, [teacher], torch.zeros(4)))
    with torch.autocast("cpu", torch.bfloat16):
        term = learner.terms(student, [teacher], Batch({}, torch.zeros(4), torch.arange(4)))["topkd"]
    expected = (learner.network(student.embedding.float()) - learner.network(teacher.embedding.float())).square()
    assert term.dtype == torch.float32
    assert term == expected.mean()


def test_sums_take_batches_of_one_size_only(tmp_path, made_up):
    surrogate = SMALL.with_value("pooling", "sum")
    prepare(tmp_path, surrogate)
    student, teacher = made_up(0), made_up(1)
    learner = TopKD.published(surrogate).build(MethodContext(student, [teacher], torch.zeros(4), tmp_path))
    with pytest.raises(UserError, match="was fitted to batches of 8; this one holds 4"):
        learner.terms(student, [teacher], Batch({}, torch.zeros(4), torch.arange(4)))
    untrained = TopKD.published(surrogate).build(MethodContext(student, [teacher], torch.zeros(4)))
    assert untrained.terms(student, [teacher], Batch({}, torch.zeros(4), torch.arange(4)))["topkd"] > 0


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="a surrogate needs two clouds at least"):
        prepare(tmp_path, SMALL.with_value("cloud_epochs", 1), clouds=1)

    def huge(epoch):
        yield [ModelOutput(torch.zeros(0), torch.full((4, 3), 1e5), {})]

    (tmp_path / "huge").mkdir()
    with pytest.raises(UserError, match="the teacher's embeddings reach 100000"):
        TopKD.published(SMALL).preparation.prepare(huge, tmp_path / "huge", Silent())
    with pytest.raises(UserError, match="holds no RipsNet"):
        load_ripsnet(tmp_path / NETWORK)
    with pytest.raises(UserError, match="does not hold settings of persistence images"):
        CloudImages.load(tmp_path / "huge" / "images.json")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"is damaged .* Remove it"):
        prepare(damaged)
