import numpy as np
import pytest
import torch
from PIL import Image

from spikeproof.data import load_data


@pytest.fixture
def folder(tmp_path, colours):
    """Two classes, each with 3 training images and 1 test image; the files are named against their classes' order."""
    root = tmp_path / "pets"
    for split, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for index, image in enumerate(colours(count, seed=10 * count + label)):
                Image.fromarray(image).save(root / split / name / f"{9 - label}{index}.png")
    return root


def load(folder, **options):
    return load_data(str(folder), **{"validation": 2, **options})


def test_reads_classes_from_folders(folder, colours):
    data = load(folder)
    assert data.name == "pets"
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 2, 2)
    assert data.test.class_names == ("cat", "dog")
    assert data.test.labels.tolist() == [0, 1]
    for label in (0, 1):
        expected = torch.from_numpy(colours(1, seed=10 + label)[0]).permute(2, 0, 1)
        assert torch.equal(data.test.images[label], expected)


def test_statistics_are_those_of_all_training_pixels(folder, colours):
    data = load(folder, train_limit=1)
    scaled = np.concatenate([colours(3, seed=30), colours(3, seed=31)]) / 255
    np.testing.assert_allclose(data.mean, scaled.mean((0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(data.std, scaled.std((0, 1, 2)), atol=5.1e-5)


def test_passes_over_other_files_and_reads_capital_suffixes(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / "README").write_text("no class")
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "cat" / "90.png").rename(folder / "train" / "cat" / "90.PNG")
    assert len(load(folder).train) == 4


def test_grey_images_have_one_channel(folder):
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    data = load(folder)
    assert data.channels == 1
    test_image = np.asarray(Image.open(folder / "test" / "dog" / "80.png"))
    assert torch.equal(data.test.images[1, 0], torch.from_numpy(test_image.copy()))


def test_one_coloured_class_makes_all_rgb(folder):
    for path in (folder / "train" / "cat").iterdir():
        Image.open(path).convert("L").save(path)
    assert load(folder).channels == 3


def test_refuses_colour_among_grey(folder, refuses):
    for path in folder.rglob("*0.png"):
        Image.open(path).convert("L").save(path)
    with refuses(folder / "train", "in colour"):
        load(folder)


def test_refuses_more_than_8_bits(folder, refuses):
    path = folder / "test" / "dog" / "80.png"
    Image.fromarray(np.full((8, 8), 40000, dtype=np.uint16)).save(path)
    with refuses(path, "8 bits"):
        load(folder)


def test_names_a_missing_split(folder, refuses):
    (folder / "test").rename(folder / "val")
    with refuses(folder / "test", "train/<class>/<image>"):
        load(folder)


def test_names_a_split_without_classes(folder, tmp_path, refuses):
    (folder / "test").rename(tmp_path / "away")
    (folder / "test").mkdir()
    with refuses(folder / "test", "one for each class"):
        load(folder)


def test_names_an_empty_class(folder, refuses):
    (folder / "train" / "eel").mkdir()
    with refuses(folder / "train" / "eel", "no image file"):
        load(folder)


def test_names_a_class_without_training_images(folder, refuses):
    (folder / "test" / "dog").rename(folder / "test" / "eel")
    with refuses(folder / "test", "eel"):
        load(folder)


@pytest.mark.parametrize("name", ["90.png", "91.png"])
def test_names_a_damaged_file(folder, name, refuses):
    path = folder / "train" / "cat" / name
    path.write_bytes(path.read_bytes()[:60])
    with refuses(path, "damaged"):
        load(folder)


def test_names_a_file_of_another_size(folder, refuses):
    path = folder / "train" / "dog" / "81.png"
    Image.new("RGB", (5, 8)).save(path)
    with refuses(path, "8x5", "8x8"):
        load(folder)


def test_refuses_test_images_of_another_size(folder, refuses):
    for path in (folder / "test").rglob("*.png"):
        Image.new("RGB", (5, 8)).save(path)
    with refuses("pets", "[3, 8, 5]", "[3, 8, 8]"):
        load(folder)
