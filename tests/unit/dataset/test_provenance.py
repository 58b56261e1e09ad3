from dataset_diffusion.config import GenerateSettings, LabelSettings
from dataset_diffusion.dataset.provenance import FilterStep, Photos, Provenance

STEP = FilterStep(rules=("presence > 0",), num_samples=9, config_hash="0123", dropped=(4,))


def test_what_was_asked_leaves_out_what_is_not_known_and_what_was_counted():
    assert Provenance().asked() == {}
    assert Provenance(seed=0, filter=(STEP,)).asked() == {
        "seed": 0,
        "filter": [{"rules": ["presence > 0"], "num_samples": 9, "config_hash": "0123"}],
    }


def test_photos_that_were_left_out_were_not_asked_for():
    photos = Photos(sha256="0123", classes_from="folders", left_out=("bad.jpg",))
    asked = {"sha256": "0123", "classes_from": "folders", "dtype": None}
    assert Provenance(photos=photos).asked() == {"photos": asked}


def test_what_is_written_is_read():
    written = Provenance(seed=3, generate=GenerateSettings(steps=4), label=LabelSettings(), filter=(STEP,))
    assert Provenance.read(written.model_dump(mode="json")) == written


def test_values_of_other_versions_are_left_out_and_the_rest_is_read():
    recorded = {"seed": 3, "generate": {"steps": 4, "brush": "oil"}, "label": {"refine": "by hand"}, "mood": "good"}
    assert Provenance.read(recorded) == Provenance(seed=3, generate=GenerateSettings(steps=4))
