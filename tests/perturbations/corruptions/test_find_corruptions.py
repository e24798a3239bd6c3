"""Which corruptions a recipe means: the package's by name, and those of its own."""

import pytest
import torch

from persistill.config import Evaluate
from persistill.errors import UserError
from persistill.perturbations import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt, find_corruptions
from persistill.settings import Settings


def names(*given):
    return tuple(one.name for one in find_corruptions(given))


def solarize(images, severity):
    """Values above a threshold are inverted."""
    return torch.where(images > 1 - severity / 8, 1 - images, images)


class Dropout(Settings):
    """Pixels become black."""

    share: float = 0.1

    def __call__(self, images, severity, draws):
        return images * (draws.uniform("drop", 1, *images.shape[2:]) > self.share * severity)


def test_names_of_sets():
    assert names() == ()
    assert names("standard") == CORRUPTIONS
    assert names("all", "fog") == CORRUPTIONS + EXTRA_CORRUPTIONS
    assert names("saturate", "fog", "fog") == ("fog", "saturate")
    with pytest.raises(UserError, match=r"'frog'.*Did you mean 'fog'.*Your own: package\.module:Name"):
        names("frog")


def test_ones_own_come_last_in_the_order_given():
    assert names(solarize, "saturate", Dropout, "fog") == ("fog", "saturate", "solarize", "Dropout")
    assert names(f"{__name__}:solarize") == ("solarize",)
    settings = Evaluate(corruptions=("fog", Dropout(share=0.2), solarize))
    assert settings.to_json()["corruptions"] == [
        "fog",
        {"is": f"{__name__}:Dropout", "share": 0.2},
        {"is": f"{__name__}:solarize"},
    ]
    assert Evaluate(corruptions=solarize).corruptions == (solarize,)


def test_ones_own_get_levels_and_give_levels():
    levels = torch.arange(256).reshape(1, 1, 16, 16)
    expected = torch.where(levels / 255 > 1 - 3 / 8, 255 - levels, levels)
    found = corrupt(levels / 255, solarize, 3, 0, torch.zeros(1, dtype=torch.long))
    assert torch.equal((found * 255).round().long(), expected)


def test_ones_own_draw_as_the_packages_do():
    images = torch.full((5, 3, 32, 32), 0.8)
    index = torch.tensor([4, 0, 7, 2, 9])
    whole = corrupt(images, Dropout(), 3, 1, index)
    assert whole.eq(0).float().mean() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(corrupt(images[2:3], Dropout(), 3, 1, index[2:3]), whole[2:3])
    assert not torch.equal(corrupt(images, Dropout(), 3, 2, index), whole)


def test_ones_own_that_cannot_be():
    index = torch.zeros(1, dtype=torch.long)
    with pytest.raises(UserError, match="the corruption <lambda> needs a name for its results"):
        names(lambda images, severity: images)
    with pytest.raises(UserError, match="two corruptions are called 'solarize'"):
        names(solarize, f"{__name__}:solarize")

    def fog(images, severity):
        return images[:, :1]

    with pytest.raises(UserError, match="'fog' is the name of a corruption of the package"):
        names(fog)
    fog.__name__ = "mist"
    with pytest.raises(UserError, match=r"mist must return images \(1, 3, 4, 4\); it returned \(1, 1, 4, 4\)"):
        corrupt(torch.zeros(1, 3, 4, 4), fog, 1, 0, index)
    with pytest.raises(UserError, match="is no corruption but a module"):
        names("persistill.perturbations:adversarial")
