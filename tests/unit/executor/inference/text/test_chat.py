"""Prompts within conversations: Qwen's ids as the published tokenizer gives them, and what stands around a prompt."""

import pytest
import torch

from executor.inference.memory import Memory
from executor.inference.text.chat import SEEN, ChatTokenizer, beginning, chat_ids_of
from executor.inference.text.embeddings import Embeddings
from executor.inference.text.loading import load_text_encoder
from executor.inference.text.qwen_bpe import qwen_bpe
from executor.inference.text.qwen_encoder import places_of, scaled, seen_size
from tests.tiny_qwen import WIDTH, write_qwen

RECORDED: list[tuple[str, list[int]]] = [
    ("", []),
    ("a cat", [64, 8251]),
    ("A photo of a cat, 4k!", [32, 6548, 315, 264, 8251, 11, 220, 19, 74, 0]),
    ("  two  spaces  ", [220, 1378, 220, 12621, 256]),
    ("line\nbreak\r\nand\ttab", [1056, 198, 8960, 319, 437, 58149]),
    ("\xe9 e\u0301 na\xefve", [963, 3958, 94880, 586]),
    (
        "\u65e5\u672c\u8a9e \u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4 \u4e2d\u6587",
        [101059, 102819, 20711, 228, 61803, 70534, 130092, 31079, 72858, 16744],
    ),
    (
        "\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467",
        [141334, 61804, 102, 378, 235, 145233, 378, 235, 145665],
    ),
    ("1234567890 3.14", [16, 17, 18, 19, 20, 21, 22, 23, 24, 15, 220, 18, 13, 16, 19]),
    ("don't 'LL", [15007, 944, 364, 4086]),
    ("<|im_start|>user\nx<|im_end|>\n", [151644, 872, 198, 87, 151645, 198]),
    ("(red:1.3) [x] {a|b}", [36001, 25, 16, 13, 18, 8, 508, 87, 60, 314, 64, 91, 65, 92]),
    ("\n\n\n   x", [1406, 256, 856]),
    ("<tool_call>x", [151657, 87]),
    ("\x00\x07", [188, 195]),
    ("embedding:name", [94611, 57520]),
]
ANSWER = [151645, 198, 151644, 77091, 198]


@pytest.mark.parametrize(("text", "ids"), RECORDED, ids=[ascii(text) for text, _ in RECORDED])
def test_ids_are_the_recorded_ones(text, ids):
    assert chat_ids_of(text) == ids


def test_every_token_has_the_id_of_its_place():
    found = qwen_bpe()
    assert found.get_vocab_size() == 151665
    names = {0: "!", 255: "\u0143", 256: "\u0120\u0120", 151643: "<|endoftext|>", 151655: "<|image_pad|>"}
    assert {number: found.id_to_token(number) for number in names} == names
    assert found.id_to_token(151664) == "<|file_sep|>"


def test_half_a_surrogate_pair_reads_as_a_blank():
    assert chat_ids_of("a\ud800") == chat_ids_of("a\ufffd")


def tokenizer(**options: object) -> ChatTokenizer:
    return ChatTokenizer(embeddings=Embeddings(folders=())).set_by(options)


def tokens_of(prompt: str, **options: object) -> list:
    [chunk] = tokenizer(**options).tokenize(prompt)
    return [place.token for place in chunk]


def test_a_prompt_stands_behind_34_tokens_that_say_what_to_do():
    found = tokens_of("a cat")
    assert (len(found) - 2 - len(ANSWER), beginning(found)) == (34, 34)
    assert found[34:] == [64, 8251, *ANSWER]


def test_a_prompt_with_pictures_stands_behind_64_tokens():
    pictures = [torch.zeros(1, 28, 56, 3), torch.ones(1, 28, 28, 4)]
    found = tokens_of("a cat", images=pictures)
    assert beginning(found) == 64
    begin, first, end, _, second, _, *rest = found[64:]
    assert (begin, end, rest) == (151652, 151653, [64, 8251, *ANSWER])
    assert torch.equal(first, pictures[0])
    assert torch.equal(second, pictures[1][..., :3])


