import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.tiny_clip import save_tiny_clip
from transformers import CLIPModel, CLIPProcessor

from dataset_diffusion.dataset.filtering.image_text import load_image_text
from dataset_diffusion.errors import ModelError

pytestmark = pytest.mark.slow

CAPTIONS = ["a cat", "two dogs on a road", "a very long caption about a bus that nobody is going to read to its end"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip")
    save_tiny_clip(path)
    return path


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return [
        random.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((16, 16), (20, 33), (9, 40))
    ]


def test_the_score_is_the_cosine_of_the_two_embeddings(folder, images):
    scores = load_image_text(str(folder), "cpu").score(images, CAPTIONS)
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    for image, caption, score in zip(images, CAPTIONS, scores, strict=True):
        with torch.no_grad():
            pixels = processor(images=Image.fromarray(image), return_tensors="pt")
            seen = model.visual_projection(model.vision_model(**pixels).pooler_output)
            tokens = processor(text=caption, truncation=True, return_tensors="pt")
            read = model.text_projection(model.text_model(**tokens).pooler_output)
        assert score == pytest.approx(torch.nn.functional.cosine_similarity(seen, read).item(), abs=1e-5)
    assert scores.dtype == np.float32
    assert np.ptp(scores) > 0.01


def test_a_score_does_not_depend_on_what_is_scored_beside_it(folder, images):
    scorer = load_image_text(str(folder), "cpu")
    alone = [scorer.score([image], [caption])[0] for image, caption in zip(images, CAPTIONS, strict=True)]
    np.testing.assert_allclose(scorer.score(images, CAPTIONS), alone, atol=1e-5)


@pytest.mark.parametrize("config", [{}, {"model_type": "blip"}])
def test_another_model_is_refused(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as error:
        load_image_text(str(tmp_path), "cpu")
    assert str(error.value) == (
        f"not a CLIP model; got {tmp_path}: a model of type {config.get('model_type')}; expected a model that compares "
        "images and texts, with its processor, such as openai/clip-vit-base-patch32"
    )


def test_a_model_without_weights_is_refused(folder, tmp_path):
    for file in folder.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match=r"^not a CLIP model; got .*; expected a model that compares") as error:
        load_image_text(str(tmp_path), "cpu")
    assert "\n" not in str(error.value)


def test_damaged_weights_are_refused(folder, tmp_path):
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ModelError, match="not a CLIP model; got "):
        load_image_text(str(damaged), "cpu")


def test_a_model_that_cannot_be_had_says_how_to_download_it(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as error:
        load_image_text("nobody/no-such-clip", "cpu")
    assert str(error.value) == (
        "cannot get the image-text model; got nobody/no-such-clip; expected a local folder, or a CLIP model of a hub "
        "that can be reached; fix: run `hf download nobody/no-such-clip --local-dir clip` where there is a network, "
        "then pass --image-text clip"
    )
