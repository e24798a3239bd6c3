import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.config import Data
from persistill.data.splits import draw_splits, stratified
from persistill.errors import UserError

few = settings(deadline=None, max_examples=60)
sizes = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def shuffled(counts: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


@few
@given(sizes, st.floats(0, 1), st.integers(0, 100))
def test_every_class_gives_its_share_to_one_image(counts, share, seed):
    targets = shuffled(counts)
    count = int(share * len(targets))
    rows = stratified(targets, count, np.random.default_rng(seed))
    assert len(rows) == count == len(set(rows.tolist()))
    assert (np.diff(rows) > 0).all()
    for number, size in enumerate(counts):
        drawn = sum(1 for row in rows if targets[row] == number)
        assert abs(drawn - count * size / len(targets)) < 1


@few
@given(st.integers(1, 8), st.integers(1, 20), st.integers(0, 160), st.integers(0, 9))
def test_classes_of_equal_size_stay_balanced_within_one(classes, size, count, seed):
    targets = shuffled([size] * classes)
    rows = stratified(targets, min(count, len(targets)), np.random.default_rng(seed))
    drawn = np.bincount(targets[rows], minlength=classes)
    assert drawn.max() - drawn.min() <= 1


def test_stratified_depends_on_the_seed_alone():
    targets = shuffled([50, 50])
    draw = lambda seed: stratified(targets, 20, np.random.default_rng(seed)).tolist()
    assert draw(1) == draw(1) != draw(2)


def test_every_image_of_a_class_can_be_drawn():
    targets = shuffled([10, 10])
    seen = {int(i) for seed in range(60) for i in stratified(targets, 4, np.random.default_rng(seed))}
    assert seen == set(range(20))


def test_the_odd_image_goes_to_each_class_in_turn():
    targets = shuffled([4, 4, 4])
    lucky = {int(np.bincount(targets[stratified(targets, 4, np.random.default_rng(s))]).argmax()) for s in range(40)}
    assert lucky == {0, 1, 2}


def test_stratified_says_what_counts_it_takes():
    with pytest.raises(ValueError, match=r"0 to 3.*4 was given"):
        stratified(np.zeros(3, dtype=np.int64), 4, np.random.default_rng(0))


def draw(parts, **fields):
    given_settings = Data(source="made-up", **fields)
    names = [f"class {i}" for i in range(int(parts["train"].max()) + 1)]
    return draw_splits(parts, given_settings, names)


@few
@given(
    st.integers(2, 5),
    st.integers(12, 30),
    st.one_of(st.integers(5, 8), st.sampled_from([0.1, 0.2, 0.3])),
    st.one_of(st.none(), st.integers(5, 9)),
    st.integers(-5, 5),
)
def test_the_three_splits_are_disjoint_balanced_and_repeatable(classes, size, validation, test, seed):
    parts = {"train": shuffled([size] * classes, 1)}
    given_fields = {"validation": validation, "test": test, "split_seed": seed}
    drawn = draw(parts, **given_fields)
    rows = [split.rows for split in drawn.values()]
    everything = np.concatenate(rows)
    assert sorted(everything.tolist()) == list(range(size * classes))
    for split in rows:
        counts = np.bincount(parts["train"][split], minlength=classes)
        assert counts.max() - counts.min() <= 1
    again = draw(parts, **given_fields)
    assert all(np.array_equal(drawn[name].rows, again[name].rows) for name in drawn)


def test_defaults_take_a_fifth_for_test_and_a_tenth_of_the_rest_for_validation():
    drawn = draw({"train": shuffled([100, 100])})
    assert {name: (split.part, len(split.rows)) for name, split in drawn.items()} == {
        "train": ("train", 144),
        "validation": ("train", 16),
        "test": ("train", 40),
    }


def test_counts_are_kept():
    parts = {"train": shuffled([100, 100]), "test": shuffled([30, 30])}
    drawn = draw(parts, train=100, validation=20, test=10)
    assert {name: (split.part, len(split.rows)) for name, split in drawn.items()} == {
        "train": ("train", 80),
        "validation": ("train", 20),
        "test": ("test", 10),
    }
    assert len(draw(parts)["test"].rows) == 60


def test_a_validation_part_of_its_own_is_used():
    parts = {"train": shuffled([50, 50]), "validation": shuffled([20, 20]), "test": shuffled([10, 10])}
    drawn = draw(parts)
    assert [(s.part, len(s.rows)) for s in drawn.values()] == [("train", 100), ("validation", 40), ("test", 20)]
    assert len(draw(parts, validation=6)["validation"].rows) == 6


def test_the_only_part_held_out_is_the_test():
    drawn = draw({"train": shuffled([50, 50]), "validation": shuffled([20, 20])})
    assert [(s.part, len(s.rows)) for s in drawn.values()] == [("train", 90), ("train", 10), ("validation", 40)]


def test_the_test_images_do_not_depend_on_the_other_counts():
    parts = {"train": shuffled([50, 50])}
    one, other = draw(parts), draw(parts, train=40, validation=0.5)
    assert np.array_equal(one["test"].rows, other["test"].rows)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"train": 81}, "data.train asks for 81 images, and made-up has 80 to give"),
        ({"validation": 80}, "data.validation asks for 80"),
        ({"test": 100}, "data.test asks for 100"),
        ({"train": 3, "validation": 2}, "classes have no image in the train split"),
        ({"validation": 1}, "1 of 2 classes have no image in the validation split"),
    ],
)
def test_too_few_images_are_an_error_that_says_where(fields, words):
    with pytest.raises(UserError, match=words):
        draw({"train": shuffled([50, 50])}, **fields)


def test_a_source_without_training_images():
    with pytest.raises(UserError, match="no training images; its parts are: test"):
        draw_splits({"test": shuffled([3])}, Data(source="x"), ["a"])
