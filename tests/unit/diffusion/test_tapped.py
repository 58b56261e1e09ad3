import pytest
import torch
from peft import LoraConfig
from tests.helpers.tiny_transformers import thin_transformer
from torch.overrides import _get_current_function_mode_stack

from dataset_diffusion.errors import ModelError
from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a photo of a dog; dog", "dog", (2,))


@pytest.fixture
def model():
    return thin_transformer("sd3-without-t5")


def attend(model):
    return model.attend([torch.full((64, 64, 3), 99, dtype=torch.uint8).numpy()], [DOG], [1])


def refused(model):
    with pytest.raises(ModelError) as error:
        attend(model)
    assert "\n" not in str(error.value)
    return str(error.value)


def is_clean(model):
    hooks = (module._forward_hooks or module._forward_pre_hooks for module in model.family.network.modules())
    return not any(hooks) and _get_current_function_mode_stack() == []


def test_attention_that_is_computed_elsewhere_is_an_error(model):
    class Elsewhere:
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **options):
            return hidden_states, encoder_hidden_states

    model.pipeline.transformer.set_attn_processor(Elsewhere())
    message = refused(model)
    assert "transformer_blocks.0" in message
    assert "set_attention_backend('native')" in message
    assert is_clean(model)


def test_a_cache_that_skips_blocks_is_an_error(model):
    block = model.pipeline.transformer.transformer_blocks[1]
    block.forward, original = (
        lambda hidden_states, encoder_hidden_states, **_: (encoder_hidden_states, hidden_states),
        block.forward,
    )
    assert original != block.forward
    assert "transformer_blocks.1" in refused(model)
    assert is_clean(model)


def test_fused_projections_and_adapters_are_behind_the_tap(model):
    (before,) = attend(model)
    model.pipeline.transformer.fuse_qkv_projections()
    (fused,) = attend(model)
    torch.testing.assert_close(fused.cross_attention, before.cross_attention, rtol=1e-4, atol=1e-7)
    model.pipeline.transformer.unfuse_qkv_projections()
    adapter = LoraConfig(r=2, init_lora_weights=False, target_modules=["to_k", "add_k_proj"])
    model.pipeline.transformer.add_adapter(adapter)
    (adapted,) = attend(model)
    assert not torch.allclose(adapted.cross_attention, before.cross_attention, rtol=1e-3, atol=1e-7)
