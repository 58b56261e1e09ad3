import json

import pytest

import dataset_diffusion
from dataset_diffusion.config import GenerateSettings, config_hash
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import class_set


def make(**changes):
    settings = GenerateSettings(steps=changes.pop("steps", 20))
    fields = {"class_set": class_set("cityscapes"), "num_samples": 100, "shard_size": 8, "model": "embedded"}
    return DatasetManifest.from_settings(settings, **(fields | changes))


def test_what_is_saved_is_loaded(tmp_path):
    make().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]
    loaded = DatasetManifest.load(tmp_path)
    assert loaded == make()
    assert loaded.class_set == class_set("cityscapes")


def test_dataset_json_says_where_the_samples_come_from(tmp_path):
    make(model_revision="abc").save(tmp_path)
    values = json.loads((tmp_path / "dataset.json").read_text())
    assert values["schema_version"] == 1
    assert values["class_set"]["names"][0] == "road"
    assert values["config"]["steps"] == 20
    assert values["config_hash"] == config_hash(GenerateSettings(steps=20))
    assert (values["model"], values["model_revision"]) == ("embedded", "abc")
    assert values["package_version"] == dataset_diffusion.__version__


@pytest.mark.parametrize(("num_samples", "shards"), [(1, 1), (8, 1), (9, 2), (100, 13)])
def test_the_last_shard_may_be_short(num_samples, shards):
    assert make(num_samples=num_samples).num_shards == shards


def test_differences_name_the_setting_and_both_values():
    assert make().differences(make()) == []
    assert make(steps=20).differences(make(steps=50)) == ["config.steps: 50 (here: 20)"]
    assert make().differences(make(num_samples=7, model="sd15")) == [
        "num_samples: 7 (here: 100)",
        "model: sd15 (here: embedded)",
    ]


def drawn(**settings):
    return make().with_config({"generate": GenerateSettings(**settings).model_dump(mode="json")})


def test_how_the_machine_draws_is_no_difference():
    other = {"device": "cpu", "batch_size": 3, "compile": True, "channels_last": True, "vae_slicing": True}
    assert drawn().differences(drawn(**other, cpu_offload=True)) == []


@pytest.mark.parametrize("changed", [{"steps": 4}, {"dtype": "bfloat16"}, {"vae_tiling": True}, {"height": 64}])
def test_what_is_drawn_is_a_difference(changed):
    assert len(drawn().differences(drawn(**changed))) == 1


def test_a_revision_is_compared_where_it_is_known_of_both():
    assert make(model_revision="a").differences(make(model_revision="b")) == ["model_revision: b (here: a)"]
    assert make().differences(make(model_revision="b")) == make(model_revision="a").differences(make()) == []


def test_another_package_version_is_no_difference():
    assert make().differences(make(package_version="99")) == []


def test_a_missing_manifest_is_one_line(tmp_path):
    with pytest.raises(DatasetError, match=r"^not a dataset; got .*; expected a folder with dataset\.json$"):
        DatasetManifest.load(tmp_path)


def test_a_folder_that_cannot_be_looked_into_is_one_line(tmp_path):
    folder = tmp_path / ("a" * 300)
    with pytest.raises(DatasetError, match=r"dataset\.json cannot be read; got .*File name too long") as raised:
        DatasetManifest.load(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\x00",
        "{}",
        "[]",
        '{"schema_version": "1"}',
        '{"schema_version": 1}',
        '{"schema_version": 1, "num_samples": 0}',
    ],
)
def test_a_damaged_manifest_is_one_line(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=r"^.*dataset\.json cannot be read; got .*; fix: restore the file") as raised:
        DatasetManifest.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_class_set_that_cannot_be_is_one_line(tmp_path):
    values = make().model_dump(mode="json")
    values["class_set"]["names"] = []
    (tmp_path / "dataset.json").write_text(json.dumps(values))
    with pytest.raises(DatasetError, match=r"dataset\.json cannot be read; got .*class"):
        DatasetManifest.load(tmp_path)


@pytest.mark.parametrize(
    ("version", "fix"),
    [
        (2, "upgrade dataset-diffusion"),
        (0, "make the dataset again, or install dataset-diffusion==0.0.1, which made it"),
    ],
)
def test_another_schema_version_is_refused(tmp_path, version, fix):
    (tmp_path / "dataset.json").write_text(json.dumps({"schema_version": version, "package_version": "0.0.1"}))
    with pytest.raises(DatasetError) as error:
        DatasetManifest.load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'dataset.json'} has another schema version; got {version}; expected 1; fix: {fix}"
    )
