"""Every stage of the published method, held to what the published code computed (tests/data/published)."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tests.helpers.architectures import build_vae
from tests.helpers.clip_tokenizer import clip_tokenizer

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.diffusion.capture import AttentionCapture
from dataset_diffusion.diffusion.families.unet import choose_layers
from dataset_diffusion.diffusion.load import make_scheduler
from dataset_diffusion.labelling.assign import assign_labels, label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps, normalize
from dataset_diffusion.labelling.maps import resize
from dataset_diffusion.labelling.propagate import propagate
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.prompts.tokens import token_indices
from dataset_diffusion.reading import LayerChoice
from dataset_diffusion.records import AttentionMaps

DATA = Path(__file__).parents[1] / "data" / "published"
UNET, LABELS = np.load(DATA / "unet.npz"), np.load(DATA / "labels.npz")
ROWS = json.loads((DATA / "tokens.json").read_text())["rows"]

CASES = ("small", "published_sides", "one_class", "not_square_label")
EXPONENTS = (0, 1, 2, 4, 8)
THRESHOLDS = [
    *((exponent, "0.6", "0.5") for exponent in EXPONENTS),
    *((4, alpha, beta) for alpha, beta in [("0.7", "0.4"), ("0.5", "0.1"), ("0.6", "None")]),
]
"""Exponents and pairs of thresholds whose label maps there are; "None" is without an uncertainty region."""

NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}

WRONG = {
    "aeroplane": [[1, 2]],
    "aeroplane person": [[1, 2], [3]],
    "person aeroplane": [[1], [2, 3]],
    "potted plant aeroplane motorbike": [[1, 2], [3, 4], [5]],
    "fire hydrant": [[1, 2, 3]],
    "fire hydrant car": [[1, 2, 3], [4]],
    "surfboard person": [[1, 2], [3]],
    "hot dog": [[1, 2]],
    "dog hot dog": [[1], [2, 3]],
    "teddy bear bear": [[1, 2], [3]],
    "hair drier toothbrush": [[1, 2], [3]],
}
"""Class prompts at which the published code looks beside a class's tokens, and where the tokens are."""


def thresholds(alpha, beta):
    return float(alpha), float(alpha if beta == "None" else beta)


@pytest.fixture(scope="module")
def tokenizer():
    return clip_tokenizer()


# Token ids and positions


# The slow tokenizer that the published code ran on reads 's otherwise than fast ones.
@pytest.mark.parametrize(
    "row", [row for row in ROWS if "'" not in row["class_prompt"]], ids=lambda row: row["class_prompt"]
)
def test_token_ids(tokenizer, row):
    assert tokenizer(row["class_prompt"]).input_ids == row["input_ids"]


@pytest.mark.parametrize("row", [row for row in ROWS if "class_ids" in row], ids=lambda row: row["class_prompt"])
def test_token_positions_are_the_published_where_those_are_right(tokenizer, row):
    classes = class_set(row["classes"])
    words = [classes.words[number - 1] for number in row["class_ids"]]
    found = token_indices(tokenizer, row["class_prompt"], words)
    if row["class_prompt"] in WRONG:
        assert found == WRONG[row["class_prompt"]] != row["published_positions"]
    else:
        assert found == row["published_positions"]


TWO_WORDS_UNKNOWN = {"hot dog", "teddy bear", "hair drier"}
"""Classes of two words of which the published code takes the first alone."""


@pytest.mark.parametrize(("name", "concerned", "pairs"), [("voc", 38, 380), ("coco", 770, 6320)])
def test_pairs_of_classes_at_which_the_published_code_looks_beside_the_tokens(tokenizer, name, concerned, pairs):
    def published(words):
        """A word's place, from 1 on, as if it were its token's."""
        places, first = [], 1
        for word in words:
            length = len(word.split())
            places.append([first] if word in TWO_WORDS_UNKNOWN else list(range(first, first + length)))
            first += length
        return places

    rows = [row for row in ROWS if row["classes"] == name]
    of = class_set(name).words
    assert all(published([of[one - 1] for one in row["class_ids"]]) == row["published_positions"] for row in rows)
    found = [
        token_indices(tokenizer, " ".join(pair), pair) != published(pair) for pair in itertools.permutations(of, 2)
    ]
    assert (sum(found), len(found)) == (concerned, pairs)


# Latents and attention


@pytest.fixture(scope="module")
def unet():
    weights = {name[8:]: torch.from_numpy(UNET[name]).float() for name in UNET.files if name.startswith("weights/")}
    network = UNet2DConditionModel(**json.loads((DATA / "unet_config.json").read_text())).eval()
    network.load_state_dict(weights)
    return network


