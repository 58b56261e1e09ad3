import hashlib
import json
from pathlib import Path

import pytest

import dataset_diffusion
from dataset_diffusion.config import GenerateSettings, LabelSettings, config_hash
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.provenance import FilterStep, Provenance, Used
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.reading import LayerChoice


def make(**changes):
    provenance = changes.pop("provenance", None) or Provenance(
        generate=GenerateSettings(steps=changes.pop("steps", 20))
    )
    fields = {"class_set": class_set("cityscapes"), "num_samples": 100, "shard_size": 8, "model": "embedded"}
    return DatasetManifest.made_from(provenance, **(fields | changes))


def test_what_is_saved_is_loaded(tmp_path):
    make().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]
    loaded = DatasetManifest.load(tmp_path)
    assert loaded == make()
    assert loaded.class_set == class_set("cityscapes")


def test_dataset_json_says_where_the_samples_come_from(tmp_path):
    make(model_revision="abc").save(tmp_path)
    values = json.loads((tmp_path / "dataset.json").read_text())
    assert values["schema_version"] == 3
    assert values["class_set"]["names"][0] == "road"
    assert values["provenance"]["generate"]["steps"] == 20
    assert values["config_hash"] == config_hash(make(model_revision="abc").provenance.asked())
    assert (values["model"], values["model_revision"]) == ("embedded", "abc")
    assert values["package_version"] == dataset_diffusion.__version__


@pytest.mark.parametrize(("num_samples", "shards"), [(1, 1), (8, 1), (9, 2), (100, 13)])
def test_the_last_shard_may_be_short(num_samples, shards):
    assert make(num_samples=num_samples).num_shards == shards


def test_settings_that_0_1_0_had_not_leave_hashes_alone_where_nothing_is_asked():
    asked = make().provenance.asked()["generate"]
    assert not {"reading", "read"} & asked.keys()
    chosen = Provenance(generate=GenerateSettings(reading="published")).asked()["generate"]
    assert (chosen["reading"], "read" in chosen) == ("published", False)


def test_differences_name_the_setting_and_both_values():
    assert make().differences(make()) == []
    assert make(steps=20).differences(make(steps=50)) == ["config.generate.steps: 50 (here: 20)"]
    assert make().differences(make(num_samples=7, model="sd15")) == [
        "num_samples: 7 (here: 100)",
        "model: sd15 (here: embedded)",
    ]


def drawn(**settings):
    return make(provenance=Provenance(generate=GenerateSettings(**settings)))


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
        '{"schema_version": 2, "num_samples": 0}',
        '{"schema_version": 1, "config": []}',
        '{"schema_version": 2, "config": {}}',
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
        (4, "upgrade dataset-diffusion"),
        (0, "make the dataset again, or install dataset-diffusion==0.0.1, which made it"),
    ],
)
def test_another_schema_version_is_refused(tmp_path, version, fix):
    (tmp_path / "dataset.json").write_text(json.dumps({"schema_version": version, "package_version": "0.0.1"}))
    with pytest.raises(DatasetError) as error:
        DatasetManifest.load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'dataset.json'} has another schema version; got {version}; expected 1 to 3; fix: {fix}"
    )


USED = Used(
    scheduler="ddim",
    steps=20,
    guidance_scale=4.0,
    negative_prompt="",
    height=128,
    width=128,
    dtype="float32",
    reading=MODELS["embedded"].resolve_reading("plain"),
)


def used(**changes):
    return make(provenance=Provenance(generate=GenerateSettings(), used=USED.model_copy(update=changes)))


def test_what_was_used_is_compared_where_it_is_known_of_both():
    other = USED.reading.model_copy(update={"cross_attention": LayerChoice(8)})
    assert used().differences(used(reading=other)) == [
        "used.reading.cross_attention.resolution: 8 (here: 16)",
        "used.reading.cross_attention.prefixes: ('',) (here: ('up_blocks.1',))",
    ]
    assert drawn().differences(used()) == used().differences(drawn()) == []


