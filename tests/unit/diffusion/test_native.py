import pytest

from dataset_diffusion.diffusion.families.table import FAMILIES
from dataset_diffusion.diffusion.native import NATIVE, Native, latent_scale, native_layers, native_size, pooled_side


def test_every_family_has_its_row():
    assert NATIVE.keys() == FAMILIES.keys()
    for name, native in NATIVE.items():
        assert [blocks for blocks, _ in native.blocks] == [blocks for blocks, _ in FAMILIES[name].attention]
        assert native.is_joint == (not FAMILIES[name].self_attention)


def test_the_size_follows_from_the_configs():
    autoencoder = {"block_out_channels": [1, 2, 3, 4]}
    assert native_size(Native(), {"sample_size": 128, "patch_size": 2}, autoencoder) == (1024, 64)
    assert native_size(Native(pixels=1024, patch=2), {"patch_size": 1}, autoencoder) == (1024, 64)


def test_every_fourth_layer_of_a_deep_network_and_every_one_of_a_small_one():
    cross, own = native_layers(Native(), {"num_layers": 24}, 64)
    assert cross.prefixes == tuple(f"transformer_blocks.{number}" for number in (2, 6, 10, 14, 18, 22))
    assert own.prefixes == ("transformer_blocks.12",)
    assert own.resolution == 32
    assert native_layers(Native(), {"num_layers": 4}, 16)[0].prefixes == ("",)
    assert native_layers(Native(is_joint=False), {"num_layers": 28}, 16)[0].prefixes == ("",)


@pytest.mark.parametrize(("side", "pooled"), [(16, 16), (32, 32), (64, 32), (96, 32), (100, 25)])
def test_the_self_attentions_grid_divides_the_models(side, pooled):
    assert pooled_side(side) == pooled


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"block_out_channels": [1] * 4}, 8),
        ({"encoder_block_out_channels": [1] * 6}, 32),
        ({"temperal_downsample": [False, True, True]}, 8),
    ],
)
def test_latent_cells_of_every_autoencoder(config, scale):
    assert latent_scale(config) == scale
