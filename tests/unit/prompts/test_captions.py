import json

import pytest

from dataset_diffusion.errors import PromptError, Skipped
from dataset_diffusion.prompts.captions import (
    Caption,
    clean_caption,
    read_captioned,
    read_captions,
    remove_class_prompt,
)

EXPECTED = ["A cat on a mat.", "Two dogs, one ball"]

COCO = {
    "info": {},
    "images": [{"id": 1}],
    "annotations": [
        {"image_id": 1, "id": 5, "caption": "A cat on a mat.\n"},
        {"image_id": 1, "id": 6, "caption": " Two dogs,  one ball"},
    ],
}
PUBLISHED = [
    {"filename": "4.jpg", "caption": "A cat on a mat.; cat", "class_prompt": "cat"},
    {"filename": "5.jpg", "caption": "Two dogs, one ball; dog sports ball", "class_prompt": "dog sports ball"},
]
FLICKR8K = "12_a.jpg#0\tA cat on a mat.\n12_a.jpg#1\tTwo dogs, one ball\n"
CSV = 'image,caption\n12.jpg,A cat on a mat.\n12.jpg,"Two dogs, one ball"\n'
FLICKR30K_CSV = "image_name| comment_number| comment\n1.jpg| 0| A cat on a mat.\n1.jpg| 1| Two dogs, one ball\n"
JSON_LINES = '{"caption": "A cat on a mat.", "id": 1}\n\n{"caption": "Two dogs, one ball"}\n'


@pytest.mark.parametrize(
    ("filename", "content"),
    [
        ("captions.json", json.dumps(COCO)),
        ("captions.json", json.dumps(COCO, indent=1)),
        ("captions", json.dumps(COCO)),
        ("prompts.json", json.dumps(PUBLISHED)),
        ("list.json", json.dumps(EXPECTED)),
        ("Flickr8k.token.txt", FLICKR8K),
        ("results.token", FLICKR8K),
        ("captions.csv", CSV),
        ("captions.txt", CSV),
        ("captions.csv", f"\n \n{CSV}"),
        ("captions.tsv", "image\tcaption\n1\tA cat on a mat.\n2\tTwo dogs, one ball\n"),
        ("results.csv", FLICKR30K_CSV),
        ("captions.jsonl", JSON_LINES),
        ("captions.json", JSON_LINES),
        ("captions.txt", "A cat on a mat.\n\n  Two dogs, one ball  \r\n"),
        ("captions.txt", "\ufeffA cat on a mat.\nTwo dogs, one ball"),
        ("captions.txt", "A cat\u2028on a\x0bmat.\rTwo\u2029dogs,\x85one ball"),
        ("names.txt", "cat 1.jpg\tA cat on a mat.\nb.PNG\tTwo dogs, one ball\n"),
        ("names.txt", "cat 1.jpg, A cat on a mat.\nb.jpeg|0|Two dogs, one ball\n"),
        ("captions.csv", "image,caption\n1.jpg,A cat on a mat.\n2.jpg,Two dogs, one ball\n"),
        ("captions.csv", 'image,caption\n1,"A cat on a mat.\n"\n2,"Two dogs,\n one ball"\n'),
        ("captions.tsv", 'image\tcaption\n1\t"A cat on a mat."\n2\tTwo dogs, one ball\n'),
    ],
)
def test_every_format_gives_the_same_captions(tmp_path, filename, content):
    path = tmp_path / filename
    path.write_text(content, encoding="utf-8")
    assert read_captions(path) == EXPECTED
    assert read_captions(str(path)) == EXPECTED


