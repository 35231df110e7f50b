"""On a GPU the loop looks only now and then at what the device alone knows; the run is the same."""

import dataclasses

import pytest
import torch

from spikeproof.defenses import MPDSGR, Defense, FreeAdversarialTraining
from spikeproof.train import loop, train
from stops import sent_at, stopped_at


@pytest.fixture
def rarely(monkeypatch):
    """As on a GPU."""
    monkeypatch.setattr(loop, "_look_every", lambda device: 50)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BreaksAt(Defense):
    """A penalty that is not finite in the step at which ``share`` of training is done; counts the steps."""

    share: float
    value: float = float("nan")
    steps: list[int] = dataclasses.field(default_factory=list)

    def penalty(self, step):
        self.steps.append(1)
        return torch.tensor(self.value if abs(step.progress - self.share) < 1e-6 else 0.0)


@pytest.mark.parametrize(("value", "called"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_stops_the_run_within_the_epoch(
    new_model, few_digits, quick, refuses, rarely, value, called
):
    breaking = BreaksAt(share=0.15, value=value)  # step 3 of twice ten
    with refuses(f"The loss is {called} at step 3;"):
        train(new_model(), few_digits, [breaking], quick(), show=False)
    assert len(breaking.steps) == 10


def test_on_a_cpu_it_stops_at_once(new_model, few_digits, quick, refuses):
    breaking = BreaksAt(share=0.15)
    with refuses("The loss is nan at step 3;"):
        train(new_model(), few_digits, [breaking], quick(), show=False)
    assert len(breaking.steps) == 4


def test_no_state_is_written_of_a_loss_that_is_not_finite(new_model, few_digits, quick, refuses, rarely, tmp_path):
    """Where the user stops the run before anyone has looked."""
    with refuses("The loss is nan at step 3;"), sent_at(0.25):
        train(new_model(), few_digits, [BreaksAt(share=0.15)], quick(), out=tmp_path, show=False)
    assert not (tmp_path / "state.pt").exists()


@pytest.mark.thorough
def test_metrics_are_the_same_however_rarely_it_looks(new_model, few_digits, quick, monkeypatch):
    lines = []
    for every in (1, 50):
        monkeypatch.setattr(loop, "_look_every", lambda device, every=every: every)
        run = train(new_model(), few_digits, [MPDSGR(), FreeAdversarialTraining(replays=3)], quick(), show=False)
        lines.append([{name: value for name, value in line.items() if name != "seconds"} for line in run.metrics])
    assert lines[0] == lines[1]


@pytest.mark.thorough
def test_a_resumed_run_has_the_same_metrics(
    new_model, few_digits, quick, rarely, metrics_of, weights_of, same_weights, tmp_path
):
    shared = {"data": few_digits, "config": quick(), "settings": {"mine": 1}, "show": False}
    train(new_model(), defenses=[MPDSGR()], out=tmp_path / "whole", **shared)
    with stopped_at(0.25):
        train(new_model(), defenses=[MPDSGR()], out=tmp_path / "cut", **shared)
    train(new_model(8), defenses=[MPDSGR()], out=tmp_path / "cut", resume=True, **shared)
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "cut")
    assert same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))


def test_a_save_within_the_epoch_happens_at_a_look_and_once(new_model, few_digits, quick, monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "_look_every", lambda device: 4)
    monkeypatch.setattr(loop, "_SAVE_EVERY", -1.0)
    saved, save = [], loop._Trainer._save

    def noted(trainer):
        saved.append(trainer.step)
        save(trainer)

    monkeypatch.setattr(loop._Trainer, "_save", noted)
    train(new_model(), few_digits, [], quick(), out=tmp_path, show=False)
    assert saved == [4, 8, 10, 12, 16, 20]
