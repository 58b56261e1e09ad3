"""The tools that made the embedded model, on drawn sprites instead of icons."""

from pathlib import Path

import autoencoder
import loop
import numpy as np
import pytest
import scenes
import torch
from backgrounds import BACKGROUNDS
from PIL import Image, ImageDraw
from sprites import ICONS
from tokenizer import train_tokenizer
from transformers import CLIPTokenizer

from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.prompts.class_sets import class_set

pytestmark = pytest.mark.slow


def sprite(shape: str, colour: str) -> Image.Image:
    picture = Image.new("RGBA", (128, 128))
    getattr(ImageDraw.Draw(picture), shape)((0, 0, 127, 127), fill=colour)
    return picture


SPRITES = {"cat": [sprite("ellipse", "red")], "potted plant": [sprite("rectangle", "blue")]}


def test_icons_are_the_emoji_class_set():
    assert tuple(ICONS) == class_set("emoji").words


def test_a_scene_follows_from_seed_and_index_alone():
    first, again, other = (scenes.make_scene(SPRITES, 5, index) for index in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert first.caption == again.caption
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("index", range(6))
def test_truth_is_exact(index):
    scene = scenes.make_scene(SPRITES, 1, index, objects={1: 0.5, 2: 0.5})
    for class_id, colour in ((1, (255, 0, 0)), (2, (0, 0, 255))):
        inside = scene.label == class_id
        assert inside.any() == (list(SPRITES)[class_id - 1] in scene.classes)
        # An edge pixel counts as the object's from half cover on.
        full = (scene.image == colour).all(-1)
        assert (inside & ~full).sum() <= 0.2 * max(inside.sum(), 1)
        assert not (full & ~inside).any()
    assert all(name in scene.caption for name in scene.classes)


def test_texts_name_every_class_in_order():
    scene = scenes.Scene(np.zeros(0), np.zeros(0), "a cat and a potted plant at night", ("cat", "potted plant"))
    texts = {scenes.training_text(scene, np.random.default_rng(seed)) for seed in range(40)}
    assert texts == {
        "a cat and a potted plant at night",
        "cat potted plant",
        "a cat and a potted plant at night; cat potted plant",
    }


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_fill_the_picture_with_texture(name):
    picture = BACKGROUNDS[name](np.random.default_rng(0), 128)
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 0.01


def test_encoder_is_the_projection_on_the_principal_components():
    images = np.random.default_rng(0).integers(0, 256, (24, 128, 128, 3), dtype=np.uint8)
    built = autoencoder.build_autoencoder(images, seed=0)
    latents = autoencoder.encode(built, images[:4])
    patches = images.reshape(24, 16, 8, 16, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192) / 255
    centred = patches - patches.mean(0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    channels = latents.shape[1]
    by_hand = (centred[: 4 * 256] @ components[:channels].T).reshape(4, 16, 16, channels).transpose(0, 3, 1, 2)
    scale = by_hand.std() / latents.numpy().std()
    # A principal component has no sign of its own, and latents have their own scale.
    assert np.allclose(np.abs(latents.numpy()) * scale, np.abs(by_hand), atol=1e-2)


def test_tokenizer_splits_the_rare_words_and_keeps_the_others(tmp_path):
    texts = ["a photo of a cat and an elephant on the grass; cat elephant", "an umbrella by the sea"] * 30
    train_tokenizer(texts, tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer.tokenize("elephant")) > 1
    assert len(tokenizer.tokenize("cat")) == 1
    assert tokenizer("").input_ids == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def test_the_shipped_tokenizer_has_class_words_of_one_and_of_several_tokens():
    tokenizer = CLIPTokenizer.from_pretrained(Path(MODELS["embedded"].path) / "tokenizer")
    counts = {word: len(tokenizer.tokenize(word)) for word in class_set("emoji").words}
    assert counts["cat"] == 1
    assert counts["elephant"] > 1
    assert counts["umbrella"] > 1
    assert counts["potted plant"] == 2


class Fit(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, inputs):
        return (self.layer(inputs).float() - inputs.sum(1, keepdim=True)).square().mean()


def test_training_resumed_equals_training_in_one_go(tmp_path):
    def train(checkpoint, stop_at=None):
        torch.manual_seed(0)
        steps_begun = 0

        def draw_batch(generator):
            nonlocal steps_begun
            if steps_begun == stop_at:
                raise KeyboardInterrupt
            steps_begun += 1
            return (torch.randn(8, 3, generator=generator),)

        options = {"steps": 6, "peak_learning_rate": 0.1, "seed": 0, "checkpoint_every": 2}
        return loop.train(Fit(), draw_batch, checkpoint=checkpoint, **options), steps_begun

    whole, _ = train(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts.pt", stop_at=5)
    parts, again = train(tmp_path / "parts.pt")
    assert again == 2  # from the checkpoint of step 4
    assert torch.equal(whole.layer.weight, parts.layer.weight)
