"""Breaks of random networks: what an attack claims is true under draws that it never saw."""

import copy

import pytest
import torch
from every_attack import EVERY
from scipy.stats import binom
from torch.nn.functional import dropout

from foreign import Wrapped
from spikeproof.attacks import ATTACKS, Crafting, attack, bim, door, fgsm, judged, pgd, square
from spikeproof.attacks.confirm import confirm
from spikeproof.attacks.craft import Attacked
from spikeproof.attacks.last_word import last_word
from spikeproof.coding import Poisson
from spikeproof.defenses import NDL, TGO, RandHet, StoG
from spikeproof.threat import Linf


class Noisy(Wrapped):
    """Input noise that nobody declares."""

    def forward(self, images):
        return self.inner(images + 0.3 * torch.randn_like(images))


class Drops(Wrapped):
    def forward(self, images):
        return self.inner(dropout(images, 0.3, training=True))


class Loose(Wrapped):
    """Its noise is from a generator of its own, which torch's seed does not fix."""

    def __init__(self, inner):
        super().__init__(inner)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, images):
        return self.inner(images + 0.2 * torch.randn(images.shape, generator=self.generator))


def with_defense(defense):
    def make(model):
        model = copy.deepcopy(model)
        defense.install(model)
        return model

    return make


def poisson(model):
    model = copy.deepcopy(model)
    model.set_coding(Poisson())
    return model


OURS = {
    "StoG": with_defense(StoG()),
    "RandHet": with_defense(RandHet()),
    "NDL": with_defense(NDL()),
    "TGO": with_defense(TGO(sigma=0.3, noise_at_inference=True)),
    "Poisson": poisson,
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [Noisy, Drops, Loose, *OURS.values()], ids=["Noisy", "Drops", "Loose", *OURS])
def test_what_counts_as_broken_is_broken(model, batch, kind):
    network, images, labels = kind(model), batch[0][:24], batch[1][:24]
    claimed = false = 0
    for found in (
        pgd(network, images, labels, Linf(0.15), Crafting(eot_iter=4), steps=5),
        square(network, images, labels, Linf(0.15), queries=10),
    ):
        broken = ~found.correct
        assert found.undecided.shape == broken.shape and not (found.undecided & broken).any()
        claimed += int(broken.sum())
        truth = judged(network, found.images[broken], draws=2000).argmax(1)
        false += int((truth == labels[broken]).sum())
    assert claimed > 10
    assert binom.sf(false - 1, claimed, 0.025) > 1e-3  # no more than an error of 2.5 % allows


@pytest.mark.thorough
def test_a_lucky_draw_is_no_break(model, batch):
    @attack("Boast")
    def boast(model, images, labels, threat, how):
        return Attacked(images, torch.zeros(len(images), dtype=torch.bool))

    truth = judged(Noisy(model), batch[0], draws=2000).argmax(1) == batch[1]
    found = boast(Noisy(model), *batch, Linf(0.1), None)
    assert (truth & ~found.correct).sum() <= 1
    assert not boast(model, *batch, Linf(0.1), None).correct.any()  # of a network that draws nothing the claim stands


@pytest.mark.thorough
def test_targets_are_confirmed_too(model, batch):
    images, labels = batch[0][:24], batch[1][:24]
    targets = (labels + 1) % 10
    found = pgd(Noisy(model), images, labels, Linf(0.3), Crafting(eot_iter=4), steps=10, targets=targets)
    at = found.reached
    assert at.any() and not found.correct[at].any()
    truth = judged(Noisy(model), found.images[at], draws=2000).argmax(1)
    assert binom.sf(int((truth != targets[at]).sum()) - 1, int(at.sum()), 0.025) > 1e-3


@pytest.mark.thorough
def test_same_seed_same_last_word(model, batch):
    first, again = (fgsm(Noisy(model), *batch, Linf(0.1), Crafting(seed=4)) for _ in range(2))
    assert torch.equal(first.correct, again.correct) and torch.equal(first.undecided, again.undecided)


FOR_A_NUMBER = {f"{name}-{number}": form for name, form in ATTACKS.items() for number in form.instead}


@pytest.mark.parametrize("name", [*EVERY, *FOR_A_NUMBER])
def test_fresh_draws_are_asked_once(model, batch, monkeypatch, name):
    """A second time they would ask only for the breaks of the first, and forget what was undecided."""
    asked = []
    monkeypatch.setattr(door, "last_word", lambda *given: asked.append(last_word(*given)) or asked[-1])
    case = EVERY[name.rpartition("-")[0] if name in FOR_A_NUMBER else name]
    run = case.form.made(int(name.rpartition("-")[2])) if name in FOR_A_NUMBER else case
    found = run(Noisy(model), batch[0][:6], batch[1][:6], case.threat(0.1), Crafting(eot_iter=1))
    assert len(asked) == 1 and torch.equal(found.undecided, asked[0].undecided)


def test_seven_steps_are_seven_steps(model, batch):
    for name, search in (("PGD", pgd), ("BIM", bim)):
        given = (Noisy(model), batch[0][:24], batch[1][:24], Linf(0.1), Crafting(eot_iter=2))
        trial = ATTACKS[name].made(7)(*given)
        plain = search(*given, steps=7, step_size=0.1 * 2.55 / 8, keep="last")
        for field in ("images", "correct", "undecided"):
            torch.testing.assert_close(getattr(trial, field), getattr(plain, field), rtol=0, atol=0)


def test_a_network_without_randomness_pays_nothing(model, batch):
    asked = []
    hook = model.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))
    found = fgsm(model, *batch, Linf(0.1), Crafting(eot_iter=2))
    hook.remove()
    assert found.undecided is None
    assert asked == [2] * 4 + [len(batch[0])] * 4  # the look, two gradients, two looks of the judge


@pytest.mark.parametrize(("shift", "asked"), [(2.0, 100), (-2.0, 25), (0.0, 400)])
def test_how_many_draws_a_verdict_takes(shift, asked):
    """A clear break takes 100, what is clearly none 25; where nothing is clear 400 leave it undecided."""
    torch.manual_seed(0)
    draws = []

    def forward(images):
        draws.append(len(images))
        return torch.tensor([[0.0, shift]]) + torch.randn(len(images), 2)

    found = confirm(forward, torch.rand(1, 1, 2, 2), torch.tensor([0]))
    assert len(draws) == asked
    assert (bool(found.broken), bool(found.undecided)) == (shift > 0, shift == 0)
