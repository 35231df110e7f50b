"""A network that answers every image alike learns nothing more, and training says so."""

import dataclasses

import pytest
import torch

from spikeproof.defenses import MPDSGR, TGO, Defense
from spikeproof.spiking import Triangle, sites
from spikeproof.train import train


class Silencing(Defense):
    """Takes all gain from one site, from a step on."""

    def __init__(self, after, place="body.0"):
        self.after, self.place, self.steps = after, place, 0

    def after_step(self, model, seed):
        self.steps += 1
        if self.steps > self.after:
            with torch.no_grad():
                sites(model)[self.place].norm.weight.zero_()
                sites(model)[self.place].norm.bias.fill_(-1.0)


def config(quick, **changes):
    return quick(**({"batch_size": 8, "epochs": 3, "learning_rate": 0.02} | changes))


@pytest.mark.parametrize("microbatch", [None, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_network_that_falls_silent_stops_within_an_epoch(new_model, few_digits, quick, refuses, tmp_path, microbatch):
    steps = len(few_digits.train) // 8
    assert steps >= 4
    arguments = (new_model(), few_digits, [Silencing(after=steps)], config(quick, microbatch=microbatch))
    if microbatch == 1:  # images alone are not compared
        assert len(train(*arguments, show=False).metrics) == 3
        return
    with refuses("silent", "epoch 1", "warm-up"):
        train(*arguments, out=tmp_path / "run", show=False)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 1  # epoch 0 is kept


def test_one_that_starts_silent_and_wakes_up_goes_on(new_model, few_digits, quick):
    """The last quarter of an epoch decides."""

    class Waking(Silencing):
        def after_step(self, model, seed):
            self.steps += 1
            if self.steps == 2:
                with torch.no_grad():
                    sites(model)[self.place].norm.weight.fill_(1.0)
                    sites(model)[self.place].norm.bias.zero_()

    model = new_model()
    with torch.no_grad():
        site = sites(model)["body.0"]
        site.norm.weight.zero_()
        site.norm.bias.fill_(-1.0)
    assert len(train(model, few_digits, [Waking(after=0)], config(quick), show=False).metrics) == 3


def quieten(model, bias):
    """The last site gets hardly any current. Where ``bias`` is near the threshold, a gradient still passes."""
    with torch.no_grad():
        *_, last_site = sites(model).values()
        last_site.neuron = dataclasses.replace(last_site.neuron, surrogate=Triangle(gamma=2.0))
        *_, weight, its_bias, _, _ = model.parameters()  # of that site, and of the layer that reads it
        weight.mul_(1e-3)
        its_bias.fill_(bias)
    return model


@pytest.mark.parametrize(("bias", "epoch"), [(-0.5, "epoch 1"), (-50.0, "epoch 0")])
def test_one_that_never_spoke_has_a_quarter_of_training_to_wake_up(new_model, few_digits, quick, refuses, bias, epoch):
    """Where its surrogate lets no gradient pass, the first epoch ends it."""
    with refuses("silent", epoch, "time steps"):
        train(quieten(new_model(), bias), few_digits, [], config(quick, epochs=7, learning_rate=1e-6), show=False)


@pytest.mark.parametrize(("spoken", "epoch"), [(0, "epoch 2"), (1, "epoch 1")])
def test_one_that_has_spoken_once_gets_no_patience(new_model, few_digits, quick, refuses, spoken, epoch):
    """Both are silent from the second epoch on, and a gradient still reaches their weights."""

    class Quietening(Silencing):
        def after_step(self, model, seed):
            self.steps += 1
            if self.steps == self.after:
                quieten(model, -0.5)

    model = new_model() if spoken else quieten(new_model(), -0.5)
    defense = Quietening(after=len(few_digits.train) // 8)
    with refuses("silent", epoch):
        train(model, few_digits, [defense], config(quick, epochs=11, learning_rate=1e-6), show=False)


@pytest.mark.parametrize(("steps", "epoch"), [(1, 10), (2, 5), (3, 3), (4, 2), (11, 0)])
def test_however_short_an_epoch_is_its_last_step_decides(new_model, few_digits, quick, refuses, steps, epoch):
    """From the eleventh step of training on: a fresh network may need a few to wake up."""
    given = config(quick, batch_size=len(few_digits.train) // steps, epochs=12)
    with refuses("silent", f"epoch {epoch}:"):
        train(quieten(new_model(), -50.0), few_digits, [], given, show=False)


@pytest.mark.parametrize("defense", [MPDSGR(eta=300.0, warmup=0.0, sites="all"), TGO(lambda_max=1e4, sites="all")])
def test_too_large_a_dose_is_told(new_model, few_digits, quick, refuses, defense):
    with refuses("silent", "Lower the weight"):
        train(new_model(), few_digits, [defense], config(quick, learning_rate=0.1, epochs=6), show=False)
