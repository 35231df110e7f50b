"""A part of one image, of which a batch norm would see one value: refused before anything is written."""

import pytest
import torch

from spikeproof.models import create_model
from spikeproof.runs import microbatch
from spikeproof.train import train


def small(name, norm, **changes):
    size = {"num_classes": 10, "image_size": 8, "in_channels": 1, "width": 0.05, "num_steps": 1}
    return create_model(name, batch_norm=norm, **(size | changes))


REFUSED = [
    ("resnet17", "merged", {"batch_size": 1}, {}),
    ("resnet19", "merged", {"batch_size": 65, "microbatch": 32}, {}),
    ("resnet18", "td", {"batch_size": 65, "microbatch": 32}, {"image_size": 4}),
    ("sew-resnet19", "merged", {"batch_size": 1}, {}),
    ("resnet17", "per-step", {"batch_size": 65, "microbatch": 32}, {}),
    ("resnet17", "per-step", {"batch_size": 33, "microbatch": 32}, {"num_steps": 4}),
    ("resnet17", "merged", {"batch_size": 33, "microbatch": 1}, {}),
    ("wrn16", "merged", {"batch_size": 1}, {"image_size": 4}),
]
TRAINED = [
    ("conv", "merged", {"batch_size": 1}, {}),
    ("conv", "per-step", {"batch_size": 1}, {}),
    ("resnet17", "merged", {"batch_size": 1}, {"num_steps": 2}),
    ("resnet17", "merged", {"batch_size": 65, "microbatch": 21}, {}),
    ("resnet17", "per-step", {"batch_size": 2}, {"num_steps": 4}),
]


@pytest.mark.parametrize(("name", "norm", "config", "change"), REFUSED, ids=str)
def test_refused(few_digits, quick, refuses, tmp_path, name, norm, config, change):
    model = small(name, norm, **change)
    data = few_digits if change.get("image_size", 8) == 8 else shrunk(few_digits, change["image_size"])
    with refuses(f"batch_size={config['batch_size']}", "one image", "two", "microbatch"):
        train(model, data, config=quick(epochs=1, **config), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.sweep
@pytest.mark.parametrize(("name", "norm", "config", "change"), TRAINED, ids=str)
def test_trained(few_digits, quick, name, norm, config, change):
    few = type(few_digits)(**(vars(few_digits) | {"train": few_digits.train.take(slice(65))}))
    torch.manual_seed(1)  # networks as narrow as these may fall silent
    train(small(name, norm, **change), few, config=quick(epochs=1, learning_rate=1e-3, **config), show=False)


def test_a_norm_that_does_not_learn_needs_no_spread(few_digits, quick):
    model = small("resnet17", "merged")
    for module in model.modules():
        if hasattr(module, "norm") and module.norm is not None:
            module.norm.requires_grad_(False)
    few = type(few_digits)(**(vars(few_digits) | {"train": few_digits.train.take(slice(3))}))
    train(model, few, config=quick(epochs=1, batch_size=1), show=False)


def test_a_part_that_the_free_memory_decides(few_digits, quick, refuses, monkeypatch, tmp_path):
    model, images = small("resnet17", "merged"), few_digits.train.images[:4].float() / 255
    two, four = (microbatch.saved_bytes(model, images[:count], bf16=False) for count in (2, 4))
    a_sample = four - two  # doubled, as the peak is taken to be
    monkeypatch.setattr(microbatch, "free_bytes", lambda device: int(2.6 * a_sample))
    with refuses("batch_size=3", "parts of 2", "one image"):
        train(model, few_digits, config=quick(batch_size=3, microbatch="auto"), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


def shrunk(data, size):
    """The same digits with the middle of each image only."""
    first = (8 - size) // 2

    def middle(part):
        return type(part)(part.images[:, :, first : first + size, first : first + size], part.labels, part.class_names)

    splits = {name: middle(getattr(data, name)) for name in ("train", "validation", "test")}
    return type(data)(**(vars(data) | splits))
