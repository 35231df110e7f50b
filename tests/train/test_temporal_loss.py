"""TET: the loss of every step's logits, as its formula says, and where training uses it."""

import pytest
import torch

from spikeproof.defenses import MPDSGR, TRADES, Step
from spikeproof.spiking import probe
from spikeproof.train import train
from spikeproof.train.temporal_loss import temporal_loss


def literally(steps, labels):
    """Sample by sample and step by step."""
    total = 0.0
    for logits in steps:
        for row, label in zip(logits, labels, strict=True):
            total += (1 - 1e-3) * -torch.log(torch.exp(row[label]) / torch.exp(row).sum())
            total += 1e-3 * ((row - 1) ** 2).mean()
    return total / (len(steps) * len(labels))


def test_it_is_the_formula_and_so_is_its_gradient():
    steps = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 3, 1, 1, 2])
    found, wanted = temporal_loss(steps, labels), literally(steps, labels)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(value, steps)[0] for value in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_the_order_of_steps_and_samples_is_not_mixed_up():
    steps = torch.full((2, 3, 3), -9.0)
    labels = torch.tensor([2, 0, 1])
    for step in steps:
        step[torch.arange(3), labels] = 9.0
    assert temporal_loss(steps, labels) < 0.1


@pytest.mark.parametrize("defenses", [[], [MPDSGR(eta=0.1)]])
def test_a_step_of_training_descends_it(new_model, few_digits, quick, defenses):
    one = {"epochs": 1, "batch_size": 320, "weight_decay": 0.0, "momentum": 0.0, "learning_rate": 0.5}
    run = train(new_model().double(), few_digits, defenses, quick(loss="tet", **one), show=False)
    model = new_model().double().train()
    images, labels = few_digits.train.images / 255.0, few_digits.train.labels  # one batch, in whatever order

    with probe(model, "moments") as record:
        loss = literally(model.forward_steps(images.double()), labels)
    step = Step(model=model, clean=images, labels=labels, record=record)
    penalty = sum(defense.penalty(step) for defense in defenses)
    (loss + penalty).backward()
    assert run.metrics[0]["loss"] == pytest.approx((loss + penalty).item(), rel=1e-6)
    for name, parameter in model.named_parameters():
        moved = run.model.get_parameter(name)
        torch.testing.assert_close(moved, parameter - 0.5 * parameter.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_a_defense_that_replaces_the_loss_replaces_this_one(new_model, few_digits, quick, same_weights):
    runs = [
        train(new_model(), few_digits, [TRADES(eps=0.05)], quick(epochs=1, loss=loss), show=False)
        for loss in ("mean", "tet")
    ]
    assert same_weights(*(run.model.state_dict() for run in runs))


def test_an_unknown_loss_is_refused(refuses, quick):
    config = quick()
    object.__setattr__(config, "loss", "hinge")
    with refuses("'mean' or 'tet'", "hinge"):
        config.__post_init__()
