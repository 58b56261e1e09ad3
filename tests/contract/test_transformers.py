"""What every family of transformers promises, on thin pipelines with random weights."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.tiny_transformers import PIPELINES, SIDE, thin_transformer

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.capture import AttentionLayers
from dataset_diffusion.diffusion.families.base import Texts
from dataset_diffusion.diffusion.learned import unlearned
from dataset_diffusion.diffusion.tapped import TappedCapture
from dataset_diffusion.records import Prompt
from dataset_diffusion.seeding import sample_generator

pytestmark = pytest.mark.slow

CAT_AND_BUS = Prompt(0, "a photo of a cat and a bus in the snow; cat bus", "cat bus", (5, 3))
TEDDY = Prompt(1, "a teddy bear; teddy bear", "teddy bear", (12,))
PROMPTS, SEEDS = [CAT_AND_BUS, TEDDY], [7, 8]
SIZE = {"height": SIDE, "width": SIDE * 3 // 2}


VARIANTS = ("sd3-without-t5", "flux-true-guidance")
"""Pipelines that draw another way with the network of another one, which is read in the same way."""


@pytest.fixture(scope="module", params=PIPELINES)
def model(request):
    return thin_transformer(request.param)


of_every_network = pytest.mark.parametrize(
    "model", [name for name in PIPELINES if name not in VARIANTS], indirect=True, scope="module"
)


@pytest.fixture(scope="module")
def drawn(model):
    """Two samples, read against their class prompts."""
    return draw(model)


@pytest.fixture(scope="module")
def plain_images(model):
    """The same samples as the pipeline draws them by itself."""
    return plain(model)


def plain(model, scale=None, prompts=PROMPTS, seeds=SEEDS, negative="ugly"):
    scale = model.spec.guidance_scale if scale is None else scale
    if model.family.is_drawn_alone and len(prompts) > 1:
        each = zip(prompts, seeds, strict=True)
        return np.concatenate([plain(model, scale, [prompt], [seed], negative) for prompt, seed in each])
    negatives = [negative if model.family.is_guided(scale) else ""] * len(prompts)
    images = model.pipeline(
        prompt=[prompt.text for prompt in prompts],
        num_inference_steps=model.spec.num_inference_steps,
        generator=[sample_generator(seed) for seed in seeds],
        output_type="np",
        **SIZE,
        **model.family.options(scale, negatives, model.spec.num_inference_steps),
    ).images
    return (images * 255).round().astype(np.uint8)


def draw(model, capture=CaptureSettings(), prompts=PROMPTS, seeds=SEEDS, **options):
    scale = options.get("guidance_scale", model.spec.guidance_scale)
    negative = "ugly" if model.family.is_guided(scale) else None
    return model.generate(prompts, seeds, capture, **SIZE, negative_prompt=negative, **options)


def test_the_image_is_the_plain_pipelines_bit_for_bit(model, drawn, plain_images):
    assert np.array_equal(np.stack([generation.image for generation in drawn]), plain_images)
    cells = SIDE // model.family.pixels_per_cell
    for generation, prompt in zip(drawn, PROMPTS, strict=True):
        maps = generation.attention
        assert maps.cross_attention.shape == (len(prompt.classes), cells, cells * 3 // 2)
        assert maps.self_shape == (cells, cells * 3 // 2)
        torch.testing.assert_close(maps.self_attention.sum(-1), torch.ones(cells * cells * 3 // 2))
        assert maps.cross_attention.min() > 0
        assert maps.cross_attention.max() < 1


def test_so_it_is_where_the_text_is_read(model, drawn, plain_images):
    of_text = draw(model, CaptureSettings(prompt="text"))
    assert np.array_equal(np.stack([generation.image for generation in of_text]), plain_images)
    for one, other in zip(of_text, drawn, strict=True):
        assert one.attention.cross_attention.shape == other.attention.cross_attention.shape
        assert not torch.allclose(one.attention.cross_attention, other.attention.cross_attention, rtol=1e-3)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.family.network.modules())


@contextmanager
def read_keys(model, found):
    """Every layer's keys of the text as it is drawn and of the class prompt."""
    original = TappedCapture._class_keys

    def record(self, name, image_key, image_value):
        keys = original(self, name, image_key, image_value)
        found[name] = keys
        return keys

    TappedCapture._class_keys = record
    try:
        yield
    finally:
        TappedCapture._class_keys = original


def capture_of(model, reading, texts, guided=False):
    found = [model.family.positions(prompt, reading.prompt) for prompt in PROMPTS]
    grid = model._grid((SIZE["height"], SIZE["width"]))
    layers = tuple(model.family.layers())
    return TappedCapture(
        model.family,
        texts,
        cross_attention=dict.fromkeys(layers, grid),
        self_attention=AttentionLayers(layers[-1:], grid),
        grid=grid,
        pool=1,
        token_positions=[positions for positions, _ in found],
        start=[start for _, start in found],
        guided=guided,
    )


def drawn_texts(model, call):
    """The text prompts in a call of the network, as `encode` gives the class prompts."""
    if model.pipeline.__class__.__name__.startswith("Hunyuan"):
        return model.family.encode([prompt.text for prompt in PROMPTS])
    if "cap_feats" in call:
        lengths = torch.tensor([len(states) for states in call["cap_feats"]])
        padded = torch.nn.utils.rnn.pad_sequence(call["cap_feats"], batch_first=True)
        return Texts(padded, torch.arange(padded.shape[1]) < lengths[:, None])
    mask = call.get("encoder_attention_mask", call.get("encoder_hidden_states_mask"))
    return Texts(call["encoder_hidden_states"], None if mask is None else mask.bool())


