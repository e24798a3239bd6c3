import gc
import threading

import numpy as np
import pytest
import torch
from made_up_images import streamed

from persistill.data import InMemoryDataset, Loader, measure_normalization
from persistill.errors import UserError
from persistill.structures import Batch


def images(count: int = 23, channels: int = 3) -> InMemoryDataset:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, channels, 6, 5), dtype=torch.uint8, generator=random)
    return InMemoryDataset(pixels, torch.arange(count) % 4)


class MadeUpView:
    mean = (0.25, 0.5)
    std = (0.5, 2.0)

    def __init__(self, count: int = 23) -> None:
        self.values = torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(9))

    def __len__(self) -> int:
        return len(self.values)

    def fetch(self, index):
        return self.values[index]


class Mirror:
    """A view that is computed online: the pixels, and what they lack of 1."""

    mean = (0.25,) * 6
    std = (0.5,) * 6

    def compute(self, pixels):
        levels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        return torch.cat([levels, 1 - levels], 1)


def loader(data=None, views=None, **changes):
    data = data or images()
    plain = {"mean": (0.5,) * data.shape[0], "std": (0.25,) * data.shape[0], "batch_size": 5, "shuffle_seed": 1}
    return Loader(data, views or {}, **{**plain, **changes})


def same(one, other):
    return (
        one.inputs.keys() == other.inputs.keys()
        and all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
        and torch.equal(one.target, other.target)
        and torch.equal(one.index, other.index)
    )


def test_in_order_and_normalized():
    data = images()
    batches = list(loader(data, shuffle_seed=None, augment=("crop", "flip")).epoch(1))
    assert [len(batch.target) for batch in batches] == [5, 5, 5, 5, 3]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(23))
    assert torch.equal(torch.cat([batch.target for batch in batches]), data.targets)
    pixels = data.fetch(torch.arange(23)).numpy().astype(np.float64)
    expected = (pixels / 255 - 0.5) / 0.25
    np.testing.assert_allclose(torch.cat([b.inputs["image"] for b in batches]).numpy(), expected, atol=1e-6)


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own():
    data = loader()
    orders = [torch.cat([batch.index for batch in data.epoch(number)]).tolist() for number in (1, 2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(23))
    assert orders[0] != orders[1]
    assert orders[0] == torch.cat([batch.index for batch in loader().epoch(1)]).tolist()
    assert orders[0] != torch.cat([batch.index for batch in loader(shuffle_seed=2).epoch(1)]).tolist()


@pytest.mark.parametrize("stream", [False, True])
def test_a_resumed_epoch_goes_on_with_the_same_bits(stream, tmp_path):
    data = streamed(tmp_path, 23) if stream else images()
    make = lambda: loader(
        data, {"persistence": MadeUpView()}, online={"online": Mirror()}, augment=("crop", "flip"), crop_padding=2
    )
    whole = list(make().epoch(3))
    for start in range(len(whole) + 1):
        rest = list(make().epoch(3, start))
        assert len(rest) == len(whole) - start
        assert all(same(one, other) for one, other in zip(whole[start:], rest, strict=True))


def test_views_belong_to_their_images_and_are_normalized():
    view = MadeUpView()
    for batch in loader(views={"persistence": view}).epoch(1):
        expected = (view.values[batch.index] - torch.tensor([0.25, 0.5])[:, None, None]) / torch.tensor([0.5, 2.0])[
            :, None, None
        ]
        torch.testing.assert_close(batch.inputs["persistence"], expected)


def test_online_views_are_of_the_images_that_the_batch_shows():
    """Cropped, flipped and transformed as "image" is, in every batch; the transform sees no view."""
    whole = images().fetch(torch.arange(23)) / 255
    for transform in (None, lambda pixels, number: pixels * 0.5):
        changed = 0
        for batch in loader(online={"online": Mirror()}, augment=("crop", "flip"), transform=transform).epoch(1):
            shown = batch.inputs["image"] * 0.25 + 0.5
            expected = (torch.cat([shown, 1 - shown], 1) - 0.25) / 0.5
            torch.testing.assert_close(batch.inputs["online"], expected, atol=1e-5, rtol=0)
            changed += sum(not torch.allclose(a, b) for a, b in zip(shown, whole[batch.index], strict=True))
        assert changed > 20


def test_the_loop_does_not_wait_for_online_views():
    class Watched(Mirror):
        def __init__(self):
            self.threads = []

        def compute(self, pixels):
            self.threads.append(threading.current_thread())
            return super().compute(pixels)

    view = Watched()
    assert len(list(loader(online={"online": view}).epoch(1))) == 5
    assert len(view.threads) == 5
    assert threading.main_thread() not in view.threads


def test_augmentation_changes_with_epoch_and_step():
    data = InMemoryDataset(images(1).fetch(torch.zeros(8, dtype=torch.int64)), torch.zeros(8, dtype=torch.int64))
    make = loader(data, batch_size=4, augment=("crop", "flip"))
    inputs = [batch.inputs["image"] for number in (1, 2) for batch in make.epoch(number)]
    assert all(not torch.equal(inputs[i], inputs[j]) for i in range(4) for j in range(i))


def test_drop_last_and_length():
    assert len(loader()) == 5
    assert len(loader(drop_last=True)) == 4
    assert [len(batch.target) for batch in loader(drop_last=True).epoch(1)] == [5, 5, 5, 5]
    with pytest.raises(UserError, match=r"23 images do not fill one batch of 24.*train.batch_size"):
        loader(drop_last=True, batch_size=24)


def test_the_transform_sees_pixels_between_0_and_1_and_the_number_of_the_batch():
    seen = []

    def transform(pixels, number):
        assert 0 <= pixels.min() <= pixels.max() <= 1
        seen.append(number)
        return pixels * 0 + 0.75

    batches = list(loader(shuffle_seed=None, transform=transform).epoch(1, 2))
    assert seen == [2, 3, 4]
    assert all((batch.inputs["image"] == 1).all() for batch in batches)


def test_streamed_batches_equal_those_from_memory(tmp_path):
    data = streamed(tmp_path, 12)
    memory = InMemoryDataset(data.fetch(torch.arange(12)), data.targets)
    pairs = zip(loader(data).epoch(1), loader(memory).epoch(1), strict=True)
    assert all(same(one, other) for one, other in pairs)


def test_no_thread_is_left_behind(tmp_path):
    def workers():
        return [thread for thread in threading.enumerate() if thread.name.startswith("persistill")]

    make = loader(streamed(tmp_path, 23), {"persistence": MadeUpView()})
    epoch = make.epoch(1)
    next(epoch)
    assert workers()
    epoch.close()
    assert not workers()
    list(make.epoch(1))
    assert not workers()

    abandoned = make.epoch(2)
    next(abandoned)
    del abandoned
    gc.collect()
    assert not workers()


def test_an_error_in_the_thread_reaches_the_reader():
    class Broken(MadeUpView):
        def fetch(self, index):
            raise UserError("the view is gone")

    with pytest.raises(UserError, match="the view is gone"):
        list(loader(views={"persistence": Broken()}).epoch(1))


def test_a_view_of_other_data_is_refused():
    with pytest.raises(UserError, match="view 'persistence' holds 22 images, and the data 23"):
        loader(views={"persistence": MadeUpView(22)})


def test_means_must_fit_the_channels():
    with pytest.raises(ValueError, match="each of the 3 channels"):
        loader(mean=(0.5,), std=(0.25,))


def test_measured_normalization_is_that_of_numpy(tmp_path):
    data = images(1500)
    values = data.fetch(torch.arange(1500)).numpy().astype(np.float64) / 255
    mean, std = measure_normalization(data)
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, values.std((0, 2, 3)), rtol=1e-12)
    small = streamed(tmp_path, 7)
    np.testing.assert_allclose(
        measure_normalization(small)[0], small.fetch(torch.arange(7)).numpy().mean((0, 2, 3)) / 255
    )


