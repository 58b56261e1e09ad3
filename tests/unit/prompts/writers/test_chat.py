import pytest
import torch
from tests.helpers.tiny_chat import save_tiny_chat

from dataset_diffusion.errors import ModelError
from dataset_diffusion.prompts.writers.chat import load_chat

pytestmark = pytest.mark.slow


@pytest.fixture
def chat(tmp_path):
    save_tiny_chat(tmp_path)
    return tmp_path


def test_answers_follow_from_the_seed_alone(chat):
    model, questions = load_chat(str(chat), "cpu"), ["a forklift", "a pallet on the yard near a hall"]
    state = torch.get_rng_state()
    said = model.answer(questions, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert model.answer(questions, seed=1) == said
    assert model.answer(questions, seed=2) != said
    assert len(said) == 2
    assert not any("[" in one.replace("[UNK]", "").replace("[USER]", "").replace("[BOT]", "") for one in said)


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    save_tiny_chat(tmp_path / "plain", template=None)
    with pytest.raises(ModelError, match=r"not a chat model; got .* without a chat template; expected a causal"):
        load_chat(str(tmp_path / "plain"), "cpu")
