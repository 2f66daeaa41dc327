"""Compare varlite with reference outputs of the published implementations, tensor by tensor.

    python tests/parity.py DIR

checks every NAME.json + NAME.safetensors in DIR: it builds the models that the JSON describes, gives them the weights
that its recipe and seed stand for, computes what the safetensors file holds and prints a line for each tensor, `exact`
or the largest difference. Exit status 1 if one lies beyond its tolerance or could not be computed.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from varlite.speed.verify_golden import compute, tolerance


def check(json_path: Path) -> bool:
    """Print a line for each tensor of a case; True if all lie within their tolerance."""
    case, reference = json.loads(json_path.read_text()), load_file(json_path.with_suffix(".safetensors"))
    print(f"{json_path.stem}: {case['config']}")
    good, computed = True, {}
    with torch.inference_mode():
        for name, value in compute(case, reference):
            computed[name] = value
    for name, expected in sorted(reference.items()):
        if name in ("image", "labels"):  # inputs
            continue
        if name not in computed:
            verdict, passed = "NOT COMPUTED", False
        elif computed[name].shape != expected.shape:
            verdict, passed = f"shape {list(computed[name].shape)}, expected {list(expected.shape)}", False
        elif torch.equal(computed[name], expected):
            verdict, passed = "exact", True
        else:
            difference, limit = (computed[name].double() - expected.double()).abs().max().item(), tolerance(name)
            passed = difference <= limit
            verdict = f"{difference:.2e} (tolerance {limit:g}){'' if passed else '  FAILED'}"
        print(f"  {name:42s} {verdict}")
        good &= passed
    return good


def main() -> int:
    if len(sys.argv) != 2 or not (cases := sorted(Path(sys.argv[1]).glob("*.json"))):
        print("usage: python tests/parity.py DIR, where DIR holds NAME.json + NAME.safetensors", file=sys.stderr)
        return 2
    cases = [path for path in cases if path.with_suffix(".safetensors").exists()]
    results = {path.stem: check(path) for path in cases}
    for name, good in results.items():
        print(f"{name}: {'passed' if good else 'FAILED'}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
