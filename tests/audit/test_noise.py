"""Models that draw noise: how often is said, verdicts are drawn again, and one draw's gradient is a red flag."""

import numpy as np
import pytest
import torch

from spikeproof.attacks import ATTACKS, Attacked, Form, attack, judged
from spikeproof.audit import audit
from spikeproof.spiking import sites


@pytest.fixture
def noisy(tiny):
    """A network whose sites draw noise, set to stay on at inference."""
    for site in sites(tiny).values():
        site.noise_std, site.noise_at_inference = 0.3, True
    return tiny


@pytest.mark.thorough
def test_noise_is_as_the_network_was_made_or_as_asked_and_recorded(noisy, digits, quick):
    for site in sites(noisy).values():
        site.noise_std = 50.0  # enough to drown every margin
    quiet = audit(noisy, digits.test, quick(trials=("FGSM",), noise=False), show=False)
    loud = audit(noisy, digits.test, quick(trials=("FGSM",), noise=True, eot_iter=2), show=False)
    assert audit(noisy, digits.test, quick(trials=("FGSM",), eot_iter=2), show=False).clean == loud.clean
    for site in sites(noisy).values():
        site.noise_std = 0.0
    silent = audit(noisy, digits.test, quick(trials=("FGSM",)), show=False)
    assert quiet.clean == silent.clean
    assert quiet.clean.accuracy > 0.7
    assert loud.clean.accuracy < 0.5
    assert (quiet.to_json("")["noise"], loud.to_json("")["noise"]) == ("off", "on")


@pytest.mark.parametrize(("eot_iter", "judge_draws", "recorded"), [(2, None, 100), (2, 5, 100), (1, 120, 120)])
def test_both_numbers_of_draws_are_told(noisy, digits, quick, eot_iter, judge_draws, recorded):
    config = quick(trials=("FGSM",), noise=True, eot_iter=eot_iter, judge_draws=judge_draws, samples=5)
    found = audit(noisy, digits.test, config, show=False)
    rows = found.outcomes.to_pylist()
    assert {(row["noise"], row["eot_iter"], row["judge_draws"]) for row in rows} == {("on", eot_iter, recorded)}
    said = found.to_json("")
    assert (said["noise"], said["eot_iter"], said["judge_draws"]) == ("on", eot_iter, recorded)


def trial_of(function):
    return Form(name="FGSM", attack=function, kind="protocol", rank=0)


def test_fresh_draws_have_the_last_word_with_noise(noisy, digits, quick, monkeypatch):
    """An attack that claims to have broken everything, without touching an image, breaks what fresh draws confirm."""

    @attack("FGSM")
    def boastful(model, images, labels, threat, how):
        return Attacked(images, torch.zeros(len(images), dtype=torch.bool))

    monkeypatch.setitem(ATTACKS, "FGSM", trial_of(boastful))
    found = audit(noisy, digits.test, quick(trials=("FGSM",), noise=True, eot_iter=1, judge_draws=4), show=False)
    assert found.clean.correct - 1 <= found.protocol.correct > 20
    # Without noise the attack's own verdict, which is the judge's, stands.
    assert audit(noisy, digits.test, quick(trials=("FGSM",), noise=False), show=False).protocol.correct == 0


def test_fresh_draws_are_not_those_of_the_attack(noisy, digits, quick, monkeypatch):
    """With as much noise as this, images that one draw gave up are right under others."""
    for site in sites(noisy).values():
        site.noise_std = 1.0
    claimed = []

    @attack("FGSM")
    def hasty(model, images, labels, threat, how):
        claimed.append(judged(model, images).argmax(1) != labels)
        return Attacked(images, ~claimed[0])

    monkeypatch.setitem(ATTACKS, "FGSM", trial_of(hasty))
    found = audit(noisy, digits.test, quick(trials=("FGSM",), noise=True, eot_iter=1), show=False)
    assert found.results[0].broken < int(claimed[0].sum())


@pytest.mark.thorough
def test_what_the_draws_cannot_decide_is_told(digits, quick):
    """Of an image that was moved two classes have the same mean: no number of draws tells them apart."""

    row = digits.test.part(1)
    label, clean = int(digits.test.labels[row]), digits.test.images[row].float() / 255

    class Undecided(torch.nn.Module):
        def forward(self, images):
            untouched = (images - clean).abs().amax((1, 2, 3)) < 1e-6
            logits = torch.randn(len(images), 10) - 9
            logits[:, [label, label - 1]] += 9
            logits[:, label] += 5 * untouched
            return logits + 0 * images.sum((1, 2, 3))[:, None]

    found = audit(Undecided(), digits.test, quick(trials=("R+FGSM",), samples=1), show=False)
    assert (found.clean.correct, found.worst_case.correct, found.undecided) == (1, 1, 1)
    assert found.to_json("")["undecided"] == 1
    assert any("undecided" in said and "400 fresh draws" in said for said in found.warnings)


def test_random_networks_get_ten_draws_a_gradient_and_a_hundred_a_verdict(noisy, digits, quick):
    drawn = [
        audit(noisy, digits.test, quick(trials=("FGSM",), samples=3, noise=on), show=False) for on in (None, False)
    ]
    assert [(found.config.eot_iter, found.config.verdict_draws) for found in drawn] == [(10, 100), (1, 1)]


@pytest.mark.thorough
def test_same_seed_same_audit_under_noise(noisy, digits, quick, told):
    config = quick(noise=True, tune_samples=4, diagnostics=True, sweep_samples=2, samples=6)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        found.append(audit(noisy, digits.test, config, validation=digits.validation, show=False))
        assert torch.equal(torch.get_rng_state(), state)
    first, again = found
    assert first.outcomes.equals(again.outcomes)
    assert all(np.array_equal(first.pictures[name], again.pictures[name]) for name in first.pictures)
    assert told(first) == told(again)


@pytest.mark.thorough
def test_a_gradient_of_one_draw_is_a_red_flag(noisy, digits, quick):
    config = quick(trials=("FGSM",), noise=True, eot_iter=1, samples=3, sweep_samples=2, diagnostics=True)
    found = audit(noisy, digits.test, config, show=False)
    (flag,) = (flag for flag in found.flags if flag.name == "randomness without EoT")
    assert flag.raised
    assert "1 draw(s)" in flag.value
    assert any("andomness without EoT" in warning for warning in found.warnings)
    # Noise itself is no decay of state, and makes no batch norm look wrong.
    assert not any(flag.raised for flag in found.flags if flag.name == "train-mode batch norm")


def test_noise_without_a_noisy_site(tiny, digits, quick, refuses):
    with refuses("Noise", "no site"):
        audit(tiny, digits.test, quick(noise=True), show=False)
