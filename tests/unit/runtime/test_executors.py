import numpy as np
import pytest

from dataset_diffusion.config import GenerateSettings, LabelSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.records import Generation
from dataset_diffusion.runtime.executors import (
    DrawingJob,
    draw_missing_shards,
    draw_samples,
    label_generation,
    load_model_for,
)
from dataset_diffusion.seeding import sample_seed

CLASSES = class_set("emoji")


def make_job(num_images=5, seed=3, **options):
    settings = {"steps": 1, "height": 32, "width": 32, "batch_size": 2, "device": "cpu"} | options
    prompts = tuple(build_prompts(None, CLASSES, num_images, seed=0))
    return DrawingJob(seed, prompts, GenerateSettings(**settings), LabelSettings())


def test_samples_come_in_order_each_with_its_own_seed(embedded):
    job = make_job()
    counts = []
    samples = list(draw_samples(embedded, job, range(1, 5), counts.append))
    assert [sample.prompt for sample in samples] == list(job.prompts[1:5])
    assert [sample.seed for sample in samples] == [sample_seed(3, index) for index in range(1, 5)]
    assert counts == [2, 2]


def test_the_last_batch_holds_what_is_left(embedded):
    counts = []
    assert len(list(draw_samples(embedded, make_job(batch_size=3), range(5), counts.append))) == 5
    assert counts == [3, 2]


def test_a_sample_follows_from_its_index_and_not_from_its_batch(embedded):
    alone = list(draw_samples(embedded, make_job(batch_size=1), range(3)))
    together = list(draw_samples(embedded, make_job(batch_size=3), range(3)))
    for one, other in zip(alone, together, strict=True):
        # Other batch sizes take other kernels, whose rounding may differ.
        assert np.abs(one.image.astype(int) - other.image.astype(int)).max() <= 1
        assert np.abs(one.heatmaps.values.astype(float) - other.heatmaps.values.astype(float)).max() < 0.05


def test_only_missing_shards_are_drawn(embedded, tmp_path):
    job = make_job()
    manifest = DatasetManifest(class_set=CLASSES, num_samples=5, shard_size=2)
    store = DatasetStore.create(tmp_path, manifest)
    store.write_shard(1, draw_samples(embedded, job, store.shard_range(1)))
    written = store.shard_path(1).stat().st_mtime_ns
    counts = []
    draw_missing_shards(embedded, store, job, counts.append)
    assert counts == [2, 1]
    assert store.is_complete
    assert store.verify() == []
    assert store.shard_path(1).stat().st_mtime_ns == written


def test_an_image_without_attention_cannot_be_labelled():
    prompt = make_job().prompts[0]
    with pytest.raises(ValueError, match="can only be labelled from its attention"):
        label_generation(prompt, 0, Generation(np.zeros((8, 8, 3), np.uint8), None), LabelSettings())


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"height": 30}, ConfigError, "the image size does not fit the model; got 30x32 pixels; "),
        ({"steps": 2000}, ConfigError, "too many denoising steps; got 2000; expected at most 1000"),
        ({"device": "abacus"}, ConfigError, "no such device here; got 'abacus'; "),
        ({"model": "none"}, ModelError, "unknown model; got none; "),
        ({"capture": {"cross_attention_layers": ("attic",)}}, ModelError, "the model has no cross-attention layer "),
    ],
)
def test_a_job_that_cannot_be_drawn_is_refused_before_it_begins(options, kind, message):
    with pytest.raises(kind) as error:
        load_model_for(make_job(**options))
    assert str(error.value).startswith(message)


def test_the_model_of_a_job_is_loaded_as_the_job_says():
    model = load_model_for(make_job(dtype="bfloat16"))
    assert str(model.pipeline.unet.dtype) == "torch.bfloat16"
    assert model.device.type == "cpu"
