import math

import numpy as np
import pytest

from maml_tf import checks


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), np.int32(2)])
def test_every_integer_type_is_a_whole_number(value):
    result = checks.whole_number("steps", value, minimum=0)

    assert result == 2 and type(result) is int


@pytest.mark.parametrize("value", [1.0, 1.5, True, np.True_, "2", None, math.nan, np.float32(2), [2], 2j])
def test_what_is_not_a_whole_number_is_refused_with_its_name_and_value(value):
    with pytest.raises(ValueError, match="steps=") as error:
        checks.whole_number("steps", value, minimum=0)

    assert repr(value) in str(error.value)


@pytest.mark.parametrize(("value", "bounds"), [(0, {"minimum": 1}), (9, {"maximum": 8}), (-1, {"minimum": 0})])
def test_whole_numbers_out_of_range_are_refused(value, bounds):
    with pytest.raises(ValueError, match=f"steps={value}"):
        checks.whole_number("steps", value, **bounds)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), np.int64(1)])
def test_every_real_type_is_a_number(value):
    result = checks.number("rate", value, minimum=0)

    assert result == value and type(result) is float


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, True, "0.5", None, 1j])
def test_what_is_not_a_finite_number_is_refused(value):
    with pytest.raises(ValueError, match="rate="):
        checks.number("rate", value)


@pytest.mark.parametrize(
    ("value", "bounds"),
    [(-0.1, {"minimum": 0}), (1.1, {"maximum": 1}), (0.0, {"positive": True}), (-1, {"positive": True})],
)
def test_numbers_out_of_range_are_refused(value, bounds):
    with pytest.raises(ValueError, match="rate="):
        checks.number("rate", value, **bounds)


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_flags_are_bools(value):
    result = checks.flag("first_order", value)

    assert result == value and type(result) is bool


@pytest.mark.parametrize("value", ["no", 0, 1, None, 0.0, np.int64(1)])
def test_what_is_not_a_bool_is_no_flag(value):
    with pytest.raises(ValueError, match="first_order="):
        checks.flag("first_order", value)
