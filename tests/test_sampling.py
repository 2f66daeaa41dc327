import math

import numpy as np
import pytest
import torch
from examples import EXAMPLES, LABELS, SIDES, lively, lively_var, tiny_tokenizer

from varlite.drawing import draw, guide, image_seed, image_seeds, keep_top, smooth_weights
from varlite.inference import compile_blocks
from varlite.models import VARConfig
from varlite.sampling import generate, generate_many
from varlite.scales import Scales


@pytest.fixture(scope="module")
def model():
    return lively_var().double()


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer().double()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def recorded(model, tokenizer, labels=LABELS, **settings):
    """(image, steps): what `generate` gives, and what its hook saw."""
    steps = []
    hook = settings.pop("on_scale", None)

    def on_scale(step):
        steps.append(step)
        if hook is not None:
            hook(step)

    return generate(model, tokenizer, labels, on_scale=on_scale, **settings), steps


def tokens(*args, **settings):
    return torch.cat([step.idx_Bl for step in recorded(*args, **settings)[1]], 1)


# The filters


def plain_keep_top(logits, top_k, top_p):
    """One row of numbers at a time, as described."""
    kept = list(logits)
    if top_k:
        kth = sorted(kept)[-top_k]
        kept = [x if x >= kth else -math.inf for x in kept]
    if top_p:
        total, summed = sum(math.exp(x) for x in kept), 0.0
        *others, _likeliest = sorted(range(len(kept)), key=lambda i: kept[i])
        for i in others:
            summed += math.exp(kept[i]) / total
            if summed <= 1 - top_p:
                kept[i] = -math.inf
    return kept


@pytest.mark.parametrize("top_k", [0, 1, 3, 17])
@pytest.mark.parametrize("top_p", [0, 0.01, 0.5, 0.9, 0.96, 1])
def test_the_filters_equal_a_plain_implementation(top_k, top_p):
    logits = 2 * torch.randn(3, 5, 17, dtype=torch.float64, generator=seeded())
    expected = [plain_keep_top(row.tolist(), top_k, top_p) for row in logits.flatten(0, 1)]
    assert keep_top(logits, top_k, top_p).flatten(0, 1).tolist() == expected


def test_top_k_keeps_all_that_tie_with_the_last_one_kept():
    logits = torch.tensor([[[1.0, 3.0, 3.0, 2.0, 3.0, 4.0]]])
    assert keep_top(logits, 2).isfinite().tolist() == [[[False, True, True, False, True, True]]]
    assert keep_top(logits, 6).equal(logits) and keep_top(logits, 0).equal(logits)


@pytest.mark.parametrize("top_k", [0, 3, 6])
@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.9])
def test_among_equally_likely_codes_the_first_are_dropped(top_k, top_p):
    logits = torch.randint(3, (1, 200, 12), generator=seeded()).double()
    expected = [plain_keep_top(row.tolist(), top_k, top_p) for row in logits[0]]
    assert keep_top(logits, top_k, top_p)[0].tolist() == expected


def test_top_p_never_drops_the_likeliest_and_one_keeps_all_but_the_impossible():
    logits = torch.randn(1, 20, 17, generator=seeded())
    for top_p in (1e-6, 0.2, 0.9):
        kept = keep_top(logits, 0, top_p)
        assert torch.equal(kept.argmax(-1), logits.argmax(-1))
    assert (keep_top(logits, 0, 1e-6).isfinite().sum(-1) == 1).all()
    assert torch.equal(keep_top(logits, 0, 1.0), logits)
    equal = torch.zeros(1, 1, 10)
    assert keep_top(equal, 0, 0.55).isfinite().sum() == 6  # ties are cut by number


def test_the_mass_that_top_p_keeps_is_at_least_p():
    p_BlV = (3 * torch.randn(2, 50, 30, generator=seeded())).softmax(-1)
    kept = keep_top(p_BlV.log(), 0, 0.8).isfinite()
    assert ((p_BlV * kept).sum(-1) > 0.8 - 1e-6).all()
    # ... and no more than needed: without the least likely of those kept it would be less.
    smallest = p_BlV.masked_fill(~kept, 2).amin(-1)
    assert ((p_BlV * kept).sum(-1) - smallest <= 0.8 + 1e-6).all()


def test_guidance_moves_away_from_the_null_logits():
    cond, null = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0])
    torch.testing.assert_close(guide(cond, null, 2.0), torch.tensor([2.0, 0.0]))
    assert torch.equal(guide(cond, null, 0.0), cond)


