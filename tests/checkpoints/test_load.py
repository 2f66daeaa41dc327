import errno
import json
import re
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import pytest
import requests
import torch
from examples import SIDES, lively_var, tiny_tokenizer, tokenizer_config, var_config

from varlite import generate, presets
from varlite.checkpoints import load as pretrained
from varlite.checkpoints.hub import terms
from varlite.checkpoints.key_map import to_published
from varlite.checkpoints.load import convert, fitting_tokenizer, load, load_tokenizer, weights_file
from varlite.io import files
from varlite.io.files import read_model, save_model
from varlite.models import KINDS, MVAR, MVARConfig
from varlite.scales import Scales
from varlite.tokenizer import fingerprint


def same_weights(a, b):
    return a.state_dict().keys() == b.state_dict().keys() and all(
        torch.equal(a.state_dict()[name], tensor) for name, tensor in b.state_dict().items()
    )


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """No network and an empty cache; a list of what was asked for."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pair():
    return lively_var(), tiny_tokenizer()


@pytest.fixture
def folder(tmp_path, monkeypatch, pair):
    """A small published model: `tiny-var`, with its two .pth files in a folder."""
    repository = "someone/tiny"
    vq, var = (
        table[name].recipe for table, name in ((presets.TOKENIZERS, "fashion-vq"), (presets.MODELS, "fashion-var-d4"))
    )
    monkeypatch.setitem(
        presets.TOKENIZERS, "tiny-vq", presets.TokenizerPreset(tokenizer_config(), vq, hub=(repository, "vq.pth"))
    )
    config = var_config(drop_path=0.1, gamma_init=1e-5)  # not in the file
    monkeypatch.setitem(
        presets.MODELS, "tiny-var", presets.ModelPreset(config, "tiny-vq", var, hub=(repository, "var_d2.pth"))
    )
    folder = tmp_path / "weights"
    folder.mkdir()
    for file, module in zip(("var_d2.pth", "vq.pth"), pair, strict=True):
        torch.save(to_published(module), folder / file)
    return folder


@pytest.fixture
def run(tmp_path, pair):
    """A folder as `varlite train` leaves it."""
    model, tokenizer = pair
    about = {"kind": "var", "config": asdict(model.config), "tokenizer": "fashion-vq"}
    save_model(tmp_path / "run" / "model.safetensors", about, model.state_dict())
    about = {"kind": "tokenizer", "config": asdict(tokenizer.config)}
    save_model(tmp_path / "run" / "tokenizer.safetensors", about, tokenizer.state_dict())
    return tmp_path / "run"


def assert_loaded(loaded, pair):
    for ours, expected in zip(loaded, pair, strict=True):
        assert same_weights(ours, expected) and not ours.training
    images = [generate(*p, [1, 2], seeds=0) for p in (loaded, pair)]
    assert torch.equal(*images)


def test_published_weights_load_from_a_folder_or_the_file_with_the_tokenizer_beside(folder, pair):
    for weights in (folder, str(folder), folder / "var_d2.pth"):
        assert_loaded(load("tiny-var", weights), pair)
    assert same_weights(load_tokenizer(folder / "vq.pth", scales=Scales.of(SIDES)), pair[1])


def test_licence_source_settings_and_fid_of_published_weights_are_printed_on_load(folder, monkeypatch, capsys):
    load("tiny-var", folder)
    assert capsys.readouterr().err == ""  # nothing is known of them
    origin = presets.Origin("someone/tiny", "var_d2.pth", "CC BY-NC 4.0", "arXiv 1", "cfg 0, top-k 5")
    monkeypatch.setitem(presets.MODELS, "tiny-var", replace(presets.MODELS["tiny-var"], origin=origin, fid=4.0))
    load("tiny-var", folder)
    said = "CC BY-NC 4.0; https://huggingface.co/someone/tiny (arXiv 1); FID 4.00 at cfg 0, top-k 5"
    assert capsys.readouterr().err == f"tiny-var: {said}\n"


def test_a_file_in_a_sub_folder_of_its_repository_is_found_there_and_in_the_folder_itself(folder, pair, monkeypatch):
    tiny = replace(presets.MODELS["tiny-var"], hub=("someone/tiny", "guidance_free/var_d2.pth"))
    monkeypatch.setitem(presets.MODELS, "tiny-var", tiny)
    assert_loaded(load("tiny-var", folder), pair)
    (folder / "guidance_free").mkdir()
    (folder / "var_d2.pth").rename(folder / "guidance_free" / "var_d2.pth")
    assert weights_file("tiny-var", folder) == folder / "guidance_free" / "var_d2.pth"
    (folder / "guidance_free" / "var_d2.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds neither var_d2\.pth nor .* nor guidance_free/var_d2\.pth"):
        load("tiny-var", folder)


def test_every_row_of_published_weights_says_what_they_may_be_used_for_and_how_good_they_are():
    rows = {name: row for name, row in presets.MODELS.items() if row.hub is not None}
    assert len({row.hub for row in rows.values()}) == len(rows) == 21
    for name, row in rows.items():
        licence, *rest = terms(row).split("; ")
        assert licence == ("no licence stated: ask its authors" if name.startswith("mvar") else "MIT")
        assert rest[0].startswith(f"https://huggingface.co/{row.hub[0]} (arXiv 24") and 1.5 < row.fid < 5
        assert f"FID {row.fid:.2f} at cfg " in rest[1]


@pytest.mark.parametrize(
    ("name", "of", "hub", "fid", "settings"),
    [
        ("cca-d16", "var-d16", "ChenDRAG/CCA_VAR/CCA_VAR_Guidance_Free/VAR_d16_CCA.pth", 4.03, "cfg 0, top-k 900"),
        ("cca-d30", "var-d30", "ChenDRAG/CCA_VAR/CCA_VAR_Guidance_Free/VAR_d30_CCA.pth", 2.54, "cfg 0, top-k 900"),
        ("code-drafter-8", "var-d30", "Zigeng/VAR_CoDe/drafter_8.pth", 1.98, "cfg 1.5, top-k 600"),
        ("code-refiner-6", "var-d16", "Zigeng/VAR_CoDe/refiner_6.pth", 2.27, "cfg 1.5, top-k 600"),
    ],
)
def test_models_that_others_trained_further_load_as_what_they_started_from(name, of, hub, fid, settings):
    row, start = presets.MODELS[name], presets.MODELS[of]
    assert (row.config, row.tokenizer) == (start.config, start.tokenizer)
    assert "/".join(row.hub) == hub and row.fid == fid and row.origin.sampling.startswith(settings)


def test_published_weights_come_from_the_hub_at_the_revision_asked_for(folder, pair, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *args, **more: asked.append((*args, more)) or folder / args[1]
    )
    assert_loaded(load("tiny-var", revision="abc"), pair)
    assert asked == [("someone/tiny", file, {"revision": "abc"}) for file in ("var_d2.pth", "vq.pth")]


def test_a_tokenizer_of_another_repository_does_not_take_the_model_s_revision(folder, pair, monkeypatch):
    monkeypatch.setitem(
        presets.MODELS, "tiny-var", replace(presets.MODELS["tiny-var"], hub=("else/where", "var_d2.pth"))
    )
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *args, **more: asked.append((*args, more)) or folder / args[1]
    )
    assert_loaded(load("tiny-var", revision="abc"), pair)
    assert [more.get("revision") for *_, more in asked] == ["abc", None]


def test_without_network_and_cache_the_answer_says_what_to_do(folder):
    for call in (lambda: load("var-d16"), lambda: load_tokenizer("imagenet-vq"), lambda: load("tiny-var")):
        with pytest.raises(
            FileNotFoundError, match=r"could not be fetched from https.*not in the local cache.*weights="
        ):
            call()
    (folder / "vq.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"vq\.pth could not be fetched"):
        load("tiny-var", folder)


@pytest.mark.parametrize("which", ["model", "tokenizer"])
def test_converting_to_safetensors_and_back_changes_no_bit(folder, tmp_path, pair, which):
    source, module, scales = {
        "model": (folder / "var_d2.pth", pair[0], None),
        "tokenizer": (folder / "vq.pth", pair[1], SIDES),
    }[which]
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    convert(source, ours, scales=scales)
    convert(ours, back)
    a, b = (torch.load(path, weights_only=True) for path in (source, back))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)
    header, tensors = read_model(ours)
    assert header["kind"] == ("var" if which == "model" else "tokenizer")
    assert tensors.keys() == module.state_dict().keys()


def test_converted_files_are_preferred_and_load_without_a_pickle(folder, pair):
    convert(folder / "var_d2.pth", folder / "var_d2.safetensors")
    convert(folder / "vq.pth", folder / "vq.safetensors", scales=SIDES)
    for name in ("var_d2.pth", "vq.pth"):
        (folder / name).write_text("not opened")
    assert_loaded(load("tiny-var", folder), pair)
    assert_loaded(load("tiny-var", folder / "var_d2.safetensors"), pair)
    assert weights_file("tiny-var", folder) == folder / "var_d2.safetensors"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_conversion_may_lower_the_precision_of_what_is_stored(folder, tmp_path, pair, dtype):
    out = tmp_path / "half.safetensors"
    convert(folder / "var_d2.pth", out, dtype=dtype)
    assert {tensor.dtype for tensor in read_model(out)[1].values()} == {dtype}
    weights = pair[0].state_dict()
    assert all(torch.equal(t, weights[name].to(dtype)) for name, t in read_model(out)[1].items())
    assert load("tiny-var", folder / "var_d2.pth")[0].pos_LC.dtype == torch.float32


@pytest.mark.parametrize("smooth", [False, True])
def test_a_model_loaded_in_bfloat16_samples_and_encodes(folder, smooth):
    model, tokenizer = load("tiny-var", folder, dtype=torch.bfloat16)
    assert {p.dtype for module in (model, tokenizer) for p in module.parameters()} == {torch.bfloat16}
    seen = []
    image = generate(model, tokenizer, [0, 1], smooth=smooth, on_scale=seen.append)
    assert image.isfinite().all() and all(step.logits_BlV.dtype == torch.float32 for step in seen)
    idx = tokenizer.encode(image * 2 - 1)
    assert tokenizer.decode(idx).shape == image.shape


def test_converting_asks_for_a_known_suffix_and_says_what_is_missing(folder, tmp_path):
    with pytest.raises(ValueError, match=r"OUT must end in .safetensors .* or .pth .*, got .*out.bin"):
        convert(folder / "var_d2.pth", tmp_path / "out.bin")
    with pytest.raises(ValueError, match=r"vq.pth was trained on 4 scales; pass scales"):
        convert(folder / "vq.pth", tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("out*"))


def test_an_mvar_round_trip_keeps_its_kind(tmp_path):
    torch.manual_seed(0)
    model = MVAR(MVARConfig(**asdict(var_config())))
    torch.save(to_published(model), tmp_path / "m.pth")
    convert(tmp_path / "m.pth", tmp_path / "m.safetensors")
    header, tensors = read_model(tmp_path / "m.safetensors")
    assert header["kind"] == "mvar" and KINDS[header["kind"]].config(**header["config"]).width == 64
    assert all(torch.equal(tensors[name], t) for name, t in model.state_dict().items())


# What does not fit


def test_a_checkpoint_of_another_depth_is_refused_with_the_difference(folder):
    with pytest.raises(ValueError, match=r"var_d2.pth is not var-d16: it has depth 2, not 16; width 64, not 1024"):
        load("var-d16", folder / "var_d2.pth")
    convert(folder / "var_d2.pth", folder / "var_d2.safetensors")
    with pytest.raises(ValueError, match=r"var_d2.safetensors is not var-d16: it has depth 2, not 16"):
        load("var-d16", folder / "var_d2.safetensors")


def test_the_tokenizer_in_place_of_the_transformer_and_the_other_way_round_is_noticed(folder):
    with pytest.raises(ValueError, match=r"vq.pth is not a VAR transformer"):
        load("tiny-var", folder / "vq.pth")
    (folder / "var_d2.pth").rename(folder / "vq.pth")
    with pytest.raises(ValueError, match=r"vq.pth is not a VAR tokenizer"):
        load_tokenizer(folder / "vq.pth")


def test_a_tensor_too_few_is_named_with_its_file(folder):
    tensors = torch.load(folder / "var_d2.pth", weights_only=True)
    del tensors["blocks.1.ffn.fc2.bias"]
    torch.save(tensors, folder / "var_d2.pth")
    with pytest.raises(ValueError, match=r"var_d2.pth does not fit this model: missing blocks.1.ffn.fc2.bias \[64\]"):
        load("tiny-var", folder)


def test_a_folder_without_the_files_says_which_it_looked_for(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights: .* holds neither var_d2.pth nor var_d2.safetensors"):
        load("tiny-var", tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load("tiny-var", tmp_path / "nothing.pth")


def test_an_mvar_file_is_not_a_var(folder):
    config = MVARConfig(**asdict(var_config()))
    save_model(folder / "var_d2.safetensors", {"kind": "mvar", "config": asdict(config)}, MVAR(config).state_dict())
    with pytest.raises(ValueError, match=r"var_d2.safetensors is a mvar, tiny-var is a var"):
        load("tiny-var", folder)


# Our own files


def test_a_folder_that_a_training_wrote_is_complete_in_itself(run, pair):
    assert_loaded(load(run), pair)
    assert_loaded(load(str(run / "model.safetensors")), pair)
    assert weights_file(run) == run / "model.safetensors"
    assert same_weights(load_tokenizer(run / "tokenizer.safetensors"), pair[1])


def test_a_model_that_ships_is_found_by_its_name(run, pair, monkeypatch):
    monkeypatch.setattr(pretrained, "CHECKPOINTS", run.parent)
    run.rename(run.parent / "fashion-var-d4")
    assert_loaded(load("fashion-var-d4"), pair)


def test_a_model_that_should_ship_and_does_not_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "CHECKPOINTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"varlite train --preset fashion-var-d4.*runs/fashion-var-d4"):
        load("fashion-var-d4")
    with pytest.raises(FileNotFoundError, match=r"varlite train-tokenizer --preset fashion-vq"):
        load_tokenizer("fashion-vq")


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"unknown model 'var-d17': neither a file or folder here nor .*var-d16"):
        load("var-d17")
    known = "fashion-vq, fashion-vq-raster, emoji-vq, still-vq, imagenet-vq"
    with pytest.raises(ValueError, match=rf"unknown tokenizer 'vq': .* {known}"):
        load_tokenizer("vq")
    with pytest.raises(ValueError, match="weights: only the published models take it"):
        load("fashion-var-d4", "somewhere")


def test_a_file_of_another_kind_is_refused(run):
    with pytest.raises(ValueError, match=r"tokenizer.safetensors is a tokenizer, not a transformer \(var, mvar"):
        load(run / "tokenizer.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors is a var, not a tokenizer"):
        load_tokenizer(run)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load(run.parent)


def test_a_file_that_does_not_hold_the_model_of_its_header_is_refused(run, pair):
    config = replace(pair[0].config, depth=3)
    save_model(run / "model.safetensors", {"kind": "var", "config": asdict(config)}, pair[0].state_dict())
    with pytest.raises(ValueError, match=r"does not hold the model of its header: missing.*blocks.2.ada_ln"):
        load(run)


def test_a_truncated_file_is_refused(run):
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=re.escape(f"{path} is truncated")):
        load(run)


def test_the_configuration_in_a_header_is_plain_json(run, pair):
    header = read_model(run / "model.safetensors")[0]
    assert type(pair[0].config)(**json.loads(json.dumps(header))["config"]) == pair[0].config


# Checkpoints of trainers


def under(prefix):
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def of_blocks(tensors):
    """As torch.compile names the weights of blocks that were compiled one by one."""
    return {re.sub(r"^(blocks\.\d+)\.", r"\1._orig_mod.", name): tensor for name, tensor in tensors.items()}


def lightning(tensors):
    others = {"epoch": 3, "pytorch-lightning_version": "2.5", "optimizer_states": [{"lr": 0.1}]}
    return others | {"state_dict": under("model.")(tensors) | {"metric.total": torch.zeros(1)}}


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda t: {"epoch": 3, "trainer": {"config": {}, "var_wo_ddp": t, "var_opt": {}}},
         "read from 'trainer', read from 'var_wo_ddp'"),
        (under("module."), "'module.' stripped from the names"),
        (under("_orig_mod."), "'_orig_mod.' stripped from the names"),
        (under("module._orig_mod."), "'_orig_mod.' stripped from the names, 'module.' stripped from the names"),
        (of_blocks, "'_orig_mod.' stripped from the names"),
        (lambda t: {"model": under("module.")(t), "step": 3}, "read from 'model', 'module.' stripped from the names"),
        (lightning, "read from 'state_dict', 'model.' stripped from the names, 1 tensors outside of it left out"),
    ],
)  # fmt: skip
def test_checkpoints_of_trainers_load_and_what_was_unpacked_is_said(folder, pair, capsys, wrap, said):
    path = folder / "var_d2.pth"
    torch.save(wrap(to_published(pair[0])), path)
    assert_loaded(load("tiny-var", folder), pair)
    assert capsys.readouterr().err == f"{path}: {said}\n"
    assert_loaded(load(path), pair)
    convert(path, folder / "ours.safetensors")
    assert read_model(folder / "ours.safetensors")[1].keys() == pair[0].state_dict().keys()


def test_a_checkpoint_of_vars_trainer_brings_its_own_tokenizer(folder, pair):
    (folder / "vq.pth").unlink()
    model, tokenizer = map(to_published, pair)
    torch.save({"trainer": {"var_wo_ddp": model, "vae_local": under("module.")(tokenizer)}}, folder / "last.pth")
    assert_loaded(load("tiny-var", folder / "last.pth"), pair)
    assert same_weights(load_tokenizer(folder / "last.pth", scales=Scales.of(SIDES)), pair[1])


# A model and its tokenizer


@pytest.fixture
def sealed(run, pair):
    """`run`, whose header holds the fingerprint of its tokenizer."""
    about, tensors = read_model(run / "model.safetensors")
    save_model(run / "model.safetensors", about | {"tokenizer_sha256": fingerprint(pair[1])}, tensors)
    return run


def test_a_model_takes_the_tokenizer_that_it_was_trained_with_and_no_other(sealed, pair):
    assert_loaded(load(sealed), pair)
    assert load(sealed, dtype=torch.bfloat16)[1].encode is not None  # checked before it is rounded
    other, about = tiny_tokenizer(seed=5), {"kind": "tokenizer", "config": asdict(pair[1].config)}
    save_model(sealed / "tokenizer.safetensors", about, other.state_dict())
    with pytest.raises(
        ValueError, match=r"run/model.safetensors was trained with another tokenizer than .*run/tokenizer.safetensors"
    ):
        load(sealed)


def test_a_model_that_left_its_tokenizer_behind_does_not_get_the_presets_one(sealed, pair, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "CHECKPOINTS", tmp_path / "shipped")
    about = {"kind": "tokenizer", "config": asdict(pair[1].config)}
    place = tmp_path / "shipped" / "fashion-vq" / "model.safetensors"
    save_model(place, about, tiny_tokenizer(seed=5).state_dict())
    (sealed / "tokenizer.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"model.safetensors was trained with another tokenizer than {place}"):
        load(sealed)
    save_model(place, about, pair[1].state_dict())
    assert_loaded(load(sealed), pair)


def test_a_tokenizer_of_another_codebook_is_refused_with_both_files(run):
    other = tiny_tokenizer(vocab=64)
    save_model(run / "tokenizer.safetensors", {"kind": "tokenizer", "config": asdict(other.config)}, other.state_dict())
    with pytest.raises(ValueError, match=r"model.safetensors .* than .*tokenizer.safetensors: vocab is 32, not 64"):
        load(run)


def test_a_rounded_tokenizer_still_belongs_to_its_model(sealed, tmp_path):
    convert(sealed / "tokenizer.safetensors", tmp_path / "half.safetensors", dtype=torch.float16)
    convert(sealed / "model.safetensors", tmp_path / "model.safetensors", dtype=torch.float16)
    (tmp_path / "half.safetensors").rename(tmp_path / "tokenizer.safetensors")
    model, tokenizer = load(tmp_path)
    assert generate(model, tokenizer, [1]).isfinite().all()


def test_converting_names_the_tokenizer_of_the_header_or_what_fits(folder, run, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.safetensors"
    convert(run / "model.safetensors", out)
    assert read_model(out)[0]["tokenizer"] == "fashion-vq"
    convert(folder / "var_d2.pth", out)
    assert read_model(out)[0]["tokenizer"] == "tiny-vq" and capsys.readouterr().err == ""
    monkeypatch.delitem(presets.TOKENIZERS, "tiny-vq")
    convert(folder / "var_d2.pth", out)
    assert "tokenizer" not in read_model(out)[0]
    assert "var_d2.pth does not say which tokenizer it goes with" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"out.safetensors does not say which tokenizer it goes with: put"):
        load(out)


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [("var-d16", "imagenet-vq"), ("var-d36", "imagenet-vq"), ("fashion-var-d4", "fashion-vq"),
     ("fashion-raster-d4", "fashion-vq-raster"), ("emoji-var-d4", "emoji-vq")],
)  # fmt: skip
def test_the_tokenizer_that_fits_a_configuration_is_named_where_there_is_only_one(name, tokenizer, monkeypatch):
    config = presets.MODELS[name].config
    assert fitting_tokenizer(config) == tokenizer
    monkeypatch.setitem(presets.TOKENIZERS, "twin", presets.TOKENIZERS[tokenizer])
    assert fitting_tokenizer(config) is None


# Places


def test_a_tilde_is_the_home_folder(run, folder, pair, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_loaded(load("~/run"), pair)
    assert_loaded(load("tiny-var", "~/weights"), pair)
    assert same_weights(load_tokenizer("~/run/tokenizer.safetensors"), pair[1])
    assert weights_file("~/run") == run / "model.safetensors"
    convert(Path("~/weights/var_d2.pth"), Path("~/new/a.safetensors"))
    assert (tmp_path / "new" / "a.safetensors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of files")
@pytest.mark.parametrize("name", ["out.safetensors", "out.pth"])
def test_a_disk_that_fills_up_while_a_file_is_converted_is_one_line(folder, run, tmp_path, name):
    import resource

    source = folder / "var_d2.pth" if name == "out.safetensors" else run / "model.safetensors"
    half = tmp_path / "new" / f".{name}.{files.HOST}-{2**22 + 1}-0123abcd.half"
    half.parent.mkdir()
    half.touch()  # of a writer that was killed
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    try:
        with pytest.raises(OSError, match=rf"^[^\n]*{tmp_path}/new/{name}[^\n]*$"):
            convert(source, tmp_path / "new" / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (requests.exceptions.ChunkedEncodingError("Connection broken: IncompleteRead"), "was cut off"),
        (httpx.RemoteProtocolError("peer closed connection\nwithout sending"), "was cut off"),
        (RuntimeError("Data processing error: CAS service error"), "was cut off"),
        (OSError("Consistency check failed: file should be of size 3 but has size 2"), "was cut off"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be kept in the hub's cache .*No space left"),
    ],
)
def test_a_download_that_is_cut_off_is_one_line(folder, monkeypatch, error, message):
    def fail(*arguments, **others):
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(OSError, match=rf"^[^\n]*var_d2.pth [^\n]*{message}[^\n]*$"):
        load("tiny-var")