@of_every_network
def test_a_class_prompt_that_is_the_text_has_the_texts_own_keys(model):
    """So that the class words meet just what words of the text would."""
    family, reading = model.family, model.spec.resolve_reading("plain")
    own, beside = {}, {}
    see = TappedCapture._read

    def record(self, name, seen):
        own[name] = seen.key
        return see(self, name, seen)

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode(), read_keys(model, beside):
        patch.setattr(TappedCapture, "_read", record)
        call = model._recorded_call(PROMPTS, SEEDS, (SIZE["height"], SIZE["width"]))
        texts = drawn_texts(model, call)
        with capture_of(model, reading, texts):
            family.network(**call)
    assert list(own) == list(family.layers())
    start = family.text_start(SIDE * SIDE * 3 // 2 // family.pixels_per_cell**2) if family.is_joint else 0
    for name, keys in own.items():
        count = min(beside[name].shape[2], keys.shape[2] - start)
        theirs = keys[:, :, start : start + count]
        mask = family.class_mask(texts)
        seen = torch.ones(theirs.shape[:3], dtype=torch.bool)
        if mask is not None:
            seen = mask[:, None, :count].expand(*theirs.shape[:3])
        torch.testing.assert_close(beside[name][:, :, :count][seen], theirs[seen], atol=2e-5, rtol=1e-4)


def test_only_the_conditional_half_is_read(model):
    """The first call has the same latents with guidance and without; the negative prompt's maps are others."""
    if not model.family.is_guided(5.0):
        pytest.skip("this network draws nothing twice")
    capture = CaptureSettings(every=100)
    guided, unguided = (draw(model, capture, guidance_scale=scale) for scale in (5.0, 1.0))
    swapped = [
        replace(prompt, text=other)
        for prompt, other in zip(PROMPTS, ("ugly; cat bus", "ugly; teddy bear"), strict=True)
    ]
    negative = model.generate(swapped, SEEDS, capture, **SIZE, guidance_scale=1.0)
    for one, two, three in zip(guided, unguided, negative, strict=True):
        found, expected, other = (each.attention.cross_attention for each in (one, two, three))
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-4)
        assert not torch.allclose(other, expected, atol=1e-7, rtol=1e-4)


def test_a_sample_does_not_depend_on_its_batch(model, drawn):
    together, alone = drawn[1], draw(model, prompts=[TEDDY], seeds=[8])[0]
    assert np.abs(together.image.astype(int) - alone.image.astype(int)).max() <= 1
    torch.testing.assert_close(
        together.attention.cross_attention, alone.attention.cross_attention, atol=1e-6, rtol=1e-3
    )


@pytest.mark.parametrize("of", ["class", "text"])
def test_the_positions_are_those_of_the_words(model, of):
    """A class's tokens, read back, are its word; by every tokenizer that the network hears of."""
    for prompt in PROMPTS:
        found, start = model.family.positions(prompt, of)
        assert all(found)
        assert start not in [place for places in found for place in places]
        text = prompt.class_prompt if of == "class" else prompt.text
        streams = list(model.family.streams(text) if of == "class" else model.family.drawn_streams(text))
        for word, places in zip(prompt.class_words, found, strict=True):
            read = ""
            for stream, after in zip(streams, [*streams[1:], None], strict=True):
                ids = stream.tokenizer(stream.templated).input_ids
                mine = [p - stream.shift for p in places if p >= stream.shift and (after is None or p < after.shift)]
                read += stream.tokenizer.decode([ids[place] for place in mine]).replace(" ", "")
            assert read == word.replace(" ", "") * len(streams)


@of_every_network
def test_given_images_are_read_at_any_size_and_noise_level(model):
    # A plain colour would make the autoencoder's norms of its rounding alone.
    images = list(np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE * 3 // 2, 3), np.uint8))
    low, high = (model.attend(images, PROMPTS, SEEDS, timesteps=[level]) for level in (101, 901))
    assert low[0].cross_attention.shape[0] == 2
    assert not torch.allclose(low[0].cross_attention, high[0].cross_attention, rtol=1e-3)
    (alone,) = model.attend(images[1:], [TEDDY], SEEDS[1:], timesteps=[101])
    torch.testing.assert_close(alone.cross_attention, low[1].cross_attention, atol=1e-6, rtol=1e-3)


@of_every_network
def test_layers_and_heads_apart_average_to_the_plain_reading(model):
    reading = model.spec.resolve_reading("plain")
    apart = reading.model_copy(update={"cross_attention": unlearned(model.cross_attention_heads())})
    image = [np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)]
    (maps,) = model.attend_layers(image, [CAT_AND_BUS], [7], apart)
    (mean,) = model.attend(image, [CAT_AND_BUS], [7], reading)
    assert len(maps.cross_attention) == len(model.family.layers())
    by_hand = torch.stack([layer[:, :2].mean(0) for layer in maps.cross_attention]).mean(0)
    torch.testing.assert_close(by_hand, mean.cross_attention)
    assert maps.cross_attention[0].shape[:2] == (4, 3)


@of_every_network
def test_bfloat16_reads_about_the_same(model):
    image = [np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)]
    (exact,) = model.attend(image, [CAT_AND_BUS], [7])
    model.pipeline.to(torch.bfloat16)
    try:
        (rounded,) = model.attend(image, [CAT_AND_BUS], [7])
        assert draw(model)[0].image.shape == (SIDE, SIDE * 3 // 2, 3)
    finally:
        model.pipeline.to(torch.float32)
    assert rounded.cross_attention.dtype == torch.float32
    torch.testing.assert_close(rounded.cross_attention, exact.cross_attention, rtol=0.2, atol=1e-4)
