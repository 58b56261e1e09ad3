import pytest
from tests.helpers.tiny_captioner import save_tiny_captioner

from dataset_diffusion.errors import ModelError
from dataset_diffusion.prompts.captioner import load_captioner

pytestmark = pytest.mark.slow


def test_a_folder_that_holds_no_captioner_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError) as error:
        load_captioner(str(tmp_path), "cpu")
    assert str(error.value).startswith(f"the folder holds no captioner; got {tmp_path}: ")
    assert "\n" not in str(error.value)


def test_a_captioner_with_damaged_weights_is_refused(tmp_path):
    save_tiny_captioner(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ModelError, match="the folder holds no captioner; got "):
        load_captioner(str(tmp_path), "cpu")


def test_a_captioner_that_cannot_be_had_says_how_to_download_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as error:
        load_captioner("nobody/no-such-captioner", "cpu")
    assert str(error.value) == (
        "cannot get the captioner; got nobody/no-such-captioner; expected a local folder, or an image-to-text model of "
        "a hub that can be reached; fix: run `hf download nobody/no-such-captioner --local-dir captioner` where there "
        "is a network, then pass --captioner captioner"
    )