def test_draws_follow_the_probabilities_and_never_hit_what_was_dropped():
    logits = torch.tensor([0.0, math.log(3), -math.inf, 0.0]).expand(1, 40_000, 4)
    share = draw(logits, seeded()).flatten().bincount()
    torch.testing.assert_close(share / 40_000, torch.tensor([0.2, 0.6, 0.0, 0.2]), atol=0.01, rtol=0)


# The loop


@pytest.mark.parametrize("source", ["seeds", "generator"])
def test_each_scale_is_drawn_from_the_guided_teacher_forced_logits_of_the_scales_before(model, tokenizer, source):
    given = {"seeds": [4, 5]} if source == "seeds" else {"generator": seeded()}
    _, steps = recorded(model, tokenizer, cfg=3.0, top_k=0, top_p=0, **given)
    idx = [step.idx_Bl for step in steps]
    with torch.inference_mode():
        x_BLZ = tokenizer.inputs(idx)
        cond, null = model(x_BLZ, LABELS), model(x_BLZ, torch.full((2,), 10))
    generator = seeded()
    for k, (start, end) in enumerate(model.scales.spans):
        t = 3.0 * k / 3
        guided = (1 + t) * cond[:, start:end] - t * null[:, start:end]
        torch.testing.assert_close(steps[k].logits_BlV, guided.float(), atol=1e-4, rtol=1e-4)
        if source == "seeds":
            drawn = draw(steps[k].logits_BlV, torch.tensor([4, 5]), k)
        else:  # as the published code does it
            drawn = torch.multinomial(steps[k].logits_BlV.softmax(-1).flatten(0, 1), 1, generator=generator)
        assert torch.equal(drawn.view(2, -1), idx[k])


def test_the_hook_sees_every_scale_once_with_filtered_logits(model, tokenizer):
    image, steps = recorded(model, tokenizer, top_k=4, top_p=0, seeds=0)
    assert [step.k for step in steps] == [0, 1, 2, 3]
    assert [step.idx_Bl.shape[1] for step in steps] == [1, 4, 9, 25]
    assert all((step.logits_BlV.isfinite().sum(-1) == 4).all() for step in steps)
    with torch.inference_mode():
        idx = [step.idx_Bl for step in steps]
        for k, step in enumerate(steps):
            assert torch.equal(step.h_BlZ, tokenizer.embed(step.idx_Bl))
            torch.testing.assert_close(step.image(), (tokenizer.decode(idx[: k + 1]) + 1) / 2)
        assert torch.equal(steps[-1].image(), image)
    assert image.shape == (2, 1, 10, 10) and image.min() >= 0 and image.max() <= 1


def test_the_hook_may_change_what_goes_on_from_a_scale(model, tokenizer):
    def replace(step):
        if step.k == 1:
            step.h_BlZ = tokenizer.embed(torch.full_like(step.idx_Bl, 5))

    _, steps = recorded(model, tokenizer, seeds=0, on_scale=replace)
    _, plain = recorded(model, tokenizer, seeds=0)
    assert torch.equal(steps[1].idx_Bl, plain[1].idx_Bl) and torch.equal(steps[1].logits_BlV, plain[1].logits_BlV)
    with torch.inference_mode():
        five = tokenizer.embed(torch.full((2, 4), 5))
        torch.testing.assert_close(steps[2].f_hat_BZhw, tokenizer.accumulate(plain[1].f_hat_BZhw, five, 1))
    assert not torch.equal(steps[2].logits_BlV, plain[2].logits_BlV)


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others(model, tokenizer):
    a, b, c = (tokens(model, tokenizer, seeds=seed) for seed in (5, 5, 6))
    assert torch.equal(a, b) and not torch.equal(a, c)
    torch.manual_seed(1)
    without = tokens(model, tokenizer)
    torch.manual_seed(1)
    assert torch.equal(without, tokens(model, tokenizer))


def test_the_likeliest_code_alone_leaves_nothing_to_chance(model, tokenizer):
    images = [generate(model, tokenizer, LABELS, top_k=1, seeds=seed) for seed in (1, 2)]
    assert torch.equal(*images)
    assert torch.equal(images[0], generate(model, tokenizer, LABELS, top_p=1e-9, seeds=3))


def test_without_guidance_the_null_class_plays_no_part(model, tokenizer):
    other = lively_var().double()
    other.class_embed.table.weight.data[10] += 3
    for cfg, same in ((0.0, True), (1.5, False)):
        a, b = (tokens(m, tokenizer, cfg=cfg, top_p=0, seeds=0) for m in (model, other))
        assert torch.equal(a, b) == same


