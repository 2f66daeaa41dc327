"""What every registered kind of model is held to. A new kind is tested by adding its row to `examples.EXAMPLES`."""

import pytest
import torch
from examples import (
    EXAMPLES,
    LABELS,
    chances,
    lively,
    random_example,
    random_tokens,
    steps_of,
    tiny_images,
    tokenizer_for,
)

from varlite import edit, generate, prepare
from varlite.checkpoints.load import convert, load
from varlite.datasets.pixels import to_bytes
from varlite.evaluation.drawn_sets import draw_set
from varlite.io.files import read_model, save_model
from varlite.models import KINDS, kind_of, register, require, set_dials

ROWS = [(kind, changes) for kind, rows in EXAMPLES.items() for changes in rows]


@pytest.fixture(params=ROWS, ids=[f"{kind}-{i}" for i, (kind, _) in enumerate(ROWS)])
def model(request):
    kind, changes = request.param
    return lively(kind, **changes)


def able(model, ability):
    if ability not in model.abilities:
        pytest.skip(f"{type(model).__name__} has no {ability}")


def files(model, tokenizer, folder):
    """Saves a model and its tokenizer as a training does."""
    about = {"kind": kind_of(model).name, "config": vars(model.config), "tokenizer": "none"}
    save_model(folder / "model.safetensors", about, model.state_dict())
    save_model(folder / "tokenizer.safetensors", {"kind": "tokenizer", "config": vars(tokenizer.config)},
               tokenizer.state_dict())  # fmt: skip
    return folder


def test_every_registered_kind_has_a_row_here():
    assert set(EXAMPLES) == set(KINDS)


def test_a_cache_gives_the_teacher_forced_logits(model):
    able(model, "cache")
    model, tokenizer = model.double(), tokenizer_for(model).double()
    x_BLZ = model.inputs(tokenizer, random_tokens(model.scales))
    torch.testing.assert_close(steps_of(model, x_BLZ), model(x_BLZ, LABELS), atol=1e-5, rtol=1e-5)


