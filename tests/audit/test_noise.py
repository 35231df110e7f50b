"""Models that draw noise: how often is said, verdicts are drawn again, and one draw's gradient is a red flag."""

import importlib

import numpy as np
import pytest
import torch

from spikeproof.attacks import Attacked, attack
from spikeproof.audit import audit
from spikeproof.spiking import sites

ENGINE = importlib.import_module("spikeproof.audit.engine")


@pytest.fixture
def noisy(tiny):
    """A network whose sites draw noise, set to stay on at inference."""
    for site in sites(tiny).values():
        site.noise_std, site.noise_at_inference = 0.3, True
    return tiny


def test_noise_is_as_the_network_was_made_or_as_asked_and_recorded(noisy, digits, quick):
    for site in sites(noisy).values():
        site.noise_std = 50.0  # enough to drown every margin
    quiet = audit(noisy, digits.test, quick(trials=("FGSM",), noise=False), show=False)
    loud = audit(noisy, digits.test, quick(trials=("FGSM",), noise=True, draws=2), show=False)
    assert audit(noisy, digits.test, quick(trials=("FGSM",), draws=2), show=False).clean == loud.clean
    for site in sites(noisy).values():
        site.noise_std = 0.0
    silent = audit(noisy, digits.test, quick(trials=("FGSM",)), show=False)
    assert quiet.clean == silent.clean
    assert quiet.clean.accuracy > 0.7
    assert loud.clean.accuracy < 0.5
    assert (quiet.to_json("")["noise"], loud.to_json("")["noise"]) == ("off", "on")


@pytest.mark.parametrize(("draws", "judge_draws", "recorded"), [(2, None, 2), (2, 5, 5), (1, 3, 3)])
def test_both_numbers_of_draws_are_told(noisy, digits, quick, draws, judge_draws, recorded):
    config = quick(trials=("FGSM",), noise=True, draws=draws, judge_draws=judge_draws, samples=5)
    found = audit(noisy, digits.test, config, show=False)
    rows = found.outcomes.to_pylist()
    assert {(row["noise"], row["draws"], row["judge_draws"]) for row in rows} == {("on", draws, recorded)}
    said = found.to_json("")
    assert (said["noise"], said["draws"], said["judge_draws"]) == ("on", draws, recorded)


def test_verdicts_are_drawn_again_with_noise(noisy, digits, quick, monkeypatch):
    """An attack that claims to have broken everything, without touching an image, breaks what fresh draws say."""
    heard, judged = [], ENGINE.judged

    def listening(model, images, *, draws):
        logits = judged(model, images, draws=draws)
        heard.append((len(images), draws, logits.argmax(1)))
        return logits

    monkeypatch.setattr(ENGINE, "judged", listening)

    @attack("FGSM")
    def boastful(model, images, labels, threat, how):
        return Attacked(images, torch.zeros(len(images), dtype=torch.bool))

    trials = importlib.import_module("spikeproof.audit.trials")
    monkeypatch.setitem(trials._ATTACKS, "FGSM", trials._plain(boastful, "nominal", 1, rank=0))
    found = audit(noisy, digits.test, quick(trials=("FGSM",), noise=True, draws=1, judge_draws=4), show=False)
    clean, again = heard
    assert (clean[:2], again[:2]) == ((40, 4), (found.clean.correct, 4))
    labels = digits.test.labels[digits.test.part(40)]
    right = clean[2] == labels
    assert found.nominal.correct == int((again[2] == labels[right]).sum()) > 0
    # Without noise the attack's own verdict, which is the judge's, stands.
    assert audit(noisy, digits.test, quick(trials=("FGSM",), noise=False), show=False).nominal.correct == 0


def test_fresh_draws_are_not_those_of_the_attack(noisy, digits, quick):
    """With as much noise as this, some image that the attack's own draws gave up is right under others."""
    for site in sites(noisy).values():
        site.noise_std = 1.0
    claimed = []
    trials = importlib.import_module("spikeproof.audit.trials")
    uniform = trials._ATTACKS["UNIFORM"]

    @attack("FGSM")
    def watched(model, images, labels, threat, how):
        found = uniform.make(0)(model, images, labels, threat, how)
        claimed.append(found.correct)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(trials._ATTACKS, "FGSM", trials._plain(watched, "nominal", 1, rank=0))
        found = audit(noisy, digits.test, quick(trials=("FGSM",), noise=True, draws=1), show=False)
    rows = {row["sample"]: row for row in found.outcomes.to_pylist() if row["kind"] == "nominal"}
    right = [row["sample"] for row in found.outcomes.to_pylist() if row["kind"] == "clean" and row["correct"]]
    verdicts = [rows[sample]["correct"] for sample in right]
    assert verdicts != claimed[0].tolist()


def test_random_networks_get_ten_draws_and_others_one(noisy, digits, quick):
    drawn = [
        audit(noisy, digits.test, quick(trials=("FGSM",), samples=3, noise=on), show=False) for on in (None, False)
    ]
    assert [(found.config.draws, found.config.verdict_draws) for found in drawn] == [(10, 10), (1, 1)]


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


def test_a_gradient_of_one_draw_is_a_red_flag(noisy, digits, quick):
    config = quick(trials=("FGSM",), noise=True, draws=1, samples=3, sweep_samples=2, diagnostics=True)
    found = audit(noisy, digits.test, config, show=False)
    (flag,) = (flag for flag in found.flags if flag.name == "randomness without EoT")
    assert flag.raised
    assert "1 draw(s)" in flag.value
    assert any("andomness without EoT" in warning for warning in found.warnings)
    # Noise itself is no leak of state, and makes no batch norm look wrong.
    assert not any(flag.raised for flag in found.flags if flag.name == "train-mode batch norm")


def test_noise_without_a_noisy_site(tiny, digits, quick, refuses):
    with refuses("Noise", "no site"):
        audit(tiny, digits.test, quick(noise=True), show=False)
