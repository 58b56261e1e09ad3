import json

import numpy as np
import pytest
from tests.helpers.factories import write_dataset
from tests.helpers.processes import last_line, refuse, succeed

from dataset_diffusion.config import CalibrateSettings, LabelOptions
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.specs import MODELS, model_fingerprint
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.evaluation.readers.scenes import SCENES
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.reading import LearnedLayers, Reading
from dataset_diffusion.seeding import sample_seed
from dataset_diffusion.stages.calibrate import calibrate

pytestmark = pytest.mark.slow

QUICK = {"timesteps": (1,), "refine": "none"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """24 labelled scenes."""
    store = DatasetStore.open(SCENES)
    samples = [store[index] for index in range(24)]
    folder = tmp_path_factory.mktemp("calibrate") / "scenes"
    write_dataset(folder, samples, store.class_set, num_samples=24, image_format="png", shard_size=12)
    return folder


@pytest.fixture(scope="module")
def learned(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibrate") / "mine.json"
    settings = CalibrateSettings(model="embedded", num_images=24, **QUICK)
    return calibrate(scenes, settings, out, seed=0, device="cpu").reading, out


def test_what_was_learned_is_written_with_what_it_is_for(learned, scenes):
    reading, out = learned
    assert Reading.load(out) == reading
    assert (reading.name, reading.when, reading.timesteps) == ("mine", "drawn", (1,))
    assert reading.model == model_fingerprint(MODELS["embedded"])
    assert (reading.learned_from.pictures, reading.learned_from.target) == (str(scenes), "labels")
    assert (reading.learned_from.num_images, reading.learned_from.kept_back) == (18, 6)
    assert reading.scores.keys() == {"published", "plain", "learned"}
    assert reading.label.refine == "none"


def test_the_model_of_a_dataset_must_have_the_weights_that_made_it(tmp_path):
    samples = [DatasetStore.open(SCENES)[0]]
    write_dataset(tmp_path / "drawn", samples, class_set("emoji"), model="embedded", model_revision="0123abcd")
    assert last_line("calibrate", tmp_path / "drawn", "--out", tmp_path / "mine.json") == (
        f"not the model that made the dataset; got {model_fingerprint(MODELS['embedded'])}; expected 0123abcd"
    )


def test_it_reads_other_scenes_better_than_the_plain_mean(learned, embedded):
    """Scenes that it was not learned from; both are labelled as fits them best here."""
    reading, _ = learned
    store = DatasetStore.open(SCENES)
    samples = [store[index] for index in range(100, 132)]
    asked = (
        [s.image for s in samples],
        [s.prompt for s in samples],
        [sample_seed(s.seed, s.prompt.index) for s in samples],
    )

    def score(chosen):
        heatmaps = [class_heatmaps(maps) for maps in embedded.attend(*asked, chosen)]
        found = []
        for exponent in (0, 1):
            for cut in (0.3, 0.4, 0.5):
                label = reading.label.model_copy(
                    update={"exponent": exponent, "threshold": cut, "uncertainty_threshold": cut}
                )
                pairs = (
                    (label_map(maps, s.prompt.classes, s.label.shape, label), s.label)
                    for maps, s in zip(heatmaps, samples, strict=True)
                )
                found.append(evaluate_labels(pairs, num_classes=13).miou)
        return max(found)

    assert score(reading) > score(embedded.spec.resolve_reading("plain"))


def test_the_same_call_learns_nothing_again_and_another_is_refused(learned, scenes):
    reading, out = learned
    before = out.stat().st_mtime_ns
    settings = CalibrateSettings(model="embedded", num_images=24, **QUICK)
    again = calibrate(scenes, settings, out, seed=0)
    assert (again.reading, again.seconds, out.stat().st_mtime_ns) == (reading, 0.0, before)
    with pytest.raises(ConfigError, match=r"mine\.json holds another reading; fix: use another --out or delete it"):
        calibrate(scenes, settings, out, seed=1)


def test_a_dataset_is_read_again_and_labelled_as_fits(learned, tmp_path, embedded):
    """`generate` with a learned reading and `relabel --reading` of a plain dataset give the same labels."""
    prompts, options = tmp_path / "prompts.jsonl", ("--steps", 1, "--device", "cpu", "--shard-size", 2)
    succeed("prompts", "--out", prompts, "--num-images", 3)
    reading = ("--reading", learned[1])
    succeed("generate", "--prompts", prompts, "--out", tmp_path / "plain", "--reading", "plain", *options)
    succeed("generate", "--prompts", prompts, "--out", tmp_path / "learned", *reading, *options)
    succeed("relabel", tmp_path / "plain", "--out", tmp_path / "again", *reading)
    stores = [DatasetStore.open(tmp_path / name) for name in ("plain", "learned", "again")]
    for first, second, third in zip(*stores, strict=True):
        assert np.array_equal(first.image, second.image)
        assert (second.label == third.label).mean() > 0.999  # the last digits are the batch's
        np.testing.assert_allclose(second.heatmaps.values, third.heatmaps.values, atol=2e-3)
    used = stores[1].manifest.provenance.used.reading
    assert isinstance(used.cross_attention, LearnedLayers)
    assert used == stores[2].manifest.provenance.used.reading == learned[0]
    assert stores[1].manifest.provenance.label == learned[0].label
    # Relabelling a dataset takes what fits its reading, and needs no model.
    succeed("relabel", tmp_path / "again", "--out", tmp_path / "same")
    assert [one.label.tobytes() for one in DatasetStore.open(tmp_path / "same")] == [
        one.label.tobytes() for one in stores[1]
    ]


def test_a_teacher_is_believed_about_the_classes_of_the_prompt_alone(scenes, tmp_path):
    succeed("train", scenes, "--out", tmp_path / "teacher", "--iterations", 2, "--batch-size", 2)
    command = ("calibrate", scenes, "--teacher", tmp_path / "teacher", "--model", "embedded", "--num-images", 8)
    output = succeed(*command, "--timesteps", 1, "--refine", "none", "--out", tmp_path / "taught.json")
    assert "agreement with the teacher on the 2 pictures kept back" in output
    assert output.endswith(f"wrote {tmp_path / 'taught.json'}\n")
    values = json.loads((tmp_path / "taught.json").read_text())
    assert values["learned_from"]["target"] == str(tmp_path / "teacher")


def test_what_there_is_nothing_to_learn_from_is_refused(scenes, tmp_path):
    out = tmp_path / "reading.json"
    assert refuse("calibrate", "--out", out) == (
        "nothing to learn from, or two things; expected either a dataset or --benchmark"
    )
    assert refuse("calibrate", scenes, "--out", out) == (
        "no model whose attention is to be read; fix: --model with its name or folder"
    )
    assert not out.exists()


def test_photos_of_a_benchmark_are_read_at_the_models_size(tmp_path):
    settings = CalibrateSettings(model="embedded", benchmark="scenes", num_images=8, **QUICK)
    reading = calibrate(None, settings, tmp_path / "masks.json", seed=0, device="cpu").reading
    assert (reading.learned_from.pictures, reading.learned_from.num_images) == ("scenes", 6)


def test_thresholds_below_one_another_are_refused_before_anything_is_read(tmp_path, learned):
    with pytest.raises(ConfigError, match=r"^the threshold is below the uncertainty threshold that fits the reading"):
        LabelOptions(threshold=0.0, uncertainty_threshold=None).resolve(
            learned[0].label.model_copy(update={"uncertainty_threshold": 0.2})
        )
