"""Shards as `stages.generate` makes them; what its command does with them is in `test_generate.py`."""

from contextlib import closing

import numpy as np
import pytest
import torch

from dataset_diffusion.config import ExecutorSettings, GenerateSettings, LabelSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.diffusion.families.unet import UNetModel
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.errors import ConfigError, DatasetError, ModelError
from dataset_diffusion.labelling.sample import label_generation
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.seeding import sample_seed
from dataset_diffusion.stages.generate import (
    BatchSize,
    GenerationJob,
    check_generation,
    generate_batches,
    generate_shards,
    work_of,
)

pytestmark = pytest.mark.slow

CLASSES = class_set("emoji")


def make_job(num_images=5, seed=3, **options):
    settings = {"steps": 1, "height": 32, "width": 32, "batch_size": 2, "device": "cpu"} | options
    prompts = tuple(build_prompts(None, CLASSES, num_images, seed=0))
    generate = GenerateSettings(**settings)
    return GenerationJob(seed, prompts, generate, MODELS["embedded"].resolve(generate), LabelSettings())


def generate(model, job, prompts=None, size=None):
    """The batches of some prompts, or of all of a job's."""
    prompts = job.prompts if prompts is None else prompts
    return list(generate_batches(model, job, prompts, BatchSize(size or job.generate.batch_size)))


def write(model, store, job, shards, batch=None):
    """Generate shards; what that says of each batch."""
    return list(generate_shards(model, store, job, work_of(store, job, shards), batch))


def new_store(folder, num_samples=5, shard_size=2):
    return DatasetWriter.create(
        folder, DatasetManifest(class_set=CLASSES, num_samples=num_samples, shard_size=shard_size)
    )


def shards_of(store):
    return {path.name: path.read_bytes() for path in sorted(store.path.rglob("*.parquet"))}


class SmallCard(UNetModel):
    """A model on a GPU with memory for a few images at once; keeps the sizes of the batches it was asked for."""

    def __init__(self, model, most):
        super().__init__(model.spec, model.pipeline)
        self.most, self.asked = most, []
        self.error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    def generate_checked(self, prompts, *args):
        self.asked.append(len(prompts))
        if len(prompts) > self.most:
            raise self.error
        return super().generate_checked(prompts, *args)


def test_images_come_in_order_each_with_its_own_seed(embedded):
    job = make_job()
    batches = generate(embedded, job, job.prompts[1:5])
    assert [len(batch) for batch in batches] == [2, 2]
    generated = [one for batch in batches for one in batch]
    assert [prompt for prompt, _, _ in generated] == list(job.prompts[1:5])
    assert [seed for _, seed, _ in generated] == [sample_seed(3, index) for index in range(1, 5)]


def test_the_last_batch_holds_what_is_left(embedded):
    assert [len(batch) for batch in generate(embedded, make_job(batch_size=3))] == [3, 2]


def test_a_sample_follows_from_its_index_and_not_from_its_batch(embedded):
    job = make_job(num_images=3)
    alone = [one for batch in generate(embedded, job, size=1) for one in batch]
    [together] = generate(embedded, job, size=3)
    for (_, _, one), (_, _, other) in zip(alone, together, strict=True):
        # Other batch sizes take other kernels, whose rounding may differ.
        assert np.abs(one.image.astype(int) - other.image.astype(int)).max() <= 1
        assert torch.allclose(one.attention.cross_attention, other.attention.cross_attention, atol=1e-3)


def test_what_is_written_in_the_background_is_what_is_written_one_after_the_other(embedded, tmp_path):
    job, slow, fast = make_job(), new_store(tmp_path / "slow"), new_store(tmp_path / "fast")
    for shard, prompts in work_of(slow, job, range(3)):
        generated = [one for batch in generate(embedded, job, prompts) for one in batch]
        slow.write_shard(shard, [label_generation(*one, job.label) for one in generated])
    write(embedded, fast, job, range(3))
    assert shards_of(fast) == shards_of(slow)


