import pytest

from dataset_diffusion.config import PromptSettings
from dataset_diffusion.errors import ConfigError, PromptError
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.runtime.prompting import compose_prompts, make_prompts


def test_prompts_are_written_once(tmp_path):
    out = tmp_path / "prompts.jsonl"
    made = make_prompts(PromptSettings(num_images=5), 0, out)
    written = out.stat().st_mtime_ns
    assert make_prompts(PromptSettings(num_images=5), 0, out) == made == read_prompts(out)
    assert out.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("settings", "seed"), [({"num_images": 6}, 0), ({"num_images": 5}, 1), ({"classes": "voc"}, 0)]
)
def test_other_prompts_are_not_overwritten(tmp_path, settings, seed):
    out = tmp_path / "prompts.jsonl"
    make_prompts(PromptSettings(num_images=5), 0, out)
    before = out.read_bytes()
    with pytest.raises(ConfigError) as error:
        make_prompts(PromptSettings(**settings), seed, out)
    assert str(error.value) == f"{out} holds other prompts; fix: use another --out, or delete the file"
    assert out.read_bytes() == before


def test_captions_are_what_is_drawn(tmp_path):
    (tmp_path / "captions.txt").write_text("a cat on a mat\nnothing to see\n")
    settings = PromptSettings(classes=("cat",), captions=tmp_path / "captions.txt", num_images=2)
    prompts, classes = compose_prompts(settings, 0)
    assert [prompt.text for prompt in prompts] == ["a cat on a mat; cat"] * 2
    assert classes.names == ("cat",)


def test_captions_that_cannot_be_used_leave_no_file(tmp_path):
    with pytest.raises(PromptError):
        make_prompts(PromptSettings(captions=tmp_path / "no.txt"), 0, tmp_path / "prompts.jsonl")
    assert not (tmp_path / "prompts.jsonl").exists()