def test_the_floating_point_type_that_follows_from_the_device_is_no_difference():
    assert used().differences(used(dtype="float16")) == []


def test_how_many_samples_each_rule_dropped_is_no_difference():
    step = FilterStep(rules=("presence > 0",), num_samples=9, config_hash="0123")
    counted = step.model_copy(update={"dropped": (4,)})
    first, second = (make(provenance=Provenance(filter=(one,))) for one in (step, counted))
    assert first.differences(second) == []
    assert first.config_hash == second.config_hash
    assert first.provenance.asked() == {
        "filter": [{"rules": ["presence > 0"], "num_samples": 9, "config_hash": "0123"}]
    }


def test_a_file_identifies_the_dataset(tmp_path):
    manifest = make(provenance=Provenance(seed=1, generate=GenerateSettings(guidance_scale=3), used=USED))
    manifest.save(tmp_path)
    assert manifest.identity == manifest.model_dump_json() == DatasetManifest.load(tmp_path).identity


# Files that 0.1.0 wrote


DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(params=["dataset", "filtered"])
def written_by_0_1_0(request, tmp_path):
    """The folder of such a file."""
    (tmp_path / "dataset.json").write_bytes((DATA / f"{request.param}-0.1.0.json").read_bytes())
    return tmp_path


def test_version_1_is_read_as_what_it_records(written_by_0_1_0):
    manifest = DatasetManifest.load(written_by_0_1_0)
    assert manifest.schema_version == 1
    known = manifest.provenance
    assert (known.seed, known.generate.steps, known.generate.shard_size) == (3, 4, 8)
    assert known.label == LabelSettings(exponent=1, threshold=0.4, uncertainty_threshold=0.25, refine="pamr")
    assert known.used is None
    values = json.loads((written_by_0_1_0 / "dataset.json").read_text())
    assert known.asked() == values["config"]
    assert config_hash(known.asked()) == values["config_hash"]


def test_version_1_is_written_as_it_was(written_by_0_1_0):
    file = written_by_0_1_0 / "dataset.json"
    before = file.read_bytes()
    DatasetManifest.load(written_by_0_1_0).save(written_by_0_1_0)
    assert file.read_bytes() == before


@pytest.mark.parametrize(("name", "told_by_0_1_0"), [("dataset", "66b9243c23a26a60"), ("filtered", "beb10f05f0913c69")])
def test_version_1_is_told_from_others_as_0_1_0_told_it(tmp_path, name, told_by_0_1_0):
    """An export of ``dataset`` and a segmenter trained on ``filtered``, both by 0.1.0, hold these."""
    (tmp_path / "dataset.json").write_bytes((DATA / f"{name}-0.1.0.json").read_bytes())
    identity = DatasetManifest.load(tmp_path).identity
    assert hashlib.sha256(identity.encode()).hexdigest()[:16] == told_by_0_1_0


def test_version_1_is_what_the_same_settings_ask_for_today(written_by_0_1_0):
    old = DatasetManifest.load(written_by_0_1_0)
    new = old.with_provenance(old.provenance.model_copy(update={"used": USED}))
    assert new.schema_version == 3
    assert old.differences(new) == new.differences(old) == []
    assert new.config_hash == old.config_hash


def test_what_this_version_does_not_know_is_read_past_and_compared(written_by_0_1_0):
    file, known = written_by_0_1_0 / "dataset.json", DatasetManifest.load(written_by_0_1_0)
    values = json.loads(file.read_text())
    values["config"]["generate"]["brush"] = "oil"
    values["config"]["label"]["refine"] = "by hand"
    file.write_text(json.dumps(values))
    manifest = DatasetManifest.load(written_by_0_1_0)
    assert manifest.provenance.generate == known.provenance.generate
    assert manifest.provenance.label is None
    assert manifest.differences(known) == [
        "config.generate.brush: None (here: oil)",
        "config.label.refine: pamr (here: by hand)",
    ]
