import pytest
import torch

from varlite.evaluation.judges.interface import Pictures
from varlite.evaluation.judges.token_histogram import (
    TokenHistogram,
    TokenPairs,
    groups_of,
    token_view,
    total_variation,
)
from varlite.tokenizer import VQVAE, TokenizerConfig

CONFIG = TokenizerConfig(
    channels=1, vocab=64, z=4, ch=32, multipliers=(1, 1), encoder_blocks=(1, 1), decoder_blocks=(1, 1), scales=[1, 2, 4]
)


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    return VQVAE(CONFIG).eval()


def tokens(n, seed=0, vocab=64):
    return torch.randint(0, vocab, (n, 21), generator=torch.Generator().manual_seed(seed))


def test_total_variation_is_the_share_that_would_have_to_be_others():
    a, b = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 3, 3, 3, 3])
    assert total_variation(a, a.repeat(3), 4) == 0
    assert total_variation(a, b, 4) == pytest.approx(0.5)
    assert total_variation(a, torch.tensor([3]), 4) == 1


def test_a_share_of_other_tokens_is_the_score(tokenizer):
    judge = TokenHistogram(tokenizer)
    x = tokens(2000, vocab=32)
    changed = x.clone()
    changed[:, 5:][torch.rand(2000, 16, generator=torch.Generator().manual_seed(1)) < 0.25] = 63
    found = judge.scales(changed, x)
    assert found[:2] == [0, 0] and found[2] == pytest.approx(0.25, abs=0.01)
    assert judge.score(changed, x) == pytest.approx(0.25 * 16 / 21, abs=0.01)


def test_pairs_see_neighbours_that_do_not_fit_where_single_tokens_see_nothing(tokenizer):
    x = tokens(3000)
    x[:, 5:] = x[:, 5:6]  # a scale of one colour
    mixed = x.clone()
    for place in range(5, 21):  # each place keeps its tokens, of other pictures
        mixed[:, place] = x[torch.randperm(3000, generator=torch.Generator().manual_seed(place)), place]
    assert TokenHistogram(tokenizer).score(mixed, x) == 0
    assert (
        TokenPairs(tokenizer).score(mixed, x) > 0.5 > 0.1 > TokenPairs(tokenizer).score(tokens(3000), tokens(3000, 1))
    )


def test_codes_alike_are_in_one_group_and_groups_are_the_same_again():
    codes = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(5, 0) * 10
    codes = codes + 0.01 * torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    group = groups_of(codes, groups=40)
    assert torch.equal(group, groups_of(codes, groups=40)) and group.max() < 40
    few = groups_of(codes, groups=4).view(8, 5)
    assert (few == few[:, :1]).all()


def test_the_view_is_all_scales_of_the_tokenizer(tokenizer):
    images = torch.randint(0, 256, (5, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    judge, pictures = TokenHistogram(tokenizer), Pictures(images, None, token_view(tokenizer))
    rows = judge.rows(pictures)
    assert rows.shape == (5, 21) and rows.dtype == torch.int32 and judge.score(rows, rows) == 0
    torch.testing.assert_close(torch.cat(tokenizer.encode(images.float() / 127.5 - 1), 1).int(), rows)


def test_drawn_tokens_are_the_models_own_and_of_real_pictures_the_encoded_ones(tokenizer):
    images, drawn = torch.zeros(7, 1, 8, 8, dtype=torch.uint8), tokens(7)
    real = Pictures(images, None, token_view(tokenizer), real=True)
    samples = Pictures(images, None, token_view(tokenizer))
    for judge in (TokenHistogram(tokenizer, drawn=True), TokenPairs(tokenizer, drawn=True)):
        with pytest.raises(ValueError, match="do not come with the tokens that a model drew"):
            judge.rows(samples.part(torch.arange(3)))
    samples.once("drawn", lambda: drawn)
    assert torch.equal(judge.rows(samples), drawn) and torch.equal(judge.rows(real), real.view("tokens"))
    assert {judge.name for judge in (TokenHistogram(tokenizer, True), judge)} == {"drawn_tokens", "drawn_pairs"}
