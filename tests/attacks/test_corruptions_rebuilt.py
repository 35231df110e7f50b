"""Blurs, weather and elastic moves of CIFAR-10-C against the benchmark's steps, written pixel by pixel or by scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates, zoom

from spikeproof.attacks.corruption_spatter import _edges, _equalised
from spikeproof.attacks.corruptions import SIZES, corrupt

SEVERITY = pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.rand(2, 3, 16, 16, dtype=torch.float64)


def drawn(seed, draw):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return draw().numpy()


def uniform(*shape, least=0.0, most=1.0):
    return torch.empty(*shape, dtype=torch.float64).uniform_(least, most)


def as_picture(image):
    return image.permute(1, 2, 0).numpy().copy()


def alike(found, expected, atol=1e-12):
    torch.testing.assert_close(found, torch.from_numpy(expected.clip(0, 1)).permute(2, 0, 1), rtol=0, atol=atol)


def clipped_zoom(picture, factor):
    """As the benchmark has it."""
    side = picture.shape[0]
    crop = math.ceil(side / factor)
    top = (side - crop) // 2
    larger = zoom(picture[top : top + crop, top : top + crop], (factor, factor, 1), order=1, mode="nearest")
    top = (larger.shape[0] - side) // 2
    return larger[top : top + side, top : top + side]


def streaks(picture, radius, sigma, angle):
    """ImageMagick's motion blur, pixel by pixel."""
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    high, wide, _ = picture.shape
    found = np.zeros_like(picture)
    for i, weight in enumerate(weights):
        down = math.ceil(i * math.sin(math.radians(angle)) - 0.5)
        right = math.ceil(i * math.cos(math.radians(angle)) - 0.5)
        for y in range(high):
            for x in range(wide):
                pixel = picture[min(max(y + down, 0), high - 1), min(max(x + right, 0), wide - 1)]
                found[y, x] += weight / sum(weights) * pixel
    return found


@SEVERITY
def test_glass_is_the_benchmarks_swap_which_copies(images, severity):
    sigma, times = SIZES["glass_blur"][severity - 1]
    jumps = -drawn(5, lambda: torch.randint(0, 2, (2, times, 2, 16, 16)))
    for image, jump, found in zip(images, jumps, corrupt(images, "glass_blur", severity, seed=5), strict=True):
        x = gaussian_filter(as_picture(image), (sigma, sigma, 0), mode="nearest")
        for dy, dx in jump:
            for h in range(15, 1, -1):
                for w in range(15, 1, -1):
                    other = (h + dy[h, w], w + dx[h, w])
                    x[h, w], x[other] = x[other], x[h, w]
        alike(found, gaussian_filter(x, (sigma, sigma, 0), mode="nearest"))


@SEVERITY
def test_motion_is_half_a_gaussian_along_a_line(images, severity):
    angles = drawn(5, lambda: uniform(2, 1, least=-45, most=45))[:, 0]
    for image, angle, found in zip(images, angles, corrupt(images, "motion_blur", severity, seed=5), strict=True):
        alike(found, streaks(as_picture(image), *SIZES["motion_blur"][severity - 1], angle))


@SEVERITY
@pytest.mark.parametrize("side", [16, 32, 45])
def test_zoom_is_scipys(severity, side):
    torch.manual_seed(1)
    image = torch.rand(1, 3, side, side, dtype=torch.float64)
    x = as_picture(image[0])
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)
    expected = (x + sum(clipped_zoom(x, factor) for factor in factors)) / (len(factors) + 1)
    alike(corrupt(image, "zoom_blur", severity)[0], expected)


@SEVERITY
def test_snow_is_pale_with_streaks(images, severity):
    mean, spread, factor, least, radius, sigma, share = SIZES["snow"][severity - 1]

    def draw():
        noise = torch.randn(2, 1, 16, 16, dtype=torch.float64).flatten()
        return torch.cat([noise, uniform(2, least=-135, most=-45)])

    drawn_numbers = drawn(5, draw)
    noises, angles = drawn_numbers[:-2].reshape(2, 16, 16, 1), drawn_numbers[-2:]
    for image, noise, angle, found in zip(
        images, noises, angles, corrupt(images, "snow", severity, seed=5), strict=True
    ):
        x, flakes = as_picture(image), clipped_zoom(mean + spread * noise, factor)
        flakes[flakes < least] = 0
        layer = streaks(flakes.clip(0, 1), radius, sigma, angle)
        grey = (x @ [0.299, 0.587, 0.114])[..., None]
        pale = np.maximum(x, grey * 1.5 + 0.5)
        alike(found, share * x + (1 - share) * pale + layer + np.rot90(layer, k=2))


