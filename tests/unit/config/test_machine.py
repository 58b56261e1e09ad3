import pytest

from dataset_diffusion.config import (
    ExecutorSettings,
    make_settings,
)
from dataset_diffusion.errors import ConfigError


def test_parts_share_the_shards_between_them():
    assert list(ExecutorSettings().shards_of(5)) == [0, 1, 2, 3, 4]
    assert list(ExecutorSettings(part="1/3").shards_of(5)) == [0, 3]
    assert list(ExecutorSettings(part="2/3").shards_of(5)) == [1, 4]
    assert list(ExecutorSettings(part="3/3").shards_of(2)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "0/3"}, "bad value of --part; got 0/3; expected K/N with K from 1 to N"),
        ({"part": "4/3"}, "bad value of --part; got 4/3; expected K/N with K from 1 to N"),
        ({"part": "3"}, "bad value of --part; got 3; expected K/N with K from 1 to N"),
        ({"part": "a/b"}, "bad value of --part; got a/b; expected K/N with K from 1 to N"),
        ({"num_workers": 2}, "bad value of --num-workers; got 2; expected --executor ray, the only one that takes it"),
        ({"address": "auto"}, "bad value of --address; got auto; expected --executor ray, the only one that takes it"),
        (
            {"executor": "ray", "num_workers": 0},
            "bad value of --num-workers; got 0; expected greater than or equal to 1",
        ),
    ],
)
def test_executor_settings_that_make_no_sense(options, message):
    with pytest.raises(ConfigError) as error:
        make_settings(ExecutorSettings, **options)
    assert str(error.value) == message
