"""fashion-classifier: a small CNN whose accuracy and penultimate features score small models in place of Inception."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from varlite.data import batch_indices, open_dataset, to_float
from varlite.files import read_model
from varlite.training.loop import Run, command, run_loop, warmup_cosine

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
    """The classifier in a file written by `train_classifier`, in evaluation mode."""
    about, tensors = read_model(path)
    if about["kind"] != "classifier":
        raise ValueError(f"{path} is a {about['kind']}, not a classifier")
    model = Classifier(**about["config"])
    model.load_state_dict(tensors)
    return model.eval()


@torch.inference_mode()
def accuracy(model: Classifier, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of (N, 1, 28, 28) bytes that the classifier gives their label."""
    pairs = zip(images.split(500), labels.split(500), strict=True)
    return sum((model(to_float(img)).argmax(1) == label).sum().item() for img, label in pairs) / len(labels)


def train_classifier(out: Path, steps: int = 4000, batch: int = 128, lr: float = 2e-3, seed: int = 0) -> Path:
    """Train on Fashion-MNIST in the folder `out`, about five minutes on two cores; returns the path of the model."""
    train, test = (open_dataset("fashion", split, (28, 28), 1) for split in ("train", "test"))
    recipe = {"steps": steps, "batch": batch, "lr": lr, "warmup": 100, "weight_decay": 0.01}
    run = Run(
        out,
        {"stage": "classifier", "recipe": recipe, "seed": seed, "data": "fashion", "data_sha256": train.checksum},
        command("train-classifier", steps=steps, seed=seed, out=out),
    )
    if run.finished():
        return run.model_path
    torch.manual_seed(seed)
    config = {"classes": len(train.classes)}
    model = Classifier(**config).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=recipe["weight_decay"], fused=True)
    test_images = test.images(torch.arange(len(test.labels)))

    def train_step(step: int) -> dict[str, float]:
        for group in optimizer.param_groups:
            group["lr"] = lr * warmup_cosine(step, steps, 100)
        indices = batch_indices(len(train.labels), batch, step, seed)
        loss = F.cross_entropy(model(to_float(train.images(indices))), train.labels[indices], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "lr": group["lr"]}

    def validate() -> dict[str, Any]:
        score = accuracy(model.eval(), test_images, test.labels)
        model.train()
        return {"val_accuracy": score}

    seconds = run_loop(run, {"model": model, "optimizer": optimizer}, train_step, validate, steps)
    return run.finish({"kind": "classifier", "config": config}, model.state_dict(), seconds)
