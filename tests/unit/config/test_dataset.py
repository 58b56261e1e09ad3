import pytest
from hypothesis import given, strategies as st

from dataset_diffusion.config import (
    STORED_EXPONENTS,
    LabelOptions,
    LabelSettings,
)
from dataset_diffusion.errors import ConfigError

FRACTIONS = st.floats(0, 1)


@given(FRACTIONS, FRACTIONS)
def test_thresholds_are_accepted_in_their_order_only(threshold, uncertainty_threshold):
    if uncertainty_threshold <= threshold:
        LabelSettings(threshold=threshold, uncertainty_threshold=uncertainty_threshold)
    else:
        with pytest.raises(ConfigError):
            LabelSettings(threshold=threshold, uncertainty_threshold=uncertainty_threshold)


@given(st.integers(-1, 20))
def test_exponents_are_those_whose_heatmaps_are_stored(exponent):
    if exponent in STORED_EXPONENTS:
        assert LabelSettings(exponent=exponent).exponent == exponent
    else:
        with pytest.raises(ConfigError):
            LabelSettings(exponent=exponent)


def test_a_threshold_below_the_readings_other_one_is_refused():
    with pytest.raises(ConfigError) as error:
        LabelOptions(threshold=0.01).resolve(LabelSettings())
    assert str(error.value) == (
        "the threshold is below the uncertainty threshold that fits the reading; got 0.01 and 0.5; fix: give both"
    )


def test_what_is_not_asked_of_labels_is_the_readings_own():
    own = LabelSettings(exponent=1, threshold=0.4, uncertainty_threshold=0.3, refine="pamr")
    assert LabelOptions().resolve(own) == own
    assert LabelOptions(exponent=0, refine="none").resolve(own) == LabelSettings(
        exponent=0, threshold=0.4, uncertainty_threshold=0.3, refine="none"
    )
