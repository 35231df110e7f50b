"""Every recipe's options can be read, without a warning, and nothing changes when none is given."""

import pytest

from spikeproof.cli.arguments import TrainArguments, read_arguments
from spikeproof.defenses import AdversarialTraining
from spikeproof.recipes import RECIPES


@pytest.mark.sweep
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_without_options_is_itself(name):
    default = TrainArguments(recipe=RECIPES[name])
    assert read_arguments(TrainArguments, [], prog="spikeproof train", default=default) == default


def test_radii_and_step_sizes_take_fractions_and_none():
    words = ["--audit.eps", "2/255", "--audit.samples", "None", "--audit.sweep", "1/255", "0.1"]
    default = TrainArguments(recipe=RECIPES["vgg11-cifar10-at"])
    words += ["--at.eps", "4/255", "--at.step-size", "1/255"]
    recipe = read_arguments(TrainArguments, words, prog="spikeproof train", default=default).recipe
    assert (recipe.audit.eps, recipe.audit.samples, recipe.audit.sweep) == (2 / 255, None, (1 / 255, 0.1))
    assert recipe.defenses == (AdversarialTraining(eps=4 / 255, attack="pgd", step_size=1 / 255),)
