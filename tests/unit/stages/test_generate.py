import json
import os
import re

import pytest
from tests.helpers.processes import run_command, succeed
from tests.helpers.tiny_models import add_safety_checker, thin_pipeline

from dataset_diffusion.config import (
    ExecutorSettings,
    FilterSettings,
    GenerateSettings,
    LabelOptions,
    LabelSettings,
    WorkerSettings,
)
from dataset_diffusion.dataset.schema import shard_bytes
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.errors import DatasetError, PromptError
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.prompts.prompt_files import write_prompts
from dataset_diffusion.stages.filter import filter_samples
from dataset_diffusion.stages.generate import generate_dataset, repair_dataset
from dataset_diffusion.stages.relabel import relabel_dataset

pytestmark = pytest.mark.slow

CLASSES = class_set("emoji")
SMALL = GenerateSettings(steps=1, height=32, width=32, batch_size=2, shard_size=2, device="cpu")
ONE = WorkerSettings(num_workers=1)


@pytest.fixture
def draw(tmp_path):
    """A function that draws the dataset of some prompts, or of as many as asked for."""

    def run(prompts=4, name="dataset", seed=0, settings=SMALL, **options):
        if isinstance(prompts, int):
            prompts = build_prompts(None, CLASSES, prompts, seed=0)
        write_prompts(tmp_path / "prompts.jsonl", prompts, CLASSES)
        file, label = tmp_path / "prompts.jsonl", LabelSettings()
        return generate_dataset(file, settings, tmp_path / name, label=label, seed=seed, **options)

    return run


def shards(store):
    return [path.read_bytes() for path in sorted(store.path.rglob("*.parquet"))]


def test_prompts_are_drawn_in_order_of_their_index_whatever_their_order_in_the_file(draw):
    prompts = build_prompts(None, CLASSES, 3, seed=0)
    assert shards(draw(prompts[::-1], "backwards")) == shards(draw(prompts, "forwards"))


def test_the_seed_decides_what_is_drawn(draw):
    first, other = draw(2, "first", seed=0), draw(2, "other", seed=1)
    assert (first[0].image != other[0].image).any()


def test_a_run_is_the_start_of_a_longer_one(draw):
    assert shards(draw(4, "long"))[:1] == shards(draw(build_prompts(None, CLASSES, 4, seed=0)[:2], "short"))


def test_the_manifest_says_what_the_samples_follow_from(draw):
    manifest = draw(2, seed=5).manifest
    assert manifest.model == "embedded"
    assert manifest.model_revision
    assert manifest.provenance.seed == 5
    assert manifest.provenance.generate.steps == 1
    assert manifest.provenance.label == LabelSettings()


def test_prompts_with_gaps_between_their_indices_are_refused(draw, tmp_path):
    prompts = build_prompts(None, CLASSES, 3, seed=0)
    with pytest.raises(PromptError) as error:
        draw([prompts[0], prompts[2]])
    assert str(error.value) == (
        "the prompts are not numbered without gaps; "
        f"got indices 0 to 2 for 2 prompts in {tmp_path / 'prompts.jsonl'}; expected 0 to 1"
    )
    assert not (tmp_path / "dataset").exists()


MACHINE = {"batch_size": 1, "channels_last": True, "vae_slicing": True, "device": None}


def as_version_1(store, **changes):
    """Rewrite a dataset as 0.1.0 wrote it; gives the bytes of its dataset.json."""
    opened = DatasetStore.open(store.path)
    for shard in set(range(store.manifest.num_shards)) - set(opened.missing_shards()):
        store.shard_path(shard).write_bytes(shard_bytes(opened.read_table(shard), 1))
    file = store.path / "dataset.json"
    values = json.loads(file.read_text())
    config = store.manifest.provenance.asked()
    config["generate"] = {name: value for name, value in (config["generate"] | changes).items() if value != "unknown"}
    renamed = {"config" if name == "provenance" else name: value for name, value in values.items()}
    file.write_text(json.dumps(renamed | {"schema_version": 1, "config": config}, indent=2) + "\n")
    return file.read_bytes()


def test_a_dataset_is_resumed_on_another_machine(draw):
    store = draw(4)
    first, _ = shards(store)
    store.shard_path(1).unlink()
    resumed = draw(4, settings=SMALL.model_copy(update=MACHINE))
    assert resumed.is_complete
    assert shards(resumed)[0] == first
    assert resumed.verify() == []
    (store.path / ".lock").write_bytes(b"process 1 on here")  # of one that was killed when all was written
    draw(4)
    assert not (store.path / ".lock").exists()


