import math
import tomllib

import pytest
from hypothesis import given, strategies as st

from dataset_diffusion.config import GenerateSettings, PromptSettings, RunConfig
from dataset_diffusion.dataset.counts import count_labels
from dataset_diffusion.report.contents import Results, read_contents
from dataset_diffusion.report.tables import class_counts, class_scores, provenance, recipe, settings_groups


def test_scores_are_the_best_first_with_precision_and_recall(results, classes):
    background, forklift = class_scores(Results.model_validate(results), classes)
    assert (background.name, background.class_id) == ("background", 0)
    assert (forklift.name, forklift.class_id) == ("forklift", 1)
    assert forklift.iou == forklift.recall == 3 / 4
    assert forklift.precision == 1.0
    assert background.precision == background.iou == pytest.approx(12 / 13)


def test_scores_without_a_confusion_matrix_or_classes(results):
    bare = {key: results[key] for key in ("miou", "per_class_iou", "pixel_accuracy", "num_images")}
    rows = class_scores(Results.model_validate(bare), None)
    assert [row.class_id for row in rows] == [0, None]
    assert all(math.isnan(row.precision) and math.isnan(row.recall) for row in rows)


def test_a_class_that_is_never_predicted_has_no_precision(results, classes):
    results["confusion_matrix"] = [[5, 0, 0], [4, 0, 0], [0, 0, 0]]
    results["per_class_iou"] = {"background": 5 / 9, "forklift": 0.0}
    forklift = class_scores(Results.model_validate(results), classes)[1]
    assert math.isnan(forklift.precision)
    assert forklift.recall == 0.0


def test_counts_are_in_order_of_id(tmp_path, make_dataset, classes):
    forklift, truck = class_counts(count_labels(make_dataset(tmp_path / "data")), classes)
    assert (forklift.name, forklift.class_id, forklift.prompted, forklift.labelled) == ("forklift", 1, 5, 5)
    assert forklift.share == pytest.approx(6 / 24)
    assert (truck.name, truck.class_id, truck.prompted, truck.labelled, truck.share) == ("hand truck", 2, 0, 0, 0.0)


def test_provenance_names_models_and_seeds(tmp_path, make_run):
    rows = dict(provenance(read_contents(make_run(tmp_path / "run"))))
    assert rows["Diffusion model"] == "embedded"
    assert (rows["Dataset seed"], rows["Training seed"]) == ("7", "3")
    assert rows["Segmenter"] == "unet-resnet18"
    assert "Model revision" not in rows


def test_settings_are_grouped_by_stage():
    config = {
        "seed": 0,
        "generate": {"steps": None, "capture": {"layers": ["mid", "up"]}},
        "train": {"pretrained": False},
    }
    groups = {group.name: group.rows for group in settings_groups(config)}
    assert groups == {
        "run": (("seed", "0"),),
        "generate": (("steps", ""), ("capture.layers", "mid, up")),
        "train": (("pretrained", "no"),),
    }
    assert settings_groups({}) == []


def test_the_recipe_makes_the_same_run():
    config = RunConfig(
        seed=5,
        prompts=PromptSettings(classes=('fork"lift', "voiture à bras\n"), num_images=3),
        generate=GenerateSettings(guidance_scale=7.5, negative_prompt="blurry"),
    )
    again = tomllib.loads(recipe(config.model_dump(mode="json")))
    assert RunConfig.model_validate(again) == config


names = st.from_regex("[a-z_]{1,8}", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"))
values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | text


@pytest.mark.slow
@given(st.dictionaries(names, values | st.lists(text) | st.dictionaries(names, values, min_size=1)))
def test_a_recipe_is_toml(config):
    assert tomllib.loads(recipe(config)) == config