def test_guidance_starts_at_the_second_scale(model, tokenizer):
    guided, plain = (recorded(model, tokenizer, cfg=cfg, top_p=0, seeds=0)[1] for cfg in (4.0, 0.0))
    assert torch.equal(guided[0].logits_BlV, plain[0].logits_BlV)
    assert not torch.equal(guided[1].logits_BlV, plain[1].logits_BlV)


def test_guidance_does_nothing_for_the_null_class(model, tokenizer):
    a, b = (tokens(model, tokenizer, [10, 10], cfg=cfg, seeds=0) for cfg in (0.0, 5.0))
    assert torch.equal(a, b)


@pytest.mark.parametrize("source", ["seeds", "generator"])
def test_smooth_mode_mixes_codes_and_draws_all_the_same(model, tokenizer, source):
    def given():
        return {"seeds": [4, 5]} if source == "seeds" else {"generator": seeded()}

    image, steps = recorded(model, tokenizer, smooth=True, **given())
    plain_image, plain = recorded(model, tokenizer, **given())
    assert torch.equal(steps[0].idx_Bl, plain[0].idx_Bl) and not torch.equal(image, plain_image)
    numbers = torch.tensor([4, 5]) if source == "seeds" else seeded()
    for k, step in enumerate(steps):
        assert torch.equal(draw(step.logits_BlV, numbers, k), step.idx_Bl)
        weights = smooth_weights(step.logits_BlV, k / 3, numbers, k)
        torch.testing.assert_close(step.h_BlZ, weights.double() @ tokenizer.quantizer.codebook.weight)
    assert torch.equal(image, generate(model, tokenizer, LABELS, smooth=True, **given()))


def test_another_schedule_gives_an_image_of_another_size(model, tokenizer):
    scales = Scales.of([[1, 1], [2, 3], [3, 4], [5, 6]])
    assert generate(model, tokenizer, LABELS, scales=scales, seeds=0).shape == (2, 1, 10, 12)


def test_compiled_blocks_sample_the_same_images_from_one_graph_for_each_scale(model, tokenizer):
    compiled, graphs = lively_var().double(), []

    def backend(graph, inputs):
        graphs.append(tuple(inputs))
        return graph

    compile_blocks(compiled, backend)
    for _ in range(2):
        image = generate(compiled, tokenizer, LABELS, seeds=0)
    torch.testing.assert_close(image, generate(model, tokenizer, LABELS, seeds=0))
    assert 4 <= len(graphs) <= 8
    torch._dynamo.reset()


# A seed for each image


@pytest.mark.parametrize("smooth", [False, True])
def test_an_image_does_not_depend_on_its_batch(model, tokenizer, smooth):
    labels = [0, 1, 2, 2, 9]

    def batch(rows):
        chosen = [labels[i] for i in rows]
        image, steps = recorded(model, tokenizer, chosen, seeds=[100 + i for i in rows], smooth=smooth)
        return image, torch.cat([step.idx_Bl for step in steps], 1)

    image, idx = batch(range(5))
    for rows in ([3], [0, 1], [4, 2]):
        part_image, part_idx = batch(rows)
        assert torch.equal(part_idx, idx[list(rows)])
        torch.testing.assert_close(part_image, image[list(rows)])
    assert not torch.equal(idx[2], idx[3])  # the same class, another seed


