"""Sample values: every kind of number by a value worked out by hand, and refused kinds."""

import numpy as np
import pytest

from selfsight.data.pictures.forms.sample_values import as_samples, over_white
from selfsight.data.source import Unreadable


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4"])
def test_floats_spread_over_sixteen_bits(kind: str) -> None:
    found = as_samples(np.array([0, 0.25, 0.5, 1], kind))

    assert found.dtype == np.uint16
    assert found.tolist() == [0, 16384, 32768, 65535]  # 16383.75 and 32767.5, rounded to even


def test_truth_is_white() -> None:
    found = as_samples(np.array([False, True]))

    assert (found.dtype, found.tolist()) == (np.uint8, [0, 255])


def test_whole_numbers_stay_in_the_machines_byte_order() -> None:
    found = as_samples(np.array([258], ">u2"))

    assert found.dtype == np.dtype("=u2")
    assert found.tolist() == [258]


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf])
def test_a_float_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(Unreadable, match=r"outside \[0, 1\]; save it with 8 or 16 bits"):
        as_samples(np.array([0.5, value]))


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "u4", "u8", "c8"])
def test_kinds_of_unknown_range_are_refused(kind: str) -> None:
    with pytest.raises(Unreadable, match="whose range is unknown; save it"):
        as_samples(np.ones(1, kind))


def test_premultiplied_colour_gets_only_paper_added() -> None:
    colour = np.array([[[0, 100, 200]]], np.uint8)  # 200 is more than an opacity of 155 allows
    opacity = np.array([[[155]]], np.uint8)

    found = over_white(colour, opacity, premultiplied=True)

    assert found.tolist() == [[[100, 200, 255]]]


def test_the_greatest_numbers_do_not_overflow() -> None:
    full = np.full((1, 1, 1), 65535, np.uint16)

    for opacity in (0, 1, 32768, 65535):
        found = over_white(full, np.full((1, 1, 1), opacity, np.uint16))
        assert found.tolist() == [[[65535]]]
