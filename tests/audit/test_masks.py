"""Masks of the gradient: an audit goes round them, or says that it has no number; others pay nothing."""

import json

import pytest
import torch
from planted_masks import AFTER, BEFORE, Masked, planted

from spikeproof.attacks import Crafting, judged
from spikeproof.audit import audit
from spikeproof.audit.masks import look_at_gradients
from spikeproof.gradients import PDSG, Around
from spikeproof.report import read_audit
from spikeproof.report.wording import worst_case
from spikeproof.threat import Linf

NAMES = [*BEFORE, *AFTER]
TRIALS = ("PGD-5", "SA-PGD-60@ASSG", "SA-PGD-MARGIN-60@ASSG")


def look(network, digits, source=None, count=60):
    images, labels = digits.test.images[:count].float() / 255, digits.test.labels[:count]
    how = Crafting(source=source or PDSG())
    return look_at_gradients(network, images, labels, Linf(0.1), how, 250)


@pytest.mark.parametrize("name", NAMES)
def test_every_mask_is_seen_and_gone_round(learned, digits, name):
    network, _ = planted(learned)[name]
    assert look(network, digits).signs
    assert look(network, digits, Around(PDSG())).doubts(0.9) == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_changes_no_answer_of_what_bpda_attacks(learned, digits, name):
    network, bare = planted(learned)[name]
    images = digits.test.images[:50].float() / 255
    said, same = (judged(each, images).argmax(1) for each in (network, bare))
    # A softmax of large logits ties in float32.
    assert (said == same).float().mean() > 0.95


def test_networks_that_hide_nothing(learned, tiny, masked, digits):
    for network in (learned, tiny, masked(16.0), masked(256.0)):
        assert look(network, digits).signs == ()


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["round", "sine", "softmax x20", "numpy"])
def test_the_number_is_that_of_bpda(learned, digits, quick, name):
    network, bare = planted(learned)[name]
    found, oracle = (
        audit(each, digits.test, quick(trials=TRIALS, samples=60, eps=0.05), show=False) for each in (network, bare)
    )
    assert found.no_number is None
    assert any("went round it" in warning for warning in found.warnings)
    # Two of sixty samples are 3 points and a little.
    assert found.worst_case.correct <= oracle.worst_case.correct + 2


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_within_three_points_of_bpda(learned, digits, quick, name):
    network, bare = planted(learned)[name]
    trials = ("PGD-20", "SA-PGD-100@ASSG", "SA-PGD-MARGIN-100@ASSG", "LOCAL-300")
    config = quick(trials=trials, samples=200, eps=0.05)
    found, oracle = (audit(each, digits.test, config, show=False) for each in (network, bare))
    assert found.no_number is None
    assert found.worst_case.correct <= oracle.worst_case.correct + 6


class Inside(torch.nn.Module):
    """Its own gradient ends behind the first layer with weights, where nothing goes round."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @torch.no_grad()
    def forward(self, images):
        return self.inner(images)


@pytest.mark.thorough
def test_where_nothing_goes_round_there_is_no_number(learned, digits, quick, tmp_path):
    found = audit(Inside(learned), digits.test, quick(trials=TRIALS, samples=20), show=False)
    assert found.no_number is not None and found.no_number in found.warnings
    place = found.save(tmp_path, "made by hand")
    assert json.loads((place / "audit.json").read_text())["no_number"] == found.no_number
    assert worst_case(read_audit(place / "audit.json")) == "none"


def test_an_ordinary_audit_has_no_further_trials(learned, digits, quick, tmp_path):
    found = audit(learned, digits.test, quick(), show=False)
    assert found.no_number is None
    assert not any(isinstance(result.trial.source, Around) for result in found.results)
    assert worst_case(read_audit(found.save(tmp_path, "made by hand") / "audit.json")) != "none"


def test_what_goes_round_leaves_the_answer_alone(learned, digits):
    network = Masked(learned, BEFORE["jpeg"], AFTER["softmax x20"])
    images = digits.test.images[:10].float() / 255
    before = network(images)
    with Around().attach(network) as attached:
        logits, _ = attached.forward(network, images.clone().requires_grad_())
    assert torch.equal(logits, before) and torch.equal(network(images), before)
    assert not any(module._forward_pre_hooks for module in network.modules())