def test_nothing_leaks_from_a_step_to_an_earlier_one_and_everything_reaches_the_later_ones(model):
    able(model, "cache")
    x_BLZ, spans = model.inputs(tokenizer_for(model), random_tokens(model.scales)), model.spans(model.scales)
    first, logits_BLV = spans[0][1], model(x_BLZ, LABELS)
    for start, end in spans[1 : len(spans) : max(1, len(spans) // 5)]:
        changed = x_BLZ.clone()
        changed[:, start - first : end - first] += 1  # there is no input for the first step, which is the class
        same_BL = (model(changed, LABELS) == logits_BLV).all(-1)
        assert same_BL[:, :start].all() and not same_BL[:, start:].any()


def test_no_gradient_runs_from_a_step_to_the_input_of_a_later_one(model):
    able(model, "cache")
    x_BLZ = model.inputs(tokenizer_for(model), random_tokens(model.scales)).clone().requires_grad_()
    first = model.spans(model.scales)[0][1]
    for start, end in model.spans(model.scales)[1:]:
        (gradient,) = torch.autograd.grad(model(x_BLZ, LABELS)[:, start:end].square().sum(), x_BLZ)
        assert (gradient[:, end - first :] == 0).all() and (gradient[:, : end - first] != 0).any(-1).all()


def test_the_loss_reaches_every_parameter_and_no_part_of_the_tokenizer(model):
    tokenizer = tokenizer_for(model)
    model.train().loss(tokenizer, random_example(model), LABELS, chances(model, 1.0)).backward()
    assert not [name for name, w in model.named_parameters() if w.grad is None or not w.grad.any()]
    assert all(weight.grad is None for weight in tokenizer.parameters())


def test_training_and_evaluation_agree_where_nothing_is_dropped(model):
    tokenizer, example, chance_Bn = tokenizer_for(model), random_example(model), chances(model, 1.0)
    trained = model.train().loss(tokenizer, example, LABELS, chance_Bn)
    assert torch.equal(model.eval().loss(tokenizer, example, LABELS, chance_Bn), trained)


def test_labels_are_dropped_in_training_mode_alone(model):
    tokenizer, example, null = tokenizer_for(model), random_example(model), torch.full((2,), 10)
    losses = [
        model.train(mode).loss(tokenizer, example, label_B, chances(model, first))
        for mode, label_B, first in ((True, LABELS, 0.0), (True, null, 1.0), (False, LABELS, 0.0))
    ]
    assert torch.equal(losses[0], losses[1]) and losses[2] != losses[0]


def test_the_loss_draws_no_random_numbers_but_those_that_it_is_given(model):
    tokenizer, example, before = tokenizer_for(model), random_example(model), torch.get_rng_state()
    model.train().loss(tokenizer, example, LABELS, chances(model, 0.5))
    assert torch.equal(torch.get_rng_state(), before)
    model.loss(tokenizer, example, LABELS)  # it is given none
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_score_is_of_every_image_and_the_same_at_every_call(model):
    tokenizer, example = tokenizer_for(model), random_example(model)
    first, again = (model.score(tokenizer, example, LABELS) for _ in range(2))
    assert first["loss"].isfinite().all() and all(figure_B.shape == (2,) for figure_B in first.values())
    assert all(torch.equal(figure_B, again[name]) for name, figure_B in first.items())


def test_an_image_is_a_function_of_its_seed_whatever_its_batch(model):
    tokenizer = tokenizer_for(model)

    def images(*labels):
        return generate(model, tokenizer, labels, seeds=0)

    pair = images(3, 4)
    assert pair.shape[:2] == (2, 1) and pair.min() >= 0 and pair.max() <= 1
    assert torch.equal(pair, images(3, 4))
    torch.testing.assert_close(pair[1:], images(4), atol=1e-4, rtol=0)
    assert not torch.allclose(pair[1:], generate(model, tokenizer, [4], seeds=1))


def test_guidance_of_zero_costs_nothing_and_changes_no_token(model):
    """The null branch is skipped; with a guidance too small to tell, it leads to the same tokens, or latents."""
    if "guidance" not in model.abilities:
        pytest.skip("no guidance")
    model, tokenizer, found = model.double(), tokenizer_for(model).double(), {}
    for cfg in (0, 1e-12):
        rows, tokens = [], []
        hook = model.blocks[0].register_forward_pre_hook(lambda _, args, rows=rows: rows.append(len(args[0])))
        image = generate(model, tokenizer, LABELS, cfg=cfg, seeds=3,
                         on_scale=lambda step, tokens=tokens: tokens.append(drawn(model, step)))  # fmt: skip
        hook.remove()
        found[cfg] = rows, torch.cat(tokens, 1), image
    assert set(found[0][0]) == {2} and set(found[1e-12][0]) == {4}
    torch.testing.assert_close(found[0][1], found[1e-12][1])  # of whole numbers: equal
    torch.testing.assert_close(found[0][2], found[1e-12][2])


def drawn(model, step):
    """The codes of a step, or the latents of a model that draws none."""
    return step.idx_Bl if "logits" in model.abilities else step.h_BlZ


def test_a_likelihood_is_the_score_of_every_token_under_each_label(model):
    able(model, "likelihood")
    tokenizer, idx = tokenizer_for(model), random_tokens(model.scales)
    label_BM = torch.tensor([[1, 7, 3], [2, 0, 10]])
    with torch.inference_mode():
        log_p_BML = model.log_likelihood(tokenizer, idx, label_BM)
        for m, label_B in enumerate(label_BM.T):
            loss_BL, _ = model.score_tokens(tokenizer, idx, label_B)
            torch.testing.assert_close(log_p_BML[:, m], -loss_BL, atol=1e-5, rtol=1e-5)
    assert log_p_BML.shape == (2, 3, sum(model.scales.lengths)) and (log_p_BML < 0).all()


def test_the_likelihoods_of_all_codes_of_a_token_add_up_to_one(model):
    able(model, "likelihood")
    tokenizer, idx = tokenizer_for(model), random_tokens(model.scales, batch=1)
    every = [idx_Bl.repeat(32, 1) for idx_Bl in idx]
    every[-1] = every[-1].clone()
    every[-1][:, -1] = torch.arange(32)  # the last token of all: no other sees it
    with torch.inference_mode():
        log_p_B1L = model.log_likelihood(tokenizer, every, torch.full((32, 1), 4))
    torch.testing.assert_close(log_p_B1L[:, 0, -1].logsumexp(0), torch.tensor(0.0), atol=1e-4, rtol=0)


def test_prepare_changes_no_image(model):
    tokenizer = tokenizer_for(model)
    before = generate(model, tokenizer, LABELS, seeds=5)
    after = generate(prepare(model), tokenizer, LABELS, seeds=5)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


def test_logits_can_be_changed_before_the_draw_or_that_is_refused(model):
    seen = []
    if "logits" not in model.abilities:
        with pytest.raises(ValueError, match="draws no codes"):
            generate(model, tokenizer_for(model), [1], on_logits=seen.append)
        return

    def only_code_seven(step):
        step.logits_BlV = torch.full_like(step.logits_BlV, -torch.inf).index_fill_(-1, torch.tensor([7]), 0.0)

    generate(model, tokenizer_for(model), [1], top_p=0, on_logits=only_code_seven,
             on_scale=lambda step: seen.append(step.idx_Bl))  # fmt: skip
    assert seen and all((idx_Bl == 7).all() for idx_Bl in seen)


def test_sets_for_the_panel_hold_the_tokens_that_the_images_decode_from(model):
    tokenizer = tokenizer_for(model)
    pictures, _ = draw_set(model, tokenizer, {}, 20)
    assert pictures.has("drawn") == ("logits" in model.abilities)
    if pictures.has("drawn"):
        decoded = tokenizer.decode(tokenizer.scales.split(pictures.view("drawn").long()))
        off = to_bytes((decoded + 1) / 2).int() - pictures.images.int()
        assert off.abs().max() <= 1


def test_a_saved_model_is_loaded_as_it_was(model, tmp_path):
    again, _ = load(files(model, tokenizer_for(model), tmp_path))
    assert type(again) is type(model) and again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


def test_a_conversion_to_published_names_and_back_changes_nothing_or_is_refused(model, tmp_path):
    ours, theirs, back = (tmp_path / name for name in ("model.safetensors", "model.pth", "back.safetensors"))
    files(model, tokenizer_for(model), tmp_path)
    if "published names" not in model.abilities or not model.config.adaln or not square(model.scales):
        with pytest.raises(ValueError, match=r"published name|square"):
            convert(ours, theirs)
        return
    convert(ours, theirs)
    convert(theirs, back, heads=model.config.heads)
    before, after = read_model(ours), read_model(back)
    assert after[0]["kind"] == before[0]["kind"] and after[1].keys() == before[1].keys()
    assert all(torch.equal(after[1][name], tensor) for name, tensor in before[1].items())


def square(scales):
    return all(h == w for h, w in scales.shapes)


def test_editing_with_everything_kept_is_the_reconstruction_or_is_refused(model):
    tokenizer = tokenizer_for(model)
    h, w = tokenizer.image_size()
    img, keep = tiny_images(2, (h, w)), torch.ones(model.scales.last, dtype=torch.bool)
    if "editing" not in model.abilities:
        with pytest.raises(ValueError, match="cannot be edited"):
            edit(model, tokenizer, img, keep, LABELS)
        return
    of_tokens, of_latents = tokenizer.decode(tokenizer.encode(img)), tokenizer.to_image(tokenizer.features(img))
    expected = ((of_latents if model.learns == "latents" else of_tokens) + 1) / 2
    torch.testing.assert_close(edit(model, tokenizer, img, keep, LABELS), expected, atol=1e-5, rtol=0)


def test_another_schedule_works_or_is_refused_before_anything_is_drawn(model):
    tokenizer = tokenizer_for(model)

    def more(k):
        return int(k > 0 or model.scales.K == 1)

    finer = type(model.scales).of([[h + more(k), w + more(k)] for k, (h, w) in enumerate(model.scales.shapes)])
    if "schedules" not in model.abilities:
        with pytest.raises(ValueError, match="another schedule"):
            generate(model, tokenizer, [1], scales=finer)
        return
    assert generate(model, tokenizer, [1], scales=finer).shape[-2:] == tokenizer.image_size(finer)
    with pytest.raises(ValueError, match=r"^scales: this model (has|starts)"):
        generate(model, tokenizer, [1], scales=type(finer).of([7]))


def test_costs_are_those_of_the_operations_and_the_weights_of_the_model(model):
    assert sum(model.weights_by_part(model.config).values()) == sum(w.numel() for w in model.parameters())
    forward, training = (model.flops(model.config, what) for what in ("forward", "training"))
    assert training == 3 * forward > 0
    assert model.flops(model.config, "sampling") > 0
    with pytest.raises(ValueError, match="what must be forward, sampling or training, got 'backward'"):
        model.flops(model.config, "backward")


def test_sampling_runs_the_model_as_often_as_its_costs_say(model):
    passes = []
    model.blocks[0].register_forward_pre_hook(lambda *_: passes.append(1))
    generate(model, tokenizer_for(model), [1])
    assert len(passes) == model.evaluations(model.config)


def test_dials_change_how_a_model_samples_and_what_that_costs_and_nothing_else(model):
    if "steps" not in model.dials:
        with pytest.raises(ValueError, match=f"{type(model).__name__} has no dial 'steps'; there are: "):
            set_dials(model, {"steps": 4})
        return
    before, weights = model.evaluations(model.config), model.state_dict()
    set_dials(model, {"steps": model.config.steps + 2})
    assert model.evaluations(model.config) > before and model.state_dict().keys() == weights.keys()
    set_dials(model, [f"steps={model.config.steps - 2}"])
    assert model.evaluations(model.config) == before
    for wrong, message in [
        ({"depth": 3}, "no dial 'depth'"),
        (["steps=many"], "'steps' must be an integer, got \"many\""),
        (["steps"], "'steps' must be an integer"),
        ({"steps": 0}, "steps must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=f"^dials: .*{message}"):
            set_dials(model, wrong)


def test_a_missing_ability_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"^model: mine cannot be edited: no step of its sampling .*$"):
        require(lively("raster", scales=[4]), "editing", "mine")


def test_a_name_or_configuration_is_registered_once():
    with pytest.raises(ValueError, match="is taken by VAR"):
        register("var", object, object)
    with pytest.raises(ValueError, match="'unheard' is no registered kind of model; there are: var, mvar, raster"):
        kind_of("unheard")
