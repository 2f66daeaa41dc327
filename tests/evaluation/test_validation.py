from types import SimpleNamespace

import pytest
import torch

from varlite.evaluation.validation import batches_of


@pytest.mark.parametrize(("side", "at_once"), [(28, 250), (64, 250), (256, 16), (2048, 1)])
def test_the_larger_the_images_the_fewer_are_validated_at_once(side, at_once):
    dataset = SimpleNamespace(labels=torch.zeros(600), images=lambda rows: rows)
    counts = [len(rows) for rows in batches_of(dataset, (side, side), most=500)]
    assert sum(counts) == 500 and max(counts) == at_once
