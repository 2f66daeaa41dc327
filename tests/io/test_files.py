import errno
import json
import os
import signal
import stat
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from varlite.io import files
from varlite.io.files import (
    atomic,
    check_finite,
    clear_half_written,
    read_about,
    read_model,
    save_model,
    sha256,
    write_json,
)


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), atomic(path) as temporary:
            temporary.write_text("half of the n")
            raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_file_appears_whole_and_with_its_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it" and os.listdir(path.parent) == ["a.txt"]


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, 2]})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2]}


def test_a_model_survives_the_way_to_disk_and_back_bit_for_bit(tmp_path):
    tensors = {
        "a": torch.randn(3, 4).T,  # not contiguous
        "b": torch.randn(5).bfloat16().requires_grad_(),
        "c": torch.arange(3),
        "d": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "e": torch.tensor(1.5),
    }
    about = {"kind": "var", "config": {"depth": 2, "scales": [1, [2, 3]]}}
    save_model(tmp_path / "m.safetensors", about, tensors)
    read_about, read = read_model(tmp_path / "m.safetensors")
    assert read_about == about and read.keys() == tensors.keys()
    assert all(torch.equal(read[name], t) and read[name].dtype == t.dtype for name, t in tensors.items())


def test_a_file_that_is_truncated_or_something_else_is_refused_by_name(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, {"kind": "var", "config": {}}, {"a": torch.randn(100)})
    whole = path.read_bytes()
    page, pointer = b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a"
    for damaged, message in (
        (whole[:-10], "is truncated or not a safetensors file"),
        (whole[:20], "is truncated or not a safetensors file"),
        (b"", "is not a checkpoint: it is empty"),
        (page, "is a web page, not a checkpoint"),
        (pointer, "is a git-lfs pointer, not the checkpoint itself"),
    ):
        path.write_bytes(damaged)
        for read in (read_model, read_about):
            with pytest.raises(ValueError, match=rf"^{path} {message}[^\n]*$"):
                read(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=rf"{path} is a safetensors file, but not a varlite model"):
        read_model(path)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_model(tmp_path / "other.safetensors")
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*other.safetensors: its training is not finished"):
        read_model(tmp_path / "other.safetensors")


# Permissions and places


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", 1)
        save_model(tmp_path / "m.safetensors", {"kind": "var", "config": {}}, {"a": torch.zeros(1)})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_where_permissions_cannot_be_changed_files_are_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*arguments, **others):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("é" * 125 + ".json")
    write_json(path, 1)
    assert path.exists()


# A full disk


def full_in_safetensors(path):
    raise SafetensorError("Error while serializing: IoError(Os { code: 28, message: no space }) (os error 28)")


def full_in_torch(path):
    raise RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/0")


def full_in_python(path):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("fail", [full_in_safetensors, full_in_torch, full_in_python])
def test_a_full_disk_is_named_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, fail):
    monkeypatch.setattr(files, "_free", lambda folder: 0)
    with (
        pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/m'$"),
        atomic(tmp_path / "m") as temporary,
    ):
        fail(temporary)
    assert os.listdir(tmp_path) == []


def save_pth(path):
    with atomic(path) as temporary:
        torch.save({"a": torch.zeros(100_000)}, temporary)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of files")
