"""What is frozen stays: here batch norms, and a network with nothing to learn."""

import pytest
import torch

from spikeproof.defenses import LSG, TRADES
from spikeproof.spiking import sites
from spikeproof.train import train


@pytest.mark.sweep
@pytest.mark.parametrize("kernels", ["reference", "fused"])
@pytest.mark.parametrize("batch_norm", ["merged", "per-step"])
def test_a_frozen_norm_normalises_by_what_it_had_seen(new_model, few_digits, quick, kernels, batch_norm):
    model = new_model(kernels=kernels, batch_norm=batch_norm)
    train(model, few_digits, config=quick(epochs=1), show=False)
    frozen, free = sites(model)["body.0"].norm, sites(model)["body.2"].norm
    frozen.requires_grad_(False)
    kept = {name: value.clone() for name, value in frozen.state_dict().items()}
    moving = {name: value.clone() for name, value in free.state_dict().items()}
    train(model, few_digits, [TRADES()], quick(epochs=1), show=False)
    assert all(torch.equal(value, frozen.state_dict()[name]) for name, value in kept.items())
    assert not any(torch.equal(value, free.state_dict()[name]) for name, value in moving.items())


def test_with_its_norms_frozen_a_network_learns_as_it_answers(new_model, few_digits, quick):
    """The first step's loss is that of the network in eval mode."""
    model = new_model()
    train(model, few_digits, config=quick(), show=False)
    for site in sites(model).values():
        if site.norm is not None:
            site.norm.requires_grad_(False)
    images, labels = few_digits.train.images.float() / 255, few_digits.train.labels
    expected = torch.nn.functional.cross_entropy(model.eval()(images), labels).item()
    run = train(model, few_digits, config=quick(epochs=1, batch_size=320, learning_rate=1e-9), show=False)
    assert run.metrics[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_nothing_to_learn_is_said_and_leaves_no_folder(new_model, few_digits, quick, refuses, tmp_path):
    with refuses("frozen", "requires_grad_(True)"):
        train(new_model().requires_grad_(False), few_digits, config=quick(), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
    # What a defense brings may be all that learns.
    model = new_model().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # or nothing would fire
    run = train(model, few_digits, [LSG()], quick(), show=False)
    assert (sites(run.model)["body.0"].decay != 0.2).all()
