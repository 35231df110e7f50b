"""Seeded nonsense at the door: whatever is given ends in a result or in one sentence and exit code 2."""

import io
import json
import random
import shutil
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from spikeproof.data import load_data
from spikeproof.errors import SpikeproofError

NOWHERE = (
    "\x00",
    "~nobody-of-this-name/data",
    "x" * 5000,
    "/dev/null",
    "/proc/self/mem",
    "..",
    "",
    " ",
    "\ud800",
    "a\nb",
)


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def odd_values(draw):
    return draw.choice(
        [
            *(None, True, -1, 0, 1.5, 1e308, -1e-308, float("nan"), float("inf"), 2**63, 10**400, "", "1", "None"),
            *("\ud800", "x" * 3000, "a\nb", "<script>", [], {}, [[]], [None], {"": None}, deep(60), ["x"] * 300),
        ]
    )


def mutated(value, draw):
    """The same JSON value with one place changed, left out or doubled."""
    places = []

    def walk(held, path):
        places.append(path)
        for key in held if isinstance(held, dict) else range(len(held)) if isinstance(held, list) else ():
            walk(held[key], (*path, key))

    walk(value, ())
    *above, last = draw.choice(places[1:])
    value = json.loads(json.dumps(value))
    parent = value
    for key in above:
        parent = parent[key]
    what = draw.random()
    if what < 0.7:
        parent[last] = odd_values(draw)
    elif what < 0.85:
        del parent[last]
    elif isinstance(parent, list):
        parent.append(parent[last])
    else:
        parent[f"{last}2"] = parent.pop(last)
    return value


def spoilt_bytes(whole, draw):
    how = draw.randrange(5)
    at = draw.randrange(max(len(whole), 1))
    if how == 0:
        return whole[:at]
    if how == 1:
        return whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1 :]
    if how == 2:
        return whole[:at] + bytes(draw.randrange(256) for _ in range(20)) + whole[at + 20 :]
    if how == 3:
        return whole + whole[:at]
    return bytes(draw.randrange(256) for _ in range(draw.randrange(200)))


@pytest.fixture
def ends(call):
    """Run a command and demand that it ends well, or in one short line."""

    def run(*words):
        code, out, err = call(*words)
        assert code in (0, 2), (words, err)
        said = [line for line in err.splitlines() if line.startswith("spikeproof: ")]
        if code == 2:
            assert len(said) == 1 and len(said[0]) < 800, (words, err)
        assert "Traceback" not in out + err
        return code

    return run


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(12))
def test_damaged_json_of_a_run(audited, ends, tmp_path, seed):
    """Without its checksum, so that more than the checksum is asked."""
    draw = random.Random(seed)
    refused = 0
    (place,) = (audited / "audits").iterdir()
    for number in range(10):
        folder = shutil.copytree(audited, tmp_path / f"{seed}-{number}")
        file = draw.choice(
            [folder / "config.json", folder / "metrics.jsonl", folder / "audits" / place.name / "audit.json"]
        )
        lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        held = {name: value for name, value in json.loads(lines[0]).items() if name != "sha256"}
        changed = json.dumps(mutated(held, draw))
        if draw.random() < 0.2:
            changed = changed[: draw.randrange(len(changed))]
        file.write_text("\n".join([changed, *lines[1:]]) + "\n")
        refused += ends("report", folder) == 2
        refused += ends("audit", folder, "--battery", "None", "--trials", "FGSM", "--samples", "3") == 2
        ends("push", folder, tmp_path / f"pushed-{seed}-{number}")
        shutil.rmtree(folder)
    assert refused > 0


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_of_a_run(audited, ends, tmp_path, seed):
    draw = random.Random(100 + seed)
    names = [path.relative_to(audited) for path in audited.rglob("*") if path.is_file() and path.name != ".lock"]
    for number in range(10):
        folder = shutil.copytree(audited, tmp_path / f"{seed}-{number}")
        file = folder / draw.choice(names)
        file.write_bytes(spoilt_bytes(file.read_bytes(), draw))
        ends("report", folder)
        ends("audit", folder, "--battery", "None", "--trials", "FGSM", "--samples", "3", "--force")
        ends("push", folder, tmp_path / f"pushed-{seed}-{number}")
        shutil.rmtree(folder)