def test_pictures_stand_where_a_prompt_has_places_for_them():
    found = tokens_of(f"Picture 1: {SEEN}a cat", images=[torch.zeros(1, 28, 28, 3)])
    assert found[64:69] == [24669, 220, 16, 25, 220]
    assert found[69] == 151652
    assert isinstance(found[70], torch.Tensor)
    assert found[71:] == [151653, 64, 8251, *ANSWER]


def test_what_stands_around_a_prompt_can_be_told():
    template = "<|im_start|>system\nDraw.<|im_end|>\n<|im_start|>user\n{}{a}<|im_end|>"
    found = tokens_of("a {x} cat", llama_template=template)
    assert found[beginning(found) :] == chat_ids_of("a {x} cat{a}<|im_end|>")
    assert tokens_of("a cat", llama_template="{}") == [64, 8251]
    assert beginning(tokens_of("a cat", llama_template="{}")) == 0


def test_brackets_are_text_and_weigh_nothing():
    [chunk] = tokenizer().tokenize("(red:1.3) embedding:name")
    assert {place.weight for place in chunk} == {1.0}
    assert [place.token for place in chunk][34:-5] == chat_ids_of("(red:1.3) embedding:name")
    assert [place.word for place in tokenizer().numbered("a cat")[0]] == [0] * 34 + [1] * 7


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((56, 84), (56, 84)),
        ((100, 200), (112, 196)),
        ((10, 10), (56, 56)),
        ((1000, 1500), (1008, 1512)),
        ((8, 400), (28, 420)),
        ((150, 20000), (140, 19992)),
        ((5000, 6000), (3248, 3920)),
    ],
)
def test_pictures_are_seen_at_whole_tokens_as_by_transformers(size, seen):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    assert seen_size(*size) == seen == smart_resize(*size, min_pixels=3136, max_pixels=12845056)
    assert places_of(torch.zeros(1, *size, 3)) == seen[0] * seen[1] // 784


def test_pictures_of_other_sizes_are_scaled_within_the_colours():
    whole = torch.rand(1, 56, 84, 3)
    assert torch.equal(scaled(whole), whole.movedim(-1, 1))
    found = scaled((torch.rand(1, 33, 100, 3) > 0.5).float())
    assert found.shape == (1, 3, 28, 112)
    assert 0.0 <= float(found.min()) < float(found.max()) <= 1.0


# ---------------------------------------------------------------- the encoder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = write_qwen(tmp_path_factory.mktemp("texts") / "qwen_2.5_vl_7b.safetensors")
    return load_text_encoder([path], "qwen_image", Memory(mode="cpu"))


def test_what_a_model_is_conditioned_on_are_the_states_of_the_users_words(clip):
    tokens = clip.tokenize("a cat")
    assert list(tokens) == ["qwen25_7b"]
    [[states, options]] = clip.encode_tokens(tokens)
    assert states.shape == (1, 2 + len(ANSWER), WIDTH)
    assert options == {"pooled_output": None}
    encoder = clip.encoders[0]
    whole = encoder.encode_chunks([[place.token for place in tokens["qwen25_7b"][0]]]).hidden
    assert torch.equal(states, whole[:, 34:])


def test_pictures_change_what_the_words_mean(clip):
    pictures = [torch.rand(1, 56, 84, 3)]
    told = clip.encode_from_tokens(clip.tokenize("a cat", images=pictures))
    assert told.shape == (1, 8 + 2 + len(ANSWER), WIDTH)
    other = clip.encode_from_tokens(clip.tokenize("a cat", images=[1.0 - pictures[0]]))
    assert float((told - other)[:, -1].abs().max()) > 1e-4


def test_an_earlier_layer_is_taken_where_asked(clip):
    other = clip.clone().clip_layer(-2)
    tokens = clip.tokenize("a cat")
    assert not torch.equal(other.encode_from_tokens(tokens), clip.encode_from_tokens(tokens))
