import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from examples import SCHEDULES, random_tokens, tiny_images, tiny_tokenizer, tokenizer_config

from varlite.scales import Scales
from varlite.tokenizer import VQVAE, TokenizerConfig, decoder_fingerprint, fingerprint


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.mark.parametrize("sides", SCHEDULES)
def test_inputs_are_those_that_sampling_makes_step_by_step(sides):
    tokenizer, scales = tiny_tokenizer(scales=sides), Scales.of(sides)
    idx, f_hat, steps = random_tokens(sides), tokenizer.empty(2), []
    for k in range(scales.K - 1):
        f_hat = tokenizer.accumulate(f_hat, tokenizer.embed(idx[k]), k)
        steps.append(tokenizer.next_input(f_hat, k))
    assert [step.shape for step in steps] == [(2, length, 8) for length in scales.lengths[1:]]
    assert torch.equal(tokenizer.inputs(idx), torch.cat(steps, 1))


@pytest.mark.parametrize("sides", SCHEDULES)
def test_decoding_the_tokens_of_an_image_gives_its_reconstruction(sides):
    tokenizer = tiny_tokenizer(scales=sides)
    img = torch.rand(2, 1, *tokenizer.image_size()) * 2 - 1
    with torch.inference_mode():
        idx, f_hats = tokenizer.quantizer.encode(tokenizer.features(img), tokenizer.scales)
        assert all(map(torch.equal, tokenizer.encode(img), idx))
        assert torch.equal(tokenizer.decode(idx), tokenizer.to_image(f_hats[-1]))
        assert torch.equal(tokenizer.decode(idx[:2]), tokenizer.to_image(f_hats[1]))  # the picture after two scales
        torch.testing.assert_close(tokenizer.decode(idx), tokenizer(img)[0].clamp(-1, 1))


def test_tokens_are_whole_numbers_below_the_codebook_size_and_many_of_them(tokenizer):
    idx = tokenizer.encode(tiny_images(8))
    assert [tuple(idx_Bl.shape) for idx_Bl in idx] == [(8, 1), (8, 4), (8, 9), (8, 25)]
    flat = torch.cat(idx, 1)
    assert flat.dtype == torch.int64 and flat.min() >= 0 and flat.max() < 32
    assert len(flat.unique()) > 8


def test_images_come_out_in_minus_one_to_one(tokenizer):
    with torch.no_grad():
        tokenizer.decoder.conv_out.weight.mul_(100)
        out = tokenizer.decode(random_tokens(tokenizer.scales))
    assert out.min() == -1 and out.max() == 1


@pytest.mark.parametrize("sides", [[1, 2, 4, 8], [[1, 2], [2, 4], [3, 6]], [1, 3, 4, 5, 6]])
def test_the_same_weights_serve_other_schedules_and_sides(tokenizer, sides):
    scales = Scales.of(sides)
    img = torch.rand(2, 1, *tokenizer.image_size(scales)) * 2 - 1
    idx = tokenizer.encode(img, scales)
    assert [idx_Bl.shape[1] for idx_Bl in idx] == list(scales.lengths)
    assert tokenizer.decode(idx, scales).shape == img.shape
    assert tokenizer.inputs(idx, scales).shape == (2, scales.total - scales.lengths[0], 8)


@pytest.mark.parametrize(
    ("img", "message"),
    [
        (torch.rand(2, 1, 10, 12), r"shape \(B, 1, 10, 10\), got \(2, 1, 10, 12\)"),
        (torch.rand(2, 3, 10, 10), r"got \(2, 3, 10, 10\)"),
        (torch.rand(1, 10, 10), r"got \(1, 10, 10\)"),
        (torch.zeros(2, 1, 10, 10, dtype=torch.uint8), r"floating point in \[-1, 1\], got torch.uint8; bytes are"),
        (torch.zeros(2, 1, 10, 10, dtype=torch.complex64), "floating point"),
        (torch.zeros(2, 1, 10, 10, dtype=torch.bool), "floating point"),
        (torch.zeros(2, 1, 10, 10, device="meta"), "on the tokenizer's device, cpu, got meta"),
        (torch.zeros(()), r"got \(\)"),
        (np.zeros((2, 1, 10, 10), np.float32), "img must be a tensor of floats .* got ndarray of shape"),
        (None, "img must be a tensor of floats .* got None"),
        ("cat.png", "got 'cat.png'"),
        ([[0.0]], "must be a tensor"),
    ],
)
@pytest.mark.parametrize("method", ["encode", "features"])
def test_an_image_that_does_not_fit_is_refused(tokenizer, method, img, message):
    with pytest.raises(ValueError, match=message):
        getattr(tokenizer, method)(img)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 255.0, 1.2, -1.2])
