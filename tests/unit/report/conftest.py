import json
from functools import partial

import numpy as np
import pytest
from tests.helpers import factories
from tests.helpers.factories import FORKLIFTS, write_dataset

from dataset_diffusion.config import LabelSettings, PromptSettings, RunConfig
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.evaluation.examples import Example, write_examples
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels, to_results
from dataset_diffusion.prompts.prompt_files import write_prompts
from dataset_diffusion.records import Heatmaps

SIZE = (16, 24)


@pytest.fixture
def classes():
    return FORKLIFTS


@pytest.fixture
def make_sample():
    """A function that makes the sample of an index: a forklift on the left, an uncertain column, background."""

    def make(index, text="a yard; forklift", with_heatmaps=True):
        label = np.zeros(SIZE, np.uint8)
        label[:, :6], label[:, 6] = 1, 255
        values = np.stack([np.zeros((1, 4, 6)), np.ones((1, 4, 6))]).astype(np.float16)
        heatmaps = Heatmaps((0, 4), values, np.zeros((2, 1, 2), np.float32)) if with_heatmaps else None
        image = np.full((*SIZE, 3), 3 * index, np.uint8)
        return factories.make_sample(index, text=text, image=image, label=label, heatmaps=heatmaps)

    return make


@pytest.fixture
def make_dataset(classes, make_sample):
    """A function that writes a dataset of samples, all of its shards or some."""

    def make(path, num_samples=5, shard_size=2, shards=None, **options):
        provenance = Provenance(seed=7, label=LabelSettings(exponent=0))
        fields = {"num_samples": num_samples, "shard_size": shard_size, "model": "embedded"}
        samples = partial(make_sample, **options)
        return write_dataset(path, samples, classes, shards=shards, provenance=provenance, **fields)

    return make


@pytest.fixture
def results(classes):
    """What evaluation writes: a quarter of the forklift taken for background, no hand truck anywhere."""
    truth = np.zeros((4, 4), np.uint8)
    truth[:2, :2] = 1
    prediction = truth.copy()
    prediction[0, 0] = 0
    return to_results(evaluate_labels([(prediction, truth)], 3), classes, {"benchmark": "scenes"})


@pytest.fixture
def examples():
    """A hand truck that is not found."""
    truth = np.zeros(SIZE, np.uint8)
    truth[4:12, 4:12] = 2
    return [Example(np.full((*SIZE, 3), 90, np.uint8), truth, np.zeros_like(truth))]


@pytest.fixture
def make_run(classes, make_sample, make_dataset, results, examples):
    """A function that writes a finished run, then removes the named parts of it again."""

    def make(path, without=(), **options):
        config = RunConfig(prompts=PromptSettings(classes=classes.names, num_images=5))
        make_dataset(path / "dataset", **options)
        (path / "config.json").write_text(config.model_dump_json())
        write_prompts(path / "prompts.jsonl", [make_sample(index).prompt for index in range(5)], classes)
        (path / "model").mkdir()
        model = {
            "segmenter": "unet-resnet18",
            "class_set": classes.to_json(),
            "settings": config.train.model_dump(),
            "seed": 3,
            "num_images": 5,
            "data_id": "",
            "package_version": "0.1.0",
        }
        (path / "model" / "model.json").write_text(json.dumps(model))
        log = [{"step": step, "loss": 1 / step, "learning_rate": 1e-3} for step in range(1, 41)]
        (path / "model" / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
        write_examples(path / "examples.parquet", examples, classes)
        (path / "results.json").write_text(json.dumps(results))
        for part in without:
            (path / part).unlink()
        return path

    return make
