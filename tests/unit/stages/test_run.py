import json
import re
import statistics
from collections import Counter
from html import unescape

import diffusers
import numpy as np
import pytest
from tests.helpers.processes import refuse, succeed, times_of

from dataset_diffusion.config import RunConfig
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.recipe import load_recipe
from dataset_diffusion.stages import prompts
from dataset_diffusion.stages.run import run_all

pytestmark = pytest.mark.slow


def test_a_damaged_run_folder_is_told(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError) as error:
        run_all(RunConfig(), tmp_path)
    assert str(error.value).startswith(f"cannot read {tmp_path / 'config.json'}; got Expecting property name")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


RECIPE = """
[prompts]
classes = ["cat", "hand truck"]
num_images = 2
[generate]
steps = 1
height = 32
width = 32
device = "cpu"
[train]
iterations = 1
batch_size = 2
[evaluate]
benchmark = "none"
"""


def test_a_recipe_without_a_benchmark_ends_with_training_and_a_page(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    first, last = succeed("run", recipe, "--out", out).splitlines()
    assert first == f"2 images and 1 training steps into {out}; the same command resumes"
    assert last == f"report: {out / 'report.html'}"
    assert (out / "model" / "model.json").exists()
    assert not (out / "results.json").exists()
    before = times_of(out)
    succeed("run", recipe, "--out", out)
    assert times_of(out) == before
    # A page from before the model was finished is about an unfinished run, however new the file is.
    page, model = (out / "report.html").read_bytes(), (out / "model" / "model.json").read_bytes()
    (out / "model" / "model.json").unlink()
    succeed("report", out)
    assert (out / "report.html").read_bytes() != page
    (out / "model" / "model.json").write_bytes(model)
    succeed("run", recipe, "--out", out)
    assert (out / "report.html").read_bytes() == page


def test_a_run_is_resumed_on_another_machine_and_not_with_other_settings(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    succeed("run", recipe, "--out", out)
    (out / "dataset" / "shards" / "00000.parquet").unlink()
    recipe.write_text(RECIPE.replace('device = "cpu"', "batch_size = 1\nvae_slicing = true"))
    succeed("run", recipe, "--out", out)
    recipe.write_text(RECIPE.replace("steps = 1", "steps = 2"))
    assert refuse("run", recipe, "--out", out) == (
        f"{out} holds a run of another configuration; got generate.steps: 2 (here: 1); "
        f"fix: use another --out or delete {out}"
    )


def test_a_recipe_for_own_classes_is_told_how_to_go_without_a_benchmark(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace('"none"', '"scenes"'))
    message = refuse("run", tmp_path / "recipe.toml", "--out", tmp_path / "run")
    assert message.startswith("the segmenter and the benchmark scenes have different classes; got cat, hand truck; ")
    assert message.endswith('or in a recipe "none"')
    assert not (tmp_path / "run").exists()


def test_a_recipe_with_rules_trains_on_what_passes_them(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    more = RECIPE.replace("num_images = 2", "num_images = 5")
    recipe.write_text(more)
    succeed("run", recipe, "--out", tmp_path / "all")
    drawn = list(DatasetStore.open(tmp_path / "all" / "dataset"))
    bound = round(statistics.median(sample.quality["foreground"] for sample in drawn), 4)
    passing = [sample.image for sample in drawn if sample.quality["foreground"] <= bound]
    assert 0 < len(passing) < 5
    recipe.write_text(f'{more}[filter]\nrules = ["foreground <= {bound}"]\n')
    succeed("run", recipe, "--out", out)
    kept = [sample.image for sample in DatasetStore.open(out / "filtered")]
    assert np.array_equal(kept, passing)
    assert json.loads((out / "model" / "model.json").read_text())["num_images"] == len(kept)
    told = f"learnt from {len(kept)} labelled images that pass foreground &lt;= {bound} for 1 steps."
    assert told in (out / "report.html").read_text()
    before = times_of(out)
    succeed("run", recipe, "--out", out)
    assert times_of(out) == before


def test_a_bad_rule_costs_no_drawing(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE + '[filter]\nrules = ["presence is 1"]\n')
    assert refuse("run", recipe, "--out", tmp_path / "run").startswith("not a rule; got presence is 1; expected ")
    assert not (tmp_path / "run").exists()


def test_the_pages_recipe_makes_the_same_run_again(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    succeed("run", recipe, "--out", out)
    (shown,) = re.findall(r"<code>(seed = .*?)</code></pre>", (out / "report.html").read_text(), re.DOTALL)
    recipe.write_text(unescape(shown))
    assert load_recipe(recipe).model_dump(mode="json") == json.loads((out / "config.json").read_text())


def test_a_run_of_another_version_still_has_a_page(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    succeed("run", recipe, "--out", out)
    config = json.loads((out / "config.json").read_text())
    config["evaluate"] |= {"gone": 1}
    (out / "config.json").write_text(json.dumps(config))
    assert succeed("report", out) == f"wrote {out / 'report.html'}\n"


def test_a_run_is_resumed_from_another_folder(tmp_path, monkeypatch):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    (tmp_path / "captions.txt").write_text("a cat\n")
    recipe.write_text(RECIPE.replace("num_images", 'captions = "captions.txt"\nnum_images'))
    monkeypatch.chdir(tmp_path)
    succeed("run", "recipe.toml", "--out", "run")
    before = times_of(out)
    monkeypatch.chdir("/")
    succeed("run", recipe, "--out", out)
    assert times_of(out) == before


@pytest.fixture
def counted(monkeypatch):
    """How often what takes long was called; every call goes through."""
    calls = Counter()

    def count(owner, name):
        work = getattr(owner, name)

        def spy(*arguments, **options):
            calls[name] += 1
            return work(*arguments, **options)

        monkeypatch.setattr(owner, name, spy)

    count(diffusers.DiffusionPipeline, "from_pretrained")
    for name in ("read_captioned", "find_scenes", "draw_prompts"):
        count(prompts, name)
    return calls


def test_a_fresh_run_does_everything_once_and_a_finished_one_nothing(tmp_path, counted):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    (tmp_path / "captions.txt").write_text("a cat\n")
    recipe.write_text(RECIPE.replace("num_images", 'captions = "captions.txt"\nnum_images'))
    succeed("run", recipe, "--out", out)
    assert counted == {"from_pretrained": 1, "read_captioned": 1, "find_scenes": 1, "draw_prompts": 1}
    counted.clear()
    succeed("run", recipe, "--out", out)
    assert counted == {}
    (tmp_path / "others.txt").write_text("a hand truck\n")
    recipe.write_text(recipe.read_text().replace("captions.txt", "others.txt"))
    assert "; got prompts.captions: " in refuse("run", recipe, "--out", out)


def test_a_turn_of_learning_to_read_labels_the_pictures_anew(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    turns = '[calibrate]\nturns = 1\nnum_images = 8\ntimesteps = [1]\nrefine = "none"\n'
    recipe.write_text(
        RECIPE.replace('["cat", "hand truck"]', '"emoji"').replace("num_images = 2", "num_images = 8") + turns
    )
    succeed("run", recipe, "--out", out)
    first, second = (DatasetStore.open(folder) for folder in (out / "dataset", out / "turns" / "0" / "dataset"))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    used = second.manifest.provenance.used.reading
    assert (used.name, used.learned_from.target) == ("reading", str(out / "turns" / "0" / "model"))
    trained_on = json.loads((out / "model" / "model.json").read_text())
    assert trained_on["data_id"] != json.loads((out / "turns" / "0" / "model" / "model.json").read_text())["data_id"]
    before = times_of(out)
    succeed("run", recipe, "--out", out)
    assert times_of(out) == before


def test_rounds_of_redrawing_train_on_with_pictures_of_what_is_weak(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE + "[redraw]\nrounds = 2\nnum_images = 3\nshare = 1.0\n")
    succeed("run", recipe, "--out", out)
    trained = [out / "rounds" / "0" / "model", out / "rounds" / "1" / "model", out / "model"]
    assert [json.loads((model / "model.json").read_text())["num_images"] for model in trained] == [2, 5, 8]
    assert len({(model / "model.safetensors").read_bytes() for model in trained}) == 3
    weak = json.loads((out / "rounds" / "1" / "weakness.json").read_text())
    assert set(weak["classes"]) == {"cat", "hand truck"}
    images = [
        sample.image.tobytes()
        for one in ("rounds/1", "rounds/2")
        for sample in DatasetStore.open(out / one / "dataset")
    ]
    assert len(set(images)) == 6
    before = times_of(out)
    succeed("run", recipe, "--out", out)
    assert times_of(out) == before
    # What is lost of a round comes back as it was: all of it follows from the recipe and the rounds before.
    lost = out / "rounds" / "2"
    shard, prompts = lost / "dataset" / "shards" / "00000.parquet", lost / "prompts.jsonl"
    was = shard.read_bytes(), prompts.read_bytes()
    shard.unlink()
    prompts.unlink()
    (lost / "weakness.json").unlink()
    succeed("run", recipe, "--out", out)
    assert (shard.read_bytes(), prompts.read_bytes()) == was


def test_a_run_of_a_version_that_knew_fewer_settings_goes_on(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    succeed("run", recipe, "--out", out)
    config = json.loads((out / "config.json").read_text())
    del config["redraw"], config["prompts"]["writer"], config["train"]["robustness"]
    (out / "config.json").write_text(json.dumps(config))
    before = times_of(out)
    succeed("run", recipe, "--out", out)
    # The page is about the folder, and so about the file that was changed.
    assert {name for name, time in times_of(out).items() if before[name] != time} <= {
        "report.html",
        out / "report.html",
    }
    recipe.write_text(RECIPE + "[redraw]\nrounds = 1\n")
    assert "got redraw.rounds: 1 (here: 0)" in refuse("run", recipe, "--out", out)
