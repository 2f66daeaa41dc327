"""The adversarial losses of stage 1 (VQGAN, arXiv 2012.09841)."""

import torch
import torch.nn.functional as F


def hinge_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Discriminator loss: zero once real patches have logits above 1 and reconstructed ones below -1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def adaptive_weight(reconstruction: torch.Tensor, adversarial: torch.Tensor, last_layer: torch.Tensor) -> torch.Tensor:
    """The factor that makes the adversarial gradient as long as the reconstruction's at the decoder's last layer
    (VQGAN, equation 7), at most 10,000."""
    a, b = (
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm() for loss in (reconstruction, adversarial)
    )
    return (a / (b + 1e-4)).clamp(max=1e4).detach()
