import os
import pickle

import pytest
from hypothesis import given, strategies as st
from pydantic import TypeAdapter, ValidationError

from dataset_diffusion.errors import (
    ConfigError,
    DatasetDiffusionError,
    DatasetError,
    ModelError,
    PromptError,
    first_line,
    first_problem,
    tell,
)


def test_an_error_says_what_got_expected_and_fix_in_one_line():
    error = ConfigError("bad colour", got="mauve", expected="red or green", fix="choose one")
    assert str(error) == "bad colour; got mauve; expected red or green; fix: choose one"


def test_what_is_not_known_is_left_out():
    assert str(ConfigError("bad colour")) == "bad colour"
    assert str(ConfigError("bad colour", fix="choose one")) == "bad colour; fix: choose one"


def test_zero_and_the_empty_string_are_values():
    assert str(ConfigError("bad number", got=0)) == "bad number; got 0"
    assert str(ConfigError("bad name", got=repr(""))) == "bad name; got ''"


@given(st.text(), st.text(), st.text())
def test_an_error_is_one_line_whatever_is_in_it(what, got, fix):
    assert len(str(ConfigError(what, got=got, fix=fix)).splitlines()) <= 1


def test_a_long_value_is_cut():
    message = str(ConfigError("bad list", got=list(range(1000))))
    assert message.startswith("bad list; got [0, 1, 2, ")
    assert message.endswith("…")
    assert len(message) == len("bad list; got ") + 200


def test_the_name_of_a_file_that_is_not_utf_8_can_be_printed():
    error = DatasetError("no picture", got=os.fsdecode(b"caf\xe9.png"))
    assert str(error).encode() == rb"no picture; got caf\udce9.png"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("no route"), "no route"),
        (OSError("\n\n no route\nto host"), "no route"),
        (OSError(), "OSError"),
        (ValueError(" \n "), "ValueError"),
    ],
)
def test_the_first_line_of_an_error(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize("kind", [ConfigError, PromptError, ModelError, DatasetError])
def test_every_error_is_one_of_ours_and_survives_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("wrong", got=1, fix="do it right")))
    assert type(error) is kind
    assert isinstance(error, DatasetDiffusionError)
    assert str(error) == "wrong; got 1; fix: do it right"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"steps": ["one", "two"]}, "steps.0: Input should be a valid integer, unable to parse string as an integer"),
        (7, "Input should be a valid dictionary"),
    ],
)
def test_the_first_problem_is_told_with_its_place(value, told):
    with pytest.raises(ValidationError) as error:
        TypeAdapter(dict[str, list[int]]).validate_python(value)
    assert first_problem(error.value) == told


def test_what_is_told_stands_on_stderr(capsys):
    tell("left out 1 file")
    assert capsys.readouterr() == ("", "left out 1 file\n")
