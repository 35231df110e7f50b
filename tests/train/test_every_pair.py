"""Every two defenses train together, or say at once and in one sentence why they do not."""

import itertools
import re

import pytest
import torch

from spikeproof import defenses
from spikeproof.data import load_data
from spikeproof.defenses import HoSNN
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.train import TrainConfig, train

DEFENSES = {name: HoSNN(warmup=0.0) if name == "hosnn" else kind() for name, kind in defenses.DEFENSES.items()}
# Two that make the batch, or that say that they set the same thing, are refused; these have reasons of their own. SR
# wants networks that draw nothing at random, and no other eye on the image's gradient.
BESIDES = {frozenset(("sr", other)) for other in ("free", "hire", "stog", "ndl", "randhet", "tgo")}
BESIDES |= {frozenset(("tgo", "rmp-loss")), frozenset(("hosnn", "rmp-loss"))}


def refused(pair):
    one, other = (DEFENSES[name] for name in pair)
    return bool((one.perturbs and other.perturbs) or one.takes & other.takes or frozenset(pair) in BESIDES)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=8, train_limit=32)


@pytest.mark.sweep
@pytest.mark.parametrize("pair", list(itertools.combinations(DEFENSES, 2)), ids="+".join)
def test_pair(digits, pair):
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, width=0.25)
    config = TrainConfig(epochs=2, batch_size=16, augmentation=None, validate_every=2, device="cpu", precision="fp32")
    listed = [DEFENSES[name] for name in pair]
    if refused(pair):
        with pytest.raises(SpikeproofError) as caught:
            train(model, digits, listed, config, show=False)
        assert re.fullmatch(r"[^\n]+\.", str(caught.value))
        return
    run = train(model, digits, listed, config, show=False)
    assert all(torch.isfinite(parameter).all() for parameter in run.model.parameters())
    assert run.metrics[-1]["validation_accuracy"] is not None


def test_what_each_takes_is_what_it_sets():
    """Pairs that are refused by what both take, in the words of the papers."""
    for group in (
        ("at", "free", "trades", "mart", "hire", "dlif"),
        ("dlif", "hire", "feel", "randhet", "lsg"),
        ("ndl", "learnable-width", "lsg", "dspike", "inflor"),
        ("ndl", "tgo"),
    ):
        assert all(refused(pair) for pair in itertools.combinations(group, 2))
