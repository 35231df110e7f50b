"""The glossary has every battery, every gradient source and every flag, and none that is not there."""

import re
from pathlib import Path

import torch

from spikeproof.attacks import Crafting
from spikeproof.audit.batteries import BATTERIES
from spikeproof.audit.diagnostics import Curves, flags_of, input_gradients
from spikeproof.audit.forecast import Forecast, falling
from spikeproof.gradients import SOURCES
from spikeproof.models import create_model
from spikeproof.threat import Linf

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "glossary.md").read_text()


def first_cells(title):
    """The first column of the table under a heading."""
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    rows = [line for line in section[1].splitlines() if line.startswith("|")]
    return [row.split("|")[1].strip(" `") for row in rows[2:]]


def test_batteries():
    assert first_cells("Batteries") == list(BATTERIES)


def test_sources():
    assert sorted(first_cells("Gradient sources")) == sorted(SOURCES)


def test_flags():
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25)
    images, labels, how = torch.rand(4, 1, 8, 8), torch.arange(4), Crafting()
    curves = Curves(by_eps={0.1: 1.0}, by_steps={1: 1.0}, one_step=1.0, black_box=1.0, anywhere=0.0, samples=4)
    gradients = input_gradients(model, images, labels, how, batch_size=4)
    flags = flags_of(model, images, labels, Linf(0.1), how, curves, gradients, noisy=False, exact=False, batch_size=8)
    flags.append(falling(Forecast("LOCAL-2", 2, 4, ((0, 4), (2, 4)), 0, 0, 0.0, 1)))
    assert sorted(first_cells("Flags")) == sorted(flag.name for flag in flags)
