import subprocess
import sys

import pytest
import torch

from varlite.checkpoints.empty import build_empty, random_tensor
from varlite.checkpoints.key_map import to_published

SAMPLE = """
import resource, sys, time, torch, varlite
def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not ru_maxrss: on Linux a process inherits that of the one that started it, here pytest's.
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
start, base = time.monotonic(), peak()  # before the weights
model, tokenizer = varlite.load("var-d16", weights=sys.argv[1])
loaded, peak_loaded = time.monotonic(), peak()
image = varlite.generate(model, tokenizer, [207], seeds=0)
print(*image.shape, bool(image.isfinite().all()), loaded - start, time.monotonic() - loaded, peak_loaded - base, peak())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The published files of var-d16, with random weights; 1.7 GB, deleted afterwards."""
    folder = tmp_path_factory.mktemp("published")
    for preset, file in (("var-d16", "var_d16.pth"), ("imagenet-vq", "vae_ch160v4096z32.pth")):
        model = build_empty(preset)
        weights = {name: random_tensor(name, tensor.shape) for name, tensor in model.state_dict().items()}
        model.load_state_dict(weights, assign=True)
        torch.save(to_published(model), folder / file)
        del model, weights
    yield folder
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.slow
def test_d16_is_loaded_by_memory_map_and_samples_an_image_of_256_pixels(folder):
    weights = sum(path.stat().st_size for path in folder.iterdir())
    assert weights > 1.6e9
    done = subprocess.run([sys.executable, "-c", SAMPLE, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *shape, finite, load_s, sample_s, more_when_loaded, peak = done.stdout.split()
    print(
        f"{float(load_s):.1f} s to load, {float(sample_s):.1f} s to sample, {int(peak) / weights:.2f} x weights at peak"
    )
    assert shape == ["1", "3", "256", "256"] and finite == "True"
    # Loading looks at every weight once, for NaN; mapped pages count while they are there, and no weight is copied.
    assert int(more_when_loaded) < 1.3 * weights
    assert int(peak) < 2 * weights
    assert float(load_s) < 60 and float(sample_s) < 200
