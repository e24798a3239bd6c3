import numpy as np
import pytest
import torch

from persistill.data.augmentation import augment as augment_with_target
from persistill.errors import UserError
from persistill.settings import Settings

IGNORE = -100


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augment(images, names, padding, generator):
    """The images alone."""
    return augment_with_target(images, torch.zeros(len(images), dtype=torch.int64), names, padding, generator)[0]


def possible(image: np.ndarray, padding: int, crop: bool, flip: bool) -> dict[bytes, tuple[int, int, bool]]:
    """Every image that crop and flip can make of one, made one by one."""
    channels, height, width = image.shape
    padding = padding if crop else 0
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), dtype=image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    answers = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            window = padded[:, top : top + height, left : left + width]
            answers[window.tobytes()] = (top, left, False)
            if flip:
                answers[np.ascontiguousarray(window[:, :, ::-1]).tobytes()] = (top, left, True)
    return answers


@pytest.mark.parametrize("names", [("crop",), ("flip",), ("crop", "flip"), ()])
@pytest.mark.parametrize("size", [(7, 7), (5, 9)])
def test_every_image_is_cropped_and_flipped_as_one_by_one(names, size):
    images = torch.randint(1, 256, (300, 3, *size), dtype=torch.uint8, generator=seeded())
    changed = augment(images, names, 2, seeded(1))
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    seen = set()
    for before, after in zip(images.numpy(), changed.numpy(), strict=True):
        seen.add(possible(before, 2, "crop" in names, "flip" in names)[after.tobytes()])
    expected = (25 if "crop" in names else 1) * (2 if "flip" in names else 1)
    assert len(seen) == expected  # 300 draws leave none of at most 50 out


def test_half_of_the_images_are_flipped_and_all_places_are_as_likely():
    images = torch.arange(1, 10, dtype=torch.float32).reshape(1, 1, 3, 3).expand(9000, 1, 3, 3)
    found = possible(images[0].numpy(), 1, crop=True, flip=True)
    draws = [found[after.tobytes()] for after in augment(images, ("crop", "flip"), 1, seeded(3)).numpy()]
    counts = {draw: draws.count(draw) for draw in set(draws)}
    assert len(counts) == 18
    assert all(400 < count < 600 for count in counts.values())


def test_draws_depend_on_the_generator_alone_and_not_on_the_order_of_names():
    images = torch.rand(20, 1, 8, 8, generator=seeded())
    one = augment(images, ("crop", "flip"), 4, seeded(5))
    assert torch.equal(one, augment(images, ("flip", "crop"), 4, seeded(5)))
    assert not torch.equal(one, augment(images, ("crop", "flip"), 4, seeded(6)))


def test_the_input_is_left_alone():
    images = torch.rand(4, 1, 5, 5)
    kept = images.clone()
    augment(images, ("crop", "flip"), 4, seeded())
    assert torch.equal(images, kept)


def test_unknown_names_and_paddings_are_refused():
    with pytest.raises(UserError, match=r"unknown augmentation: 'flp'\. Did you mean 'flip'"):
        augment(torch.zeros(1, 1, 2, 2), ("flp",), 1, seeded())
    with pytest.raises(ValueError, match="padding must be 0 or more; -1"):
        augment(torch.zeros(1, 1, 2, 2), ("crop",), -1, seeded())


@pytest.mark.parametrize("names", [("crop",), ("flip",), ("crop", "flip"), ()])
@pytest.mark.parametrize("crop_size", [None, (5, 4), (9, 8)])
def test_masks_move_with_their_images(names, crop_size):
    # The class of a pixel is its first channel, so that what moved together can be told.
    images = torch.randint(1, 256, (40, 2, 7, 6), dtype=torch.uint8, generator=seeded())
    target = images[:, 0].long()
    moved, masks = augment_with_target(images, target, names, 2, seeded(1), crop_size)
    assert moved.shape == (40, 2, *((crop_size or (7, 6)) if "crop" in names else (7, 6)))
    assert masks.shape == (40, *moved.shape[2:])
    assert torch.equal(masks, torch.where(moved[:, 0] == 0, IGNORE, moved[:, 0].long()))
    assert (masks == IGNORE).any() == ("crop" in names)


def test_masks_change_no_draw():
    images = torch.randint(1, 256, (30, 3, 8, 8), dtype=torch.uint8, generator=seeded())
    dense, _ = augment_with_target(images, torch.zeros(30, 8, 8).long(), ("crop", "flip"), 4, seeded(1))
    assert torch.equal(dense, augment(images, ("crop", "flip"), 4, seeded(1)))


def test_classes_of_images_stay():
    classes = torch.arange(20)
    _, target = augment_with_target(torch.rand(20, 1, 6, 6), classes, ("crop", "flip"), 2, seeded())
    assert torch.equal(target, classes)


def test_small_windows_come_from_everywhere():
    images = torch.arange(1, 13, dtype=torch.uint8).view(1, 1, 3, 4).expand(2000, 1, 3, 4)
    windows, _ = augment_with_target(images, torch.zeros(2000).long(), ("crop",), 0, seeded(), (2, 3))
    corners = windows[:, 0, 0, 0].tolist()
    assert {corner: 400 < corners.count(corner) < 600 for corner in corners} == dict.fromkeys([1, 2, 5, 6], True)


def test_windows_must_fit():
    with pytest.raises(ValueError, match="6x6; 7x3 was given"):
        augment_with_target(torch.zeros(1, 1, 4, 4), torch.zeros(1), ("crop",), 1, seeded(), (7, 3))


def invert(images, generator):
    """Negatives of half of the images."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(chosen.to(images.device), 255 - images, images)


class Shift(Settings):
    """Rolls images and masks to the right."""

    by: int = 1

    def __call__(self, images, target, generator):
        return images.roll(self.by, 3), target.roll(self.by, 2) if target.ndim == 3 else target


def test_ones_own_come_after_crops_and_flips_and_change_none_of_their_draws():
    images = torch.randint(0, 256, (30, 1, 5, 4), dtype=torch.uint8, generator=seeded())
    plain = augment(images, ("crop", "flip"), 2, seeded(1))
    both = augment(images, (invert, "flip", "crop"), 2, seeded(1))
    changed = (both != plain).flatten(1).any(1)
    assert 5 < changed.sum() < 25
    assert torch.equal(both, torch.where(changed[:, None, None, None], 255 - plain, plain))


def test_ones_own_move_masks_if_they_take_them():
    images = torch.randint(0, 256, (6, 1, 5, 4), dtype=torch.uint8, generator=seeded())
    masks = images[:, 0].long()
    moved, target = augment_with_target(images, masks, (Shift(by=2), "flip"), 0, seeded(1))
    assert torch.equal(target, moved[:, 0].long())
    assert not torch.equal(moved, augment(images, ("flip",), 0, seeded(1)))
    moved, target = augment_with_target(images, masks, (invert,), 0, seeded(1))
    assert torch.equal(target, masks)


def test_ones_own_must_return_images():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    for wrong in (lambda images, generator: images.float(), lambda images, generator: images[:1]):
        with pytest.raises(UserError, match=r"the augmentation <lambda> must return \(B, C, H, W\) images"):
            augment(images, (wrong,), 0, seeded())
