"""Non-maximum suppression by NumPy alone, beside torchvision's."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from persistill.utils.non_maximum_suppression import suppress


@pytest.mark.parametrize(("seed", "most"), [(0, 500), (1, 500), (2, 7)])
def test_what_torchvision_keeps_is_kept(seed, most):
    draw = torch.Generator().manual_seed(seed)
    corners = torch.rand(300, 2, generator=draw) * 60
    boxes = torch.cat([corners, corners + 5 + torch.rand(300, 2, generator=draw) * 40], 1)
    scores = torch.rand(300, 3, generator=draw)
    places, labels = (scores > 0.4).nonzero(as_tuple=True)
    kept = batched_nms(boxes[places], scores[places, labels], labels, 0.5)[:most]
    found = suppress(boxes.numpy(), scores.numpy(), 0.4, 0.5, most)
    assert 0 < len(found.scores) < len(places)
    np.testing.assert_array_equal(found.boxes, boxes[places[kept]].numpy())
    np.testing.assert_array_equal(found.scores, scores[places[kept], labels[kept]].numpy())
    np.testing.assert_array_equal(found.labels, labels[kept].numpy())


def test_boxes_without_area_and_images_without_objects():
    boxes = np.zeros((4, 4), np.float32)
    scores = np.full((4, 1), 0.5, np.float32)
    assert len(suppress(boxes, scores, 0.4, 0.5, 10).scores) == 4  # they overlap nothing
    nothing = suppress(boxes, scores, 0.6, 0.5, 10)
    assert (nothing.boxes.shape, nothing.scores.shape, nothing.labels.shape) == ((0, 4), (0,), (0,))
