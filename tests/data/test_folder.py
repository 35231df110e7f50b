import shutil

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


def test_what_is_left_out_is_counted_and_named(folder, caplog):
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / "README").write_text("no class")
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "dog" / ".copies").mkdir()
    shutil.copy(folder / "train" / "dog" / "80.png", folder / "train" / "dog" / ".copies" / "80.png")
    shutil.copy(folder / "train" / "dog" / "80.png", folder / "train" / "dog" / "._80.png")
    shutil.copytree(folder / "test", folder / "val")
    data = load(folder)
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 2, 2)
    assert data.note.startswith("6 files or folders are left out")
    assert "val/, train/.cache/, train/README, train/cat/notes.txt, train/dog/._80.png, ..." in data.note
    assert data.note in caplog.text and str(folder) in caplog.text


def test_nothing_is_said_where_nothing_is_left_out(folder, caplog):
    (folder / "train" / "cat" / "90.png").rename(folder / "train" / "cat" / "90.PNG")
    data = load(folder)
    assert (len(data.train), data.note, caplog.text) == (4, "", "")


@pytest.mark.parametrize("deeper", ["day2", "2024/may/first", "link"])
def test_images_in_folders_below_a_class_are_its_own(folder, deeper):
    place = folder / "train" / "dog" / deeper
    if deeper == "link":
        (folder.parent / "elsewhere").mkdir()
        place.symlink_to(folder.parent / "elsewhere", target_is_directory=True)
        (place / "back").symlink_to(folder / "train" / "dog", target_is_directory=True)
    else:
        place.mkdir(parents=True)
    for index in range(5):
        shutil.copy(folder / "train" / "dog" / "80.png", place / f"{index}.png")
    data = load(folder)
    assert len(data.train) + len(data.validation) == 6 + 5
    assert int((data.train.labels == 1).sum() + (data.validation.labels == 1).sum()) == 3 + 5
    assert data.note == ""


@pytest.mark.parametrize(
    ("ending", "kind"),
    [(".jfif", "JPEG"), (".jpe", "JPEG"), (".gif", "GIF"), (".jp2", "JPEG2000"), (".dib", "BMP"), (".tga", "TGA")]
    + [("", "PNG"), (".png.1", "PNG"), (".txt", "PNG"), (".PPM", "PPM"), (".ico", "PNG")],
)
def test_whatever_pillow_opens_is_an_image(folder, ending, kind):
    picture = Image.open(folder / "train" / "dog" / "80.png")
    for index in range(4):
        picture.save(folder / "train" / "dog" / f"more{index}{ending}", kind)
    data = load(folder)
    assert len(data.train) + len(data.validation) == 6 + 4
    assert data.note == ""


def test_grey_images_have_one_channel(folder):
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    data = load(folder)
    assert data.channels == 1
    test_image = np.asarray(Image.open(folder / "test" / "dog" / "80.png"))
    assert torch.equal(data.test.images[1, 0], torch.from_numpy(test_image.copy()))


def test_a_palette_of_greys_is_grey(folder):
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    before = load(folder)
    for path in folder.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".gif"))
        path.unlink()
    data = load(folder)
    assert data.channels == 1
    assert torch.equal(data.test.images, before.test.images)


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
