"""Real images, as small as they may be."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from persistill.perturbations.corruptions.counter_rng import Draws


@pytest.fixture(scope="session")
def photographs() -> Tensor:
    """(4, 3, 32, 32) float64, multiples of 1/255: crops of scikit-learn's two photographs."""
    boxes = [(1, (190, 30, 530, 370)), (1, (250, 100, 410, 260)), (0, (250, 60, 560, 370)), (0, (150, 150, 410, 410))]
    images = [Image.fromarray(image) for image in load_sample_images().images]
    small = [np.asarray(images[number].crop(box).resize((32, 32))) for number, box in boxes]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).double() / 255


@pytest.fixture(scope="session")
def oblong() -> Tensor:
    """(2, 3, 24, 40) float64, multiples of 1/255."""
    image = Image.fromarray(load_sample_images().images[0])
    small = [np.asarray(image.crop(box).resize((40, 24))) for box in [(0, 0, 400, 240), (200, 100, 600, 340)]]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).double() / 255


@pytest.fixture
def draws() -> Draws:
    """The random numbers of four images."""
    return Draws(5, "any", 3, torch.tensor([3, 0, 8, 100]))
