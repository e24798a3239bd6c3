import numpy as np
import pytest
import torch
from made_up_images import FileRows, array, encoded, make_image, streamed

from persistill.data import InMemoryDataset, StreamedDataset
from persistill.errors import UserError


def stored(folder):
    data = streamed(folder, 6)
    return InMemoryDataset(data.fetch(torch.arange(6)), data.targets)


@pytest.mark.parametrize("make", [stored, lambda folder: streamed(folder, 6)])
def test_images_keep_their_promises(make, tmp_path):
    data = make(tmp_path)
    assert len(data) == 6
    assert data.shape == (3, 5, 6)
    assert data.targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.targets.dtype == torch.int64
    index = torch.tensor([4, 0, 4])
    fetched = data.fetch(index)
    assert fetched.dtype == torch.uint8
    assert np.array_equal(fetched.numpy(), np.stack([array(make_image(i)) for i in (4, 0, 4)]))
    few = data.subset(index)
    assert torch.equal(few.fetch(torch.arange(3)), fetched)
    assert few.targets.tolist() == [1, 0, 1]
    assert few.in_memory is data.in_memory
    assert data.to("cpu").fingerprint == data.fingerprint == make(tmp_path).fingerprint
    assert data.subset(torch.arange(6)).fingerprint == data.fingerprint
    others = [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4, 5]]
    assert len({data.fingerprint, *(data.subset(torch.tensor(other)).fingerprint for other in others)}) == 3


def test_the_fingerprint_of_memory_covers_pixels_classes_and_shape(tmp_path):
    data = stored(tmp_path)
    pixels = data.fetch(torch.arange(6))
    changed = pixels.clone()
    changed[5, 2, 4, 5] ^= 1
    targets = data.targets.clone()
    targets[0] = 2
    found = [
        data,
        InMemoryDataset(changed, data.targets),
        InMemoryDataset(pixels, targets),
        InMemoryDataset(pixels.transpose(2, 3).reshape(6, 3, 6, 5), data.targets),
    ]
    assert len({images.fingerprint for images in found}) == 4


def test_the_fingerprint_of_streams_covers_names_lengths_and_shape(tmp_path):
    rows = FileRows(tmp_path, 3)
    make = lambda shape=(3, 5, 6): StreamedDataset(rows, np.arange(3), shape).fingerprint
    before = make()
    assert make((1, 5, 6)) != before
    rows.files[1].write_bytes(encoded(make_image(1, (7, 7))))
    assert make() != before


def test_a_streamed_image_that_cannot_be_decoded_is_named(tmp_path):
    data = streamed(tmp_path, 3)
    (tmp_path / "1.png").write_bytes(encoded(make_image(1, (50, 50)))[:200])
    with pytest.raises(UserError, match=r"1\.png cannot be decoded.*move it away"):
        data.fetch(torch.arange(3))


def test_pixels_and_targets_must_belong_together():
    with pytest.raises(ValueError, match="N = 3"):
        InMemoryDataset(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="float32 was given"):
        InMemoryDataset(torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))
