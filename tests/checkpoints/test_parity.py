from pathlib import Path

import pytest
from parity import check

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.with_suffix(".json") for path in GOLDEN.glob("*.safetensors"))


def test_the_reference_cases_are_there():
    assert [path.stem for path in CASES] == ["mvar_small", "schedule_256", "small_l2norm", "small_plain_attn"]


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_tensor_of_the_published_implementation_is_reproduced(case, capsys):
    passed = check(case)
    assert passed, capsys.readouterr().out
