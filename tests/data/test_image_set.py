import pytest
import torch

from spikeproof.data import Data, ImageSet

NAMES = ("ant", "bee", "cow")


def pixels(n=5, c=1, h=4, w=6):
    return torch.arange(n * c * h * w).remainder(256).to(torch.uint8).reshape(n, c, h, w)


def make(n=5, c=1, names=NAMES):
    return ImageSet(pixels(n, c), torch.arange(n) % len(names), names)


def test_says_what_it_holds():
    images = make()
    assert (len(images), images.num_classes) == (5, 3)
    assert repr(images) == "ImageSet(5 images of 1x4x6, 3 classes, cpu)"


def test_refuses_what_is_not_images_and_labels(refuses):
    with refuses("float32 of shape [5, 1, 4, 6]", "uint8"):
        ImageSet(pixels().float(), torch.zeros(5).long(), NAMES)
    with refuses("uint8 of shape [1, 4, 6]", "[N, C, H, W]"):
        ImageSet(pixels()[0], torch.zeros(1).long(), NAMES)
    with refuses("float32 of shape [5]", "int64"):
        ImageSet(pixels(), torch.zeros(5), NAMES)
    with refuses("int64 of shape [5, 1]"):
        ImageSet(pixels(), torch.zeros(5, 1).long(), NAMES)
    with refuses("5 images and 4 labels"):
        ImageSet(pixels(), torch.zeros(4).long(), NAMES)


@pytest.mark.parametrize("wrong", [3, -1])
def test_refuses_a_label_out_of_range(wrong, refuses):
    with refuses("image 2", str(wrong), "0 to 2"):
        ImageSet(pixels(), torch.tensor([0, 2, wrong, 0, wrong]), NAMES)


def test_takes_by_index_and_by_slice():
    images = make()
    picked = images.take(torch.tensor([4, 0]))
    assert torch.equal(picked.images, pixels()[[4, 0]])
    assert picked.labels.tolist() == [1, 0]
    assert picked.class_names == NAMES
    assert torch.equal(images.take(slice(1, 3)).images, pixels()[1:3])


def test_batches_give_every_image_once_in_order():
    images = make()
    batches = list(images.batches(2))
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    assert all(batch.dtype == torch.float32 for batch, _ in batches)
    assert torch.equal(torch.cat([batch for batch, _ in batches]), images.images.float() / 255)
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)


def test_a_batch_is_a_copy():
    images = make()
    for batch, _ in images.batches(5):
        batch.zero_()
    assert torch.equal(images.images, pixels())


def test_refuses_an_empty_batch_at_the_call(refuses):
    with refuses("batch_size is 0"):
        make().batches(0)


def test_data_describes_its_images():
    data = Data("mine", make(), make(2), make(3), (0.5,), (0.25,))
    assert (data.num_classes, data.channels, data.image_size) == (3, 1, (4, 6))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_data_moves_all_splits():
    data = Data("mine", make(), make(2), make(3), (0.5,), (0.25,)).to("cuda")
    for split, count in ((data.train, 5), (data.validation, 2), (data.test, 3)):
        assert split.images.is_cuda
        assert split.labels.is_cuda
        assert len(split) == count


def test_data_refuses_splits_that_do_not_belong_together(refuses):
    with refuses("test", "[3, 4, 6]", "[1, 4, 6]"):
        Data("mine", make(), make(), make(c=3), (0.5,), (0.25,))
    with refuses("validation", "other classes"):
        Data("mine", make(), make(names=("ant", "cow", "bee")), make(), (0.5,), (0.25,))
    with refuses("1 channel"):
        Data("mine", make(), make(), make(), (0.5, 0.5), (0.25, 0.25))
    with refuses("above 0"):
        Data("mine", make(), make(), make(), (0.5,), (0.0,))