def loads_or_refuses(name, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load_data(str(name), validation=1, **options)
        except SpikeproofError as error:
            assert "\n" not in str(error)
            return False
    return True


def npz_bytes(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("seed", range(4))
def test_damaged_archives(tmp_path, seed):
    draw = random.Random(200 + seed)
    images, labels = np.random.default_rng(0).integers(0, 256, (6, 5, 5), dtype=np.uint8), np.arange(6) % 2
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    whole = npz_bytes(**arrays)
    odd = [
        np.array([object()], dtype=object),
        np.zeros((0, 5, 5), np.uint8),
        np.zeros((6, 5, 5, 9, 2), np.uint8),
        np.full((6, 5, 5), np.nan),
        np.full((6, 5, 5), 1e30),
        np.zeros((6, 5, 5), complex),
        np.array(["a"] * 6),
        np.arange(6) * 2**40,
        -np.arange(6),
        np.array(3),
    ]
    for number in range(20):
        file = tmp_path / f"{number}.npz"
        if number % 2:
            file.write_bytes(spoilt_bytes(whole, draw))
        else:
            file.write_bytes(npz_bytes(**(arrays | {draw.choice(list(arrays)): draw.choice(odd)})))
        loads_or_refuses(file)


def test_an_archive_that_declares_terabytes(tmp_path):
    file = tmp_path / "huge.npz"
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999, 9999, 9999), }".ljust(117)
        + b"\n"
    )
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("x_train", "x_test"):
            archive.writestr(f"{name}.npy", header + b"\0" * 32)
        labels = io.BytesIO()
        np.save(labels, np.arange(2))
        for name in ("y_train", "y_test"):
            archive.writestr(f"{name}.npy", labels.getvalue())
    assert not loads_or_refuses(file)


def encoded(kind="png"):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("seed", range(4))
def test_damaged_images(tmp_path, seed):
    draw = random.Random(500 + seed)
    for number in range(20):
        kind = draw.choice(["png", "jpeg", "bmp", "tiff", "webp", "ppm"])
        whole = encoded(kind)
        for split in ("train", "test"):
            for label in "ab":
                file = tmp_path / str(number) / split / label / f"0.{kind}"
                file.parent.mkdir(parents=True)
                file.write_bytes(spoilt_bytes(whole, draw) if split == "train" and label == "b" else whole)
        loads_or_refuses(tmp_path / str(number))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_parquet(tmp_path, seed):
    draw = random.Random(300 + seed)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    good = [{"bytes": encoded(), "path": None} for _ in range(4)]
    described = [
        *(b"null", b"[]", b"{", b'{"info": null}', b'{"info": {"features": null}}', b"[" * 5000),
        *(b'{"info": {"features": {"label": {"names": 7}}}}', b'{"info": {"features": {"label": {"names": [null]}}}}'),
    ]
    for number in range(20):
        folder = tmp_path / str(number)
        (folder / "cifar10").mkdir(parents=True)
        rows = [dict(row) for row in good]
        table = pa.table({"img": pa.array(rows, kind), "label": pa.array([0, 1, 2, 3])})
        if number % 4 == 0:
            rows[draw.randrange(4)] = {"bytes": None, "path": "/etc/passwd"}
            table = table.set_column(0, "img", pa.array(rows, kind))
        elif number % 4 == 1:
            table = table.replace_schema_metadata({b"huggingface": draw.choice(described)})
        elif number % 4 == 2:
            column = draw.choice([pa.array([None] * 4, pa.int64()), pa.array([-1] * 4), pa.array([0.5] * 4)])
            table = table.set_column(1, "label", column)
        for split in ("train", "test"):
            pq.write_table(table, folder / "cifar10" / f"{split}.parquet")
        if number % 4 == 3:
            file = folder / "cifar10" / "train.parquet"
            file.write_bytes(spoilt_bytes(file.read_bytes(), draw))
        loads_or_refuses("cifar10", data_dir=folder)


@pytest.mark.parametrize("name", NOWHERE, ids=repr)
def test_places_that_are_none(ends, refused, tmp_path, name):
    assert not loads_or_refuses(name)
    assert not name or not loads_or_refuses("cifar10", data_dir=name)
    for words in (("report", name), ("audit", name), ("leaderboard", name), ("push", name, tmp_path / "x")):
        if "\x00" not in name:
            assert ends(*words) == 2


WORDS = ["--train.epochs", "--data.validation", "--model.width", "--model.num-steps", "--train.seed", "--audit.eps"]
VALUES = ["9" * 6000, "-1", "1e400", "nan", "", "None", "0x10", "1/0", "8/255/2", "\ud800", "[]", "--out", "1 2", "é"]


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(4))
def test_odd_words(ends, train_words, tmp_path, seed):
    draw = random.Random(400 + seed)
    for number in range(15):
        words = train_words(tmp_path / f"{seed}-{number}", draw.choice(WORDS), draw.choice(VALUES))
        ends(*words)
