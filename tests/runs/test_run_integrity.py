"""A run keeps to itself: one writer, checksums, its own data; nothing is lost to a failed start or a removed folder."""

import json
import multiprocessing
import random
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file

from spikeproof.data import Data, load_data
from spikeproof.defenses import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model, load_model, save_model
from spikeproof.runs import RunFolder
from spikeproof.train import TrainConfig, train
from stops import stopped_at


def flipped(whole, bit):
    byte, place = divmod(bit, 8)
    return whole[:byte] + bytes([whole[byte] ^ (1 << place)]) + whole[byte + 1 :]


def renamed(data, names):
    """The same images under other class names."""
    parts = {name: type(part)(part.images, part.labels, names) for name, part in vars(data).items() if name in SPLITS}
    return Data(**(vars(data) | parts))


SPLITS = ("train", "validation", "test")


@pytest.fixture
def stopped(new_model, few_digits, quick, tmp_path):
    """A run that was stopped halfway, and how to go on with it."""
    folder = tmp_path / "run"
    with stopped_at(0.5):
        train(new_model(), few_digits, config=quick(), out=folder, settings={}, show=False)

    def resume(data=few_digits):
        return train(new_model(), data, config=quick(), out=folder, settings={}, resume=True, show=False)

    return folder, resume


def test_sixty_flipped_bits_of_a_state_are_all_refused(stopped, refuses):
    folder, resume = stopped
    state = folder / "state.pt"
    whole = state.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 60):
        state.write_bytes(flipped(whole, bit))
        with refuses(state, "damaged"):
            RunFolder(folder).read_state()
    state.write_bytes(whole)
    assert len(resume().metrics) == 2


def test_sixty_flipped_bits_of_weights_are_refused_or_harmless(new_model, tmp_path):
    model = new_model()
    save_model(model, tmp_path / "whole")
    whole, refused = (tmp_path / "whole").read_bytes(), 0
    for bit in random.Random(1).sample(range(8 * len(whole)), 60):
        (tmp_path / "flipped").write_bytes(flipped(whole, bit))
        try:
            loaded = load_model(tmp_path / "flipped")
        except SpikeproofError as error:
            assert "damaged" in str(error) or "does not know" in str(error)
            refused += 1
        else:
            assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert refused >= 55  # the rest may hit a space or a letter's case in the header


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_a_changed_digit_is_refused(stopped, refuses, name):
    folder, resume = stopped
    resume()
    file = folder / name
    text = file.read_text()
    for digit in ("0", "1", "2"):
        at = text.index(digit, len(text) // 3)
        file.write_text(f"{text[:at]}{(int(digit) + 5) % 10}{text[at + 1 :]}")
        with refuses(file, "damaged"):
            RunFolder(folder).config()
            RunFolder(folder).metrics()


def test_equal_weights_give_equal_bytes(new_model, tmp_path):
    for number in range(5):
        save_model(new_model(), tmp_path / str(number))
    assert len({(tmp_path / str(number)).read_bytes() for number in range(5)}) == 1


def begin(folder, seed, start, said):
    """Train into a folder at a given moment, in a process of its own."""
    data = load_data("digits", validation=50, train_limit=64)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, width=0.25)
    config = TrainConfig(epochs=2, batch_size=32, augmentation=None, device="cpu", precision="fp32", seed=seed)
    start.wait()
    try:
        train(model, data, config=config, out=folder, settings={"seed": seed}, show=False)
        said.put((seed, "trained"))
    except SpikeproofError as error:
        said.put((seed, str(error)))


@pytest.mark.thorough
def test_two_processes_never_write_one_run(tmp_path):
    context = multiprocessing.get_context("spawn")
    for attempt in range(2):
        folder, said = tmp_path / str(attempt), context.Queue()
        start = context.Barrier(2)
        both = [context.Process(target=begin, args=(folder, seed, start, said)) for seed in (1, 2)]
        for process in both:
            process.start()
        ended = dict(said.get(timeout=120) for _ in both)
        for process in both:
            process.join()
        (winner,) = (seed for seed, how in ended.items() if how == "trained")
        (loser,) = (how for how in ended.values() if how != "trained")
        assert "Another process" in loser or "already holds a run" in loser
        assert RunFolder(folder).config()["recipe"] == {"seed": winner}
        assert len(RunFolder(folder).metrics()) == 2
        assert not list(folder.glob(".*.tmp"))


def test_other_data_are_not_gone_on_with(stopped, few_digits, refuses):
    _, resume = stopped
    train_set = few_digits.train
    inverted = type(train_set)(255 - train_set.images, train_set.labels, train_set.class_names)
    with refuses("training images", "--out"):
        resume(Data(**(vars(few_digits) | {"train": inverted})))
    names = ("zebra", *few_digits.train.class_names[1:])
    with refuses("class names"):
        resume(renamed(few_digits, names))
    assert len(resume().metrics) == 2


def test_a_run_that_saved_nothing_is_taken_over(new_model, few_digits, quick, tmp_path, refuses):
    folder = tmp_path / "run"
    with refuses("loss"):
        train(new_model(), few_digits, config=quick(learning_rate=1e30), out=folder, settings={"lr": 1}, show=False)
    run = train(new_model(), few_digits, config=quick(), out=folder, settings={"lr": 2}, show=False)
    assert RunFolder(folder).config()["recipe"] == {"lr": 2}
    assert RunFolder(folder).metrics() == run.metrics


def test_a_mended_setting_can_be_resumed_where_nothing_was_saved(new_model, few_digits, quick, tmp_path, refuses):
    folder = tmp_path / "run"
    with refuses("loss"):
        train(new_model(), few_digits, config=quick(learning_rate=1e30), out=folder, settings={"lr": 1}, show=False)
    train(new_model(), few_digits, config=quick(), out=folder, settings={"lr": 2}, resume=True, show=False)
    assert RunFolder(folder).finished


def test_an_exploded_loss_is_an_error(new_model, few_digits, quick, tmp_path, refuses):
    with refuses("too high to go on", "learning rate"):
        train(new_model(), few_digits, config=quick(learning_rate=1e6, epochs=4), out=tmp_path / "run", show=False)
    assert not RunFolder(tmp_path / "run").finished


def test_a_folder_that_is_removed_comes_back_whole(new_model, few_digits, quick, tmp_path, capsys):
    folder = tmp_path / "run"

    class Removes(Defense):
        """In the second epoch somebody clears up."""

        def penalty(self, step):
            if step.progress >= 0.6 and folder.exists() and not hasattr(self, "done"):
                object.__setattr__(self, "done", True)
                shutil.rmtree(folder)

    run = train(new_model(), few_digits, [Removes()], quick(), out=folder, settings={"a": 1}, show=False)
    assert "removed" in capsys.readouterr().err
    assert RunFolder(folder).config()["recipe"] == {"a": 1}
    assert RunFolder(folder).metrics() == run.metrics
    assert load_file(folder / "model.safetensors")


def test_what_a_killed_process_left_half_written_goes_with_time(tmp_path, monkeypatch):
    from spikeproof import disk

    folder = RunFolder(tmp_path)
    folder.open("x", {}, device="cpu", command="", resume=False)
    old, new, other = (tmp_path / name for name in (".state.pt.1.tmp", ".state.pt.2.tmp", ".notes.3.tmp"))
    for left in (old, new, other):
        left.write_text("half")
    monkeypatch.setattr(disk.time, "time", lambda: time.monotonic() + 1e10)
    new.touch()
    folder.write_state({"step": 1})
    assert not old.exists() and other.exists()
    assert json.loads((tmp_path / "config.json").read_text())["name"] == "x"
