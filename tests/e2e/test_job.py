"""The whole job: class names in, labelled dataset, trained segmenter, its score and a report out."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.helpers.processes import files_of, refuse, run_command, succeed, times_of

from dataset_diffusion import __version__
from dataset_diffusion.config import STORED_EXPONENTS, EvaluateSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.evaluation.table import open_benchmark
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.recipe import load_recipe
from dataset_diffusion.seeding import sample_seed

PROGRESS = (
    "Generate images and label them: ",
    "Train the segmenter: ",
    "Compare predictions with the truth: ",
    "Check every picture and label map: ",
)

RECIPE = """
[prompts]
classes = "emoji"
num_images = 6

[generate]
steps = 2
batch_size = 2
shard_size = 3
device = "cpu"

[train]
iterations = 6
batch_size = 2

[evaluate]
benchmark = "scenes"
root = "scenes"
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, scenes):
    """The same job as a recipe, with the benchmark beside it."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "scenes").symlink_to(scenes)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml"


@pytest.fixture(scope="module")
def run_folder(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    succeed("run", recipe, "--out", folder)
    return folder


def test_every_command_succeeds_and_prints_nothing_but_progress_to_stderr(job):
    for name, outcome in job.outcomes.items():
        assert outcome.status == 0, (name, outcome.err)
        assert all(line.startswith(PROGRESS) for line in outcome.err.splitlines()), (name, outcome.err)


def test_each_sample_follows_from_its_prompt_and_its_own_seed(job):
    prompts, classes = read_prompts(job.prompts)
    store = DatasetStore.open(job.dataset)
    assert store.class_set == classes
    assert [sample.prompt for sample in store] == prompts
    assert [sample.seed for sample in store] == [sample_seed(0, index) for index in range(6)]


def test_samples_hold_what_their_label_was_made_from(job):
    store = DatasetStore.open(job.dataset)
    label = store.manifest.provenance.label
    assert label == store.manifest.provenance.used.reading.label
    for sample in store:
        assert sample.image.shape == (128, 128, 3)
        assert sample.heatmaps.exponents == STORED_EXPONENTS
        assert sample.heatmaps.values.shape[:2] == (len(STORED_EXPONENTS), len(sample.prompt.classes))
        assert sample.quality
        assert set(np.unique(sample.label).tolist()) <= {0, 255, *sample.prompt.classes}
        again = label_map(sample.heatmaps, sample.prompt.classes, (128, 128), label, image=sample.image)
        assert np.array_equal(sample.label, again)


def test_results_say_what_was_scored(job, scenes):
    results = json.loads((job.folder / "results.json").read_text())
    ious, names = results["per_class_iou"], DatasetStore.open(job.dataset).class_set.names
    assert results["num_images"] == 6
    assert results["config"] == EvaluateSettings(benchmark=str(scenes)).model_dump(mode="json")
    assert set(ious).isdisjoint(results["absent_classes"])
    assert {*ious, *results["absent_classes"]} == {"background", *names}
    assert results["miou"] == pytest.approx(sum(ious.values()) / len(ious))
    assert 0 <= results["pixel_accuracy"] <= 1
    assert f"mIoU {results['miou']:.1%} over 6 images" in job.outcomes["evaluate"].out


def test_the_report_is_about_this_run(job):
    page = (job.folder / "report.html").read_text()
    assert f"{json.loads((job.folder / 'results.json').read_text())['miou']:.1%}" in page
    assert "potted plant" in page


def test_the_same_commands_again_do_nothing(job):
    files, times = files_of(job.folder), times_of(job.folder)
    for command in job.commands.values():
        succeed(*command)
    assert files_of(job.folder) == files
    rewritten = {name for name, time in times_of(job.folder).items() if time != times[name]}
    assert rewritten <= {"results.json", "examples.parquet", "report.html"}


def test_a_recipe_makes_what_the_commands_make(job, run_folder):
    files, by_commands = files_of(run_folder), files_of(job.folder)
    assert files.keys() == {*by_commands, "config.json"}
    same = [name for name in by_commands if name not in ("results.json", "report.html")]
    assert {name: files[name] for name in same} == {name: by_commands[name] for name in same}
    scores = [json.loads(results["results.json"]) | {"config": None} for results in (files, by_commands)]
    assert scores[0] == scores[1]


def test_a_run_folder_holds_its_resolved_settings(recipe, run_folder):
    label = MODELS["embedded"].resolve_reading().label
    resolved = load_recipe(recipe).model_dump(mode="json") | {"label": label.model_dump(mode="json")}
    assert json.loads((run_folder / "config.json").read_text()) == resolved
    assert json.loads((run_folder / "results.json").read_text())["config"] == resolved


def test_a_finished_run_again_does_nothing(recipe, run_folder):
    times = times_of(run_folder)
    out = succeed("run", recipe, "--out", run_folder)
    assert times_of(run_folder) == times
    assert f"report: {run_folder / 'report.html'}" in out


def test_a_run_makes_again_what_was_deleted(recipe, run_folder):
    files = files_of(run_folder)
    for name in ("dataset/shards/00001.parquet", "model/model.json", "results.json", "report.html"):
        (run_folder / name).unlink()
    succeed("run", recipe, "--out", run_folder)
    assert files_of(run_folder) == files


@pytest.mark.parametrize(
    ("changed", "named"),
    [("steps = 2", "generate.steps"), ("iterations = 6", "train.iterations"), ("num_images = 6", "prompts.num_images")],
)
def test_a_run_folder_of_another_configuration_is_left_alone(recipe, run_folder, changed, named):
    other = recipe.with_name("other.toml")
    other.write_text(RECIPE.replace(changed, changed[:-1] + "9"))
    times = times_of(run_folder)
    message = refuse("run", other, "--out", run_folder)
    assert message.startswith(f"{run_folder} holds a run of another configuration; got {named}: 9 (here: ")
    assert message.endswith(f"fix: use another --out or delete {run_folder}")
    assert times_of(run_folder) == times


def test_true_labels_as_predictions_score_one(scenes, tmp_path):
    for scene in open_benchmark(str(scenes)):
        Image.fromarray(scene.label).save(tmp_path / f"{scene.id}.png")
    out = succeed("evaluate", "--predictions", tmp_path, "--benchmark", scenes, "--out", tmp_path / "results.json")
    assert "mIoU 100.0% over 6 images" in out
    assert json.loads((tmp_path / "results.json").read_text())["pixel_accuracy"] == 1.0


def test_a_segmenter_can_be_trained_on_several_datasets(job, run_folder, tmp_path):
    command = ("--out", tmp_path / "model", "--iterations", 1, "--batch-size", 2)
    succeed("train", job.dataset, run_folder / "dataset", *command)
    assert json.loads((tmp_path / "model" / "model.json").read_text())["num_images"] == 12


def test_doctor_names_the_version_and_what_can_be_chosen():
    outcome = run_command("doctor")
    assert outcome.status == 0
    assert f"dataset-diffusion {__version__}" in outcome.out
    assert "models: embedded, sd15, sd21-base, sdxl-base, " in outcome.out
    assert "segmenters: unet-resnet18, " in outcome.out
    assert "benchmarks: scenes, voc2012, " in outcome.out
