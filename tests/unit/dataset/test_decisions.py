import json

import pytest

from dataset_diffusion.config import GenerateSettings, LabelSettings
from dataset_diffusion.dataset.decisions import Decision, Decisions, load_decisions, pictures_hash
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.provenance import FilterStep, Provenance
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import class_set

OWN = LabelSettings(exponent=2, threshold=0.3, uncertainty_threshold=0.2)


def manifest(**changes):
    provenance = Provenance(**({"seed": 0, "generate": GenerateSettings(), "label": LabelSettings()} | changes))
    return DatasetManifest.made_from(provenance, class_set=class_set("emoji"), num_samples=10)


def decide(**samples):
    return Decisions(
        pictures=pictures_hash(manifest()), samples={f"0000000{name[1:]}": samples[name] for name in samples}
    )


def test_what_is_saved_is_loaded_from_the_file_and_from_its_folder(tmp_path):
    decisions = decide(s3=Decision(keep=False), s1=Decision(label=OWN), s2=Decision(corrected=True))
    decisions.save(tmp_path / "new" / "decisions.json")
    for path in (tmp_path / "new", tmp_path / "new" / "decisions.json"):
        assert load_decisions(path, manifest()) == decisions
    assert decisions.dropped == ("00000003",)
    assert decisions.own_labels == {"00000001": OWN}


def test_the_file_says_what_was_decided_and_nothing_else(tmp_path):
    decide(s1=Decision(), s2=Decision(keep=True)).save(tmp_path / "decisions.json")
    values = json.loads((tmp_path / "decisions.json").read_text())
    assert values["samples"] == {"00000002": {"keep": True, "corrected": False}}
    assert "label" not in values


def test_a_later_decision_takes_the_place_of_the_earlier_one():
    decisions = decide(s1=Decision(keep=False))
    assert decisions.with_sample("00000001", Decision(keep=True)).dropped == ()
    assert decisions.with_sample("00000001", Decision()).samples == {}


def test_relabelling_keeps_the_pictures_and_filtering_does_not():
    step = FilterStep(rules=("presence >= 0.4",), num_samples=20, config_hash="0")
    assert pictures_hash(manifest(label=OWN, own_labels={"00000001": OWN})) == pictures_hash(manifest())
    assert pictures_hash(manifest(filter=(step,))) != pictures_hash(manifest())
    assert pictures_hash(manifest(seed=1)) != pictures_hash(manifest())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pictures": "0"}, "is about other pictures"),
        ({"schema_version": 2}, "holds no decisions"),
        ({"samples": {"00000010": {"keep": False}}}, "names samples that the dataset lacks; got 00000010"),
        ({"samples": {"../../1": {"keep": False}}}, "names samples that the dataset lacks"),
        ({"samples": {"00000001": {"keep": "perhaps"}}}, "holds no decisions"),
        ({"label": {"threshold": 2}}, "holds no decisions"),
        ({"more": 1}, "holds no decisions"),
    ],
)
def test_what_cannot_be_applied_is_refused(tmp_path, change, said):
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps(decide().model_dump(mode="json") | change))
    with pytest.raises(DatasetError, match=said):
        load_decisions(path, manifest())


def test_a_folder_without_decisions_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot read .*decisions.json"):
        load_decisions(tmp_path, manifest())
