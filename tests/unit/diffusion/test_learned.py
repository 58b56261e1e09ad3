import numpy as np
import pytest
import torch

from dataset_diffusion.diffusion.learned import cell_features, fit, read_layers, unlearned
from dataset_diffusion.records import LayerMaps

LAYERS = {"up.attn2": 2, "mid.attn2": 1}


def maps(*, classes=2, seed=0):
    """Probabilities of two classes and the start token, of 2 heads at 4x6 cells and of one at 2x3."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.rand(heads, classes + 1, *grid, generator=generator) for heads, grid in ((2, (4, 6)), (1, (2, 3)))
    )


def test_features_by_hand():
    """One head that sees two cells: every kind of feature, and those of the other class after it."""
    first, second, start = (0.1, 0.4), (0.3, 0.2), (0.5, 0.5)
    layer = torch.tensor([first, second, start])[None, :, None, :]
    found = cell_features([layer], unlearned({"mid.attn2": 1}))
    assert found.shape == (2, 8, 1, 2)

    def by_hand(values):
        log = np.log(values)
        standard = (log - log.mean()) / (log.std(ddof=1) + 1e-3)
        share = (np.array(values) - min(values)) / (max(values) - min(values) + 1e-6)
        against = log - np.log(start)
        return np.stack([standard, share, (against - against.mean()) / (against.std(ddof=1) + 1e-3), against])

    own, other = by_hand(first), by_hand(second)
    np.testing.assert_allclose(found[0, :, 0], np.concatenate([own, other]), atol=1e-4)
    np.testing.assert_allclose(found[1, :, 0], np.concatenate([other, own]), atol=1e-4)


def test_layers_of_smaller_grids_are_resized_to_the_largest():
    assert cell_features(maps(), unlearned(LAYERS)).shape == (2, 3 * 4 * 2, 4, 6)


@pytest.mark.parametrize(
    ("choice", "features"),
    [({"heads": False}, 16), ({"start_token": False}, 12), ({"competition": False}, 12)],
)
def test_each_kind_of_feature_can_be_left_out(choice, features):
    learned = unlearned(LAYERS, **choice)
    assert cell_features(maps(), learned).shape[1] == learned.num_features == features


def test_a_class_alone_has_no_rival():
    found = cell_features(maps(classes=1), unlearned(LAYERS))
    assert not found[:, 12:].any()


def test_averaged_heads_are_the_mean_of_their_probabilities():
    layers = maps()
    mean = [layers[0].mean(0, keepdim=True), layers[1]]
    ones = unlearned(dict.fromkeys(LAYERS, 1))
    torch.testing.assert_close(cell_features(layers, unlearned(LAYERS, heads=False)), cell_features(mean, ones))


def test_nothing_learned_says_one_half_everywhere():
    own = torch.eye(4)
    read = read_layers(LayerMaps(maps(), own, (2, 2)), unlearned(LAYERS))
    assert read.are_probabilities
    assert (read.cross_attention == 0.5).all()
    assert read.self_attention is own


def test_what_is_fitted_finds_a_class_by_one_head_among_others():
    """The first head of the first layer says where the class is; the others are noise."""
    generator = torch.Generator().manual_seed(1)
    learned = unlearned({"mid.attn2": 3})
    pictures, cells = [], []
    for _ in range(40):
        truth = (torch.rand(2, 5, 5, generator=generator) < 0.3).float()
        layer = torch.rand(3, 3, 5, 5, generator=generator) * 0.2 + 0.05
        layer[0, :2] += 0.5 * truth
        pictures.append((layer, truth))
        features = cell_features([layer], learned).permute(0, 2, 3, 1).flatten(0, 2)
        cells.append((features, truth.flatten()))
    columns, coverage = (torch.cat(part) for part in zip(*cells[:30], strict=True))
    weights = fit(columns, coverage, learned, weight=torch.ones(len(coverage)), seed=0)
    again = fit(columns, coverage, learned, weight=torch.ones(len(coverage)), seed=0)
    assert weights == again
    assert len(weights.hidden) == 8
    read = [read_layers(LayerMaps((layer,), torch.eye(25), (5, 5)), weights) for layer, _ in pictures[30:]]
    right = [
        ((one.cross_attention > 0.5) == truth.bool()).float().mean()
        for one, (_, truth) in zip(read, pictures[30:], strict=True)
    ]
    assert min(right) == 1.0


def test_cells_of_no_weight_teach_nothing():
    generator = torch.Generator().manual_seed(2)
    learned = unlearned({"mid.attn2": 1})
    columns = torch.randn(400, learned.num_features, generator=generator)
    truth = (columns[:, 1] > 0).float()
    lies = torch.cat([truth[:200], 1 - truth[200:]])
    weight = torch.cat([torch.ones(200), torch.zeros(200)])
    weights = fit(columns, lies, learned, weight=weight, seed=0)
    hidden = torch.tanh(columns @ torch.tensor(weights.hidden).T + torch.tensor(weights.hidden_bias))
    logits = hidden @ torch.tensor(weights.output) + weights.output_bias
    assert ((logits > 0) == truth.bool()).float().mean() > 0.9
