import pytest
import torch

from dataset_diffusion.diffusion.softmax import joined_mask, self_attention, square_of, token_probabilities


def explicit(query, key, scale, mask=None):
    logits = scale * query @ key.transpose(-1, -2)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return logits.softmax(-1)


@pytest.mark.parametrize("kept", [1, 3, 11])
@pytest.mark.parametrize("numbers_at_once", [1, 2**24])
def test_token_probabilities_are_columns_of_the_softmax(kept, numbers_at_once):
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, count, 4, generator=generator) for count in (5, 7))
    columns = torch.rand(2, 7, kept, generator=generator)
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])[:, None, None]
    found = token_probabilities(query, key, columns, mask=mask, scale=0.7, numbers_at_once=numbers_at_once)
    torch.testing.assert_close(found, explicit(query, key, 0.7, mask) @ columns[:, None], atol=1e-6, rtol=1e-5)


def test_small_probabilities_survive_float16():
    query = torch.zeros(1, 1, 1, 16, dtype=torch.float16)
    key = torch.zeros(1, 1, 30_000, 16, dtype=torch.float16)
    columns = torch.zeros(1, 30_000, 1)
    columns[0, 5] = 1
    found = token_probabilities(query, key, columns, mask=None, scale=1.0)
    torch.testing.assert_close(found.flatten(), torch.tensor([1 / 30_000]), rtol=1e-2, atol=0)


def test_masks_are_joined_whatever_their_kind():
    more = torch.tensor([[True, False]])
    seen = torch.tensor([True, True, False])[None, None, None]
    as_bool = joined_mask(seen, 3, more, 2)
    assert as_bool.flatten().tolist() == [True, True, False, True, False]
    added = torch.zeros(1, 1, 1, 3).masked_fill(~seen, float("-inf"))
    assert (joined_mask(added, 3, more, 2) == 0).flatten().tolist() == as_bool.flatten().tolist()
    assert joined_mask(None, 3, None, 2) is None
    assert joined_mask(None, 3, more, 2).flatten().tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("grid", [(4, 4), (5, 3)])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("numbers_at_once", [1, 40, 2**24])
def test_self_attention_of_squares_of_cells(grid, pool, numbers_at_once):
    generator = torch.Generator().manual_seed(1)
    cells = grid[0] * grid[1]
    query, key = torch.randn(2, 2, 3, cells, 4, generator=generator)
    found = self_attention(query, key, scale=0.5, grid=grid, pool=pool, numbers_at_once=numbers_at_once)
    squares = torch.nn.functional.one_hot(square_of(grid, pool)).float()
    by_hand = (squares / squares.sum(0)).T @ explicit(query, key, 0.5).mean(1) @ squares
    torch.testing.assert_close(found, by_hand)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:2]))


def test_linear_attention_weighs_by_what_is_above_zero():
    query, key = torch.tensor([[1.0, -1.0], [0.0, 2.0]]), torch.tensor([[3.0, 1.0], [1.0, -5.0]])
    found = self_attention(query[None, None], key[None, None], scale=1.0, grid=(1, 2), pool=1, linear=True)
    torch.testing.assert_close(found[0], torch.tensor([[0.75, 0.25], [1.0, 0.0]]))