def test_a_constant_channel_can_be_divided_by():
    data = InMemoryDataset(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    assert measure_normalization(data) == ((0.2,), (1.0,))


def inverted(pixels, generator):
    return torch.where(torch.rand(len(pixels), 1, 1, 1, generator=generator) < 0.5, 255 - pixels, pixels)


@pytest.mark.parametrize("augment", [(), ("flip",), ("crop", "flip"), ("crop", inverted)])
@pytest.mark.parametrize("masks", [False, True])
def test_shares_of_several_ranks_are_the_whole_batch_together(augment, masks):
    data = images()
    if masks:
        data = InMemoryDataset(data.fetch(torch.arange(23)), torch.arange(23 * 30).reshape(23, 6, 5) % 4)
    options = {"augment": augment, "crop_padding": 1, "online": {"mirror": Mirror()}, "batch_size": 7}
    whole = list(loader(data, **options).epoch(3))
    parts = [list(loader(data, **options, share=(rank, 3)).epoch(3)) for rank in range(3)]
    assert [[len(batch.index) for batch in part] for part in parts] == [[2, 2, 2, 0], [2, 2, 2, 1], [3, 3, 3, 1]]
    for batch, *own in zip(whole, *parts, strict=True):
        together = Batch(
            {view: torch.cat([part.inputs[view] for part in own]) for view in batch.inputs},
            torch.cat([part.target for part in own]),
            torch.cat([part.index for part in own]),
        )
        assert same(together, batch)