def test_the_batch_size_of_many_images_changes_none_of_them(model, tokenizer):
    labels, results = [3, 3, 0, 3, 1, 0, 0], []
    for batch in (1, 3, 64):
        seen = []
        parts = list(generate_many(model, tokenizer, labels, 7, batch, on_scale=lambda s, seen=seen: seen.append(s)))
        assert [label for _, some in parts for label in some] == labels
        assert [len(image) for image, _ in parts] == [batch] * (7 // batch) + [7 % batch] * (7 % batch > 0)
        per_scale = [torch.cat([s.idx_Bl for s in seen if s.k == k]) for k in range(4)]
        results.append((torch.cat([image for image, _ in parts]), torch.cat(per_scale, 1)))
    for image, idx in results[1:]:
        assert torch.equal(idx, results[0][1])
        torch.testing.assert_close(image, results[0][0])
    assert len(results[0][1].unique(dim=0)) == 7


@pytest.mark.parametrize("labels", [torch.tensor([3, 3, 0]), np.array([3, 3, 0]), ["d", "d", "a"], iter([3, 3, 0])])
def test_many_images_of_labels_of_any_kind_are_those_of_the_list(model, tokenizer, labels, monkeypatch):
    monkeypatch.setattr(model, "class_names", [*"abcdefghij"])
    (image, some), (expected, _) = (next(generate_many(model, tokenizer, kind, 7)) for kind in (labels, [3, 3, 0]))
    assert torch.equal(image, expected) and some == [3, 3, 0] and not torch.equal(image[0], image[1])


def test_many_images_are_made_one_batch_after_another(model, tokenizer):
    calls = []
    stream = generate_many(model, tokenizer, [0] * 1000, 0, batch=2, on_scale=lambda step: calls.append(step.k))
    assert calls == []
    next(stream)
    assert calls == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_make_the_batches_that_one_makes(model, tokenizer, count):
    labels = [3, 3, 0, 3, 1, 0, 0]
    whole = list(generate_many(model, tokenizer, iter(labels), 7, 2))
    for index in range(count):
        mine = list(generate_many(model, tokenizer, iter(labels), 7, 2, share=(index, count)))
        expected = whole[index::count]
        assert [some for _, some in mine] == [some for _, some in expected]
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(mine, expected, strict=True))


def test_one_seed_for_all_stands_for_those_of_the_images_numbered_in_their_class(model, tokenizer):
    labels = [3, 3, 0]
    expected = generate(model, tokenizer, labels, seeds=[image_seed(5, c, i) for c, i in ((3, 0), (3, 1), (0, 0))])
    ((many, _),) = generate_many(model, tokenizer, labels, 5)
    for seeds in (5, np.int64(5), image_seeds(5, torch.tensor(labels)), image_seeds(5, torch.tensor(labels)).tolist()):
        assert torch.equal(generate(model, tokenizer, labels, seeds=seeds), expected)
    assert torch.equal(many, expected)
    assert not torch.equal(generate(model, tokenizer, labels, seeds=6), expected)


def test_seeds_count_by_their_low_64_bits(model, tokenizer):
    images = [generate(model, tokenizer, [1, 2], seeds=seeds) for seeds in ([-1, 3], [2**64 - 1, 2**64 + 3])]
    assert torch.equal(*images)


# Guidance costs only where it acts


def test_without_guidance_the_null_branch_is_not_computed_and_hooks_see_the_same(model, tokenizer, monkeypatch):
    def run(cfg):
        seen, rows = [], []
        hook = model.blocks[0].register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
        image = generate(model, tokenizer, LABELS, cfg=cfg, seeds=0, on_scale=seen.append)
        hook.remove()
        return image, seen, rows

    image, steps, rows = run(0)
    monkeypatch.setattr("varlite.models.next_scale.guide", lambda cond, null, t: cond)
    expected, both, rows_of_both = run(1e-6)
    assert rows == [2] * 4 and rows_of_both == [4] * 4
    torch.testing.assert_close(image, expected)
    for a, b in zip(steps, both, strict=True):
        assert torch.equal(a.idx_Bl, b.idx_Bl) and a.logits_BlV.shape == b.logits_BlV.shape
        torch.testing.assert_close(a.logits_BlV, b.logits_BlV)


def test_the_first_scale_needs_the_keys_and_values_of_the_null_class_and_not_its_logits(model, tokenizer):
    rows = {"head": [], "block": []}
    hooks = [model.head.linear.register_forward_pre_hook(lambda _, args: rows["head"].append(len(args[0]))),
             model.blocks[0].register_forward_pre_hook(lambda _, args: rows["block"].append(len(args[0])))]  # fmt: skip
    generate(model, tokenizer, LABELS, seeds=0)
    for hook in hooks:
        hook.remove()
    assert rows == {"head": [2, 4, 4, 4], "block": [4, 4, 4, 4]}


