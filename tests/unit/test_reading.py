import json

import pytest

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.reading import LayerChoice, LearnedLayers, Learning, Reading


def learned(**changes):
    """Two layers of 2 and 1 heads: 3 maps, 4 kinds of features, each also of the strongest other class."""
    values = {
        "layers": ("down.attn2", "mid.attn2"),
        "heads": (2, 1),
        "hidden": ((0.5,) * 24, (-1e-7,) * 24),
        "hidden_bias": (0.0, 1.0),
        "output": (2.0, -3.0),
        "output_bias": 0.25,
    }
    return LearnedLayers(**(values | changes))


def reading(**changes):
    values = {
        "name": "mine",
        "model": "0123456789abcdef",
        "cross_attention": learned(),
        "self_attention": LayerChoice(16),
        "when": "drawn",
        "timesteps": (1,),
        "label": LabelSettings(exponent=0, threshold=0.4, uncertainty_threshold=0.3),
        "learned_from": Learning(pictures="d", target="m", num_images=48, kept_back=16, seed=0),
        "scores": {"learned": 0.9},
    }
    return Reading(**(values | changes))


@pytest.mark.parametrize("cross_attention", [learned(), LayerChoice(16, ("up_blocks", "mid_block"))])
def test_a_file_gives_back_what_was_saved(tmp_path, cross_attention):
    saved = reading(cross_attention=cross_attention)
    saved.save(tmp_path / "mine.json")
    assert Reading.load(tmp_path / "mine.json") == saved
    assert [path.name for path in tmp_path.iterdir()] == ["mine.json"]


@pytest.mark.parametrize(
    ("changes", "features"),
    [
        ({}, 24),
        ({"competition": False}, 12),
        ({"start_token": False}, 12),
        ({"start_token": False, "competition": False}, 6),
    ],
)
def test_the_features_that_weights_are_for(changes, features):
    assert learned(**changes, hidden=((0.0,) * features,) * 2).num_features == features
    with pytest.raises(ConfigError, match=f"rows of {features} weights"):
        learned(**changes, hidden=((0.0,) * (features + 1),) * 2)


def test_weights_that_do_not_fit_one_another_are_refused():
    with pytest.raises(ConfigError, match="as many biases and outputs as hidden units"):
        learned(output=(1.0,))
    with pytest.raises(ConfigError, match="for 2 layers"):
        learned(heads=(3,))


def test_a_file_that_is_no_reading_is_told_in_one_line(tmp_path):
    file = tmp_path / "mine.json"
    with pytest.raises(ConfigError, match=r"^cannot read the reading; got .*mine\.json \(No such file"):
        Reading.load(file)
    values = json.loads(reading().model_dump_json()) | {"timesteps": []}
    for text in ("[", "{}", json.dumps(values)):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"^not a reading; got .*mine\.json: ") as error:
            Reading.load(file)
        assert "\n" not in str(error.value)
