import math
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from persistill.errors import UserError
from persistill.settings import Settings, collecting


class Inner(Settings):
    rate: Annotated[float, Field(gt=0)] = 0.1
    names: tuple[str, ...] = ()


class Outer(Settings):
    count: int
    mode: Literal["fast", "slow"] = "fast"
    inner: Inner = Inner()
    table: dict[str, Inner] = Field(default_factory=dict)
    several: tuple[Inner, ...] = ()
    maybe: int | None = None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 1, "cuont": 2}, "unknown field of Outer: 'cuont'. Did you mean 'count'?"),
        ({}, "Outer needs the field 'count'"),
        ({"count": "3"}, r"Outer\.count: input should be a valid integer; '3' was given"),
        ({"count": 1.5}, r"Outer\.count: .* integer"),
        ({"count": 1, "mode": "fats"}, r"Outer\.mode: input should be 'fast' or 'slow'; 'fats' was given"),
        ({"count": True}, r"Outer\.count"),
    ],
)
def test_a_wrong_field_raises_at_once_and_is_named(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Outer(**values)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_ranges_are_kept_and_nan_is_no_number(rate: float) -> None:
    with pytest.raises(UserError, match=r"Inner\.rate"):
        Inner(rate=rate)


def test_all_problems_of_one_spec_are_told_together() -> None:
    with pytest.raises(UserError) as caught:
        Outer(count="x", mode="y", sevral=())
    assert len(str(caught.value).splitlines()) == 3


def test_all_problems_of_a_file_are_told_together() -> None:
    with pytest.raises(UserError) as caught, collecting():
        Outer(count="x", inner=Inner(rate=-1.0), table={"a": Inner(nmaes=())})
    assert len(str(caught.value).splitlines()) == 3


def test_a_mistake_after_a_problem_does_not_hide_it() -> None:
    with pytest.raises(UserError, match=r"Outer\.count"), collecting():
        broken = Outer(count="x")
        _ = broken.inner.rate + broken.count


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError), collecting():
        _ = 1 / 0


def test_specs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().rate = 1.0


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("count", "5", lambda o: o.count == 5),
        ("mode", "slow", lambda o: o.mode == "slow"),
        ("inner.rate", "1e-3", lambda o: o.inner.rate == 1e-3),
        ("inner.rate", 2.0, lambda o: o.inner.rate == 2.0),
        ("inner.names", "('a', 'b')", lambda o: o.inner.names == ("a", "b")),
        ("inner.names", "['a']", lambda o: o.inner.names == ("a",)),
        ("table.a.rate", "2.5", lambda o: o.table["a"].rate == 2.5 and o.table["b"].rate == 0.1),
        ("several.1.rate", "7.0", lambda o: [i.rate for i in o.several] == [0.1, 7.0]),
        ("maybe", "4", lambda o: o.maybe == 4),
        ("maybe", "none", lambda o: o.maybe is None),
    ],
)
def test_one_field_can_be_changed_by_its_path(path: str, value: object, read) -> None:
    spec = Outer(count=1, table={"a": Inner(), "b": Inner()}, several=(Inner(), Inner()), maybe=3)
    before = spec.to_json()
    assert read(spec.with_value(path, value))
    assert spec.to_json() == before


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("cuont", "1", "unknown field of Outer in 'cuont': 'cuont'. Did you mean 'count'"),
        ("inner.rat", "1", "Did you mean 'rate'"),
        ("table.c.rate", "1", "unknown name in 'table.c.rate': 'c'. Known: a"),
        ("several.9.rate", "1", "unknown position"),
        ("count.more", "1", "leads into a plain value"),
        ("count", "many", r"Outer\.count: input should be a valid integer; 'many' was given"),
        ("mode", "medium", r"Outer\.mode"),
    ],
)
def test_a_path_or_value_that_is_wrong_is_named(path: str, value: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Outer(count=1, table={"a": Inner()}, several=(Inner(),)).with_value(path, value)


@given(st.floats(min_value=1e-9, max_value=1e9), st.lists(st.text(max_size=5), max_size=3))
def test_plain_settings_survive_json(rate: float, names: list[str]) -> None:
    spec = Inner(rate=rate, names=tuple(names))
    assert Inner.from_json(spec.to_json()) == spec


def test_json_names_the_class_of_each_part() -> None:
    content = Outer(count=1, several=(Inner(),)).to_json()
    assert content["is"] == "test_settings:Outer"
    assert content["several"] == [{"is": "test_settings:Inner", "rate": 0.1, "names": []}]
