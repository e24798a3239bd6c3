"""What check passes, runs: what a recipe asks for and its images or its own code cannot give is told before that."""

import pytest
import torch

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.data import ArrayRows, Source
from persistill.errors import UserError
from persistill.losses import KD
from persistill.pipeline import Pipeline
from persistill.ranks import Ranks
from persistill.settings import Settings


@pytest.fixture(scope="module")
def digits():
    from persistill.data import load

    return load(Data(source="digits", train=120, test=60))


def recipe(**changes):
    made = Recipe(
        name="checked",
        data=Data(source="digits", train=120, test=60),
        student=Model(name="resnet-8"),
        teachers={"large": Teacher(model=Model(name="resnet-8"))},
        arms={"alone": Arm(), "kd": Arm(methods=(KD(),), teachers=("large",))},
        train=Train(epochs=1, schedule="constant", batch_size=16),
    )
    for path, value in changes.items():
        made = made.with_value(path.replace("__", "."), value)
    return made


def check(tmp_path, digits, **changes):
    Pipeline(recipe(**changes), tmp_path, device="cpu", splits=digits).probe()


def test_a_recipe_in_order_passes(tmp_path, digits):
    check(tmp_path, digits)
    check(tmp_path, digits, train__batch_size=108)
    check(tmp_path, digits, train__crop_padding=1_000_000)  # images are not cropped
    assert list(tmp_path.iterdir()) == []


def test_every_device_has_images_for_its_parts(tmp_path, digits):
    ranks = Ranks()
    ranks.size = 3

    def probe(**changes):
        Pipeline(recipe(**changes), tmp_path, device="cpu", splits=digits, ranks=ranks).probe()

    probe(train__batch_size=12, train__accumulate=4)
    with pytest.raises(
        UserError, match=r"^train\.batch_size=11 is less than an image for each of 3 devices, each in 4"
    ):
        probe(train__batch_size=11, train__accumulate=4)
    with pytest.raises(
        UserError, match=r"^arms\.kd\.train\.batch_size=2 is less .*Choose at least 3, or fewer devices\."
    ):
        probe(arms__kd__train=Train(batch_size=2))
    with pytest.raises(UserError, match=r"^arms\.kd\.train: train\.compile=default on several devices"):
        probe(arms__kd__train=Train(batch_size=12, compile="default"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train__batch_size": 109}, r"train\.batch_size=109 is more than the 108 training images"),
        (
            {"teachers__large__train": Train(batch_size=500)},
            r"teachers\.large\.train\.batch_size=500 is more than the 108",
        ),
        (
            {"arms__kd__train": Train(batch_size=16, precision="fp16")},
            r"arms\.kd\.train: train\.precision=fp16 needs a GPU",
        ),
        ({"arms__kd__train": Train(batch_size=500)}, r"arms\.kd\.train\.batch_size=500"),
        (
            {"train": Train(batch_size=16, augment=("crop",), crop_padding=1_000_000)},
            r"train\.crop_padding=1000000 is more than images of 8x8 have.*at most 8",
        ),
        (
            {"train": Train(batch_size=16, augment=("crop",), crop_padding=2, crop_size=(13, 8))},
            r"train\.crop_size=\(13, 8\) is larger than the padded images, 12x12",
        ),
        ({"train__optimizer": "builtins:dict"}, r"train\.optimizer: builtins:dict raised ValueError"),
        ({"train__schedule": "builtins:print"}, r"train\.schedule: the schedule builtins:print must return a finite"),
        ({"train__augment": ("builtins:dict",)}, r"train\.augment: builtins:dict raised \w+Error"),
        ({"train__augment": (f"{__name__}:smaller",)}, r"train\.augment: the augmentation .*:smaller must return"),
        ({"evaluate__corruptions": ("builtins:print",)}, r"evaluate\.corruptions: the corruption print must return"),
        ({"evaluate__corruptions": (f"{__name__}:smaller",)}, r"evaluate\.corruptions: the corruption smaller must"),
        ({"evaluate__evaluators": ("builtins:print",)}, r"evaluate\.evaluators: the evaluator print must return"),
        ({"student__name": "builtins:dict"}, r"student: 'builtins:dict' is not written in Python"),
        ({"teachers__large__weights": "nowhere.safetensors"}, r"teacher 'large': there is no file 'nowhere"),
    ],
)
def test_what_cannot_run_is_refused_before_training(tmp_path, digits, capfd, changes, words):
    with pytest.raises(UserError, match=words):
        check(tmp_path, digits, **changes)
    assert list(tmp_path.iterdir()) == []
    capfd.readouterr()  # of print, which was called


def smaller(images, **_):
    return images[:, :0]


def fails_on_few(_network, _loader):
    called.append("fails_on_few")
    raise ZeroDivisionError


called: list[str] = []


def test_an_evaluator_may_fail_on_few_images(tmp_path, digits):
    called.clear()
    check(tmp_path, digits, evaluate__evaluators=(f"{__name__}:fails_on_few",))
    assert called == ["fails_on_few"]


def test_one_class_is_no_classification(tmp_path):
    rows = ArrayRows(torch.arange(40 * 64).reshape(40, 8, 8).byte().numpy(), torch.zeros(40).long().numpy(), "image {}")
    one = recipe(data=Data(source=lambda: Source(("cat",), {"train": rows})))
    with pytest.raises(UserError, match=r"one class only, 'cat'"):
        Pipeline(one, tmp_path, device="cpu").probe()


def test_memory_that_does_not_suffice_is_a_users_error(tmp_path, digits, monkeypatch):
    def full(_context):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr("persistill.pipeline.runner.check_shapes", full)
    with pytest.raises(UserError, match=r"memory does not suffice for two images of 8x8.*data\.size"):
        check(tmp_path, digits)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.size", (100_000, 100_000)),
        ("train.lr", 1e308),
        ("train.lr", 1e-320),
        ("train.weight_decay", 1e308),
        ("train.epochs", 10**21),
        ("data.std", (1e-320,)),
        ("seeds", (0, 2**63)),
        ("teacher_seed", -(2**64)),
        ("evaluate.noise", (1e308,)),
        ("evaluate.ece_bins", 10**10),
        ("arms.kd.methods.0.temperature", 1e-320),
        ("arms.kd.cross_entropy", 1e308),
    ],
)
def test_numbers_that_arithmetic_cannot_hold_are_no_settings(path, value):
    with pytest.raises(UserError, match=rf"{path.rpartition('.')[2]}"):
        recipe().with_value(path, value)


def test_usual_numbers_are_settings():
    class Own(Settings):
        number: float = 0.0
        numbers: tuple[float, ...] = ()
        count: int = 0

    assert Own(number=1e-12, numbers=(0.0, -1e12, 1e-8), count=-(2**63) + 1).number == 1e-12
    with pytest.raises(UserError, match=r"Own\.numbers: must be 0, or from 1e-12 to 1e\+12 in size"):
        Own(numbers=(1.0, 1e13))
