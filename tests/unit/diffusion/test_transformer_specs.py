import pytest

from dataset_diffusion.diffusion.transformer_specs import TRANSFORMERS


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_layers_are_few_and_the_self_attentions_grid_divides_the_models(name):
    spec = TRANSFORMERS[name]
    side = 32 if name.startswith("sana") else 64
    assert (spec.height, spec.cross_attention.resolution) == (1024, side)
    assert side % spec.self_attention.resolution == 0
    assert spec.self_attention.prefixes
    assert "" not in spec.self_attention.prefixes


def test_layers_of_the_literature():
    assert TRANSFORMERS["flux1-dev"].cross_attention.prefixes == tuple(f"transformer_blocks.{n}" for n in range(15, 19))
    assert TRANSFORMERS["hunyuan-dit"].self_attention.prefixes[0] == "blocks.20"
