import itertools

import pytest
import torch

from spikeproof.data import Augmentation


def seeded(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def noise(n, c, h, w):
    """Random images without a zero, so that every zero in the output was put there."""
    return torch.randint(1, 256, (n, c, h, w), generator=seeded(99), dtype=torch.uint8)


def one_by_one(images, generator, padding, flip, side):
    """The same augmentation, one image and one pixel at a time, from the same draws in the same order."""
    n, c, h, w = images.shape

    def draw(bound):
        return torch.randint(bound, (n,), generator=generator).tolist()

    zeros = [0] * n
    tops, lefts = (draw(2 * padding + 1), draw(2 * padding + 1)) if padding or flip else (zeros, zeros)
    mirrored = draw(2) if flip else zeros
    centre_rows, centre_columns = (draw(h), draw(w)) if side else (zeros, zeros)
    result = torch.zeros_like(images)
    for i, y, x in itertools.product(range(n), range(h), range(w)):
        from_y = y + tops[i] - padding
        from_x = (w - 1 - x if mirrored[i] else x) + lefts[i] - padding
        top, left = centre_rows[i] - side // 2, centre_columns[i] - side // 2
        in_hole = top <= y < top + side and left <= x < left + side
        if 0 <= from_y < h and 0 <= from_x < w and not in_hole:
            result[i, :, y, x] = images[i, :, from_y, from_x]
    return result


@pytest.mark.parametrize(
    ("padding", "flip", "side"), [(2, True, 3), (0, True, 4), (3, False, 0), (0, False, 20), (9, True, 1)]
)
@pytest.mark.parametrize("shape", [(6, 3, 7, 5), (5, 1, 4, 9), (1, 2, 1, 1)])
def test_equals_the_augmentation_one_pixel_at_a_time(shape, padding, flip, side):
    images = noise(*shape)
    augment = Augmentation(crop_padding=padding, flip=flip, cutout=side)
    assert torch.equal(augment(images, seeded()), one_by_one(images, seeded(), padding, flip, side))


def test_every_crop_of_the_padded_image_occurs_and_nothing_else():
    image = noise(1, 3, 5, 6)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
    crops = {padded[0, :, y : y + 5, x : x + 6].numpy().tobytes() for y in range(5) for x in range(5)}
    out = Augmentation(crop_padding=2, flip=False, cutout=0)(image.expand(1000, -1, -1, -1), seeded())
    assert {crop.numpy().tobytes() for crop in out} == crops


def test_half_of_the_images_are_mirrored():
    image = noise(1, 3, 4, 5)
    out = Augmentation(crop_padding=0, flip=True, cutout=0)(image.expand(2000, -1, -1, -1), seeded())
    mirrored = (out == image.flip(3)).flatten(1).all(1)
    same = (out == image).flatten(1).all(1)
    assert (mirrored ^ same).all()
    # 5 standard deviations of a fair coin thrown 2000 times.
    assert abs(int(mirrored.sum()) - 1000) < 5 * (2000 * 0.25) ** 0.5


def test_the_hole_is_the_paper_s_and_its_centre_goes_everywhere():
    size, side = 9, 4
    # As in the authors' code: y1 = clip(y - length // 2, 0, h), y2 = clip(y + length // 2, 0, h).
    holes = {}
    for y, x in itertools.product(range(size), range(size)):
        hole = torch.full((1, size, size), 200, dtype=torch.uint8)
        hole[:, max(y - side // 2, 0) : min(y + side // 2, size), max(x - side // 2, 0) : min(x + side // 2, size)] = 0
        holes[hole.numpy().tobytes()] = 0
    images = torch.full((8100, 1, size, size), 200, dtype=torch.uint8)
    for image in Augmentation(crop_padding=0, flip=False, cutout=side)(images, seeded()):
        holes[image.numpy().tobytes()] += 1
    assert len(holes) == 81
    # 100 are expected of each; 6 standard deviations.
    assert all(40 < count < 160 for count in holes.values())


def test_an_odd_hole_keeps_its_side():
    out = Augmentation(crop_padding=0, flip=False, cutout=3)(noise(500, 2, 9, 9), seeded())
    assert (out == 0).sum((2, 3)).max() == 9
    assert torch.equal(out[:, 0] == 0, out[:, 1] == 0)


def test_one_seed_gives_one_result_and_another_a_different_one():
    images = noise(8, 3, 32, 32)
    augment = Augmentation()
    assert torch.equal(augment(images, seeded(1)), augment(images, seeded(1)))
    assert not torch.equal(augment(images, seeded(1)), augment(images, seeded(2)))
    generator = seeded(1)
    assert not torch.equal(augment(images, generator), augment(images, generator))


def test_leaves_the_global_generator_and_the_input_alone():
    images = noise(8, 3, 32, 32)
    before, state = images.clone(), torch.get_rng_state()
    out = Augmentation()(images, seeded())
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert (out.dtype, out.shape) == (torch.uint8, images.shape)


def test_everything_off_changes_nothing():
    images = noise(4, 3, 6, 6)
    assert torch.equal(Augmentation(crop_padding=0, flip=False, cutout=0)(images, seeded()), images)


@pytest.mark.parametrize("option", ["crop_padding", "cutout"])
def test_refuses_negative_pixels(option, refuses):
    with refuses(f"{option} >= 0", "got -1"):
        Augmentation(**{option: -1})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cpu_generator_gives_the_same_on_a_gpu():
    images = noise(16, 3, 32, 32)
    on_gpu = Augmentation()(images.cuda(), seeded())
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), Augmentation()(images, seeded()))
    assert Augmentation()(images.cuda(), seeded(device="cuda")).is_cuda