def test_an_image_with_values_outside_minus_one_to_one_is_refused(tokenizer, value):
    img = tiny_images()
    img[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match=r"img must lie in \[-1, 1\] without NaN, got values from"):
        tokenizer.encode(img)


def test_an_image_in_zero_to_one_is_noticed_once_and_a_flat_or_ordinary_one_is_not(tokenizer):
    ordinary = tiny_images()
    flat = [torch.full_like(ordinary, value) for value in (0.0, 0.5, 1.0)]
    with warnings.catch_warnings(record=True) as seen:
        for img in (ordinary, *flat, 0.9 + ordinary / 10):
            tokenizer.encode(img)
        assert seen == []
        warnings.simplefilter("default")
        for _ in range(3):
            tokenizer.encode((ordinary + 1) / 2)
    assert [str(warning.message) for warning in seen] == [
        "img has no value below 0; it must lie in [-1, 1], and one in [0, 1] is 2 x - 1"
    ]


def test_an_image_of_another_kind_of_float_is_taken_as_it_is(tokenizer):
    img = tiny_images()
    assert all(map(torch.equal, tokenizer.encode(img.double()), tokenizer.encode(img)))
    assert tokenizer.bfloat16().encode(img)[0].shape == (2, 1)


def maps(*lengths, batch=2, **options):
    return [torch.zeros(batch, l, **{"dtype": torch.int64} | options) for l in lengths]


@pytest.mark.parametrize(
    ("idx", "message"),
    [
        (None, "idx must be a list of token maps .* got None"),
        ("tokens", "list of token maps"),
        (torch.zeros(2, 39, dtype=torch.int64), r"list of token maps .* got Tensor of shape \(2, 39\)"),
        ([1, 2, 3, 4], "list of token maps"),
        ([np.zeros((2, 1), int)], "list of token maps"),
        ([], "idx must be . to 4 maps"),
        (maps(1, 4, 9, 25, 36), r"to 4 maps \(B, l\) with l = \(1, 4, 9, 25\), got shapes"),
        (maps(1, 4, 8, 25), "maps"),
        (maps(1, 4) + maps(9, 25, batch=3), "maps"),
        ([torch.tensor(1)] * 4, "maps"),
        ([torch.zeros(2, 1, 1, dtype=torch.int64), *maps(4, 9, 25)], "maps"),
        (maps(1, 4, 9, 25, dtype=torch.float32), "idx must be int64 on cpu, got torch.float32 on cpu"),
        (maps(1, 4, 9, 25, dtype=torch.uint8), "int64 on cpu, got torch.uint8"),
        (maps(1, 4, 9, 25, device="meta"), "got torch.int64 on meta"),
        ([*maps(1, 4, 9), torch.full((2, 25), 32)], r"idx must hold codes in 0 .. 31, got 0 to 32"),
        ([torch.full((2, 1), -1), *maps(4, 9, 25)], "got -1 to 0"),
    ],
)
@pytest.mark.parametrize("method", ["decode", "inputs"])
def test_token_maps_that_do_not_fit_are_refused(tokenizer, method, idx, message):
    with pytest.raises(ValueError, match=message):
        getattr(tokenizer, method)(idx)