# Wrong arguments


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cfg": -0.5}, r"cfg must be 0 or more .*, got -0.5"),
        ({"cfg": math.nan}, "cfg"),
        ({"cfg": math.inf}, "cfg"),
        ({"top_k": 33}, "top_k must be an integer from 0 .off. to the codebook size 32, got 33"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_p": 1.01}, "top_p must lie in 0 .off. .. 1, got 1.01"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_p": math.nan}, "top_p"),
        ({"cfg": 1e38}, r"cfg must be at most 1,000,000, .* got 1e\+38"),
        ({"cfg": "high"}, "cfg .* got 'high'"),
        ({"cfg": None}, "cfg"),
        ({"cfg": torch.tensor([1.0, 2.0])}, r"cfg .* got Tensor of shape \(2,\)"),
        ({"cfg": 1j}, "cfg"),
        ({"top_k": "9"}, "top_k .* got '9'"),
        ({"top_k": None}, "top_k"),
        ({"top_p": "0.9"}, "top_p"),
        ({"top_p": None}, "top_p"),
        ({"top_p": [0.9]}, "top_p"),
        ({"smooth": "yes"}, "smooth must be True or False, got 'yes'"),
        ({"smooth": None}, "smooth"),
        ({"on_scale": 3}, "on_scale must be a function of a Step, got 3"),
        ({"on_logits": [print]}, "on_logits must be a function of a Step"),
        ({"scales": 3}, "scales: each side must be"),
        ({"scales": "1,2"}, "scales: each side must be"),
        ({"scales": []}, "scales: at least one"),
        ({"scales": [1, 2]}, "scales: this model has 4 scales"),
        ({"seeds": [1]}, r"seeds must be whole numbers, one for each of the 2 labels, or one number, got \[1\]"),
        ({"seeds": []}, r"seeds must be .* got \[\]"),
        ({"seeds": 0.5}, "seeds must be .* got 0.5"),
        ({"seeds": [0, 1.5]}, r"seeds must be .* got \[0, 1.5\]"),
        ({"seeds": True}, "seeds must be .* got True"),
        ({"seeds": "12"}, "seeds must be .* got '12'"),
        ({"seeds": torch.tensor([0.0, 1.0])}, "seeds must be .* got Tensor of shape"),
        ({"seeds": torch.tensor([[0, 1]])}, "seeds must be .* got Tensor of shape"),
        ({"seeds": torch.tensor(3)}, "seeds must be .* got Tensor of shape"),
        ({"seeds": 0, "generator": torch.Generator()}, "seeds or a generator: .* not from both"),
        ({"generator": 0}, r"generator must be one torch.Generator .*, such as .* with seeds each image .* got 0"),
        ({"generator": np.random.default_rng(0)}, "generator must be one torch.Generator .*got Generator"),
        ({"generator": [torch.Generator()] * 2}, "generator must be one torch.Generator for the batch"),
        ({"generator": "0"}, "generator"),
        ({"labels": []}, "labels must be a non-empty list of class indices"),
        ({"labels": [0.5, 1.0]}, "non-empty list of class indices"),
        ({"labels": [[0], [1]]}, "non-empty list of class indices"),
        ({"labels": 3}, "non-empty list of class indices, got 3"),
        ({"labels": [0, 11]}, r"labels must lie in 0 .. 9 \(10 is the null class\), got \[0, 11\]"),
        ({"labels": torch.tensor([-1])}, "labels must lie in 0 .. 9"),
        ({"labels": None}, "class indices, got None"),
        ({"labels": [None]}, "class indices"),
        ({"labels": [True, False]}, "class indices"),
        ({"labels": torch.tensor(3)}, "class indices"),
        ({"labels": np.zeros((2, 2), int)}, "class indices"),
        ({"labels": np.array([np.nan])}, "class indices"),
        ({"labels": [2**70]}, "class indices"),
        ({"labels": [[1], [2, 3]]}, "class indices"),
        ({"labels": ["cats"]}, "no class 'cats': classes are numbers from 0 to 9"),
        ({"labels": "10"}, "no class '10'"),
        ({"labels": ""}, "no class is given"),
    ],
)
def test_an_argument_out_of_range_is_refused_before_anything_is_computed(model, tokenizer, settings, message):
    with pytest.raises(ValueError, match=message):
        generate(model, tokenizer, **{"labels": [0, 1], "on_scale": lambda step: pytest.fail("sampled")} | settings)


@pytest.mark.parametrize("other", [None, "fashion-var-d4", torch.nn.Linear(1, 1), VARConfig(2), 3])
def test_what_is_no_model_or_no_tokenizer_is_refused(model, tokenizer, other):
    for pair, message in (
        ((other, tokenizer), "^model must be a model such as varlite.load gives, got "),
        ((model, other), "^tokenizer must be a tokenizer such as varlite.load gives, got "),
        (((model, tokenizer), other), "^model must be a model .* got "),  # all that varlite.load gives, for the model
    ):
        with pytest.raises(ValueError, match=message):
            generate(*pair, [0])
        with pytest.raises(ValueError, match=message):
            next(generate_many(*pair, [0], 0))


