"""Every two defenses train together, or say at once and in one sentence why they do not."""

import itertools
import re

import pytest
import torch

from spikeproof.data import load_data
from spikeproof.defenses import HoSNN
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.recipes.recipe import known_defenses
from spikeproof.train import TrainConfig, train

DEFENSES = {name: HoSNN(warmup=0.0) if name == "hosnn" else kind() for name, kind in known_defenses().items()}
# What makes the batch, one each; and the others that take the same thing of a site. SR wants networks that draw nothing
# at random, and no other eye on the image's gradient.
GROUPS = (
    ("at", "free", "trades", "mart", "hire", "dlif"),
    ("dlif", "hire", "feel", "randhet", "lsg"),
    ("ndl", "learnable_width", "lsg", "dspike", "inflor"),
    ("ndl", "tgo"),
    ("tgo", "rmp_loss"),
    ("hosnn", "rmp_loss"),
)
REFUSED = {frozenset(pair) for group in GROUPS for pair in itertools.combinations(group, 2)}
REFUSED |= {frozenset(("sr", other)) for other in ("free", "hire", "stog", "ndl", "randhet", "tgo")}


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
    if frozenset(pair) in REFUSED:
        with pytest.raises(SpikeproofError) as caught:
            train(model, digits, listed, config, show=False)
        assert re.fullmatch(r"[^\n]+\.", str(caught.value))
        return
    run = train(model, digits, listed, config, show=False)
    assert all(torch.isfinite(parameter).all() for parameter in run.model.parameters())
    assert run.metrics[-1]["validation_accuracy"] is not None