@pytest.mark.parametrize(
    "write",
    [
        lambda path: save_model(path, {"kind": "var", "config": {}}, {"a": torch.zeros(100_000)}),
        lambda path: write_json(path, [0] * 9999),
        save_pth,
    ],
)
def test_a_write_that_is_refused_in_the_middle_is_one_line_with_the_path(tmp_path, write):
    import resource

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    try:
        with pytest.raises(OSError, match=rf"^[^\n]*{tmp_path}/out[^\n]*$"):
            write(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=rf"{tmp_path}/file"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_half_files_of_processes_that_are_gone_are_removed_and_others_are_not(tmp_path):
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    dead, here, host = int(child.stdout), os.getpid(), files.HOST
    names = {
        "dead": f".m.safetensors.{host}-{dead}-0123abcd.half",
        "old": ".m.safetensors.ffffff-1-0123abcd.half",
        "alive": f".m.safetensors.{host}-{here}-0123abcd.half",
        "elsewhere": f".m.safetensors.ffffff-{dead}-0123abcd.half",
        "other": ".hidden.half",
    }
    for name in names.values():
        (tmp_path / name).touch()
    os.utime(tmp_path / names["old"], (0, 0))
    assert clear_half_written(tmp_path) == sorted([names["dead"], names["old"]])
    assert sorted(os.listdir(tmp_path)) == sorted([names["alive"], names["elsewhere"], names["other"]])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows")
def test_what_killed_writers_leave_is_cleared(tmp_path, monkeypatch):
    def begin(tensors, path, about):
        (path.parent / ".tmp123").touch()  # as safetensors does
        os._exit(9)

    monkeypatch.setattr(files, "save_file", begin)
    if (child := os.fork()) == 0:
        save_model(tmp_path / "m.safetensors", {}, {})
    os.waitpid(child, 0)
    assert len(os.listdir(tmp_path)) == len(clear_half_written(tmp_path)) == 2 and os.listdir(tmp_path) == []


# Contents


def test_the_same_weights_always_make_the_same_file(tmp_path):
    sums = set()
    for _ in range(20):
        save_model(tmp_path / "m", {"kind": "var", "config": {"a": 1}}, {c: torch.ones(3) for c in "bac"})
        sums.add(sha256(tmp_path / "m"))
    assert len(sums) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_weights_that_are_not_finite_are_named_at_load(tmp_path, value, dtype):
    if dtype == torch.float8_e4m3fn and value == value:
        pytest.skip("this type has no infinity")
    weights = torch.ones(4, 5).index_put((torch.tensor(2), torch.tensor(3)), torch.tensor(value)).to(dtype)
    path = tmp_path / "m.safetensors"
    save_model(path, {"kind": "var", "config": {}}, {"fine": torch.ones(3), "head.weight": weights})
    with pytest.raises(ValueError, match=rf"^{path}: 1 of the 20 weights in head.weight are not finite"):
        read_model(path)


def test_a_header_is_read_without_the_weights(tmp_path):
    path = tmp_path / "m.safetensors"
    about = {"kind": "var", "config": {"depth": 2}}
    save_model(path, about, {"a": torch.full((3,), torch.nan)})
    assert read_about(path) == about


def test_large_weights_are_finite():
    check_finite({"a": torch.full((9,), 3e38), "b": torch.full((9,), 6e4).half(), "c": torch.arange(3)}, "file")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("not json", "its header is not valid JSON"),
        ("[1, 2]", r"its header must be a JSON object, got \[1, 2\]"),
        ('{"config": {}}', "its header: 'kind' is missing"),
        ('{"kind": 3, "config": {}}', "its header: 'kind' must be a string, got 3"),
        ('{"kind": "var", "config": [1]}', r"its header: 'config' must be an object, got \[1\]"),
        ('{"kind": "var", "config": {}, "classes": "ab"}', "its header: 'classes' must be a list, got \"ab\""),
        (
            '{"kind": "var", "config": {}, "classes": ["a", 1]}',
            "its header: 'classes' must be a list in which each entry is a string, got 1",
        ),
        ('{"kind": "var", "config": {}, "tokenizer": ["vq"]}', "its header: 'tokenizer' must be a string"),
        ("[" * 100_000, "its header is not valid JSON"),
    ],
)
def test_a_header_of_wrong_types_is_refused_by_name(tmp_path, header, message):
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"varlite": header})
    with pytest.raises(ValueError, match=rf"^{path}: {message}"):
        read_model(path)


def test_sizes_that_the_file_does_not_have_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    for shape, end in (([2**40], 2**42), ([-1], 4), ([2**62, 2**62], 4)):
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
        with pytest.raises(ValueError, match="is truncated or not a safetensors file"):
            read_model(path)
    with pytest.raises(ValueError, match="is not a file: name the"):
        read_model(tmp_path)
