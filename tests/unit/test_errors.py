import os
import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st
from pydantic import TypeAdapter, ValidationError

from dataset_diffusion.errors import (
    ConfigError,
    DatasetDiffusionError,
    DatasetError,
    ModelError,
    PromptError,
    check_kind,
    did_you_mean,
    first_line,
    first_problem,
    tell,
    whole_number,
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


def test_what_is_like_a_known_name_was_probably_meant():
    assert did_you_mean("sd21", ["sd15", "sd21-base"]) == "did you mean sd21-base?"
    assert did_you_mean("sdd15", ["sd15", "sd21-base"]) == "did you mean sd15?"
    assert did_you_mean("sdd15", ["sd15", "sd21-base"], likeness=0.95) is None
    assert did_you_mean("sd21", []) is None


def test_an_argument_of_another_kind():
    check_kind(True, (str, bool), "flag")
    with pytest.raises(PromptError) as error:
        check_kind(3, (str, type(None)), "caption", fix="write it", error=PromptError)
    assert str(error.value) == "bad caption; got int 3; expected str or None; fix: write it"


@pytest.mark.parametrize("value", [3, np.int64(3), np.array(3)])
def test_whole_numbers_of_any_library(value):
    assert whole_number(value, "seed") == 3


@pytest.mark.parametrize(("value", "got"), [("3", "'3'"), (2.5, "2.5"), (None, "None"), (0, "0")])
def test_what_is_no_whole_number(value, got):
    with pytest.raises(ConfigError) as error:
        whole_number(value, "seed", at_least=1)
    assert str(error.value) == f"bad seed; got {got}; expected a whole number of at least 1"
