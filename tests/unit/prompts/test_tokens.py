import pytest
from tests.helpers.clip_tokenizer import clip_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dataset_diffusion.errors import PromptError
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.prompts.tokens import token_indices, word_groups

pytestmark = pytest.mark.slow


def fast_tokenizer(tokenizer, limit=77):
    """Wrap a tokenizer, putting <s> before and </s> after every text."""
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=limit, unk_token="<unk>")


@pytest.fixture(scope="module")
def bpe():
    """Byte-pair encoding without a single merge: every letter is a token of its own."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(special_tokens=["<s>", "</s>", "<unk>"], initial_alphabet=list("abcdefghijklmnoprtu"))
    tokenizer.train_from_iterator([], trainer)
    return fast_tokenizer(tokenizer, limit=16)


@pytest.fixture(scope="module")
def clip():
    return clip_tokenizer()


@pytest.mark.parametrize(
    ("class_prompt", "words", "expected"),
    [
        ("cat", ["cat"], [[1, 2, 3]]),
        ("cat bus", ["cat", "bus"], [[1, 2, 3], [4, 5, 6]]),
        ("cat bus", ["bus", "cat"], [[4, 5, 6], [1, 2, 3]]),
        ("cat bus", ["bus"], [[4, 5, 6]]),
        ("Cat", ["cAT"], [[1, 2, 3]]),
        ("hot dog", ["hot dog"], [[1, 2, 3, 4, 5, 6]]),
        ("dog hot dog", ["dog", "hot dog"], [[1, 2, 3], [4, 5, 6, 7, 8, 9]]),
        ("hot dog dog", ["hot dog", "dog"], [[1, 2, 3, 4, 5, 6], [7, 8, 9]]),
        ("hot dog dog", ["dog", "hot dog"], [[7, 8, 9], [1, 2, 3, 4, 5, 6]]),
        ("dog dog", ["dog", "dog"], [[1, 2, 3], [4, 5, 6]]),
        ("cat; (cat)", ["cat", "cat"], [[1, 2, 3], [6, 7, 8]]),
        ("hot  dog", ["hot dog"], [[1, 2, 3, 4, 5, 6]]),
        ("cats cat", ["cat"], [[5, 6, 7]]),
        ("cat", [], []),
    ],
)
def test_words_map_to_their_own_tokens(bpe, class_prompt, words, expected):
    assert token_indices(bpe, class_prompt, words) == expected


def test_a_word_that_does_not_occur_is_refused(bpe):
    for class_prompt in ("dog", "cats", "ca t"):
        with pytest.raises(PromptError) as error:
            token_indices(bpe, class_prompt, ["cat"])
        assert str(error.value).startswith(
            f"the class prompt does not hold a class word; got 'cat' in '{class_prompt}'"
        )


def test_a_word_that_occurs_too_rarely_is_refused(bpe):
    with pytest.raises(PromptError, match="does not hold a class word; got 'dog'"):
        token_indices(bpe, "hot dog", ["hot dog", "dog"])


def test_a_blank_word_is_refused(bpe):
    with pytest.raises(PromptError, match="a class without prompt words; got ' '"):
        token_indices(bpe, "cat", [" "])


def test_a_class_prompt_beyond_the_limit_names_the_classes_it_would_lose(bpe):
    fitting, too_long = "cat dog bus car ab", "cat dog bus car abc"
    assert token_indices(bpe, fitting, ["car", "ab"]) == [[10, 11, 12], [13, 14]]
    with pytest.raises(PromptError) as error:
        token_indices(bpe, too_long, ["cat", "dog", "bus", "car", "abc"])
    assert str(error.value) == (
        "the class prompt is longer than the tokenizer's limit; got 17 tokens in 'cat dog bus car abc'; "
        "expected at most 16, special tokens counted; fix: split it; classes that would be lost: abc"
    )


def test_a_word_the_tokenizer_does_not_know_is_refused(bpe):
    with pytest.raises(PromptError, match="a class word that the tokenizer does not know; got 'яя'"):
        token_indices(bpe, "cat яя", ["cat", "яя"])


def test_a_token_that_two_words_share_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "cat-dog": 3}, unk_token="<unk>"))
    shared = fast_tokenizer(tokenizer)
    shared.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(PromptError, match="a class word without a token of its own; got 'cat' in 'cat-dog'; fix:"):
        token_indices(shared, "cat-dog", ["cat", "dog"])


def test_a_word_that_the_tokenizer_drops_is_refused(bpe):
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "cat": 2, "<unk>": 3}, unk_token="<unk>"))
    dropping = fast_tokenizer(tokenizer)
    dropping.backend_tokenizer.normalizer = normalizers.Replace("dog", "")
    with pytest.raises(PromptError, match="a class word without a token of its own; got 'dog'"):
        token_indices(dropping, "cat dog", ["dog"])


def test_a_tokenizer_without_offsets_is_refused():
    class SlowTokenizer:
        is_fast = False
        model_max_length = 77
        unk_token_id = None

        def __call__(self, text, **options):
            raise NotImplementedError

    with pytest.raises(PromptError, match="got SlowTokenizer; fix: load it as a fast tokenizer"):
        token_indices(SlowTokenizer(), "cat", ["cat"])


@pytest.mark.parametrize("name", ["voc", "coco", "cityscapes", "celebamask-hq", "emoji"])
def test_every_class_has_exactly_its_own_tokens_in_clip(clip, name):
    words = class_set(name).words
    for start in range(0, len(words), 20):
        some = words[start : start + 20]
        class_prompt = " ".join(some)
        ids = clip(class_prompt).input_ids
        indices = token_indices(clip, class_prompt, some)
        assert [position for positions in indices for position in positions] == list(range(1, len(ids) - 1))
        for word, positions in zip(some, indices, strict=True):
            assert clip.decode([ids[position] for position in positions]).strip() == word


def test_clips_limit_is_77(clip):
    coco = class_set("coco")
    with pytest.raises(
        PromptError,
        match=r"got 99 tokens in .*; expected at most 77.*lost: toilet, tv, .*, toothbrush$",
    ):
        token_indices(clip, " ".join(coco.words), coco.words)


@pytest.mark.parametrize(
    ("limit", "sizes"), [(77, [4]), (5, [2, 2]), (4, [2, 2]), (3, [1, 1, 1, 1]), (2, [1, 1, 1, 1])]
)
def test_words_are_offered_in_as_few_groups_as_fit(limit, sizes):
    words = ["cat", "dog", "bus", "car"]
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", "<unk>", *words])}
    tokenizer = fast_tokenizer(Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>")), limit)
    groups = word_groups(tokenizer, words)
    assert [word for group in groups for word in words[group]] == words
    assert [len(words[group]) for group in groups] == sizes
