import pytest
import torch
from examples import lively_var

from varlite.checkpoints.key_map import to_published


def test_a_checkpoint_is_converted_there_and_back(varlite, tmp_path):
    tensors = to_published(lively_var())
    torch.save(tensors, tmp_path / "a.pth")
    for source, out in (("a.pth", "b.safetensors"), ("b.safetensors", "c.pth")):
        status, printed, said = varlite("convert", source, out)
        assert (status, printed) == (0, f"{out}\n")
        assert said == "a.pth does not say which tokenizer it goes with: keep that beside it\n" * (source == "a.pth")
    back = torch.load(tmp_path / "c.pth", weights_only=True)
    assert back.keys() == tensors.keys() and all(torch.equal(back[name], t) for name, t in tensors.items())
    assert varlite("convert", "a.pth", "d.pth", "--dtype", "float16")[0] == 0
    assert torch.load(tmp_path / "d.pth", weights_only=True)["head.weight"].dtype == torch.float16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.pth", "out.safetensors"], "no checkpoint at nothing.pth"),
        (["nothing.safetensors", "out.pth"], "no checkpoint at nothing.safetensors"),
        (["", "out.safetensors"], "no checkpoint at ., which is not a file"),
        (["-", "out.safetensors"], "no checkpoint at -"),
        (["a-folder.pth", "out.safetensors"], "a-folder.pth"),
        (["a-file", "out"], "OUT must be a .safetensors or .pth file, got out"),
        (["a.pth", "out.safetensors", "--heads=-1"], "heads must be at least 1"),
        (["a.pth", "out.safetensors", "--scales", "1", "0"], "scales must be at least 1, got 0"),
        (["a.pth", "out.safetensors", "--scales=-1"], "scales must be at least 1, got -1"),
        (["a-file", "out.bin"], "OUT must be a .safetensors or .pth file, got out.bin"),
        (["a-file", "out.safetensors"], "a-file is not a checkpoint written by torch.save"),
        (["a-file", "a-folder.pth"], "OUT: a-folder.pth is a folder, and a file is needed there"),
        (["a-file", "a-file/out.pth"], "OUT: a-file is a file, and a folder is needed there"),
        (["a.safetensors", "out.pth", "--heads", "2"], "--scales and --heads are for published files"),
        (["a.pth", "out.safetensors", "--heads", "0"], "heads must be at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_before_any_work(refused, tmp_path, arguments, message):
    (tmp_path / "a-folder.pth").mkdir()
    refused(["convert", *arguments], message)


def test_what_a_published_file_says_itself_is_not_asked_for(varlite, tmp_path):
    torch.save(to_published(lively_var()), tmp_path / "a.pth")
    for option, message in ((["--scales", 1, 2], "scales: a.pth says itself, scales are [1, 2, 3, 5]"),
                            (["--heads", 1], "heads: a.pth says itself, 2 heads")):  # fmt: skip
        status, _, said = varlite("convert", "a.pth", "b.safetensors", *option)
        assert status == 1 and message in said and not (tmp_path / "b.safetensors").exists()
    assert varlite("convert", "a.pth", "b.safetensors", "--heads", 2)[0] == 0
