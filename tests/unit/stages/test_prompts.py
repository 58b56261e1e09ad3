import json

import numpy as np
import pytest
from PIL import Image
from tests.helpers.processes import refuse, succeed

from dataset_diffusion.config import GenerateSettings, PromptSettings, make_settings
from dataset_diffusion.errors import ConfigError, PromptError
from dataset_diffusion.prompts import captioner as captioning
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.stages.prompts import compose_prompts, make_prompts, warn_about_classes


def test_prompts_are_written_once(tmp_path):
    out = tmp_path / "prompts.jsonl"
    made = make_prompts(PromptSettings(num_images=5), out, seed=0)
    written = out.stat().st_mtime_ns
    assert make_prompts(PromptSettings(num_images=5), out, seed=0) == made
    assert read_prompts(out) == (made.prompts, made.classes)
    assert out.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("settings", "seed"), [({"num_images": 6}, 0), ({"num_images": 5}, 1), ({"classes": "voc"}, 0)]
)
def test_other_prompts_are_not_overwritten(tmp_path, settings, seed):
    out = tmp_path / "prompts.jsonl"
    make_prompts(PromptSettings(num_images=5), out, seed=0)
    before = out.read_bytes()
    with pytest.raises(ConfigError) as error:
        make_prompts(PromptSettings(**settings), out, seed=seed)
    assert str(error.value) == f"{out} holds other prompts; fix: use another --out, or delete the file"
    assert out.read_bytes() == before


def test_captions_are_what_is_drawn(tmp_path):
    (tmp_path / "captions.txt").write_text("a cat on a mat\nnothing to see\n")
    settings = PromptSettings(classes=("cat",), captions=tmp_path / "captions.txt", num_images=2)
    made = compose_prompts(settings, seed=0)
    assert [prompt.text for prompt in made.prompts] == ["a cat on a mat; cat"] * 2
    assert made.classes.names == ("cat",)
    assert made.found.num_without_class == 1


def test_prompts_that_are_composed_already_are_written_as_they_are(tmp_path):
    captions, out = tmp_path / "captions.txt", tmp_path / "prompts.jsonl"
    captions.write_text("a cat on a mat\n")
    settings = PromptSettings(classes=("cat",), captions=captions, num_images=2)
    composed = compose_prompts(settings, seed=0)
    captions.unlink()
    assert make_prompts(settings, out, seed=0, composed=composed) == composed
    assert read_prompts(out) == (composed.prompts, composed.classes)


def test_captions_that_cannot_be_used_leave_no_file(tmp_path):
    with pytest.raises(PromptError):
        make_prompts(PromptSettings(captions=tmp_path / "no.txt"), tmp_path / "prompts.jsonl", seed=0)
    assert not (tmp_path / "prompts.jsonl").exists()


