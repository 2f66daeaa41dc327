import pytest
import torch

from varlite.training.discriminators import FeatureDiscriminator, PatchDiscriminator, open_discriminator


@pytest.mark.parametrize("side, patches", [(28, 5), (32, 2), (64, 6), (256, 30), (10, 3)])
def test_the_discriminator_judges_patches_and_each_image_alone(side, patches):
    torch.manual_seed(0)
    net, img = PatchDiscriminator(1, (side, side)), torch.rand(2, 1, side, side)
    logits = net(img)
    assert logits.shape == (2, 1, patches, patches)
    torch.testing.assert_close(net(img[:1]), logits[:1])


@pytest.mark.parametrize("channels, side", [(1, 28), (3, 64), (1, 16)])
def test_heads_on_frozen_features_judge_each_image_alone_at_three_resolutions(channels, side):
    torch.manual_seed(0)
    net, img = open_discriminator("features", channels, (side, side)).train(), torch.rand(3, channels, side, side)
    logits = net(img)
    assert logits.shape == (3, (side // 2) ** 2 + 2 * (side // 4) ** 2)
    torch.testing.assert_close(net(img[:1]), logits[:1])


def test_only_the_heads_learn_and_the_features_keep_their_statistics():
    torch.manual_seed(0)
    net = FeatureDiscriminator(1).train()
    before = {name: t.clone() for name, t in net.net.state_dict().items()}
    img = torch.rand(2, 1, 28, 28, requires_grad=True)
    net(img).mean().backward()
    assert all(torch.equal(t, before[name]) for name, t in net.net.state_dict().items())
    learning = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert learning == {"heads"} and img.grad.abs().sum() > 0
