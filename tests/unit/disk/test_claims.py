from pathlib import Path

import pytest

from dataset_diffusion.disk.claims import differences, flatten, refuse_differences
from dataset_diffusion.errors import ConfigError


def test_settings_inside_others_have_dotted_names():
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


def test_what_is_missing_is_compared_as_nothing():
    assert differences({"a": {"b": 1}}, {"a": {"b": 1}, "c": None}) == []
    assert differences({"a": {"b": 1}}, {"c": 2}) == ["a.b: None (here: 1)", "c: 2 (here: None)"]


def test_what_is_ignored_may_differ():
    assert differences({"a": {"b": 1, "c": 1}}, {"a": {"b": 2, "c": 2}}, {"a.b"}) == ["a.c: 2 (here: 1)"]


def test_the_first_differences_are_told_in_one_line():
    refuse_differences([], Path("out"), "another run", ConfigError)
    with pytest.raises(ConfigError) as raised:
        refuse_differences(["a", "b", "c", "d", "e"], Path("out"), "another run", ConfigError)
    assert str(raised.value) == (
        "out holds another run; got a, b, c (and 2 more); fix: use another --out or delete out"
    )
