from threading import Event

import numpy as np
import pytest
import torch

from dataset_diffusion.config import GenerateSettings, LabelSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.diffusion.families.unet import DiffusionModel
from dataset_diffusion.errors import ConfigError, DatasetError, ModelError
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.records import Generation
from dataset_diffusion.seeding import sample_seed
from dataset_diffusion.stages.drawing import (
    QUEUE_DEPTH,
    BatchSize,
    DrawingJob,
    InBackground,
    draw_batches,
    draw_shards,
    label_generation,
    load_model_for,
    work_of,
)

CLASSES = class_set("emoji")


def make_job(num_images=5, seed=3, **options):
    settings = {"steps": 1, "height": 32, "width": 32, "batch_size": 2, "device": "cpu"} | options
    prompts = tuple(build_prompts(None, CLASSES, num_images, seed=0))
    return DrawingJob(seed, prompts, GenerateSettings(**settings), LabelSettings())


def draw(model, job, prompts=None, size=None):
    prompts = job.prompts if prompts is None else prompts
    return list(draw_batches(model, job, prompts, BatchSize(size or job.generate.batch_size)))


def new_store(folder, num_samples=5, shard_size=2):
    return DatasetWriter.create(
        folder, DatasetManifest(class_set=CLASSES, num_samples=num_samples, shard_size=shard_size)
    )


def shards_of(store):
    return {path.name: path.read_bytes() for path in sorted(store.path.rglob("*.parquet"))}


class SmallCard(DiffusionModel):
    """A model on a GPU with memory for a few images at once; keeps the sizes of the batches it was asked for."""

    def __init__(self, model, most):
        super().__init__(model.spec, model.pipeline)
        self.most, self.asked = most, []
        self.error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    def generate(self, prompts, *args, **kwargs):
        self.asked.append(len(prompts))
        if len(prompts) > self.most:
            raise self.error
        return super().generate(prompts, *args, **kwargs)


def test_images_come_in_order_each_with_its_own_seed(embedded):
    job = make_job()
    batches = draw(embedded, job, job.prompts[1:5])
    assert [len(batch) for batch in batches] == [2, 2]
    drawn = [one for batch in batches for one in batch]
    assert [one.prompt for one in drawn] == list(job.prompts[1:5])
    assert [one.seed for one in drawn] == [sample_seed(3, index) for index in range(1, 5)]


def test_the_last_batch_holds_what_is_left(embedded):
    assert [len(batch) for batch in draw(embedded, make_job(batch_size=3))] == [3, 2]


def test_a_sample_follows_from_its_index_and_not_from_its_batch(embedded):
    job = make_job(num_images=3)
    alone = [one for batch in draw(embedded, job, size=1) for one in batch]
    [together] = draw(embedded, job, size=3)
    for one, other in zip(alone, together, strict=True):
        # Other batch sizes take other kernels, whose rounding may differ.
        difference = one.generation.image.astype(int) - other.generation.image.astype(int)
        assert np.abs(difference).max() <= 1
        assert torch.allclose(
            one.generation.attention.cross_attention, other.generation.attention.cross_attention, atol=1e-3
        )


def test_what_is_written_in_the_background_is_what_is_written_one_after_the_other(embedded, tmp_path):
    job, slow, fast = make_job(), new_store(tmp_path / "slow"), new_store(tmp_path / "fast")
    for shard, prompts in work_of(slow, job, range(3)):
        drawn = [one for batch in draw(embedded, job, prompts) for one in batch]
        slow.write_shard(shard, [label_generation(one.prompt, one.seed, one.generation, job.label) for one in drawn])
    draw_shards(embedded, fast, job, work_of(fast, job, range(3)))
    assert shards_of(fast) == shards_of(slow)


def test_only_the_shards_asked_for_are_drawn(embedded, tmp_path):
    job, store = make_job(), new_store(tmp_path)
    counts = []
    draw_shards(embedded, store, job, work_of(store, job, [0, 2]), on_images=lambda *seen: counts.append(seen))
    assert counts == [(2, ""), (1, "")]
    assert store.missing_shards() == [1]


@pytest.mark.parametrize(("most", "asked"), [(3, [4, 2, 2, 1]), (1, [4, 2, 1, 1, 1, 1, 1])])
def test_a_batch_that_does_not_fit_is_halved_and_stays_small(embedded, tmp_path, most, asked):
    job, store, card = make_job(batch_size=4), new_store(tmp_path, shard_size=5), SmallCard(embedded, most)
    notes = []
    draw_shards(card, store, job, work_of(store, job, [0]), on_images=lambda _, note: notes.append(note))
    assert card.asked == asked
    assert set(notes) == {f"batches of {min(most, 2)}, as 4 do not fit"}
    assert store.verify() == []


def test_the_cpus_memory_is_no_other(embedded):
    job, card = make_job(), SmallCard(embedded, 1)
    card.error = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
    assert [len(batch) for batch in draw(card, job)] == [1] * 5
    card.error = RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"):
        draw(card, job)


def test_the_size_that_fits_is_kept_from_one_call_to_the_next(embedded, tmp_path):
    job, store, card, batch = make_job(), new_store(tmp_path), SmallCard(embedded, 1), BatchSize(2)
    for shard in (0, 1):
        draw_shards(card, store, job, work_of(store, job, [shard]), batch=batch)
    assert card.asked == [2, 1, 1, 1, 1]


def test_a_single_image_that_does_not_fit_is_told(embedded, tmp_path):
    job, store = make_job(), new_store(tmp_path)
    with pytest.raises(ModelError) as raised:
        draw_shards(SmallCard(embedded, 0), store, job, work_of(store, job, [0]))
    assert str(raised.value) == (
        "the device has too little memory for a single image; got CUDA out of memory; "
        "fix: a smaller --height and --width, --dtype float16, --cpu-offload, or --device cpu"
    )
    assert shards_of(store) == {}


def test_what_cannot_be_written_stops_the_drawing(embedded, tmp_path):
    job, store = make_job(num_images=20, batch_size=1), new_store(tmp_path, num_samples=20, shard_size=1)
    (tmp_path / "shards").rmdir()
    card = SmallCard(embedded, 1)
    with pytest.raises(DatasetError, match=r"^cannot write .*00000\.parquet; got No such file or directory; fix: "):
        draw_shards(card, store, job, work_of(store, job, range(20)))
    assert len(card.asked) <= 1 + QUEUE_DEPTH


def test_an_interrupt_keeps_whole_shards_only(embedded, tmp_path):
    job, store = make_job(), new_store(tmp_path)

    def interrupt(count, note):
        if store.missing_shards() != [0, 1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_shards(embedded, store, job, work_of(store, job, [0, 0, 0, 0, 0, 1, 2]), on_images=interrupt)
    assert list(shards_of(store)) == ["00000.parquet"]
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["00000.parquet"]
    whole = new_store(tmp_path / "whole")
    draw_shards(embedded, whole, job, work_of(whole, job, [0]))
    assert shards_of(store) == shards_of(whole)


def test_work_in_the_background_is_in_order_and_never_far_behind():
    done, started = [], Event()
    with InBackground() as background:
        background.submit(started.wait)
        for number in range(QUEUE_DEPTH - 1):
            background.submit(done.append, number)
        started.set()
        for number in range(QUEUE_DEPTH - 1, 10):
            background.submit(done.append, number)
            assert len(done) >= number + 1 - QUEUE_DEPTH
    assert done == list(range(10))


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