def test_a_model_and_a_tokenizer_apart_are_refused(model, tokenizer):
    for other, found in (
        (tiny_tokenizer(), "torch.float64 on cpu and torch.float32 on cpu"),
        (tiny_tokenizer().double().to("meta"), "on cpu and torch.float64 on meta"),
    ):
        with pytest.raises(ValueError, match=f"must be on one device and of one dtype, got .*{found}"):
            generate(model, other, [0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 0), "labels must be a non-empty list of class indices, got 3"),
        (([], 0), "labels"),
        (([0] * 9 + [11], 0, 2), "labels must lie in 0 .. 9"),
        ((["dogs"], 0), "no class 'dogs'"),
        (([0], None), "seed must be an integer, got None"),
        (([0], 0.5), "seed must be an integer, got 0.5"),
        (([0], "0"), "seed"),
        (([0], 0, 0), "batch must be an integer from 1, got 0"),
        (([0], 0, "all"), "batch must be an integer from 1, got 'all'"),
        (([0], 0, 2.0), "batch"),
        (([0], 0, torch.tensor([1, 2])), "batch"),
    ],
)
def test_wrong_arguments_of_many_images_are_refused_before_the_first(model, tokenizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        next(generate_many(model, tokenizer, *arguments, on_scale=lambda step: pytest.fail("sampled")))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_are_said_in_a_sentence(model, tokenizer, value):
    def spoil(step):
        step.logits_BlV = torch.full_like(step.logits_BlV, value)

    generate(model, tokenizer, [0], on_logits=str)  # a step has a text before its draw
    for top_p in (0, 0.9):
        with pytest.raises(ValueError, match="logits: NaN or infinite, or every code is ruled out"):
            generate(model, tokenizer, [0], top_p=top_p, on_logits=spoil)


@pytest.mark.parametrize("change", [{"vocab": 64}, {"z": 16}])
def test_a_tokenizer_with_other_codes_than_the_models_is_refused(model, change):
    has = {"vocab": 32, "z": 8} | change
    message = (
        rf"must have the same codebook size \(vocab\) .*, got vocab 32, z 8 and vocab {has['vocab']}, z {has['z']}"
    )
    with pytest.raises(ValueError, match=message):
        generate(model, tiny_tokenizer(**change), [0], on_scale=lambda step: pytest.fail("sampled"))


def test_labels_may_be_any_iterable_of_whole_numbers_or_of_names(model, tokenizer, monkeypatch):
    monkeypatch.setattr(model, "class_names", [*"abcdefgh", "cats", "dogs"])

    def drawn(labels):
        return tokens(model, tokenizer, labels, seeds=0)

    expected, arrays = drawn([1, 2]), [np.array([1, 2], t) for t in (np.uint8, np.uint16, np.int64)]
    for labels in (
        range(1, 3),
        LABELS.int(),
        LABELS.to(torch.uint8),
        *arrays,
        {1: 0, 2: 0},
        ["b", "c"],
        ["b", 2],
        "b,c",
        np.array(["b", "c"]),
    ):
        assert torch.equal(drawn(labels), expected)
    assert torch.equal(drawn(["cats", 10]), drawn([8, 10]))  # 10 is the null class, which has no name
    with pytest.raises(ValueError, match=r"no class 'cat': classes are a, b, .*, or numbers from 0 to 9. Did you mean"):
        generate(model, tokenizer, ["cat"])
    assert model.scales.sides == SIDES


def test_a_model_in_training_draws_what_it_draws_otherwise_and_goes_on_training(tokenizer):
    model = lively_var(drop_path=0.5).double()
    image = generate(model, tokenizer, LABELS, seeds=5)
    model.train()
    assert torch.equal(generate(model, tokenizer, LABELS, seeds=5), image)
    assert model.training and model.blocks[0].training


def test_a_tokenizer_with_other_scales_is_refused_where_a_model_cannot_take_them():
    for kind, side in (("raster", 3), ("maskgit", 3), ("dit", 5), ("flexvar", 5)):
        model = lively(kind, **EXAMPLES[kind][0])
        with pytest.raises(ValueError, match="model and tokenizer must have the same scales, got"):
            generate(model, tiny_tokenizer(scales=[1, side]), [1])


def test_a_tokenizer_with_a_convolution_for_each_scale_takes_no_more_of_them():
    own = tiny_tokenizer(phi_shared=0)
    with pytest.raises(ValueError, match="scales: this tokenizer has a convolution of its own for each of 4 scales"):
        own.encode(torch.zeros(1, 1, 10, 10), [1, 2, 3, 4, 5])
