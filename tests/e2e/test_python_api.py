"""The public names, used as a person would, on the model and the scenes that ship with the package."""

import numpy as np
import pytest
import torch

from dataset_diffusion import (
    CaptureSettings,
    DatasetStore,
    assign_labels,
    build_prompts,
    class_set,
    evaluate_labels,
    load_model,
    normalize,
    propagate,
    token_indices,
)


@pytest.fixture(scope="module")
def scene_samples(scenes):
    return list(DatasetStore.open(scenes))


def attend(model, samples, seeds=None, **options):
    images, prompts = [sample.image for sample in samples], [sample.prompt for sample in samples]
    return model.attend(images, prompts, seeds or [sample.seed for sample in samples], **options)


def test_class_names_in_label_maps_out():
    prompts = build_prompts(["a cat and a bus in the snow"], class_set("emoji"), num_images=2, seed=0)
    model = load_model("embedded", device="cpu")
    drawn = model.generate(prompts, seeds=[0, 1], capture=CaptureSettings(), steps=2)
    for prompt, generation in zip(prompts, drawn, strict=True):
        maps = generation.attention
        heatmaps = normalize(propagate(maps.cross_attention, maps.self_attention, maps.self_shape, exponent=1))
        label = assign_labels(heatmaps, prompt.classes, generation.image.shape[:2])
        assert generation.image.shape == (128, 128, 3)
        assert label.shape == (128, 128)
        assert set(label.unique().tolist()) <= {0, 255, *prompt.classes}


def test_a_dataset_reads_like_a_list_and_can_be_scored(job):
    store = DatasetStore.open(job.dataset)
    assert store.verify() == []
    labels = [sample.label for sample in store]
    assert len(labels) == len(store) == 6
    certain = [np.where(label == 255, 0, label) for label in labels]
    scores = evaluate_labels(zip(certain, labels, strict=True), store.class_set.num_classes + 1)
    assert scores.miou == 1.0
    assert scores.num_images == 6


def test_the_token_positions_of_class_words_are_those_that_the_model_reads(embedded):
    words = ["potted plant", "traffic light", "cat"]
    tokens = embedded.tokenizer(" ".join(words)).input_ids
    positions = token_indices(embedded.tokenizer, " ".join(words), words)
    assert sorted(position for word in positions for position in word) == list(range(1, len(tokens) - 1))
    read = ["".join(embedded.tokenizer.decode([tokens[p] for p in word]).split()) for word in positions]
    assert read == ["pottedplant", "trafficlight", "cat"]


def test_attention_of_given_images_has_one_map_per_class(embedded, scene_samples):
    for sample, maps in zip(scene_samples, attend(embedded, scene_samples), strict=True):
        height, width = maps.self_shape
        assert maps.cross_attention.shape[0] == len(sample.prompt.classes)
        assert maps.cross_attention.min() >= 0
        assert maps.cross_attention.max() <= 1
        assert maps.self_attention.shape == (height * width, height * width)
        torch.testing.assert_close(maps.self_attention.sum(dim=1), torch.ones(height * width))


def test_attention_of_given_images_follows_from_the_seed(embedded, scene_samples):
    samples = scene_samples[:2]
    first, again, other = (attend(embedded, samples, seeds) for seeds in ([1, 2], [1, 2], [3, 4]))
    assert torch.equal(first[1].cross_attention, again[1].cross_attention)
    assert torch.equal(first[1].self_attention, again[1].self_attention)
    assert not torch.equal(first[1].cross_attention, other[1].cross_attention)


def test_attention_of_an_image_does_not_follow_from_its_neighbours(embedded, scene_samples):
    together = attend(embedded, scene_samples[:3])
    alone = attend(embedded, scene_samples[1:2])[0]
    torch.testing.assert_close(together[1].cross_attention, alone.cross_attention, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(together[1].self_attention, alone.self_attention, atol=1e-4, rtol=1e-3)


def test_attention_can_be_read_at_one_noise_level_and_resolution(embedded, scene_samples):
    capture = CaptureSettings(cross_attention_resolution=8, self_attention_resolution=8)
    early, late = (attend(embedded, scene_samples[:1], capture=capture, timesteps=[t])[0] for t in (901, 101))
    assert early.self_shape == (8, 8)
    assert early.cross_attention.shape[1:] == (8, 8)
    assert not torch.equal(early.cross_attention, late.cross_attention)
