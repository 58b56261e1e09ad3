import json
from pathlib import Path

import pytest

from dataset_diffusion.errors import ConfigError, PromptError, Skipped
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.compose import compose_prompt
from dataset_diffusion.prompts.photo_classes import (
    match_photos,
    read_captioned_classes,
    read_class_table,
    scenes_of_folders,
    write_class_table,
)
from dataset_diffusion.records import Scene

CLASSES = ClassSet.from_names(["cat", "dog", "potted plant"])
CAT, DOG, PLANT = CLASSES.ids
SHOWN = {"a.jpg": Scene("a cat, asleep", (CAT,)), "sub/b.png": Scene("two dogs", (DOG,))}
SAID = [("a.jpg", "a cat, asleep"), ("sub/b.png", "two dogs")]


def coco(image_id=int):
    return {
        "images": [{"id": image_id(4), "file_name": "a.jpg"}, {"id": image_id(5), "file_name": "sub/b.png"}],
        "annotations": [{"image_id": 4, "caption": SAID[0][1]}, {"image_id": 5, "caption": SAID[1][1]}],
    }


FILES = {
    "table.csv": 'file_name,caption\na.jpg,"a cat, asleep"\nsub/b.png,two dogs\n',
    "other_order.csv": 'id,caption,photo\n1,"a cat, asleep",a.jpg\n\n2,two dogs,sub/b.png\n',
    "table.tsv": "image\tcaption\na.jpg\ta cat, asleep\nsub/b.png\ttwo dogs\n",
    "coco.json": json.dumps(coco()),
    "coco_ids_as_text.json": json.dumps(coco(str), indent=1),
    "list.json": json.dumps([{"file_name": name, "caption": caption} for name, caption in SAID]),
    "lines.jsonl": "\n".join(json.dumps({"photo": name, "caption": caption}) for name, caption in SAID) + "\n",
    "lines.txt": "\n".join(json.dumps({"photo": name, "caption": caption}) for name, caption in SAID),
    "flickr.txt": "a.jpg#0\ta cat, asleep\nsub/b.png#0\ttwo dogs\n",
}


@pytest.mark.parametrize("name", FILES)
def test_captions_of_every_format_name_their_photos(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    assert read_captioned_classes(tmp_path / name, CLASSES) == SHOWN


@pytest.mark.parametrize("text", ["a cat\na dog\n", "caption\na cat\n", '{"captions": []}', "", '["a cat"]', "[1"])
def test_a_file_that_names_no_photo_is_refused(tmp_path, text):
    (tmp_path / "file").write_text(text)
    with pytest.raises(PromptError, match=r"^the file (does not say it of photos by their names|is not JSON); got "):
        read_captioned_classes(tmp_path / "file", CLASSES)


def test_rows_without_a_name_are_named_or_left_out(tmp_path):
    file = tmp_path / "captions.csv"
    file.write_text("file_name,caption\na.jpg,a cat\n,a dog\nb.jpg\n")
    with pytest.raises(PromptError, match=r"captions\.csv, line 3; expected file_name and caption; fix: "):
        read_captioned_classes(file, CLASSES)
    skipped = Skipped()
    assert read_captioned_classes(file, CLASSES, skipped) == {"a.jpg": Scene("a cat", (CAT,))}
    assert list(skipped.reasons) == [f"{file}, line 3", f"{file}, line 4"]


def test_the_caption_that_mentions_most_is_taken_and_the_classes_of_all(tmp_path):
    file = tmp_path / "captions.csv"
    lines = ("a,nice", "a,a  dog", "b,none", "a,a cat and a plant pot", "a,a cat by a potted plant")
    file.write_text("\n".join(("file_name,caption", *lines)))
    assert read_captioned_classes(file, CLASSES) == {
        "a": Scene("a cat by a potted plant", (DOG, CAT, PLANT)),
        "b": Scene("none", ()),
    }


def test_a_table_lists_the_classes_of_photos(tmp_path):
    file = tmp_path / "names.csv"
    file.write_text('file_name,classes\na.jpg,dog; Potted_Plant;dog\nb.jpg,"cat,dog"\nc.jpg,\nd.jpg,background\n')
    assert read_class_table(file, CLASSES) == {
        "a.jpg": Scene("", (DOG, PLANT)),
        "b.jpg": Scene("", (CAT, DOG)),
        "c.jpg": Scene("", ()),
        "d.jpg": Scene("", ()),
    }


def test_a_class_that_the_set_does_not_have_is_named_or_left_out(tmp_path):
    file = tmp_path / "names.jsonl"
    file.write_text('{"file_name": "a.jpg", "classes": ["cat", "cow"]}\n{"file_name": "b.jpg", "classes": "dog"}\n')
    with pytest.raises(
        ConfigError, match=r"names\.jsonl, of the photo a\.jpg: class set 'custom' has no such class; got cow"
    ):
        read_class_table(file, CLASSES)
    skipped = Skipped()
    assert read_class_table(file, CLASSES, skipped) == {"b.jpg": Scene("", (DOG,))}
    assert list(skipped.reasons) == ["a.jpg"]


def test_what_is_written_is_read_as_names_and_as_captions(tmp_path):
    file = tmp_path / "photos.csv"
    shown = [("a, b.jpg", Scene('a "cat", asleep', (CAT,))), ("sub/ü.png", Scene("a dog and a cat", (DOG, CAT)))]
    prompts = [(name, compose_prompt(0, scene.caption, scene.classes, CLASSES)) for name, scene in shown]
    file.write_bytes(write_class_table(prompts, CLASSES))
    assert read_class_table(file, CLASSES) == {name: Scene("", scene.classes) for name, scene in shown}
    assert read_captioned_classes(file, CLASSES) == dict(shown)


def test_folders_name_classes():
    photos = [Path(place) / "1.jpg" for place in ("in/Cat", "in/potted_plant", "in/cow", "in/background")]
    assert scenes_of_folders(photos, CLASSES) == [Scene("", (CAT,)), Scene("", (PLANT,)), None, None]


def test_photos_are_found_by_path_then_by_name():
    said = {
        "a/1.jpg": Scene("", (CAT,)),
        "b/1.jpg": Scene("", (DOG,)),
        "2.jpg": Scene("", (PLANT,)),
        "c/3.jpg": Scene("", (DOG,)),
    }
    found = match_photos(["a/1.jpg", "b/1.jpg", "z/1.jpg", "z/2.jpg", "3.jpg"], said, Path("file"))
    assert found == [said["a/1.jpg"], said["b/1.jpg"], None, said["2.jpg"], said["c/3.jpg"]]


def test_a_file_about_other_photos_is_refused():
    with pytest.raises(
        PromptError, match=r"^the file names none of the photos; got x\.jpg in file; expected names such as a\.jpg$"
    ):
        match_photos(["a.jpg"], {"x.jpg": Scene("", (CAT,))}, Path("file"))
