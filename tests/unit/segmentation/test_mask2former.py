import pytest
import torch

from dataset_diffusion.segmentation.mask2former import LabelledPixelsLoss, Mask2Former

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Mask2Former(3, "small", pretrained=False).eval()


def test_scores_by_hand(network):
    class Outputs:
        # Query 0 is surely class 1 and sees the left half, query 1 is class 2 or nothing and sees everything.
        class_queries_logits = torch.tensor([[[0.0, 50, 0, 0], [-50, -50, 0, 0]]])
        masks_queries_logits = torch.tensor([[[[50.0, -50]], [[50, 50]]]])

    hook = network.model.register_forward_hook(lambda module, inputs, outputs: Outputs)
    probabilities = network(torch.zeros(1, 3, 1, 2)).softmax(dim=1)
    hook.remove()
    expected = torch.tensor([[0.0, 0], [1 / 1.5, 0], [0.5 / 1.5, 1]])
    torch.testing.assert_close(probabilities[0, :, 0], expected, atol=1e-4, rtol=0)


def test_points_without_a_label_have_no_loss(network):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn((1, 2, 8, 8), generator=generator, requires_grad=True)
    masks = torch.zeros(2, 32, 32)
    masks[0, :, :16], masks[1, :, 24:] = 1, 1  # columns 16 to 23 are ignored
    indices = [(torch.tensor([0, 1]), torch.tensor([0, 1]))]
    criterion = LabelledPixelsLoss(network.model.config, network.model.weight_dict)
    losses = criterion.loss_masks(logits, [masks], indices, 2)
    sum(losses.values()).backward()
    # Of the eight columns of logits, 4 and 5 stand for what is ignored; their outer halves reach the neighbours.
    seen = logits.grad[0].abs().sum(dim=(0, 1)) > 0
    assert seen.tolist() == [True] * 8
    wide = torch.zeros(2, 32, 32)
    wide[0, :, :8], wide[1, :, 24:] = 1, 1  # columns 8 to 23
    logits.grad = None
    sum(criterion.loss_masks(logits, [wide], indices, 2).values()).backward()
    seen = logits.grad[0].abs().sum(dim=(0, 1)) > 0
    assert seen.tolist() == [True, True, True, False, False, True, True, True]


def test_the_loss_of_labelled_points_is_the_librarys(network):
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    labels[:, :, 16:] = 2
    images = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        ours = network.loss(images, labels)
        torch.manual_seed(0)
        masks = [torch.stack([label == 0, label == 2]).float() for label in labels]
        classes = [torch.tensor([0, 2])] * 2
        own = network.model.criterion
        network.model.criterion = type(own).__mro__[1](network.model.config, network.model.weight_dict)
        theirs = network.model(images, mask_labels=masks, class_labels=classes).loss
        network.model.criterion = own
    torch.testing.assert_close(ours, theirs.squeeze())


def test_an_image_without_a_label_is_as_if_it_were_not_there(network):
    images = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    labels = torch.full((2, 32, 32), 255)
    labels[0, :, 16:] = 1
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        both = network.loss(images, labels)
        torch.manual_seed(0)
        one = network.loss(images[:1], labels[:1])
    torch.testing.assert_close(both, one)
