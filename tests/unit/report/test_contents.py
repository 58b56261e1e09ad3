import pytest

from dataset_diffusion.errors import DatasetError, PromptError
from dataset_diffusion.report.contents import read_contents


def test_a_finished_run(tmp_path, make_run, classes):
    run = read_contents(make_run(tmp_path / "run"))
    assert run.is_run
    assert run.class_set == classes
    assert run.num_prompts == len(run.store) == 5
    assert run.config["seed"] == 0
    assert run.model.segmenter == "unet-resnet18"
    assert (run.training_log[-1].step, run.training_log[-1].loss) == (40, 1 / 40)
    assert run.results.benchmark == "scenes"
    assert run.results.confusion_matrix[1] == (1, 3, 0)
    assert [example.truth.max() for example in run.examples] == [2]


def test_a_dataset_alone(tmp_path, make_dataset, classes):
    folder = make_dataset(tmp_path / "data").path
    found = read_contents(folder)
    assert not found.is_run
    assert found.class_set == classes
    assert found.command("train") == f"dataset-diffusion train {folder} --out MODEL"


@pytest.mark.parametrize("part", ["prompts.jsonl", "dataset/dataset.json", "results.json", "model/model.json"])
def test_the_classes_are_known_from_any_part(tmp_path, make_run, classes, part):
    parts = ["prompts.jsonl", "dataset/dataset.json", "results.json", "model/model.json"]
    run = make_run(tmp_path / "run", without=[other for other in parts if other != part])
    assert read_contents(run).class_set.names == classes.names


def test_half_a_line_at_the_end_of_the_training_log_is_left_out(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    with (run / "model" / "training_log.jsonl").open("a") as log:
        log.write('{"step": 41, "lo')
    assert read_contents(run).training_log[-1].step == 40


def test_commands_name_the_run(tmp_path, make_run):
    run = make_run(tmp_path / "my run", without=["config.json"])
    found = read_contents(run)
    assert found.command("generate") == (
        f"dataset-diffusion generate --prompts '{run}/prompts.jsonl' --out '{run}/dataset'"
    )
    assert found.command("train") == f"dataset-diffusion train '{run}/dataset' --out '{run}/model'"
    assert found.command("evaluate").startswith(f"dataset-diffusion evaluate '{run}/model' --benchmark")


@pytest.mark.parametrize("stage", ["generate", "train", "evaluate"])
def test_a_run_of_a_recipe_is_finished_by_its_recipe(tmp_path, make_run, stage):
    run = make_run(tmp_path / "run")
    assert read_contents(run).command(stage) == f"dataset-diffusion run recipe.toml --out {run}"


@pytest.mark.parametrize("kind", ["empty", "missing", "only a config"])
def test_a_folder_that_is_neither_is_refused(tmp_path, kind):
    folder = tmp_path / "folder"
    if kind != "missing":
        folder.mkdir()
    if kind == "only a config":
        (folder / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(DatasetError, match=r"nothing to report on; got .*folder; expected .*; fix: ") as caught:
        read_contents(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "text", "got"),
    [
        ("results.json", "{", "Invalid JSON"),
        ("results.json", "[]", "object"),
        ("results.json", '{"miou": 71.3}', "miou: Input should be less than or equal to 1"),
        ("results.json", '{"miou": NaN}', "miou: "),
        ("config.json", "7", "object"),
        ("model/model.json", "{}", "segmenter: Field required"),
        ("model/training_log.jsonl", '{"step": 1}\n', "loss: Field required"),
    ],
)
def test_a_damaged_file_is_named_with_a_fix(tmp_path, make_run, part, text, got):
    run = make_run(tmp_path / "run")
    (run / part).write_text(text)
    with pytest.raises(DatasetError, match=f"{part} cannot be read; got .*{got}.*; fix: ") as caught:
        read_contents(run)
    assert "\n" not in str(caught.value)


def test_a_confusion_matrix_that_does_not_fit_its_classes_is_refused(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    text = (run / "results.json").read_text()
    (run / "results.json").write_text(text.replace('"hand truck"], "conf', '"hand truck", "pallet"], "conf'))
    with pytest.raises(DatasetError, match="confusion_matrix must be 4 x 4"):
        read_contents(run)


def test_damaged_bytes_and_prompts_are_refused(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    (run / "results.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"results\.json cannot be read"):
        read_contents(run)
    (run / "prompts.jsonl").write_text("nonsense\n")
    with pytest.raises(PromptError):
        read_contents(run)


def test_a_damaged_file_of_examples_is_named_with_a_fix(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    (run / "examples.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"examples\.parquet cannot be read; got .*; fix: ") as caught:
        read_contents(run)
    assert "\n" not in str(caught.value)
