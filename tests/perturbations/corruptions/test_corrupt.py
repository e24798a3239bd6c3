"""corrupt: the same images for everybody, in range, of any shape; and mistakes."""

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.perturbations.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corrupt, registry
from persistill.perturbations.corruptions.counter_rng import Draws

ALL = CORRUPTIONS + EXTRA_CORRUPTIONS
RANDOM = sorted(
    {"gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost", "fog"}
    | {"elastic_transform", "speckle_noise", "spatter"}
)


def test_names():
    assert len(CORRUPTIONS) == 15
    assert len(EXTRA_CORRUPTIONS) == 4
    assert SEVERITIES == (1, 2, 3, 4, 5)
    for corruption in registry.TABLE.values():
        assert len(corruption.small) == len(corruption.large) == 5


@pytest.mark.parametrize("name", ALL)
def test_images_depend_on_nothing_but_seed_severity_and_index(name, photographs):
    images = photographs.float()
    index = torch.tensor([7, 3, 11, 0])
    torch.manual_seed(4)
    state = torch.get_rng_state()
    whole = corrupt(images, name, 4, 0, index)
    assert torch.equal(torch.get_rng_state(), state)
    alone = torch.cat([corrupt(images[i : i + 1], name, 4, 0, index[i : i + 1]) for i in (3, 1, 0, 2)])
    assert torch.equal(alone, whole[[3, 1, 0, 2]])
    assert torch.equal(whole, corrupt(images, name, 4, 0, index))


@pytest.mark.parametrize("name", ALL)
def test_many_images_are_done_in_parts(name, photographs, monkeypatch):
    images, index = photographs.float().repeat(3, 1, 1, 1), torch.arange(12)
    whole = corrupt(images, name, 3, 0, index)
    # The package gives its function the name of its module.
    module = importlib.import_module("persistill.perturbations.corruptions.apply")
    monkeypatch.setattr(module, "_VALUES", 5 * images[0].numel())
    assert torch.equal(corrupt(images, name, 3, 0, index), whole)


@pytest.mark.parametrize("name", ALL)
def test_another_seed_or_image_is_another_draw(name, photographs):
    image = photographs[:1].float()
    first = corrupt(image, name, 4, 0, torch.tensor([5]))
    same = [torch.equal(corrupt(image, name, 4, s, torch.tensor([i])), first) for s, i in ((1, 5), (0, 6))]
    assert same == [name not in RANDOM] * 2


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_images_are_changed_into_8_bit_images(name, severity, photographs):
    images = photographs.float()
    before = images.clone()
    found = corrupt(images, name, severity, 0, torch.arange(4))
    assert torch.equal(images, before)
    assert (found.shape, found.dtype) == (images.shape, images.dtype)
    levels = found.double() * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert found.min() >= 0
    assert found.max() <= 1
    assert not torch.equal(found, images)


@pytest.mark.parametrize("name", ALL)
def test_corruptions_compute_in_float64(name, photographs):
    corruption = registry.TABLE[name]
    for parameters in corruption.small:
        found = corruption.apply(photographs, Draws(0, name, 1, torch.arange(4)), 1.0, *parameters)
        assert found.dtype == torch.float64


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(ALL),
    severity=st.sampled_from(SEVERITIES),
    channels=st.integers(1, 5),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    flat=st.sampled_from([None, 0.0, 1.0]),
)
def test_any_shape(name, severity, channels, height, width, flat):
    images = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    if flat is not None:
        images = torch.full_like(images, flat)
    found = corrupt(images, name, severity, 0, torch.arange(2))
    assert found.shape == images.shape
    assert found.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_large_images_take_the_parameters_of_imagenet(name, monkeypatch):
    seen = []

    def apply(images, draws, scale, *parameters):
        seen.append((scale, parameters))
        return images

    corruption = registry.TABLE[name]
    fake = registry.Corruption(apply, corruption.small, corruption.large)
    monkeypatch.setitem(registry.TABLE, name, fake)
    for height, width in [(32, 32), (8, 8), (64, 70), (84, 200), (85, 85), (224, 224), (448, 500)]:
        corrupt(torch.zeros(1, 1, height, width), name, 2, 0, torch.tensor([0]))
    assert [scale for scale, _ in seen] == pytest.approx([1, 1, 2, 84 / 32, 85 / 224, 1, 2])
    assert [p for _, p in seen] == [corruption.small[1]] * 4 + [corruption.large[1]] * 3


@pytest.mark.parametrize("name", sorted(set(ALL) - {"elastic_transform", "fog", "frost", "saturate", "glass_blur"}))
def test_stronger_is_further_from_the_image(name, photographs):
    images = photographs.float().repeat(5, 1, 1, 1)
    far = [
        float((corrupt(images, name, s, 0, torch.arange(20)) - images).pow(2).mean())
        for s in ((1, 5) if name == "spatter" else (1, 3, 5))  # spatter turns from water to mud
    ]
    assert far == sorted(far)


def test_identity_loses_no_level(monkeypatch):
    levels = torch.arange(256).float().view(1, 1, 16, 16) / 255
    same = registry.Corruption(lambda images, *_: images * 3 / 3, ((),) * 5, ((),) * 5)
    monkeypatch.setitem(registry.TABLE, "contrast", same)
    for dtype in (torch.float32, torch.float64):
        found = corrupt(levels.to(dtype), "contrast", 1, 0, torch.tensor([0]))
        assert torch.equal((found * 255).round(), torch.arange(256).view(1, 1, 16, 16))


def test_values_between_levels_are_cut_off(monkeypatch):
    half = registry.Corruption(lambda images, *_: images + 0.99 / 255, ((),) * 5, ((),) * 5)
    monkeypatch.setitem(registry.TABLE, "contrast", half)
    found = corrupt(torch.full((1, 1, 2, 2), 7 / 255), "contrast", 1, 0, torch.tensor([0]))
    assert torch.equal((found * 255).round(), torch.full((1, 1, 2, 2), 7.0))


def test_no_images():
    assert corrupt(torch.zeros(0, 3, 8, 8), "snow", 1, 0, torch.zeros(0, dtype=torch.long)).shape == (0, 3, 8, 8)


def test_mistakes():
    images, index = torch.zeros(2, 3, 8, 8), torch.arange(2)
    with pytest.raises(UserError, match=r"'gausian_noise'.*gaussian_noise"):
        corrupt(images, "gausian_noise", 1, 0, index)
    with pytest.raises(UserError, match="1, 2, 3, 4 and 5; 6 was given"):
        corrupt(images, "fog", 6, 0, index)
    with pytest.raises(UserError, match=r"go from 0 to 2"):
        corrupt(images + torch.tensor([0.0, 2.0])[:, None, None, None], "fog", 1, 0, index)
    with pytest.raises(UserError, match="nan"):
        corrupt(images * torch.nan, "fog", 1, 0, index)
    with pytest.raises(UserError, match=r"\(2, 3, 8, 8\) torch.uint8"):
        corrupt(images.byte(), "fog", 1, 0, index)
    with pytest.raises(UserError, match="each of the 2 images"):
        corrupt(images, "fog", 1, 0, torch.arange(3))
