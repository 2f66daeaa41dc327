import pytest
import torch

from varlite.datasets.pixels import to_bytes
from varlite.datasets.rendering import render
from varlite.datasets.scenes import Scene, Thing, sample
from varlite.evaluation.reader import (
    GRID,
    OF_OBJECT,
    OF_PICTURE,
    WORDS,
    Reader,
    Reading,
    load_reader,
    middle_cell,
    one_reading,
    read,
    widths,
)
from varlite.io.files import save_model
from varlite.training.train_reader import Truth

SCENES = [sample(1, index) for index in range(20)]


def answer(scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network that reads without fault would say of a scene."""
    truth = Truth.of([scene])

    def columns(row, names):
        parts = zip(row, names, widths(names), strict=True)
        return torch.cat([8 * torch.eye(width)[int(x)] if name in WORDS else x[None] for x, name, width in parts])

    cells = torch.full((1 + sum(widths(OF_OBJECT)), GRID * GRID), -8.0)
    for where, row in zip(truth.where_P, truth.of_object_PX, strict=True):
        cells[:, where] = torch.cat([torch.tensor([8.0]), columns(row, OF_OBJECT)])
    return cells.view(-1, GRID, GRID), columns(truth.of_picture_BX[0], OF_PICTURE)


@pytest.mark.parametrize("index", range(0, 20, 4))
def test_an_answer_without_fault_is_read_as_the_scene_itself(index):
    scene = SCENES[index]
    reading = one_reading(*answer(scene))
    assert reading.agrees and reading.kind == scene.things[0].kind and reading.count == len(scene.things)
    assert (reading.scene.wall, reading.scene.table) == (scene.wall, scene.table)
    assert (*reading.scene.light, reading.scene.camera) == pytest.approx((*scene.light, scene.camera), abs=1e-3)
    for found, true in zip(reading.scene.things, sorted(scene.things, key=lambda t: -t.size), strict=True):
        assert (found.kind, found.hue, found.material) == (true.kind, true.hue, true.material)
        assert (found.x, found.y, found.size, found.turn) == pytest.approx(
            (true.x, true.y, true.size, true.turn), abs=1e-3
        )


@pytest.mark.parametrize("x, y, size, camera", [(0, 0, 1, 20), (-1.2, 0.8, 0.4, 36), (1.1, -0.8, 0.45, 28)])
def test_the_middle_of_an_object_is_where_its_pixels_are(x, y, size, camera):
    def scene(hue):
        return Scene((Thing("sphere", hue, "matt", size, x, y, 0),), (0, 50), camera, "slate", "stone")

    differ = (render([scene("white")]) - render([scene("blue")]))[0].abs().sum(0) > 0.3
    middle = differ.nonzero().float().mean(0) * GRID / differ.shape[0]
    for found, cell in zip(middle.tolist(), middle_cell(scene("white"), scene("white").things[0]), strict=True):
        assert cell - 0.3 < found < cell + 1.3


def things(*sizes):
    return tuple(Thing("cube", "red", "matt", size, 0, 0, 0) for size in sizes)


@pytest.mark.parametrize(
    "sizes, kind, count, agrees",
    [
        ((0.9, 0.4), "cube", 2, True),
        ((0.9, 0.4), "cone", 2, False),
        ((0.9, 0.4), "cube", 3, False),
        ((0.9, 0.9), "cube", 2, False),
        ((0.4,), "cube", 1, False),
        ((), "cube", 1, False),
        ((0.9, 0.4, 0.4, 0.4), "cube", 3, False),
    ],
)
def test_readings_agree_on_one_main_object_its_kind_and_the_count(sizes, kind, count, agrees):
    assert Reading(Scene(things(*sizes), (0, 50), 28, "sand", "oak"), kind, count).agrees is agrees


def test_of_two_neighbouring_cells_the_louder_one_has_the_object():
    cells, picture = answer(SCENES[0])
    row, column = middle_cell(SCENES[0], SCENES[0].things[0])
    cells[:, row, column + 1] = cells[:, row, column]
    cells[0, row, column + 1] = 3.0
    assert len(one_reading(cells, picture).scene.things) == len(SCENES[0].things)


def test_a_reader_from_its_file_reads_as_before(tmp_path):
    torch.manual_seed(0)
    before, images = Reader().eval().to(memory_format=torch.channels_last), to_bytes(render(SCENES[:2]))
    save_model(tmp_path / "x.safetensors", {"kind": "reader", "config": {}}, before.state_dict())
    assert read(load_reader(tmp_path / "x.safetensors"), images) == read(before, images)


def test_other_images_and_other_files_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"images: still-reader takes uint8 images \(N, 3, 64, 64\), got torch.float32"
    ):
        read(Reader().eval(), torch.zeros(2, 3, 64, 64))
    save_model(tmp_path / "x.safetensors", {"kind": "var", "config": {}}, {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match="is a var, not a reader"):
        load_reader(tmp_path / "x.safetensors")
