import io

import matplotlib.pyplot as plt
import numpy as np
import torch
from examples import SIDES
from PIL import Image

from varlite.datasets.fashion import FASHION_CLASSES
from varlite.nb import from_nothing_figures as figures
from varlite.scales import Scales

SCALES = Scales.of(SIDES)


def test_the_opening_shows_pictures_that_a_training_wrote():
    drawn = figures.learning_to_draw("fashion-var-d2", FASHION_CLASSES[:8])
    assert drawn.shape == (4, 8, 1, 28, 28) and 0 <= drawn.min() < drawn.max() <= 1
    assert len(plt.gcf().axes) == 32


def test_a_cell_of_the_mask_has_the_colour_of_its_row():
    figures.block_mask(SCALES.block_causal_mask(), SCALES)
    shown = plt.gcf().axes[0].images[0].get_array()
    assert np.array_equal(shown > 0, SCALES.block_causal_mask())
    assert [int(row.max()) for row in shown] == (SCALES.levels() + 1).tolist()


def test_losses_are_means_over_the_last_steps_and_short_trainings_are_no_trouble():
    loss_SK = [torch.full((SCALES.K,), float(i)) for i in range(10)]
    assert figures.losses(loss_SK, SCALES, 32, over=4)[:, 0].tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    assert figures.losses(loss_SK, SCALES, 32, over=40)[:, 0].tolist() == [4.5]


def test_a_training_that_has_just_begun_can_be_shown():
    before = plt.get_fignums()
    png = figures.progress_png([torch.ones(SCALES.K)], 100, SCALES, torch.rand(10, 1, 8, 8))
    assert Image.open(io.BytesIO(png)).width > 400
    assert plt.get_fignums() == before  # else the cell would show it once more


def test_images_are_tiled_in_rows():
    images = torch.arange(6.0).view(6, 1, 1, 1)
    assert torch.equal(figures.tiled(images, 3)[0], torch.tensor([[0.0, 1, 2], [3, 4, 5]]))


def test_lines_are_counted_without_empty_ones_and_with_decorators():
    cells = [
        "import torch\n\n\n@torch.no_grad()\ndef f():\n\n    return 1\n\n\nf()\n",
        "%matplotlib inline",
        "class A:\n    x = 1\n\n    y = 2\n",
    ]
    assert figures.lines_of_code(cells, ["f", "A"]) == {"f": 3, "A": 3}
