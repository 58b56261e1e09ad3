import json
import os

import numpy as np
import pytest
from PIL import Image
from tests.helpers.tiny_captioner import save_tiny_captioner

from dataset_diffusion.disk.photos import list_photos
from dataset_diffusion.errors import DatasetError, PromptError, Skipped
from dataset_diffusion.prompts.captioner import load_captioner
from dataset_diffusion.prompts.captions import read_captions
from dataset_diffusion.prompts.photos import photo_key, read_photo_captions, write_captions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    save_tiny_captioner(folder)
    return load_captioner(str(folder), "cpu")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("b.jpg", "a.png", "sub/c.PNG", "sub/d.webp"):
        Image.fromarray(generator.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no photo")
    (folder / "._a.png").write_bytes(b"what macOS leaves beside files")
    return folder


def caption_all(photos, captioner, file, batch_size=4, **options):
    paths = list_photos(photos)
    batches = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    return caption(batches, photos, captioner, file, **options)


def caption(batches, folder, captioner, file, **options):
    captioned = zip(batches, map(captioner.caption_files, batches), strict=True)
    return list(write_captions(captioned, folder, captioner.name, file, **options))


def test_every_photo_gets_its_caption(photos, captioner, tmp_path):
    file = tmp_path / "out" / "captions.jsonl"
    assert caption_all(photos, captioner, file) == [4]
    captions = read_photo_captions(file, captioner.name)
    for photo in list_photos(photos):
        with Image.open(photo) as image:
            assert captions[photo_key(photo, photos)] == captioner.caption([image.convert("RGB")])[0]
    assert len(set(captions.values())) == 4


def test_batches_change_nothing(photos, captioner, tmp_path):
    whole, halves = tmp_path / "whole.jsonl", tmp_path / "halves.jsonl"
    caption_all(photos, captioner, whole)
    assert caption_all(photos, captioner, halves, batch_size=3) == [3, 1]
    assert halves.read_bytes() == whole.read_bytes()


def test_an_unfinished_line_is_made_again(photos, captioner, tmp_path):
    file = tmp_path / "captions.jsonl"
    caption_all(photos, captioner, file)
    written = file.read_bytes()
    file.write_bytes(written[:-9])
    known = read_photo_captions(file, captioner.name)
    assert len(known) == 3
    missing = [photo for photo in list_photos(photos) if photo_key(photo, photos) not in known]
    assert [photo.name for photo in missing] == ["d.webp"]
    caption([missing], photos, captioner, file)
    assert file.read_bytes() == written


def test_a_photo_whose_name_is_not_utf_8_is_captioned_once(photos, captioner, tmp_path):
    odd = photos / os.fsdecode(b"caf\xe9.png")
    (photos / "a.png").rename(odd)
    file = tmp_path / "captions.jsonl"
    caption_all(photos, captioner, file)
    assert photo_key(odd, photos) in read_photo_captions(file, captioner.name)
    assert len(read_captions(file)) == 4


def test_captions_of_another_captioner_or_photo_are_not_taken(photos, captioner, tmp_path):
    file = tmp_path / "captions.jsonl"
    caption_all(photos, captioner, file)
    assert read_photo_captions(file, "another") == {}
    Image.new("RGB", (60, 60)).save(photos / "a.png")
    assert photo_key(photos / "a.png", photos) not in read_photo_captions(file, captioner.name)


@pytest.mark.parametrize("content", [b"", b"no picture", "cut"])
def test_a_photo_that_cannot_be_read_is_named_or_left_out(photos, captioner, tmp_path, content):
    bad = photos / "b.jpg"
    bad.write_bytes(bad.read_bytes()[:-200] if content == "cut" else content)
    file = tmp_path / "captions.jsonl"
    with pytest.raises(DatasetError) as error:
        caption_all(photos, captioner, file)
    assert str(error.value).startswith(f"a photo cannot be read; got {bad}: ")
    assert str(error.value).endswith("fix: replace or remove it, or leave out what is bad with --skip-bad")
    # The captions of the others are kept all the same.
    names = [json.loads(line)["photo"] for line in file.read_text().splitlines()]
    assert names == ["a.png", "sub/c.PNG", "sub/d.webp"]
    kept = file.read_bytes()
    file.unlink()
    skipped = Skipped()
    assert caption_all(photos, captioner, file, skip_bad=skipped) == [4]
    assert skipped.reasons == {str(bad): str(error.value)}
    assert file.read_bytes() == kept


def test_a_captions_file_that_cannot_be_written_is_named(photos, captioner, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"cannot write .*file/captions\.jsonl; got File exists; fix: "):
        caption_all(photos, captioner, tmp_path / "file" / "captions.jsonl")


def test_a_file_of_something_else_is_not_cut(photos, captioner, tmp_path):
    file = tmp_path / "captions.jsonl"
    file.write_text("precious\nnotes")
    with pytest.raises(PromptError, match=f"the file is none of captions of photos; got {file}; fix: "):
        caption_all(photos, captioner, file)
    assert file.read_text() == "precious\nnotes"
