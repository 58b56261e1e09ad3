import pytest
import torch
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack

from dataset_diffusion.diffusion.tap import AttentionTap, take


def test_what_is_computed_stays_and_is_seen():
    query, key, value = torch.randn(3, 2, 4, 5, 8)
    seen = []

    def see(call):
        seen.append(call)
        return call.run()

    expected = functional.scaled_dot_product_attention(query, key, value, scale=0.5)
    with AttentionTap(see):
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.5)
    assert torch.equal(found, expected)
    assert torch.equal(seen[0].key, key)
    assert seen[0].scale == 0.5


def test_keys_of_grouped_queries_are_repeated():
    query, (key, value) = torch.randn(1, 4, 3, 8), torch.randn(2, 1, 2, 3, 8)
    seen = []
    with AttentionTap(lambda call: (seen.append(call), call.run())[1]):
        found = functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    repeated = [states.repeat_interleave(2, 1) for states in (key, value)]
    torch.testing.assert_close(found, functional.scaled_dot_product_attention(query, *repeated))
    assert torch.equal(seen[0].key, repeated[0])


def test_an_error_leaves_nothing_behind():
    with pytest.raises(ZeroDivisionError), AttentionTap(lambda call: 1 / 0):
        functional.scaled_dot_product_attention(*torch.randn(3, 1, 1, 2, 4))
    assert _get_current_function_mode_stack() == []


def test_rows_take_the_mask_along():
    mask = torch.tensor([[True, False], [True, True]])[:, None, None]
    seen = []
    with AttentionTap(lambda call: (seen.append(call), call.run())[1]):
        functional.scaled_dot_product_attention(*torch.randn(3, 2, 1, 2, 4), attn_mask=mask)
    half = seen[0].rows(slice(1, None))
    assert half.query.shape == (1, 1, 2, 4)
    assert torch.equal(half.mask, mask[1:])


def test_tokens_at_places_of_each_images_own():
    states = torch.arange(12.0).reshape(2, 1, 6, 1)
    found = take(states, torch.tensor([[0, 1], [3, 4]]))
    assert found.flatten().tolist() == [0, 1, 9, 10]