@pytest.fixture(scope="module")
def draw(unet):
    """Draw the two images and read attention of one resolution against all 77 tokens of the class prompts."""
    given = {name: torch.from_numpy(UNET[name]) for name in ("text_embeds", "negative_embeds", "start_latents")}
    scheduler = DDIMScheduler(**NOISE_SCHEDULE)
    parts = ("text_encoder", "tokenizer", "safety_checker", "feature_extractor")
    pipeline = StableDiffusionPipeline(
        vae=build_vae("sd15", 32), unet=unet, scheduler=scheduler, **dict.fromkeys(parts), requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)

    def run(scheduler, steps, resolution):
        pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
        every_token = [[[token] for token in range(77)]] * 2
        cross, own = (
            choose_layers(unet, kind, LayerChoice(resolution, ("",)), (32, 32)) for kind in ("attn2", "attn1")
        )
        calls = []
        handle = unet.register_forward_pre_hook(lambda network, args: calls.append(1))
        reader = AttentionCapture(
            unet,
            torch.from_numpy(UNET["class_embeds"]),
            cross_attention=cross,
            self_attention=own,
            token_positions=every_token,
            guided=True,
        )
        with torch.inference_mode(), reader as attention:
            latents = pipeline(
                prompt_embeds=given["text_embeds"],
                negative_prompt_embeds=given["negative_embeds"],
                latents=given["start_latents"].clone(),
                num_inference_steps=steps,
                guidance_scale=7.5,
                output_type="latent",
            ).images
        handle.remove()
        return latents, attention.maps(), len(calls)

    return run


@pytest.mark.parametrize(("scheduler", "resolution"), [("pndm", 4), ("pndm", 8), ("pndm", 16), ("ddim", 8)])
def test_latents_and_attention(draw, scheduler, resolution):
    steps, calls = UNET[f"{scheduler}/steps_and_calls"].tolist()
    latents, maps, counted = draw(scheduler, steps, resolution)
    assert counted == calls
    np.testing.assert_allclose(latents, UNET[f"{scheduler}/latents"], atol=1e-3, rtol=0)
    cross = torch.stack([one.cross_attention for one in maps]).permute(0, 2, 3, 1)
    np.testing.assert_allclose(cross, UNET[f"{scheduler}/cross_{resolution}"], atol=3e-5, rtol=0)
    expected = UNET[f"{scheduler}/self_{resolution}"]
    own = torch.stack([one.self_attention for one in maps])[: len(expected)]
    np.testing.assert_allclose(own, expected, atol=3e-5, rtol=0)


def test_a_hundred_steps_of_the_published_scheduler_are_101_calls():
    scheduler = make_scheduler("pndm", DDIMScheduler(**NOISE_SCHEDULE).config)
    scheduler.set_timesteps(100)
    assert len(scheduler.timesteps) == 101


# Heatmaps and label maps


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """The arrays of a case by their names, and its classes' maps."""
    arrays = {name.partition("/")[2]: LABELS[name] for name in LABELS.files if name.startswith(f"{request.param}/")}
    tokens = torch.from_numpy(arrays["cross_attention"]).permute(2, 0, 1)
    positions = [[place for place in row if place >= 0] for row in arrays["token_positions"].tolist()]
    side = int(len(arrays["self_attention"]) ** 0.5)
    cross = torch.stack([tokens[places].mean(0) for places in positions])
    own = torch.from_numpy(arrays["self_attention"]).float()
    return arrays, AttentionMaps(cross, own, (side, side))


def heatmaps_of(attention, exponent):
    return normalize(propagate(attention.cross_attention, attention.self_attention, attention.self_shape, exponent))


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_heatmaps(case, exponent):
    arrays, attention = case
    np.testing.assert_allclose(heatmaps_of(attention, exponent), arrays[f"tau{exponent}/heatmaps"], atol=2e-6, rtol=0)


def test_heatmaps_at_the_size_of_the_label(case):
    arrays, attention = case
    expected = arrays["tau4/heatmaps_at_label_size"]
    found = resize(heatmaps_of(attention, 4), tuple(arrays["label_size"].tolist()))
    np.testing.assert_allclose(found, expected.astype(np.float32), atol=3e-6 + np.finfo(expected.dtype).eps, rtol=0)


@pytest.mark.parametrize(("exponent", "alpha", "beta"), THRESHOLDS)
def test_label_maps_are_equal_in_every_pixel(case, exponent, alpha, beta):
    arrays, attention = case
    size, ids = tuple(arrays["label_size"].tolist()), arrays["class_ids"].tolist()
    found = assign_labels(heatmaps_of(attention, exponent), ids, size, *thresholds(alpha, beta))
    assert np.array_equal(found, arrays[f"tau{exponent}/label_{alpha}_{beta}"])


@pytest.mark.parametrize(("exponent", "alpha", "beta"), THRESHOLDS)
def test_label_maps_of_stored_heatmaps_differ_by_rounding_alone(case, exponent, alpha, beta):
    arrays, attention = case
    size, ids = tuple(arrays["label_size"].tolist()), arrays["class_ids"].tolist()
    high, low = thresholds(alpha, beta)
    settings = LabelSettings(exponent=exponent, threshold=high, uncertainty_threshold=low)
    found = label_map(class_heatmaps(attention), ids, size, settings)
    other = found != arrays[f"tau{exponent}/label_{alpha}_{beta}"]
    assert other.sum() <= 5
    # Float16 moves a heatmap by at most half of 2^-11: a pixel changes at a threshold, or where two classes are equal.
    maps = resize(heatmaps_of(attention, exponent), size)[:, torch.from_numpy(other)].sort(dim=0).values
    distances = [(maps[-1] - high).abs(), (maps[-1] - low).abs(), *(maps[-1] - maps[:-1])]
    assert (torch.stack(distances).amin(0) < 1e-3).all()