@pytest.mark.parametrize("method", ["encode", "features", "decode", "inputs"])
@pytest.mark.parametrize("scales", [3, "1,2", [], [2, 1], [1.5]])
def test_a_schedule_that_makes_no_sense_is_refused_and_a_list_of_sides_is_one(tokenizer, method, scales):
    given = tiny_images() if method in ("encode", "features") else maps(1, 4, 9, 25)
    with pytest.raises(ValueError, match="scales: "):
        getattr(tokenizer, method)(given, scales)
    expected = getattr(tokenizer, method)(given)
    assert all(map(torch.equal, getattr(tokenizer, method)(given, [1, 2, 3, 5]), expected))


def test_the_gradient_of_the_reconstruction_goes_straight_through_to_the_encoder(tokenizer):
    img = tiny_images()
    tokenizer(img)[0].square().sum().backward()
    assert tokenizer.encoder.conv_in.weight.grad.any()
    assert tokenizer.quantizer.codebook.weight.grad is None
    # Straight through: f's gradient is that of f_hat, as if quantizing were the identity.
    f = tokenizer.features(img).detach().requires_grad_()
    f_hat = tokenizer.quantizer.encode(f, tokenizer.scales)[1][-1].detach().requires_grad_()
    (expected,) = torch.autograd.grad(tokenizer.decoder(tokenizer.post_quant(f_hat)).square().sum(), f_hat)
    tokenizer.features = lambda img: f
    (straight,) = torch.autograd.grad(tokenizer(img)[0].square().sum(), f)
    torch.testing.assert_close(straight, expected, atol=1e-3, rtol=1e-3)


def test_the_codebook_learns_from_the_quantizer_loss_and_the_encoder_from_beta_of_it(tokenizer):
    img = tiny_images()
    losses = {beta: tokenizer(img, beta)[1] for beta in (0.0, 0.25, 1.0)}
    f = tokenizer.features(img)
    mse = torch.stack([F.mse_loss(f_hat, f) for f_hat in tokenizer.quantizer.encode(f, tokenizer.scales)[1]]).mean()
    for beta, loss in losses.items():
        torch.testing.assert_close(loss, (1 + beta) * mse)
    encoder, codes = tokenizer.encoder.conv_in.weight, tokenizer.quantizer.codebook.weight
    gradients = {beta: torch.autograd.grad(loss, (encoder, codes), allow_unused=True) for beta, loss in losses.items()}
    assert gradients[0.0][0] is None or not gradients[0.0][0].any()
    torch.testing.assert_close(gradients[1.0][0], 4 * gradients[0.25][0])
    assert gradients[0.0][1].any()
    torch.testing.assert_close(gradients[1.0][1], gradients[0.0][1])


def test_the_mode_changes_nothing_in_a_tokenizer(tokenizer):
    img = tiny_images()
    with torch.inference_mode():
        assert all(map(torch.equal, tokenizer.train()(img)[:2], tokenizer.eval()(img)[:2]))


def test_a_configuration_survives_json_and_a_wrong_one_is_refused():
    config = tokenizer_config(scales=((1, 2), (2, 4)))
    assert TokenizerConfig(**{**vars(config), "multipliers": [1, 1]}) == config
    with pytest.raises(ValueError, match="one entry for each level, got 2, 3 and 2"):
        tokenizer_config(encoder_blocks=(1, 1, 1))
    with pytest.raises(ValueError, match=r"ch must be a multiple of 32 .* got 48"):
        tokenizer_config(ch=48)


@pytest.mark.parametrize("shared", [0, 1, 2, 4])
def test_every_sharing_of_phis_encodes_and_decodes(shared):
    tokenizer = VQVAE(tokenizer_config(phi_shared=shared))
    img = tiny_images()
    assert tokenizer.decode(tokenizer.encode(img)).shape == img.shape


def test_another_decoder_is_told_apart_though_tokens_are_the_same():
    tokenizer = tiny_tokenizer()
    tokens, pictures = fingerprint(tokenizer), decoder_fingerprint(tokenizer)
    with torch.no_grad():
        tokenizer.post_quant.weight.add_(0.1)
    assert fingerprint(tokenizer) == tokens and decoder_fingerprint(tokenizer) != pictures
    with torch.no_grad():
        tokenizer.quantizer.codebook.weight.add_(0.1)
    assert fingerprint(tokenizer) != tokens
