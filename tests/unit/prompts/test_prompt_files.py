import json

import pytest

from dataset_diffusion.errors import DatasetError, PromptError
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.prompts.prompt_files import read_prompts, write_prompts
from dataset_diffusion.records import Prompt

EMOJI = class_set("emoji")
HEADER = json.dumps({"schema_version": 1, "class_set": ClassSet.from_names(["cat", "hot dog"]).to_json()})
CAT = {"index": 3, "text": "a cat; cat", "class_prompt": "cat", "classes": [1], "class_words": ["cat"]}
PUBLISHED = [
    {
        "filename": "4.jpg",
        "caption": "a television sitting on top of a wooden table; tv monitor dining table",
        "class_prompt": "tv monitor dining table",
    },
    {"filename": "5.jpg", "caption": "a street; ", "class_prompt": ""},
    {"filename": "6.jpg", "caption": "a man; person", "class_prompt": "person"},
]


@pytest.mark.parametrize("classes", [EMOJI, ClassSet.from_names(["собака", "hand truck", "Ärmel"])])
def test_what_is_written_is_read(tmp_path, classes):
    path = tmp_path / "new folder" / "prompts.jsonl"
    prompts = build_prompts(None, classes, 20, seed=0)
    write_prompts(path, prompts, classes)
    assert read_prompts(path) == (prompts, classes)
    assert read_prompts(path, classes) == (prompts, classes)


def test_the_file_is_one_object_a_line_and_says_its_class_set(tmp_path):
    path = tmp_path / "prompts.jsonl"
    write_prompts(path, [Prompt(3, "a cat; cat", "cat", (5,))], EMOJI)
    header, line = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert header == {"schema_version": 1, "class_set": EMOJI.to_json()}
    assert line == CAT | {"classes": [5]}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "prompts.jsonl"
    write_prompts(path, [Prompt(0, "a cat; cat", "cat", (5,))], EMOJI)
    before = path.read_bytes()
    with pytest.raises(PromptError, match=r"^a prompt cannot be written; got .*surrogates not allowed; fix: "):
        write_prompts(path, [Prompt(0, "a \ud800 cat; cat", "cat", (5,))], EMOJI)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "prompts.jsonl"
    (tmp_path / ".prompts.jsonl.0badcafe.tmp").write_text("half")
    write_prompts(path, [Prompt(0, "a cat; cat", "cat", (5,))], EMOJI)
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "prompts.jsonl"):
        with pytest.raises(DatasetError, match=r"^cannot write .*; got .*; fix: .*choose another --out"):
            write_prompts(path, [], EMOJI)


def test_published_prompts_are_read_with_their_class_set(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(PUBLISHED))
    prompts, classes = read_prompts(path, class_set("voc"))
    assert classes == class_set("voc")
    assert prompts == [
        Prompt(0, PUBLISHED[0]["caption"], "tv monitor dining table", (20, 11), ("tv monitor", "dining table")),
        Prompt(1, "a man; person", "person", (15,)),
    ]


def test_lines_without_a_class_set_are_read_with_one(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({key: CAT[key] for key in ("index", "text", "class_prompt", "classes")}))
    prompts, _ = read_prompts(path, ClassSet.from_names(["cat"]))
    assert prompts == [Prompt(3, "a cat; cat", "cat", (1,))]
    with pytest.raises(PromptError, match=r"does not say its class set; got .*; fix: name it with --classes"):
        read_prompts(path)


def line(**changes):
    return json.dumps(CAT | changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the prompts file does not say its class set"),
        (HEADER, "no prompts in the file"),
        (f"{HEADER}\n{line()}\n{line()}", "two prompts have the same index; got 3 in"),
        (f"{HEADER}\n{line(classes=[3])}", "a prompt names classes of its class set, each once; got ids [3] in"),
        (f"{HEADER}\n{line(classes=[0])}", "; expected ids in 1..2"),
        (f"{HEADER}\n{line(classes=[])}", "a prompt names classes of its class set, each once; got ids [] in"),
        (f"{HEADER}\n{line(classes=[1, 1])}", "got ids [1, 1] in"),
        (f"{HEADER}\n{line(classes=[1, 2])}", "line 2: cannot tell the words of each class"),
        (f"{HEADER}\n{line(index=-1)}", "line 2: index: Input should be greater than or equal to 0"),
        (f"{HEADER}\n{line(index=2**40)}", "line 2: index: Input should be less than"),
        (f"{HEADER}\n{line(index='3')}", "line 2: index: Input should be a valid integer"),
        (f"{HEADER}\n{line(text='')}", "line 2: text: String should have at least 1 character"),
        (f"{HEADER}\n{line(text='a' * 20_000)}", "line 2: text: String should have at most 10000 characters"),
        (f"{HEADER}\n{line(seed=1)}", "line 2: seed: Extra inputs are not permitted"),
        (f"{HEADER}\n{line()[:-5]}", "line 2: Invalid JSON"),
        (f"{HEADER}\nnull", "line 2: Input should be an object"),
        ('{"schema_version": 2, "class_set": {}}', "line 1: schema_version: Input should be 1"),
        ('{"schema_version": 1, "class_set": {}}', "line 1: not a class set; got name: Field required"),
        ("[1]", "the prompts file does not say its class set"),
    ],
)
def test_malformed_prompts_are_refused_by_line(tmp_path, content, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    with pytest.raises(PromptError) as error:
        read_prompts(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"caption": "a zebra; zebra", "class_prompt": "zebra", "filename": "1.jpg"}], "got 'zebra' in"),
        ([{"caption": "a cat"}], "0.class_prompt: Field required"),
        ([PUBLISHED[1]], "no prompts in the file"),
    ],
)
def test_published_prompts_of_another_class_set_are_refused(tmp_path, entries, message):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(entries))
    with pytest.raises(PromptError) as error:
        read_prompts(path, class_set("voc"))
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_for_another_class_set_is_refused(tmp_path):
    path = tmp_path / "prompts.jsonl"
    write_prompts(path, build_prompts(None, EMOJI, 3, seed=0), EMOJI)
    with pytest.raises(PromptError, match=r"the prompts are for another class set; got emoji in .*; expected voc"):
        read_prompts(path, class_set("voc"))


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(PromptError, match="cannot read the file"):
        read_prompts(tmp_path / "prompts.jsonl")
    (tmp_path / "prompts.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match="the file is not UTF-8 text"):
        read_prompts(tmp_path / "prompts.jsonl")
