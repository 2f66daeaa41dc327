import json

import pytest
import torch
from torch.nn import functional as F

from varlite.datasets.pixels import to_bytes
from varlite.datasets.rendering import render
from varlite.datasets.scenes import HELD_OUT, sample
from varlite.evaluation.reader import GRID, OF_OBJECT, OF_PICTURE, WORDS, load_reader, widths
from varlite.training import train_reader as module
from varlite.training.options import Options
from varlite.training.train_reader import Labelled, Truth, damage, reader_loss, train_reader

SCENES = [sample(1, index) for index in range(6)]


def answers(truth: Truth, B: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network without fault would say."""

    def columns(rows, names):
        return torch.cat([20 * F.one_hot(rows[:, i].long(), width) if name in WORDS else rows[:, i : i + 1]
                          for i, (name, width) in enumerate(zip(names, widths(names), strict=True))], 1)  # fmt: skip

    cells = torch.full((B * GRID * GRID, 1 + sum(widths(OF_OBJECT))), -20.0)
    cells[truth.where_P] = torch.cat(
        [torch.full((len(truth.where_P), 1), 20.0), columns(truth.of_object_PX, OF_OBJECT)], 1
    )
    return cells.view(B, GRID, GRID, -1).permute(0, 3, 1, 2), columns(truth.of_picture_BX, OF_PICTURE)


def test_the_loss_is_nothing_for_the_truth_and_a_neighbouring_cell_costs_nothing():
    truth = Truth.of(SCENES)
    cells, pictures = answers(truth, len(SCENES))
    assert reader_loss(cells, pictures, truth)[0] < 1e-4
    rows = cells.permute(0, 2, 3, 1).reshape(-1, cells.shape[1]).clone()
    rows[truth.where_P + 1, 0] = 20.0
    beside = rows.view(len(SCENES), GRID, GRID, -1).permute(0, 3, 1, 2)
    assert reader_loss(beside, pictures, truth)[0] < 1e-4
    rows[(truth.where_P[0] + 3 * GRID) % len(rows), 0] = 20.0
    far = rows.view(len(SCENES), GRID, GRID, -1).permute(0, 3, 1, 2)
    assert reader_loss(far, pictures, truth)[1]["here"] > 1


@pytest.mark.parametrize("part", ["hue", "azimuth", "main_kind", "size"])
def test_a_wrong_factor_costs_in_its_own_part(part):
    truth, wrong = Truth.of(SCENES), Truth.of(SCENES)
    names, rows = (OF_OBJECT, wrong.of_object_PX) if part in ("hue", "size") else (OF_PICTURE, wrong.of_picture_BX)
    column = rows[:, names.index(part.removeprefix("main_"))]
    column.copy_((column + 1) % 9)
    parts = reader_loss(*answers(truth, len(SCENES)), wrong)[1]
    assert parts[part] > 0.5 and max(value for name, value in parts.items() if name != part) < 1e-4


def test_a_quarter_of_the_pictures_is_left_as_it_is():
    torch.manual_seed(0)
    img = torch.rand(8, 3, 64, 64) * 2 - 1
    changed = (damage(img) - img).abs().amax((1, 2, 3))
    assert (changed == 0).tolist() == [True, False, False, False] * 2
    assert damage(img).abs().max() <= 1


def test_scenes_with_held_out_combinations_and_pale_ones_follow_those_of_the_training_split():
    data = Labelled(3, 2)
    n = len(data.usual.labels)
    assert len(data) == n + 5 and data.scene(7) == data.usual.factors(7)
    for i in range(n, n + 3):
        assert any((thing.kind, thing.hue) in HELD_OUT for thing in data.scene(i).things)
    for i in range(n + 3, n + 5):
        assert data.scene(i).things[0].hue == "white" and data.scene(i).things[0].material in ("matt", "glossy")
    rows = torch.tensor([n + 4, n + 1, 7])
    assert torch.equal(data.images(rows)[2], data.usual.images(rows[2:])[0])
    for row in (n + 4, n + 1):
        wanted = to_bytes(render([data.scene(row)]))
        assert torch.equal(data.images(torch.tensor([row])), wanted)


def test_a_reader_learns_and_a_stop_in_between_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "VALIDATED", 4)
    options = Options(device="cpu", steps=6, batch=8, recipe=("warmup=1", "held_out=2", "pale=2"))
    whole = load_reader(train_reader(tmp_path / "whole", options))
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(module.Engine, "any", lambda self, mine: True)
        train_reader(tmp_path / "broken", options)
    resumed = load_reader(train_reader(tmp_path / "broken", options))
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    log = [json.loads(line) for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert 0 <= log[-1]["val_shares"]["kind"] <= 1 and log[-1]["loss"] < 40
    card = json.loads((tmp_path / "broken" / "card.json").read_text())["training"]
    assert (card["stage"], card["data"], card["recipe"]["held_out"]) == ("reader", "still-life", 2)


def test_micro_steps_are_refused(tmp_path):
    with pytest.raises(ValueError, match="accumulate: the reader is small enough for one process and whole steps"):
        train_reader(tmp_path / "out", Options(device="cpu", accumulate=2))


def test_mirrored_scenes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="flip: the reader is told where each object lies"):
        train_reader(tmp_path / "out", Options(flip=True))


def test_a_reader_goes_on_from_another_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "VALIDATED", 4)
    options = Options(device="cpu", steps=1, batch=8, lr=1e-9, recipe=("warmup=0", "held_out=2", "pale=2"))
    out = train_reader(tmp_path / "further", options, "still-reader").parent
    begun, further = load_reader(), load_reader(out / "model.safetensors")
    names = [name for name, _ in begun.named_parameters()]
    for name in names:  # the last bit of half precision apart
        torch.testing.assert_close(further.get_parameter(name), begun.get_parameter(name), rtol=1e-3, atol=1e-6)
    card = json.loads((out / "card.json").read_text())
    assert card["started_from"]["stage"] == "reader" and "--start still-reader" in card["training"]["command"]
