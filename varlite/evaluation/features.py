"""From images to features: Inception for the published metrics, fashion-classifier at small scale.

An extractor turns bytes (B, C, H, W) into features of several kinds: "pool", in which distances are measured, "logits"
of its classes, and for Inception "spatial", which keeps positions, for sFID. Distances in features of
fashion-classifier are never called FID.
"""

from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from varlite.checkpoints.load import CLASSIFIER, shipped
from varlite.datasets.pixels import to_float
from varlite.evaluation.classifier import FEATURES, load_classifier
from varlite.io.files import sha256

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"  # the last part is the beginning of its SHA-256
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
SPATIAL = 17 * 17 * 7


class Extractor:
    """Bytes (B, channels, H, W), at most `step` at a time -> {kind: (B, width)}, on the CPU."""

    name: str
    sha256: str  # of its weights
    channels: int
    size: tuple[int, int] | None = None  # (H, W) of the images it takes; None takes any
    step: int
    widths: dict[str, int]  # of the kinds of features asked for

    def __call__(self, img_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        raise NotImplementedError


class FashionFeatures(Extractor):
    """fashion-classifier on grey 28 x 28: the 128 features before its last layer, and its 10 logits."""

    name, channels, size, step = CLASSIFIER, 1, (28, 28), 500

    def __init__(self, layers: tuple[str, ...] = ("pool", "logits"), device: str | torch.device = "cpu"):
        path = shipped(CLASSIFIER)
        self.sha256, self.net = sha256(path), load_classifier(path).to(device)
        self.widths = choose({"pool": FEATURES, "logits": self.net.out.out_features}, layers, self.name)

    @torch.inference_mode()
    def __call__(self, img_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        pool = self.net.features(to_float(img_BCHW.to(self.net.out.weight.device)))
        rows = {"pool": pool, "logits": self.net.out(pool)}
        return {name: rows[name].cpu() for name in self.widths}


class InceptionFeatures(Extractor):
    """torch-fidelity's port of the Inception of ADM's evaluator: 2048 features, 1008 logits without bias, and as
    spatial features the first 7 channels of the first branch of mixed_6, in ADM's order (H, W, C).
    """

    name, channels, step = "inception-v3-compat", 3, 16

    def __init__(
        self,
        layers: tuple[str, ...] = ("pool", "logits"),
        weights: Path | None = None,
        device: str | torch.device = "cpu",
    ):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        self.widths = choose({"pool": 2048, "logits": 1008, "spatial": SPATIAL}, layers, self.name)
        path = inception_weights(weights)
        self.sha256, self.device = sha256(path), torch.device(device)
        self.net = FeatureExtractorInceptionV3(
            self.name, ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
        ).to(device)
        # TensorFlow's mixed_6 is Mixed_6d here, and its branch "conv" the one with a single 1 x 1 convolution.
        self.net.Mixed_6d.branch1x1.register_forward_hook(self._keep)

    def _keep(self, module: Any, arguments: Any, x_BCHW: torch.Tensor) -> None:
        self._spatial = x_BCHW[:, :7].permute(0, 2, 3, 1).flatten(1).float()

    @torch.inference_mode()
    def __call__(self, img_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        pool, logits = self.net(img_BCHW.to(self.device))
        rows = {"pool": pool, "logits": logits, "spatial": self._spatial}
        return {name: rows[name].cpu() for name in self.widths}


def choose(widths: dict[str, int], layers: tuple[str, ...], name: str) -> dict[str, int]:
    """The widths of the kinds asked for. Raises ValueError for an unknown kind."""
    if strange := [layer for layer in layers if layer not in widths]:
        raise ValueError(f"layers: {name} has no {', '.join(strange)}; it has {', '.join(widths)}")
    return {layer: widths[layer] for layer in layers}


def open_extractor(
    name: str,
    layers: tuple[str, ...] = ("pool", "logits"),
    weights: Path | None = None,
    device: str | torch.device = "cpu",
) -> Extractor:
    """The extractor "fashion" or "inception", for the kinds of features in `layers`.

    weights: a file of Inception's weights as torch-fidelity publishes them; None takes it from torch's download folder,
    or fetches it. Raises FileNotFoundError, saying what to put where, if that fails.
    """
    if name == "fashion":
        return FashionFeatures(layers, device)
    if name == "inception":
        return InceptionFeatures(layers, weights, device)
    raise ValueError(f"features must be fashion or inception, got {name!r}")


def extract(extractor: Extractor, images_NCHW: torch.Tensor) -> dict[str, torch.Tensor]:
    """Features (N, width), by kind, of bytes (N, C, H, W). Grey images are repeated for an extractor of RGB.

    Raises ValueError for a size or number of channels that the extractor does not take.
    """
    check_images(extractor, images_NCHW.shape[1], tuple(images_NCHW.shape[2:]))
    parts = [extractor(img.expand(-1, extractor.channels, -1, -1)) for img in images_NCHW.split(extractor.step)]
    return {name: torch.cat([part[name] for part in parts]) for name in extractor.widths}


def check_images(extractor: Extractor, channels: int, size: tuple[int, ...]) -> None:
    """Raises ValueError unless the extractor takes images of so many channels and of `size` (H, W)."""
    if channels not in (1, extractor.channels) or extractor.size not in (None, size):
        wanted = "RGB" if extractor.size is None else f"grey {extractor.size[0]} x {extractor.size[1]}"
        raise ValueError(
            f"features: {extractor.name} takes {wanted}, the images have {channels} channels of {size[0]} x {size[1]}"
            + "; inception takes any" * (extractor.size is not None)
        )


def inception_weights(path: Path | None = None) -> Path:
    """The file given, or the published one in torch's download folder, fetched if need be.

    Raises FileNotFoundError, saying what to put where, or ValueError for a file of something else.
    """
    found = fetch_inception() if path is None else path
    if not found.is_file():
        raise FileNotFoundError(f"inception: no file {found}; it should hold {INCEPTION_URL}")
    try:
        tensors = torch.load(found, weights_only=True, mmap=True)  # torch-fidelity itself would execute pickled code
        fits = tensors["fc.weight"].shape == (1008, 2048)
    except Exception:
        fits = False
    if not fits:
        raise ValueError(f"inception: {found} does not hold the weights of {INCEPTION_URL}")
    return found


def fetch_inception() -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            try:
                torch.hub.download_url_to_file(INCEPTION_URL, str(path), hash_prefix="6726825d", progress=False)
            except (OSError, RuntimeError) as error:
                raise FileNotFoundError(
                    f"Inception's weights, which FID, sFID, IS and KID are defined by, are not in {path.parent} and "
                    f"cannot be fetched ({error}). Put {INCEPTION_FILE} (96 MB) of {INCEPTION_URL} there, or name a "
                    "copy with --inception. Without them small images can be scored with --features fashion: that "
                    "distance is not FID."
                ) from None
    return path