def test_a_dataset_of_version_1_is_continued_and_stays_one(draw):
    store = draw(4, settings=SMALL.model_copy(update={"reading": "plain"}))
    before = [shard_bytes(store.read_table(shard), schema_version=1) for shard in (0, 1)]
    store.shard_path(1).unlink()
    # As begun before these settings existed.
    recorded = as_version_1(store, cpu_offload="unknown", vae_slicing="unknown", reading="unknown")
    assert shards(draw(4)) == before
    store.shard_path(0).unlink()
    repair_dataset(DatasetStore.open(store.path), [0])
    assert shards(store) == before
    assert (store.path / "dataset.json").read_bytes() == recorded
    with pytest.raises(DatasetError, match=r"got config\.generate\.steps: 2 \(here: 1\); fix"):
        draw(4, settings=SMALL.model_copy(update={"steps": 2}))


def test_a_dataset_of_version_1_with_an_unknown_setting_is_read_and_not_continued(draw):
    store = draw(2)
    as_version_1(store, brush="oil")
    opened = DatasetStore.open(store.path)
    assert opened.verify() == []
    assert opened.manifest.provenance.generate == SMALL
    with pytest.raises(DatasetError, match=r"got config\.generate\.brush: None \(here: oil\); fix"):
        draw(2)


def test_what_was_used_is_recorded_and_compared(draw):
    store = draw(2)
    used = store.manifest.provenance.used
    assert (used.scheduler, used.steps, used.guidance_scale, used.height, used.dtype) == ("ddim", 1, 4.0, 32, "float32")
    assert used.reading == MODELS["embedded"].resolve_reading()
    # As if this version drew with another guidance scale and on another device.
    other = used.model_copy(update={"guidance_scale": 5.0, "dtype": "float16"})
    recorded = store.manifest.provenance.model_copy(update={"used": other})
    store.manifest.with_provenance(recorded).save(store.path)
    with pytest.raises(DatasetError, match=r"configuration; got used\.guidance_scale: 4\.0 \(here: 5\.0\); fix"):
        draw(2)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"seed": 1}, "config.seed: 1 (here: 0)"),
        ({"settings": SMALL.model_copy(update={"steps": 2})}, "config.generate.steps: 2 (here: 1)"),
        ({"settings": SMALL.model_copy(update={"dtype": "bfloat16"})}, "config.generate.dtype: bfloat16 (here: None)"),
    ],
)
def test_other_samples_do_not_continue_a_dataset(draw, changed, difference):
    store = draw(2)
    store.shard_path(0).unlink()
    with pytest.raises(
        DatasetError, match=re.escape(f"another configuration; got {difference}; fix: use another --out")
    ):
        draw(2, **changed)


def test_an_image_that_the_safety_checker_refuses_teaches_nothing(draw, tmp_path, capsys):
    pipeline = thin_pipeline("sd15")
    settings = SMALL.model_copy(update={"model": str(tmp_path / "model"), "height": 64, "width": 64})
    pipeline.save_pretrained(tmp_path / "model")
    before = [sample.image for sample in draw(3, "unchecked", settings=settings)]
    assert "safety checker" not in capsys.readouterr().err
    refused = add_safety_checker(pipeline, before)
    pipeline.save_pretrained(tmp_path / "model")
    store = draw(3, settings=settings)
    assert "3/3 images" in (said := capsys.readouterr().err)
    assert said.endswith("1 made black by the model's safety checker\n")
    assert not store[refused].image.any()
    assert (store[refused].label == 255).all()
    # Relabelling knows it too, and a filter drops it.
    relabelled = relabel_dataset(store.path, LabelOptions(threshold=0, uncertainty_threshold=0), workers=ONE)
    assert [bool((sample.label == 255).all()) for sample in relabelled].index(True) == refused
    kept = filter_samples(store.path, FilterSettings(rules=("presence > 0",)), tmp_path / "kept")
    assert [sample.seed for sample in kept] == [store[index].seed for index in range(3) if index != refused]


def test_changed_prompts_do_not_continue_a_dataset(draw):
    draw(3)
    with pytest.raises(
        DatasetError, match=r"holds a dataset of another configuration; got config.prompts_sha256: \w+ "
    ):
        draw(build_prompts(None, CLASSES, 3, seed=1))