def test_plain_text_that_looks_like_something_else_stays_plain_text(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("[blurry] a cat\na cat, a dog; a caption\n#1 a bus\n")
    assert read_captions(path) == ["[blurry] a cat", "a cat, a dog; a caption", "#1 a bus"]


@pytest.mark.parametrize(
    ("filename", "content", "message"),
    [
        ("a.txt", b"", "no captions in the file"),
        ("a.txt", b" \n\t\n", "no captions in the file"),
        ("a.json", b'{"annotations": []}', "no captions in the file"),
        ("a.csv", b"caption\n", "no captions in the file"),
        ("a.txt", b"a caf\xe9\n", "the file is not UTF-8 text"),
        ("a.json", b"{", "the file is not JSON"),
        ("a.json", b"[" * 100_000, "the file is not JSON"),
        ("a.json", b'{"classes": 1}', "JSON of an unknown kind"),
        ("a.json", b"3", "JSON of an unknown kind"),
        ("a.json", b'{"annotations": [{"bbox": [1, 2]}]}', "JSON of an unknown kind"),
        ("a.json", b'[{"caption": null}]', "JSON of an unknown kind"),
        ("a.jsonl", b'{"caption": "a"}\n{"text": "b"}', "JSON of an unknown kind"),
        ("a.jsonl", b'{"caption": "a"}\nb', "line 2 is not JSON"),
        ("a.csv", b"image,text\n1,a\n", "no caption column"),
        ("a.csv", b"image,caption\n1," + b"a" * 200_000, "the file is not CSV"),
        ("a.txt", b"a" * 20_000, "the file does not look like captions"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path, filename, content, message):
    path = tmp_path / filename
    path.write_bytes(content)
    with pytest.raises(PromptError) as error:
        read_captions(path)
    assert str(error.value).startswith(message)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("filename", "content", "expected", "skipped"),
    [
        ("a.json", b'[{"caption": "a cat"}, {"text": "b"}, 3, "a dog"]', ["a cat", "a dog"], ["entry 2", "entry 3"]),
        ("a.jsonl", b'{"caption": "a cat"}\n{"capt', ["a cat"], ["line 2 is not JSON"]),
        ("a.jsonl", b'{"caption": "a cat"}\n{"caption": null}\n', ["a cat"], ["line 2: no caption"]),
        ("a.txt", b"a cat\na caf\xe9\na dog", ["a cat", "a dog"], ["line 2"]),
        ("a.txt", b"1.jpg#0\ta cat\n\nno number\n1.jpg#1\ta dog\n", ["a cat", "a dog"], ["line 3"]),
        ("a.csv", b"image,caption\n1,a cat\n2\n\n3,a dog\n", ["a cat", "a dog"], ["line 3: 1 columns"]),
    ],
)
def test_bad_entries_are_left_out_where_the_caller_says_so(tmp_path, filename, content, expected, skipped):
    path = tmp_path / filename
    path.write_bytes(content)
    left_out = Skipped()
    assert read_captions(path, left_out) == expected
    reasons = list(left_out.reasons.values())
    assert len(reasons) == len(skipped)
    for reason, words in zip(reasons, skipped, strict=True):
        assert str(path) in reason
        assert words in reason
    with pytest.raises(PromptError) as error:
        read_captions(path)
    assert str(error.value) == reasons[0]


@pytest.mark.parametrize(
    ("content", "captions", "bad"),
    [
        ('image,caption\n1,"a dog\n2,a cat\n3,a bus\n', ["a cat", "a bus"], "line 2: unexpected end of data"),
        ('image,caption\n1,"a dog\n2,a cat\n3,"a bus"\n', ["a cat", "a bus"], "line 2: ',' expected after '\"'"),
        ('image,caption\n1,"a dog\n2, a cat"\n3,a bus\n', ["a bus"], "line 2: a quote that is not closed in its line"),
        (
            "caption,image\na dog, a cat,1\na bus,2\n",
            ["a bus"],
            "line 2: 3 columns; expected 2 columns: caption, image",
        ),
        ('image,caption\n1,"a dog", a cat\n2,a bus\n', ["a bus"], "line 2: 3 columns"),
        ("image|caption\n1|" + '"a dog\n2|a cat\n', ['"a dog', "a cat"], None),
    ],
)
def test_no_row_is_cut_or_swallows_others_in_silence(tmp_path, content, captions, bad):
    path, left_out = tmp_path / "captions.csv", Skipped()
    path.write_text(content)
    assert [one for one in read_captions(path, left_out) if one in captions] == captions
    if bad is None:
        assert not left_out.reasons
        return
    assert bad in next(iter(left_out.reasons.values()))
    with pytest.raises(PromptError) as error:
        read_captions(path)
    assert bad in str(error.value)
    assert str(error.value).endswith("leave out what is bad with --skip-bad")


def test_what_a_file_says_beside_its_captions_is_kept(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(COCO))
    assert [caption.image for caption in read_captioned(path)] == [1, 1]
    path.write_text(json.dumps(PUBLISHED))
    assert read_captioned(path) == [Caption(EXPECTED[0], None, "cat"), Caption(EXPECTED[1], None, "dog sports ball")]


def test_lines_keep_their_numbers_when_others_are_left_out(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_bytes(b'{"caption": "a cat"}\n{"caption": "a caf\xe9"}\n{"caption": 3}\n{"caption": "a dog"}\n')
    left_out = Skipped()
    assert read_captions(path, left_out) == ["a cat", "a dog"]
    assert list(left_out.reasons) == [f"{path}, line 2", f"{path}, line 3"]


def test_a_json_file_cut_short_is_refused_even_where_entries_are_left_out(tmp_path):
    path = tmp_path / "captions_val2017.json"
    path.write_text(json.dumps(COCO)[:-30])
    with pytest.raises(PromptError, match=r"the file is not JSON; got .*captions_val2017\.json: .*; fix: if it is cut"):
        read_captions(path, Skipped())


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(PromptError, match=r"cannot read the file; got .*none\.txt; .*No such file"):
        read_captions(tmp_path / "none.txt")
    with pytest.raises(PromptError, match="cannot read the file"):
        read_captions(tmp_path)


def test_broken_characters_and_line_breaks_are_cleaned():
    assert clean_caption(" a\tcat\x00\n\ud83d on  a mat ") == "a cat on a mat"


@pytest.mark.parametrize(
    ("text", "class_prompt", "caption"),
    [
        ("a television; tv monitor", "tv monitor", "a television"),
        ("a cat; a dog; cat dog", "cat dog", "a cat; a dog"),
        ("I like my dog", "dog", "I like my dog"),
        ("a cat; a dog", "", "a cat; a dog"),
    ],
)
def test_only_an_appended_class_prompt_is_removed(text, class_prompt, caption):
    assert remove_class_prompt(text, class_prompt) == caption