def test_more_snow_is_brighter():
    grey = torch.full((20, 1, 32, 32), 0.4)
    means = [corrupt(grey, "snow", severity).mean().item() for severity in range(1, 6)]
    assert means == sorted(means) and means[0] > 0.4


@SEVERITY
@pytest.mark.parametrize("side", [16, 11])
def test_fog_is_diamonds_and_squares(severity, side):
    amount, decay = SIZES["fog"][severity - 1]
    torch.manual_seed(1)
    image = torch.rand(1, 3, side, side, dtype=torch.float64)

    def drawings():
        step, wobble = 16, 100.0
        while step >= 2:
            for _ in range(3):
                yield uniform(16 // step, 16 // step, least=-wobble, most=wobble).flatten() * wobble
            step, wobble = step // 2, wobble / decay

    left = iter(drawn(5, lambda: torch.cat(list(drawings()))))
    heights, step = np.zeros((16, 16)), 16
    while step >= 2:
        half = step // 2
        starts = range(0, 16, step)
        for around, (down, right) in (
            (((-half, -half), (-half, half), (half, -half), (half, half)), (half, half)),
            (((-half, 0), (half, 0), (0, -half), (0, half)), (0, half)),
            (((-half, 0), (half, 0), (0, -half), (0, half)), (half, 0)),
        ):
            for y in starts:
                for x in starts:
                    near = [heights[(y + down + a) % 16, (x + right + b) % 16] for a, b in around]
                    heights[y + down, x + right] = sum(near) / 4 + next(left)
        step = half
    cloud = (heights - heights.min()) / np.ptp(heights)
    x = as_picture(image[0])
    expected = (x + amount * cloud[:side, :side, None]) * x.max() / (x.max() + amount)
    alike(corrupt(image, "fog", severity, seed=5)[0], expected, atol=1e-9)


@SEVERITY
def test_elastic_is_an_affine_map_and_a_smooth_field(images, severity):
    far, sigma, shift = (share * 16 for share in SIZES["elastic_transform"][severity - 1])

    def draw():
        return torch.cat(
            [uniform(2, 3, 2, least=-shift, most=shift).flatten(), uniform(2, 2, 16, 16, least=-1).flatten()]
        )

    numbers = drawn(5, draw)
    shifts, fields = numbers[:12].reshape(2, 3, 2), numbers[12:].reshape(2, 2, 16, 16)
    points = np.array([[13, 13], [13, 3], [3, 3]], float)  # 8, and 16 // 3 to each side
    found = corrupt(images, "elastic_transform", severity, seed=5)
    for image, moved, field, got in zip(images, shifts, fields, found, strict=True):
        to = np.linalg.solve(np.c_[points, np.ones(3)], points + moved).T  # of (x, y, 1)
        back = np.linalg.inv(np.r_[to, [[0, 0, 1]]])[:2]
        rows_first = back[::-1][:, [1, 0, 2]]
        y, x = np.mgrid[:16, :16].astype(float)
        down, right = (far * gaussian_filter(part, sigma, mode="reflect", truncate=3.0) for part in field)
        channels = [
            affine_transform(channel.numpy(), rows_first[:, :2], rows_first[:, 2], order=1, mode="mirror")
            for channel in image
        ]
        moved_on = [map_coordinates(channel, [y + down, x + right], order=1, mode="reflect") for channel in channels]
        alike(got, np.stack(moved_on, -1), atol=1e-9)


def test_mud_covers_what_is_wet():
    black = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    grey = torch.full((1, 1, 32, 32), 0.5, dtype=torch.float64)
    noise = drawn(5, lambda: 0.65 + 0.1 * torch.randn(1, 1, 32, 32, dtype=torch.float64))[0, 0]
    wet = gaussian_filter(noise, 0.5, mode="nearest") > 0.68
    cover = gaussian_filter(wet.astype(float), 0.6, mode="nearest")
    cover[cover < 0.8] = 0
    assert 0 < (cover > 0).mean() < 1
    brown = np.array([63, 42, 20]) / 255
    alike(corrupt(black, "spatter", 5, seed=5)[0], cover[..., None] * brown)
    alike(corrupt(grey, "spatter", 5, seed=5)[0], (0.5 + cover * (brown @ [0.299, 0.587, 0.114] - 0.5))[..., None])


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_brightens_where_it_is_wet(severity):
    mean, spread, blur, least, strength, _ = SIZES["spatter"][severity - 1]
    black = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    noise = drawn(5, lambda: mean + spread * torch.randn(1, 1, 32, 32, dtype=torch.float64))[0, 0]
    wet = gaussian_filter(noise, blur, mode="nearest") >= least
    found = corrupt(black, "spatter", severity, seed=5)[0].numpy()
    assert 0 < (found > 0).mean() < 1 and not found[:, ~wet].any()
    assert found[0].max() == pytest.approx(strength * 175 / 255)
    assert found[1] == pytest.approx(found[0] * 238 / 175) and (found[1] == found[2]).all()


def test_edges_of_drops_are_opencvs():
    """cv2.Canny(levels, 50, 150) of OpenCV 5.0.0. On 200 layers of the spatter no pixel differed."""
    y, x = np.mgrid[:12, :14]
    levels = (37 * y * y + 91 * x * y + 53 * x + 11 * x * x) % 256
    levels = np.where(levels < 120, 0, levels).astype(np.uint8)
    assert ["".join(".#"[int(edge)] for edge in row) for row in _edges(levels)] == [
        ".#....##.#..##",
        "#.###......#.#",
        "#...###....#..",
        "#.....##..####",
        "#.##...###....",
        "...#.....#..##",
        "#.............",
        "#....#########",
        ".###..........",
        "#..##....##.##",
        ".....####.....",
        "####.#.#..##.#",
    ]


def test_levels_are_spread_as_opencv_does():
    levels = np.array([[3, 3, 7, 9], [9, 9, 12, 20]])
    assert _equalised(levels).tolist() == [[0, 0, 42, 170], [170, 170, 212, 255]]  # cv2.equalizeHist's
    assert (_equalised(np.full((2, 3), 20)) == 20).all()


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("shape", [(2, 1, 5, 9), (1, 2, 1, 1), (1, 3, 33, 20), (0, 3, 8, 8)])
def test_any_size_and_number_of_channels_will_do(kind, shape):
    torch.manual_seed(0)
    images = torch.rand(shape)
    for severity in range(1, 6):
        found = corrupt(images, kind, severity)
        assert found.shape == shape and found.dtype == images.dtype and found.isfinite().all()


@pytest.mark.parametrize("kind", SIZES)
def test_images_in_bfloat16_are_corrupted_as_in_float32(kind):
    torch.manual_seed(0)
    images = torch.rand(2, 3, 8, 8).bfloat16()
    assert torch.equal(corrupt(images, kind, 3), corrupt(images.float(), kind, 3).bfloat16())


@pytest.mark.parametrize("kind", [kind for kind in SIZES if kind != "shot_noise"])  # what Poisson draws take varies
@pytest.mark.parametrize("severity", [1, 4])
def test_an_image_is_corrupted_whatever_its_neighbours_are(kind, severity):
    torch.manual_seed(0)
    images = torch.rand(3, 3, 16, 16)
    others = images.clone()
    others[0], others[2] = 0.2, 1 - others[2]
    found, among_others = (corrupt(each, kind, severity)[1] for each in (images, others))
    torch.testing.assert_close(found, among_others, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["glass_blur", "motion_blur", "snow", "fog", "spatter", "elastic_transform"])
def test_every_image_has_draws_of_its_own(kind):
    torch.manual_seed(0)
    found = corrupt(torch.rand(1, 3, 16, 16).expand(2, -1, -1, -1), kind, 4)
    assert not torch.equal(found[0], found[1])