def test_the_parts_of_a_job_array_together_make_the_dataset(draw):
    whole = draw(5, "whole")
    assert draw(5, "parts", workers=ExecutorSettings(part="2/2")).missing_shards() == [0, 2]
    parts = draw(5, "parts", workers=ExecutorSettings(part="1/2"))
    assert parts.is_complete
    assert shards(parts) == shards(whole)


def test_two_jobs_on_one_dataset_are_told_and_parts_are_not(draw, tmp_path):
    at_work = f"process {os.getpid()} on {os.uname().nodename} at work"
    with folder_lock(tmp_path / "dataset"), pytest.raises(DatasetError) as raised:
        draw()
    assert str(raised.value) == (
        f"{tmp_path / 'dataset'} is being written; got {at_work}; expected one writer at a time; "
        "fix: wait until it has finished, or stop it"
    )
    with folder_lock(tmp_path / "dataset", shared=True):
        assert draw(workers=ExecutorSettings(part="1/1")).is_complete
        draw()  # a finished dataset needs no writer


def test_repair_draws_what_is_broken_as_it_was(draw):
    store = draw(6)
    before = shards(store)
    kept = store.shard_path(2).stat().st_mtime_ns
    store.shard_path(0).unlink()
    store.shard_path(1).write_bytes(before[1][:-10])
    reader = DatasetStore.open(store.path)
    repair_dataset(reader, [0, 1])
    assert shards(store) == before
    assert store.shard_path(2).stat().st_mtime_ns == kept
    assert reader.verify() == []


def test_the_command_says_what_it_drew_again_and_how_the_dataset_is_then(draw):
    store = draw(6)
    store.shard_path(1).unlink()
    (store.path / "shards" / "00007.parquet").write_bytes(b"")
    command = ("verify", store.path, "--num-workers", 1, "--repair")
    outcome = run_command(*command)
    assert (outcome.status, outcome.out) == (
        2,
        f"{store.shard_path(1)}: generated again\n00007.parquet: no shard of this dataset\n",
    )
    (store.path / "shards" / "00007.parquet").unlink()
    assert succeed(*command) == f"{store.path}: 6 samples in 3 shards, all whole\n"


def test_the_bar_counts_the_images_that_are_there(draw, capsys):
    store = draw(5)
    store.shard_path(0).unlink()
    capsys.readouterr()
    draw(5)
    # Shards of 2, 2 and 1: with the last one whole there were 3 images of 5.
    assert "Generate images and label them: 5/5 images" in capsys.readouterr().err


def test_a_dataset_that_was_relabelled_meanwhile_is_not_repaired(draw):
    store = draw(4)
    relabelled = relabel_dataset(store.path, LabelSettings(threshold=0.5), workers=ONE)
    before = shards(relabelled)
    with pytest.raises(DatasetError, match=r"was changed while it was read; got config\.label\.threshold: 0\.5 "):
        repair_dataset(store, [0])
    assert shards(relabelled) == before


def test_repair_takes_the_prompts_it_is_given(draw, tmp_path):
    store = draw(2)
    before = shards(store)
    store.shard_path(0).unlink()
    (tmp_path / "prompts.jsonl").rename(tmp_path / "elsewhere.jsonl")
    with pytest.raises(DatasetError) as raised:
        repair_dataset(store, [0])
    assert str(raised.value) == (
        "the prompts that the lost samples were generated from are not to be found; "
        f"got {tmp_path / 'prompts.jsonl'}; fix: name their file with --prompts"
    )
    repair_dataset(store, [0], tmp_path / "elsewhere.jsonl")
    assert shards(store) == before


def test_repair_refuses_other_prompts_and_changes_nothing(draw, tmp_path):
    store = draw(2)
    store.shard_path(0).write_bytes(b"half")
    write_prompts(tmp_path / "prompts.jsonl", build_prompts(None, CLASSES, 2, seed=1), CLASSES)
    with pytest.raises(DatasetError, match=r"not generated from what is there now; got config.prompts_sha256: "):
        repair_dataset(store, [0])
    assert shards(store) == [b"half"]


def test_a_dataset_that_was_not_drawn_cannot_be_repaired(draw):
    store = draw(2)
    values = json.loads((store.path / "dataset.json").read_text()) | {"provenance": {}}
    (store.path / "dataset.json").write_text(json.dumps(values))
    store.shard_path(0).unlink()
    with pytest.raises(DatasetError) as raised:
        repair_dataset(DatasetStore.open(store.path), [0])
    assert str(raised.value) == (
        f"{store.path} cannot be repaired, since no model generated it as it is; fix: make it again the way it was made"
    )
