"""fashion-classifier: a small CNN whose accuracy and penultimate features score small models in place of Inception."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from varlite.checkpoints.assemble import open_network
from varlite.datasets.pixels import to_float

FEATURES = 128


class Classifier(nn.Module):
    """img (B, 1, 28, 28) in [-1, 1] -> logits (B, classes). `features` gives the (B, 128) before the last layer."""

    def __init__(self, classes: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in [(1, 32), (32, 64), (64, 128)])
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in (32, 64, 128))
        self.hidden, self.out = nn.Linear(128 * 3 * 3, FEATURES), nn.Linear(FEATURES, classes)

    def features(self, img_B1HW: torch.Tensor) -> torch.Tensor:
        x = img_B1HW
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return F.relu(self.hidden(F.dropout(x.flatten(1), 0.3, self.training)))

    def forward(self, img_B1HW: torch.Tensor) -> torch.Tensor:
        return self.out(F.dropout(self.features(img_B1HW), 0.3, self.training))


def load_classifier(path: Path) -> Classifier:
    """The classifier in a file written by `varlite train-classifier`, in evaluation mode."""
    return open_network(Classifier, path, "classifier")


@torch.inference_mode()
def accuracy(model: Classifier, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images, (N, 1, 28, 28) bytes, that the classifier assigns to their label."""
    pairs, device = zip(images.split(500), labels.split(500), strict=True), model.out.weight.device
    return sum((model(to_float(img.to(device))).argmax(1).cpu() == c).sum().item() for img, c in pairs) / len(labels)
