"""A run has the threads that its network is worth, its audit too, and one that goes on those that it began with."""

import dataclasses
import json
import os
import signal
import threading
import time

import pytest
import torch

from spikeproof.audit import AuditConfig
from spikeproof.errors import Interrupted
from spikeproof.machine import threads
from spikeproof.models import create_model
from spikeproof.recipes import audit_run, find_recipe, train_recipe
from spikeproof.recipes.workload import threads_for
from spikeproof.runs import RunFolder

DIGITS = find_recipe("demo-digits-vanilla")


@pytest.fixture
def chosen(monkeypatch):
    """This process's threads are to be chosen, of two processors; by default it has two."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPIKEPROOF_THREADS", "auto")
    monkeypatch.setattr(threads, "available_processors", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield monkeypatch
    torch.set_num_threads(before)


@pytest.fixture
def used(monkeypatch):
    """The numbers of threads that were set, the last last."""
    numbers, set_them = [], torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda number: (numbers.append(number), set_them(number)))
    return numbers


def recipe(**changes):
    data = dataclasses.replace(DIGITS.data, train_limit=128, validation=50)
    return dataclasses.replace(DIGITS, data=data, train=dataclasses.replace(DIGITS.train, **{"epochs": 1, **changes}))


def recorded(folder):
    return json.loads((folder / "config.json").read_text())["threads"]


@pytest.mark.parametrize(
    ("name", "size", "images", "device", "expected"),
    [
        ("conv", 8, 64, "cpu", 1),
        ("vgg5", 32, 64, "cpu", 2),
        ("vgg5", 32, 1, "cpu", 1),
        ("vgg11", 32, 64, "cpu", 2),
        ("conv", 8, 64, "cuda", 2),
    ],
)
def test_what_a_network_is_worth(chosen, name, size, images, device, expected):
    model = create_model(name, num_classes=10, image_size=size, in_channels=3)
    with threads_for(model, images, torch.device(device)):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 2


def test_a_small_network_is_trained_and_audited_by_one_thread(chosen, used, tmp_path):
    train_recipe(recipe(), data_dir=None, out=tmp_path, show=False)
    assert recorded(tmp_path) == 1
    config = AuditConfig(eps=0.1, samples=8, battery="quick", sweep=(), diagnostics=False)
    audit_run(tmp_path, config, data_dir=None, device="cpu", show=False)
    assert used == [1, 2, 1, 2]


def test_a_run_that_goes_on_has_the_threads_that_it_began_with(chosen, used, tmp_path):
    chosen.delenv("SPIKEPROOF_THREADS")
    long, metrics = recipe(epochs=8, validate_every=8), tmp_path / "metrics.jsonl"

    def interrupt_after_an_epoch():
        while not metrics.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    watch = threading.Thread(target=interrupt_after_an_epoch)
    watch.start()
    with pytest.raises(Interrupted):
        train_recipe(long, data_dir=None, out=tmp_path, show=False)
    watch.join()
    assert (recorded(tmp_path), RunFolder(tmp_path).threads, used) == (2, 2, [])
    chosen.setenv("SPIKEPROOF_THREADS", "auto")
    train_recipe(long, data_dir=None, out=tmp_path, resume=True, show=False)
    assert (recorded(tmp_path), used) == (2, [2, 2])
    assert RunFolder(tmp_path).threads is None  # it is finished


def test_a_folder_without_a_run_says_nothing_of_threads(tmp_path):
    assert RunFolder(tmp_path).threads is None
