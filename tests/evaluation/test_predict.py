"""predict: the right numbers, in order, and a network that is left as it was."""

import copy

import pytest
import torch
from torch import nn

from persistill.errors import UserError
from persistill.evaluation import predict


def test_logits_of_all_images_in_the_order_of_the_loader(tiny, loader, pixels, target):
    found = predict(tiny, loader(batch_size=8), "image")
    tiny.eval()
    one_by_one = [tiny((pixels[i : i + 1] - 0.5) / 0.25).logits[0] for i in range(len(pixels))]
    assert torch.allclose(found.logits, torch.stack(one_by_one), atol=1e-5)
    assert torch.equal(found.target, target)
    assert torch.equal(found.index, torch.arange(21))
    assert (found.logits.dtype, found.target.dtype, found.index.dtype) == (
        torch.float32,
        torch.int64,
        torch.int64,
    )
    assert found.logits.device.type == "cpu"


def test_the_state_of_the_network_never_changes(tiny, loader):
    tiny.train()
    tiny.norm.eval()  # A frozen part must still be frozen afterwards.
    before = copy.deepcopy(tiny.state_dict())
    modes = {name: module.training for name, module in tiny.named_modules()}
    predict(tiny, loader(), "image")
    assert {name: module.training for name, module in tiny.named_modules()} == modes
    after = tiny.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in tiny.parameters())


def test_modes_are_restored_when_the_network_fails(tiny, loader):
    tiny.train()
    tiny.head = nn.Linear(6, 4)
    with pytest.raises(RuntimeError):
        predict(tiny, loader(), "image")
    assert tiny.training
    assert tiny.norm.training


def test_what_was_predicted_can_be_trained_on(tiny, loader):
    # Tensors made in inference mode cannot enter a graph; temperature scaling would need these to.
    logits = predict(tiny, loader(), "image").logits
    temperature = torch.ones((), requires_grad=True)
    (logits / temperature).square().sum().backward()
    assert temperature.grad is not None


def test_the_loader_does_not_work_in_inference_mode(tiny, loader):
    seen = []

    def transform(pixels, number):
        seen.append(torch.is_inference_mode_enabled())
        return pixels

    predict(tiny, loader(transform=transform), "image")
    assert seen == [False, False, False]


def test_half_precision_logits_come_back_as_float32(tiny, loader):
    class Half(nn.Module):
        def forward(self, x):
            features = tiny(x)
            return features._replace(logits=features.logits.half())

    assert predict(Half(), loader(), "image").logits.dtype == torch.float32


def test_progress_counts_batches(tiny, loader, recorder):
    predict(tiny, loader(batch_size=5), "image", recorder)
    assert recorder.units == 5
    assert recorder.stages == []


def test_an_unknown_view_is_an_error_with_the_known_ones(tiny, loader):
    with pytest.raises(UserError, match=r"unknown view: 'images'\. Did you mean 'image'\?"):
        predict(tiny, loader(), "images")


def test_no_images_are_an_error(tiny, loader):
    empty = loader()
    empty.pixels, empty.target = empty.pixels[:0], empty.target[:0]
    with pytest.raises(UserError, match="no images to evaluate"):
        predict(tiny, empty, "image")