def test_only_the_shards_asked_for_are_generated(embedded, tmp_path):
    job, store = make_job(), new_store(tmp_path)
    assert write(embedded, store, job, [0, 2]) == [(2, ""), (1, "")]
    assert store.missing_shards() == [1]


@pytest.mark.parametrize(("most", "asked"), [(3, [4, 2, 2, 1]), (1, [4, 2, 1, 1, 1, 1, 1])])
def test_a_batch_that_does_not_fit_is_halved_and_stays_small(embedded, tmp_path, most, asked):
    job, store, card = make_job(batch_size=4), new_store(tmp_path, shard_size=5), SmallCard(embedded, most)
    notes = {note for _, note in write(card, store, job, [0])}
    assert card.asked == asked
    assert notes == {f"batches of {min(most, 2)}, as 4 do not fit"}
    assert store.verify() == []


def test_the_cpus_memory_is_no_other(embedded):
    job, card = make_job(), SmallCard(embedded, 1)
    card.error = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
    assert [len(batch) for batch in generate(card, job)] == [1] * 5
    card.error = RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"):
        generate(card, job)


def test_the_size_that_fits_is_kept_from_one_call_to_the_next(embedded, tmp_path):
    job, store, card, batch = make_job(), new_store(tmp_path), SmallCard(embedded, 1), BatchSize(2)
    for shard in (0, 1):
        write(card, store, job, [shard], batch)
    assert card.asked == [2, 1, 1, 1, 1]


def test_a_single_image_that_does_not_fit_is_told(embedded, tmp_path):
    job, store = make_job(), new_store(tmp_path)
    with pytest.raises(ModelError) as raised:
        write(SmallCard(embedded, 0), store, job, [0])
    assert str(raised.value) == (
        "the device has too little memory for a single image; got CUDA out of memory; "
        "fix: a smaller --height and --width, --dtype float16, --cpu-offload, or --device cpu"
    )
    assert shards_of(store) == {}


def test_what_cannot_be_written_stops_the_generating(embedded, tmp_path):
    job, store = make_job(num_images=20, batch_size=1), new_store(tmp_path, num_samples=20, shard_size=1)
    (tmp_path / "shards").rmdir()
    card = SmallCard(embedded, 1)
    with pytest.raises(DatasetError, match=r"^cannot write .*00000\.parquet; got No such file or directory; fix: "):
        write(card, store, job, range(20))
    assert len(card.asked) <= 1 + 2  # what may wait to be written


def test_an_interrupt_keeps_whole_shards_only(embedded, tmp_path):
    job, store = make_job(), new_store(tmp_path)

    def interrupt_when_something_is_written(batches):
        for _ in batches:
            if store.missing_shards() != [0, 1, 2]:
                raise KeyboardInterrupt

    work = work_of(store, job, [0, 0, 0, 0, 0, 1, 2])
    with closing(generate_shards(embedded, store, job, work)) as batches, pytest.raises(KeyboardInterrupt):
        interrupt_when_something_is_written(batches)
    assert list(shards_of(store)) == ["00000.parquet"]
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["00000.parquet"]
    whole = new_store(tmp_path / "whole")
    write(embedded, whole, job, [0])
    assert shards_of(store) == shards_of(whole)


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
def test_a_job_that_cannot_be_generated_is_refused_before_it_begins(options, kind, message):
    job = make_job(**options)
    with pytest.raises(kind) as error:
        check_generation(job.prompts, job.generate)
    assert str(error.value).startswith(message)


def test_the_model_of_a_job_is_loaded_as_the_job_says():
    job = make_job(dtype="bfloat16")
    model = check_generation(job.prompts, job.generate)
    assert str(model.pipeline.unet.dtype) == "torch.bfloat16"
    assert model.device.type == "cpu"


def test_what_ray_is_to_do_is_checked_here_and_loaded_there():
    job, ray = make_job(device="cuda"), ExecutorSettings(executor="ray")
    assert check_generation(job.prompts, job.generate, ray) is None
    with pytest.raises(ConfigError, match="too many denoising steps"):
        check_generation(job.prompts, make_job(steps=2000).generate, ray)
