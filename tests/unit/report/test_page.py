import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.examples import MAX_EXAMPLES, Example, write_examples
from dataset_diffusion.report.page import percent, write_report

VOID = {"meta", "link", "img", "br", "hr", "input"}
SECTIONS = ["scores", "samples", "predictions", "classes", "training", "confusion", "settings"]


class Page(HTMLParser):
    """What a page holds, with a check that its tags are nested as they should be."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.text = [], [], [], [], ""
        self.sections = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "section":
            self.sections.append(attributes["id"])
        if tag == "img":
            self.images.append(attributes)
        self.links += [value for name, value in attributes.items() if name in ("src", "href", "xlink:href", "action")]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def test_a_finished_run_has_every_section(tmp_path, make_run):
    path = write_report(make_run(tmp_path / "yard"))
    assert path == tmp_path / "yard" / "report.html"
    page = Page(path.read_text())
    assert page.sections == SECTIONS
    assert "92.3%" in page.text  # IoU of the background, 12 of 13
    assert "mean IoU" in page.text
    assert "Not in the mean, since they occur in neither truth nor predictions: hand truck." in page.text
    assert "5 images of 2 classes, drawn by the diffusion model embedded" in page.text
    assert "The segmenter unet-resnet18 learnt from 5 labelled images for 1,000 steps." in page.text
    assert "70.8% are background, 25.0% belong to a class and 4.2% are uncertain" in page.text
    assert 'benchmark = "scenes"' in page.text
    assert "This makes it" not in page.text


def test_the_steps_of_all_rounds_are_told(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    model = json.loads((run / "model" / "model.json").read_text())
    model["settings"]["self_training"] = 2
    (run / "model" / "model.json").write_text(json.dumps(model))
    assert "learnt from 5 labelled images for 3,000 steps." in Page(write_report(run).read_text()).text


def test_the_page_needs_nothing_beside_itself(tmp_path, make_run):
    html = write_report(make_run(tmp_path / "run")).read_text()
    page = Page(html)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"url\((?!#)|@import|<script", html)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html


def test_every_picture_has_a_size_and_an_alternative_text(tmp_path, make_run):
    page = Page(write_report(make_run(tmp_path / "run")).read_text())
    assert len(page.images) == 5 * 4 + 3
    assert all(image["alt"] and (image["height"], image["width"]) == ("16", "24") for image in page.images)


def test_the_same_run_gives_the_same_bytes(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    assert write_report(run).read_bytes() == write_report(run).read_bytes()
    assert not list(run.glob(".*"))


def test_predictions_are_shown_only_where_there_are_some(tmp_path, make_run):
    page = Page(write_report(make_run(tmp_path / "run", without=["examples.parquet"])).read_text())
    assert page.sections == [section for section in SECTIONS if section != "predictions"]
    assert "#predictions" not in page.links


@pytest.mark.parametrize(
    ("without", "said", "command"),
    [
        (["results.json"], "The segmenter has not been scored yet.", "evaluate {run}/model --benchmark"),
        (["model/model.json", "model/training_log.jsonl"], "No segmenter has been trained yet.", "train {run}/dataset"),
        (["dataset/dataset.json"], "No image has been drawn yet.", "generate --prompts {run}/prompts.jsonl"),
        (["dataset/dataset.json"], "5 prompts are written, and no image is drawn yet.", "--out {run}/dataset"),
    ],
)
def test_a_missing_part_is_said_with_the_command_that_makes_it(tmp_path, make_run, without, said, command):
    run = make_run(tmp_path / "run", without=[*without, "config.json"])
    text = Page(write_report(run).read_text()).text
    assert said in text
    assert command.format(run=run) in text


def test_a_run_without_a_benchmark_is_not_said_to_lack_scores(tmp_path, make_run):
    run = make_run(tmp_path / "run", without=["results.json"])
    config = json.loads((run / "config.json").read_text())
    config["evaluate"]["benchmark"] = "none"
    (run / "config.json").write_text(json.dumps(config))
    text = Page(write_report(run).read_text()).text
    assert "The recipe names no benchmark" in text
    assert "not been scored yet" not in text


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("model/model.json", "Training stopped at step 40. The command that began it goes on from there."),
        ("dataset/shards/00001.parquet", "Shards still to be drawn: 1 of 3."),
        ("dataset/shards/00001.parquet", "3 of 5 images of 2 classes"),
    ],
)
def test_an_unfinished_part_is_said(tmp_path, make_run, without, said):
    assert said in Page(write_report(make_run(tmp_path / "run", without=[without])).read_text()).text


def test_prompts_alone_make_a_page(tmp_path, make_run):
    parts = ["dataset/dataset.json", "model/model.json", "model/training_log.jsonl", "results.json"]
    run = make_run(tmp_path / "run", without=parts)
    page = Page(write_report(run).read_text())
    assert page.text.count(f"dataset-diffusion run recipe.toml --out {run}") == 5


def test_a_dataset_alone_has_no_scores(tmp_path, make_dataset):
    folder = make_dataset(tmp_path / "data").path
    page = Page(write_report(str(folder)).read_text())
    assert page.sections == ["samples", "classes", "settings"]
    assert f"dataset-diffusion train {folder} --out MODEL" in page.text


def test_an_empty_dataset_makes_a_page(tmp_path, make_dataset):
    page = Page(write_report(make_dataset(tmp_path / "data", shards=[]).path).read_text())
    assert "0 of 5 images" in page.text
    assert not page.images


def test_what_the_user_wrote_is_text_and_not_markup(tmp_path, make_dataset):
    text = '<script>alert("x")</script> & {{ 7 * 7 }}; forklift'
    html = write_report(make_dataset(tmp_path / "<b>data").path).read_text()
    assert "<b>" not in html
    html = write_report(make_dataset(tmp_path / "other", text=text).path).read_text()
    assert "<script" not in html
    assert text in Page(html).text


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    with pytest.raises(DatasetError, match="nothing to report on"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_report_leaves_the_old_one(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    before = write_report(run).read_bytes()
    (run / "results.json").write_text("{")
    with pytest.raises(DatasetError):
        write_report(run)
    assert (run / "report.html").read_bytes() == before


@pytest.mark.slow
def test_the_page_of_large_noisy_images_stays_below_8_megabytes(tmp_path, make_run, classes):
    random = np.random.default_rng(0)
    examples = [
        Example(random.integers(0, 256, (600, 600, 3), np.uint8), *random.integers(0, 3, (2, 600, 600), np.uint8))
        for _ in range(20)
    ]
    run = make_run(tmp_path / "run", num_samples=24, shard_size=24)
    write_examples(run / "examples.parquet", examples, classes)
    path = write_report(run)
    assert len(Page(path.read_text()).images) == 24 * 4 + 3 * MAX_EXAMPLES
    assert path.stat().st_size < 8e6


def test_examples_of_other_classes_are_not_shown(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    results = json.loads((run / "results.json").read_text())
    results["classes"] = ["background", "pallet", "crate"]
    (run / "results.json").write_text(json.dumps(results))
    assert "predictions" not in Page(write_report(run).read_text()).sections


def test_percent():
    assert percent(0.7131) == "71.3%"
    assert percent(float("nan")) == "–"
