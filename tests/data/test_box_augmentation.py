"""Augmentation of images with boxes: boxes follow their pixels, draws depend on seed, epoch and position alone."""

import pytest
import torch

from persistill.data import BoxAugmentation, InMemoryBoxDataset, Loader
from persistill.data.detection.augmentation import AUGMENTATIONS, OVERLAPS, augment_boxes
from persistill.errors import UserError
from persistill.structures import Objects, pack_objects, unpack_objects

H, W = 48, 64
BOX = [16, 12, 40, 36]


def marked(count=24):
    """White boxes on gray, the one object of each image."""
    images = torch.full((count, 3, H, W), 90, dtype=torch.uint8)
    x1, y1, x2, y2 = BOX
    images[:, :, y1:y2, x1:x2] = 250
    none = torch.zeros(1, dtype=torch.bool)
    return images, pack_objects([Objects(torch.tensor([BOX]).float(), torch.tensor([3]), none, none)] * count)


@pytest.mark.parametrize("names", [("flip",), ("scale",), ("crop",), ("color",), ("flip", "scale", "crop", "color")])
def test_boxes_follow_their_pixels(names):
    images, targets = marked()
    changed, found = augment_boxes(images, targets, torch.arange(len(images)), names, seed=1, epoch=0)
    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert (found != targets).any() or names == ("color",)
    assert (changed != images).flatten(1).any(1).sum() >= len(images) // 4
    for image, objects in zip(changed, unpack_objects(found), strict=True):
        if not len(objects.labels):
            continue
        assert objects.labels.tolist() == [3]
        middle = (int(image.max()) + int(image[image > 0].min())) / 2
        white = (image.float() > middle).all(0)
        rows, columns = (white.any(axis).nonzero().flatten() for axis in (1, 0))
        seen = torch.tensor([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        assert (objects.boxes[0] - seen).abs().max() <= 1.5, names


def test_draws_depend_on_seed_epoch_and_position_alone():
    images, targets = marked(6)
    names = tuple(AUGMENTATIONS)
    state = torch.random.get_rng_state()
    whole, boxes = augment_boxes(images, targets, torch.arange(6), names, seed=0, epoch=2)
    assert torch.random.get_rng_state().equal(state)
    part, its_boxes = augment_boxes(images[3:5], targets[3:5], torch.tensor([3, 4]), names, seed=0, epoch=2)
    assert part.equal(whole[3:5])
    assert its_boxes[:, 0].equal(boxes[3:5, 0])
    for other in ({"seed": 1, "epoch": 2}, {"seed": 0, "epoch": 3}):
        assert not augment_boxes(images, targets, torch.arange(6), names, **other)[0].equal(whole)
    assert not whole[0].equal(whole[1])


def test_crops_keep_an_object_that_overlaps():
    images, targets = marked(200)
    changed, found = augment_boxes(images, targets, torch.arange(200), ("crop",), seed=0, epoch=0)
    assert all(len(objects.labels) == 1 for objects in unpack_objects(found))
    share = (changed == images).flatten(1).all(1).float().mean()
    assert 1 / (len(OVERLAPS) + 1) - 0.08 < share < 0.6  # whole by lot, or because no window was found


def test_images_without_objects_and_gray_images():
    images, targets = marked(4)
    none = pack_objects([unpack_objects(targets)[0].select(torch.tensor([], dtype=torch.int64))] * 4)
    changed, found = augment_boxes(images[:, :1], none, torch.arange(4), tuple(AUGMENTATIONS), seed=0, epoch=0)
    assert changed.shape == (4, 1, H, W)
    assert found.shape == (4, 0, 7)


def test_unknown_names_are_told():
    with pytest.raises(UserError, match="Did you mean 'color'"):
        augment_boxes(*marked(1), torch.arange(1), ("colour",), seed=0, epoch=0)


def test_batches_of_a_loader_are_augmented_and_come_again():
    images, targets = marked(6)
    options = {"batch_size": 3, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    split = InMemoryBoxDataset(images, targets)
    loader = Loader(split, {}, **options, shuffle_seed=0, augment=(BoxAugmentation("flip", "crop"),))
    first, again = ([(batch.inputs["image"], batch.target) for batch in loader.epoch(1)] for _ in range(2))
    for (image, target), (same_image, same_target) in zip(first, again, strict=True):
        assert image.equal(same_image)
        assert target.equal(same_target)
    resumed = next(iter(loader.epoch(1, start=1)))
    assert resumed.inputs["image"].equal(first[1][0])
    plain = next(iter(Loader(split, {}, **options, shuffle_seed=None).epoch(0)))
    assert plain.target.equal(targets[:3])
    assert not first[0][0].equal(plain.inputs["image"])
    with pytest.raises(UserError, match="unknown augmentation of boxes 'turn'"):
        BoxAugmentation("turn")