def test_what_is_bad_is_refused_or_left_out_and_listed(tmp_path):
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"caption": "a cat"}\n{"caption": "a d')
    words = (
        "prompts",
        "--classes",
        "cat,dog",
        "--captions",
        captions,
        "--num-images",
        2,
        "--out",
        tmp_path / "p.jsonl",
    )
    assert refuse(*words).startswith(f"line 2 is not JSON; got {captions}: ")
    assert not (tmp_path / "p.jsonl").exists()
    printed = succeed(*words, "--skip-bad", "--report", tmp_path / "new" / "report.json")
    assert printed.splitlines()[0].startswith(f"skipped: line 2 is not JSON; got {captions}: ")
    report = json.loads((tmp_path / "new" / "report.json").read_text())
    assert report["captions"]["read"] == 1
    assert report["classes"]["cat"] == {"captions": 1, "prompts": 1, "with": {}}
    assert len(report["skipped"]) == 1


@pytest.mark.slow
class TestPhotos:
    @pytest.fixture(scope="class")
    def captioner(self, tmp_path_factory):
        from tests.helpers.tiny_captioner import save_tiny_captioner

        folder = tmp_path_factory.mktemp("captioner")
        save_tiny_captioner(folder)
        return str(folder)

    @pytest.fixture
    def settings(self, tmp_path, captioner):
        folder = tmp_path / "photos"
        folder.mkdir()
        generator = np.random.default_rng(0)
        for number in range(5):
            Image.fromarray(generator.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        return PromptSettings(classes=("cat", "dog", "bus"), captions=folder, captioner=captioner, num_images=6)

    def test_photos_are_captioned_once(self, settings, tmp_path, monkeypatch):
        out = tmp_path / "p.jsonl"
        made = make_prompts(settings, out, seed=0)
        rows = [json.loads(line) for line in (tmp_path / "p.captions.jsonl").read_text().splitlines()]
        assert [row["photo"] for row in rows] == ["0.png", "1.png", "2.png", "3.png", "4.png"]
        assert made.found.num_captions == 5
        assert {caption for caption, _ in made.found.scenes} <= {row["caption"] for row in rows}
        monkeypatch.setattr(captioning, "load_captioner", pytest.fail)
        assert make_prompts(settings, out, seed=0) == made
        # What was kept is a captions file of its own right.
        again = settings.model_copy(update={"captions": tmp_path / "p.captions.jsonl"})
        assert compose_prompts(again, seed=0) == made

    def test_only_missing_photos_are_captioned(self, settings, tmp_path, monkeypatch):
        out = tmp_path / "p.jsonl"
        make_prompts(settings, out, seed=0)
        kept = tmp_path / "p.captions.jsonl"
        written = kept.read_bytes()
        kept.write_bytes(b"".join(written.splitlines(keepends=True)[:2]))
        asked = []
        caption = captioning.Captioner.caption
        monkeypatch.setattr(
            captioning.Captioner, "caption", lambda self, photos: asked.append(len(photos)) or caption(self, photos)
        )
        # Photos keep their batches: 0 and 1, 2 and 3, 4.
        make_prompts(settings, out, seed=0, batch_size=2)
        assert asked == [2, 1]
        assert kept.read_bytes() == written

    def test_without_a_file_for_the_captions_templates_stand_in(self, settings, monkeypatch):
        monkeypatch.setattr(captioning, "load_captioner", pytest.fail)
        made = compose_prompts(settings, seed=0)
        assert made.found is None
        assert made.stand_in
        assert made.prompts == compose_prompts(settings.model_copy(update={"captions": None}), seed=0).prompts

    def test_what_stands_in_for_captions_of_photos_is_composed_again(self, settings, tmp_path):
        made = make_prompts(settings, tmp_path / "p.jsonl", seed=0, composed=compose_prompts(settings, seed=0))
        assert made.found.num_captions == 5
        assert not made.stand_in

    def test_the_command_names_a_cut_photo_or_leaves_it_out(self, settings, tmp_path):
        bad = settings.captions / "3.png"
        bad.write_bytes(bad.read_bytes()[:-300])
        words = ("prompts", "--classes", "cat,dog,bus", "--captions", settings.captions)
        words += ("--captioner", settings.captioner, "--num-images", 3, "--out", tmp_path / "p.jsonl")
        assert refuse(*words).startswith(f"a photo cannot be read; got {bad}: ")
        printed = succeed(*words, "--skip-bad")
        assert printed.startswith(f"skipped: a photo cannot be read; got {bad}: ")
        assert "4 captions:" in printed


def test_captions_that_the_models_tokenizer_cannot_take_are_left_out_and_told(tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text(f"a cat and {'a wooden house and ' * 12}\na cat in the snow\n")
    words = ("prompts", "--classes", "cat,bus", "--captions", captions, "--num-images", 4)
    assert "too long" not in succeed(*words, "--out", tmp_path / "any.jsonl")
    printed = succeed(*words, "--out", tmp_path / "p.jsonl", "--model", "embedded").splitlines()
    assert "2 captions: 0 mention no class, 0 repeat another, 1 are too long, 1 used" in printed
    assert any(line.startswith("too long: a cat and a wooden house and a wooden") for line in printed)
    prompts, _ = read_prompts(tmp_path / "p.jsonl")
    assert {prompt.text for prompt in prompts if "cat" in prompt.text} == {"a cat in the snow; cat"}


def write_coco(folder):
    """Captions and instances of one image with a dog and a cat, of which the caption mentions the dog."""
    captions, instances = folder / "captions_train2017.json", folder / "instances_train2017.json"
    captions.write_text(json.dumps({"annotations": [{"image_id": 1, "id": 1, "caption": "a dog at home"}]}))
    objects = [{"id": 1, "image_id": 1, "category_id": 17}, {"id": 2, "image_id": 1, "category_id": 18}]
    categories = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]
    instances.write_text(json.dumps({"images": [{"id": 1}], "annotations": objects, "categories": categories}))
    return captions, instances


def test_classes_annotated_in_the_image_are_named_where_instances_are_given(tmp_path):
    captions, instances = write_coco(tmp_path)
    own = PromptSettings(classes=("cat", "dog"), captions=captions, num_images=2)
    assert "a dog at home; dog" in {prompt.text for prompt in compose_prompts(own, seed=0).prompts}
    given = compose_prompts(own.model_copy(update={"instances": instances}), seed=0)
    assert {prompt.text for prompt in given.prompts} == {"a dog at home; dog cat"}
    assert given.instances == instances
    beside = compose_prompts(PromptSettings(classes="coco", captions=captions, num_images=80), seed=0)
    assert "a dog at home; dog cat" in {prompt.text for prompt in beside.prompts}
    assert beside.instances == instances
    instances.unlink()
    mentioned = compose_prompts(PromptSettings(classes="coco", captions=captions, num_images=80), seed=0)
    assert "a dog at home; dog" in {prompt.text for prompt in mentioned.prompts}


def test_the_command_says_whose_annotations_it_took(tmp_path):
    captions, instances = write_coco(tmp_path)
    words = (
        "prompts",
        "--classes",
        "cat,dog",
        "--num-images",
        1,
        "--instances",
        instances,
        "--out",
        tmp_path / "p.jsonl",
    )
    assert succeed(*words, "--captions", captions).splitlines()[0] == f"classes as annotated in {instances}"
    assert refuse(*words) == f"--instances is for a file of captions; got {instances}; fix: name it with --captions"


def test_a_published_prompts_file_keeps_its_class_prompts(tmp_path):
    published = tmp_path / "published.json"
    entry = {"filename": "0.jpg", "caption": "a dog and a cat at home; cat", "class_prompt": "cat"}
    published.write_text(json.dumps([entry]))
    made = compose_prompts(PromptSettings(classes=("dog", "cat"), captions=published, num_images=2), seed=0)
    assert "a dog and a cat at home; cat" in {prompt.text for prompt in made.prompts}


def test_what_the_classes_had_better_not_be_drawn_by_is_told(tmp_path, capsys):
    make_prompts(PromptSettings(classes=("forklift", "cat"), num_images=2), tmp_path / "p.jsonl", seed=0)
    warn_about_classes(tmp_path / "p.jsonl", None, GenerateSettings(device="cpu"))
    warn_about_classes(tmp_path / "no.jsonl", None, GenerateSettings(device="cpu"))
    (message,) = capsys.readouterr().err.splitlines()
    assert "; got forklift; " in message


def test_the_grammar_of_scenes_writes_what_no_captions_are_given_for(tmp_path):
    (tmp_path / "words.toml").write_text('[forklift]\nlook_alikes = ["warehouse"]\n')
    settings = PromptSettings(
        classes=("forklift", "pallet"), num_images=60, writer="scenes", words=tmp_path / "words.toml"
    )
    made = compose_prompts(settings, seed=0)
    assert len({prompt.text for prompt in made.prompts}) == 60
    assert not any("warehouse" in prompt.text for prompt in made.prompts)
    assert not made.stand_in
    assert made.found is None


def test_a_writer_and_captions_exclude_each_other():
    with pytest.raises(ConfigError, match="bad value of --writer; got scenes; expected no --captions beside it"):
        make_settings(PromptSettings, writer="scenes", captions="captions.txt")


def test_a_chat_model_is_not_asked_before_there_is_a_place_for_its_captions():
    made = compose_prompts(PromptSettings(writer="llm", llm="/none", num_images=3), seed=0)
    assert made.stand_in
    assert len(made.prompts) == 3
