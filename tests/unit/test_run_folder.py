import pytest

from dataset_diffusion.run_folder import RunFolder


def test_every_part_has_a_place_of_its_own(tmp_path):
    run = RunFolder(tmp_path)
    parts = [
        *(run.config, run.prompts, run.dataset, run.filtered, run.model),
        *(run.results, run.examples, run.report),
    ]
    assert [path.name for path in parts] == [
        *("config.json", "prompts.jsonl", "dataset", "filtered", "model"),
        *("results.json", "examples.parquet", "report.html"),
    ]
    assert {path.parent for path in parts} == {tmp_path}


def test_a_run_is_begun_by_what_comes_before_its_scores(tmp_path):
    run = RunFolder(tmp_path)
    run.results.write_text("{}")
    run.config.write_text("{}")
    assert not run.is_begun


@pytest.mark.parametrize("part", ["prompts.jsonl", "dataset/", "model/"])
def test_any_of_them_begins_it(tmp_path, part):
    if part.endswith("/"):
        (tmp_path / part).mkdir()
    else:
        (tmp_path / part).touch()
    assert RunFolder(tmp_path).is_begun


def test_the_labels_that_count_are_the_last_turns_whose_dataset_is_begun(tmp_path):
    run = RunFolder(tmp_path)
    run.turn(0).model.mkdir(parents=True)
    assert run.labelled == run.dataset
    for number in (0, 2, 10):
        run.turn(number).dataset.mkdir(parents=True)
    assert run.labelled == run.turn(10).dataset
