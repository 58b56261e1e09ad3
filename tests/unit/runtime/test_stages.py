import json

import pytest

from dataset_diffusion.config import GenerateSettings, LabelSettings, RunConfig
from dataset_diffusion.errors import ConfigError, DatasetError, PromptError
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.prompts.prompt_files import write_prompts
from dataset_diffusion.runtime.stages import make_dataset, run_all, write_results

CLASSES = class_set("emoji")
SMALL = GenerateSettings(steps=1, height=32, width=32, batch_size=2, shard_size=2, device="cpu")


@pytest.fixture
def draw(tmp_path):
    """A function that draws the dataset of some prompts."""

    def run(prompts, name="dataset", settings=SMALL, seed=0):
        file = tmp_path / f"{name}.jsonl"
        write_prompts(file, prompts, CLASSES)
        return make_dataset(file, settings, LabelSettings(), seed, tmp_path / name)

    return run


def shards(store):
    return [store.shard_path(shard).read_bytes() for shard in range(store.manifest.num_shards)]


def test_prompts_are_drawn_in_order_of_their_index_whatever_their_order_in_the_file(draw):
    prompts = build_prompts(None, CLASSES, 3, seed=0)
    assert shards(draw(prompts[::-1], "backwards")) == shards(draw(prompts, "forwards"))


def test_the_seed_decides_what_is_drawn(draw):
    prompts = build_prompts(None, CLASSES, 2, seed=0)
    first, other = draw(prompts, "first", seed=0), draw(prompts, "other", seed=1)
    assert (first[0].image != other[0].image).any()


def test_a_run_is_the_start_of_a_longer_one(draw):
    prompts = build_prompts(None, CLASSES, 4, seed=0)
    assert shards(draw(prompts, "long"))[:1] == shards(draw(prompts[:2], "short"))


def test_the_manifest_says_what_the_samples_follow_from(draw):
    manifest = draw(build_prompts(None, CLASSES, 2, seed=0), seed=5).manifest
    assert manifest.model == "embedded"
    assert manifest.model_revision
    assert manifest.config["seed"] == 5
    assert manifest.config["generate"]["steps"] == 1
    assert manifest.config["label"] == LabelSettings().model_dump()


def test_prompts_with_gaps_between_their_indices_are_refused(draw, tmp_path):
    prompts = build_prompts(None, CLASSES, 3, seed=0)
    with pytest.raises(PromptError) as error:
        draw([prompts[0], prompts[2]])
    assert str(error.value) == (
        "the prompts are not numbered without gaps; "
        f"got indices 0 to 2 for 2 prompts in {tmp_path / 'dataset.jsonl'}; expected 0 to 1"
    )
    assert not (tmp_path / "dataset").exists()


def test_changed_prompts_do_not_continue_a_dataset(draw):
    prompts = build_prompts(None, CLASSES, 3, seed=0)
    draw(prompts)
    with pytest.raises(
        DatasetError, match=r"holds a dataset of another configuration; got config.prompts_sha256: \w+ "
    ):
        draw(build_prompts(None, CLASSES, 3, seed=1))


def test_a_damaged_run_folder_is_told(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError) as error:
        run_all(RunConfig(), tmp_path)
    assert str(error.value).startswith(f"cannot read {tmp_path / 'config.json'}; got Expecting property name")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_results_are_written_whole_into_folders_that_are_made(tmp_path):
    out = tmp_path / "some" / "results.json"
    write_results(out, {"miou": 0.5})
    assert json.loads(out.read_text()) == {"miou": 0.5}
    assert [path.name for path in out.parent.iterdir()] == ["results.json"]
