"""The real files, where this machine has them."""

import os
from pathlib import Path

import pytest
import torch

from spikeproof.data import load_data

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[3] / "shared" / "data"
FOLDER = Path(os.environ.get("SPIKEPROOF_DATA_DIR") or BESIDE_THE_PROJECT)


def load(name, test_file, **options):
    if not (FOLDER / name / test_file).is_file():
        pytest.skip(f"no {name} in {FOLDER}")
    return load_data(name, data_dir=FOLDER, **options)


def test_cifar10():
    data = load("cifar10", "test.parquet", validation=100, train_limit=128, test_limit=64)
    assert (len(data.train), len(data.validation), len(data.test)) == (128, 100, 64)
    assert (data.channels, data.image_size) == (3, (32, 32))
    assert data.test.class_names[:3] == ("airplane", "automobile", "bird")
    assert len(data.test.labels.unique()) == 10
    # 228 images are enough to tell the channels apart by their published means, and to notice swapped ones.
    scaled = torch.cat([data.train.images, data.validation.images]).float() / 255
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.tensor(data.mean), atol=0.03, rtol=0)
    assert scaled.mean((0, 2, 3)).argsort().tolist() == [2, 1, 0]


def test_tiny_imagenet():
    data = load("tiny_imagenet", "valid.parquet", validation=50, train_limit=50, test_limit=64)
    assert (data.num_classes, data.channels, data.image_size) == (200, 3, (64, 64))
    assert data.test.class_names[0] == "n01443537"
    assert len(data.test.labels.unique()) > 30
