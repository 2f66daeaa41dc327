"""What of a still-life picture an edit repaints (still_edits.py): masks, True where the picture is kept."""

import torch
import torch.nn.functional as F
from torch import Tensor

VISIBLE = 8  # of 255: what changes a pixel by less is not painted over
BRUSH = 2  # pixels by which the paint reaches beyond object and shadow


def visible(a_3HW: Tensor, b_3HW: Tensor) -> Tensor:
    """(H, W) booleans: where two pictures, bytes, differ visibly."""
    return ((a_3HW.int() - b_3HW.int()).abs() > VISIBLE).any(0)


def paint(changed_HW: Tensor) -> Tensor:
    """Keeps all but what changes and `BRUSH` pixels around it."""
    return F.max_pool2d(changed_HW[None].float(), 2 * BRUSH + 1, 1, BRUSH)[0] == 0


def box(changed_HW: Tensor) -> Tensor:
    """Keeps what lies outside the smallest box about all that changes, and a pixel around it."""
    rows, columns = changed_HW.any(1).nonzero(), changed_HW.any(0).nonzero()
    keep_HW = torch.ones_like(changed_HW)
    keep_HW[max(int(rows[0]) - 1, 0) : int(rows[-1]) + 2, max(int(columns[0]) - 1, 0) : int(columns[-1]) + 2] = False
    return keep_HW


def left_half(changed_HW: Tensor) -> Tensor:
    return (torch.arange(changed_HW.shape[1]) < changed_HW.shape[1] // 2).expand_as(changed_HW).clone()
