import pytest
from pydantic import ValidationError

from dataset_diffusion.config import (
    GenerateSettings,
    LabelSettings,
    PromptSettings,
    config_hash,
    make_settings,
)
from dataset_diffusion.errors import ConfigError


def test_options_are_named_as_they_are_typed():
    with pytest.raises(ConfigError, match=r"^bad value of --num-images; got 0; expected greater than or equal to 1$"):
        make_settings(PromptSettings, num_images=0)


def test_in_python_mistakes_name_the_class_and_what_was_meant():
    with pytest.raises(ConfigError, match=r"^PromptSettings: bad value of `num_images`; got 0; expected greater than"):
        PromptSettings(num_images=0)
    with pytest.raises(ConfigError, match=r"^PromptSettings: unknown setting; got num_image; .*; fix: did you mean"):
        PromptSettings(num_image=3)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        GenerateSettings().steps = 3


def test_a_hash_follows_from_the_settings():
    assert config_hash(GenerateSettings(steps=3)) == config_hash(GenerateSettings(steps=3, model="embedded"))
    assert config_hash(GenerateSettings(steps=3)) != config_hash(GenerateSettings(steps=4))
    assert config_hash(LabelSettings(exponent=4, threshold=0.6, uncertainty_threshold=0.5)) == "f0b2cacfb7a6844d"
