"""Free adversarial training: the perturbation moves by each backward, and stays from batch to batch and over a stop."""

import itertools
import math

import pytest
import torch
from training_steps import step_on
from watching import Watcher, config, whole_and_resumed

from spikeproof.data import load_data
from spikeproof.defenses import MPDSGR, AdversarialTraining, compose
from spikeproof.defenses.free_adversarial_training import FreeAdversarialTraining
from spikeproof.models import create_model
from spikeproof.train import train

EPS = 0.1
NOTHING = torch.nn.Identity()


@pytest.fixture(scope="module")
def data():
    return load_data("digits", validation=50, train_limit=160)


@pytest.fixture
def new_model(data):
    def create(seed=0):
        torch.manual_seed(seed)
        return create_model(
            "conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, mean=data.mean, std=data.std
        )

    return create


def with_gradient(images, gradient):
    """Images whose gradient a backward left there."""
    images = images.detach().requires_grad_()
    images.grad = gradient
    return images


def test_the_perturbation_follows_its_recurrence_pixel_by_pixel():
    """Against a loop over pixels, through images that the box cuts and gradients that are zero."""
    torch.manual_seed(0)
    defense, memory = FreeAdversarialTraining(eps=EPS), {}
    delta = [0.0] * 18
    for _ in range(6):
        images = (torch.rand(2, 1, 3, 3) * 1.4 - 0.2).clamp(0, 1)
        gradient = torch.randn(2, 1, 3, 3) * (torch.rand(2, 1, 3, 3) > 0.2)
        step = step_on(NOTHING, images, torch.zeros(2).long(), memory=memory)
        found = defense.perturb(step)
        expected = [min(1.0, max(0.0, x + d)) for x, d in zip(images.flatten().tolist(), delta, strict=True)]
        torch.testing.assert_close(found.flatten(), torch.tensor(expected))
        step.images = with_gradient(found, gradient)
        defense.learned(step)
        delta = [
            min(EPS, max(-EPS, d + EPS * ((g > 0) - (g < 0))))
            for d, g in zip(delta, gradient.flatten().tolist(), strict=True)
        ]
        assert not any(held.requires_grad for held in memory.values())


def test_parts_have_perturbations_of_their_own_and_another_shape_begins_at_zero():
    defense, memory = FreeAdversarialTraining(eps=EPS), {}
    images = torch.full((4, 1, 2, 2), 0.5)

    def learn(count, part, sign):
        step = step_on(NOTHING, images[:count], torch.zeros(count).long(), memory=memory, part=part)
        step.images = with_gradient(defense.perturb(step), torch.full((count, 1, 2, 2), sign))
        defense.learned(step)

    def pixel(count, part):
        step = step_on(NOTHING, images[:count], torch.zeros(count).long(), memory=memory, part=part)
        return defense.perturb(step)

    learn(4, 0, 1.0)
    learn(2, 1, -1.0)
    torch.testing.assert_close(pixel(4, 0), images + EPS)
    torch.testing.assert_close(pixel(2, 1), images[:2] - EPS)
    assert torch.equal(pixel(3, 0), images[:3])
    learn(3, 0, -1.0)
    torch.testing.assert_close(pixel(3, 0), images[:3] - EPS)


@pytest.mark.parametrize("microbatch", [None, 20], ids=["whole", "uneven parts"])
def test_training_shows_the_network_what_the_recurrence_says(new_model, data, microbatch):
    watcher, forwards = Watcher(), []
    model = new_model()
    model.register_forward_pre_hook(lambda module, _: forwards.append(module.training))
    defenses = [FreeAdversarialTraining(eps=EPS, replays=3), watcher]
    train(model, data, defenses, config(microbatch=microbatch, validate_every=9), show=False)
    parts = [[32], [20, 12]][microbatch is not None]
    batches = 2 * (len(data.train) // 32)
    assert [len(step.images) for step in watcher.seen] == parts * 3 * batches
    assert [step.replay for step in watcher.seen] == [r for r in range(3) for _ in parts] * batches
    # One forward a replay and part, and the weights move after each replay.
    assert forwards.count(True) == len(watcher.seen)
    assert watcher.moves == [len(parts) * (at + 1) for at in range(3 * batches)]
    for part in range(len(parts)):
        steps = [step for step in watcher.seen if step.part == part]
        delta = torch.zeros_like(steps[0].clean)
        for step in steps:
            assert torch.equal(step.images.detach(), (step.clean + delta).clamp(0, 1))
            delta = (delta + EPS * step.images.grad.sign()).clamp(-EPS, EPS)
        assert torch.equal(steps[-1].memory[f"FreeAT/perturbation/{part}"], delta)
        # A batch begins where the last one's perturbation ended, which is somewhere.
        begins = [(step.images - step.clean).abs().max().item() for step in steps if step.replay == 0]
        assert begins[0] == 0 and min(begins[1:]) > EPS / 2
    # The labels' replays share their images.
    for first, second in itertools.pairwise(watcher.seen):
        if second.replay and first.part == second.part:
            assert torch.equal(first.clean, second.clean)


def test_the_gradient_is_of_the_whole_loss(new_model, data):
    """A penalty's share of the gradient moves the perturbation too."""
    plain, penalised = Watcher(), Watcher()
    for watcher, more in ((plain, []), (penalised, [MPDSGR(eta=5.0, warmup=0.0)])):
        defenses = [FreeAdversarialTraining(eps=EPS, replays=1), watcher, *more]
        train(new_model(), data, defenses, config(epochs=1), show=False)
    first, other = plain.seen[0], penalised.seen[0]
    assert torch.equal(first.images, other.images)
    assert not torch.equal(first.images.grad.sign(), other.images.grad.sign())


@pytest.mark.sweep
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resumed_in_the_middle_of_an_epoch_bit_by_bit(new_model, data, tmp_path, precision):
    defenses = [FreeAdversarialTraining(eps=EPS, replays=2)]
    settings = config(microbatch=20, precision=precision)
    whole, resumed, state = whole_and_resumed(new_model, data, defenses, settings, tmp_path, share=0.65)
    assert state["step"] == 8  # of 10 in 2 epochs
    assert {name: held.shape[0] for name, held in state["memory"].items()} == {
        "FreeAT/perturbation/0": 20,
        "FreeAT/perturbation/1": 12,
    }
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_without_its_memory_a_resumed_run_would_differ(new_model, data, tmp_path, monkeypatch):
    """So the test above can fail."""
    from spikeproof.train import loop

    restore = loop._Trainer._restore

    def forgetful(self, state):
        restore(self, state | {"memory": {}})

    monkeypatch.setattr(loop._Trainer, "_restore", forgetful)
    defenses = [FreeAdversarialTraining(eps=EPS, replays=2)]
    whole, resumed, _ = whole_and_resumed(new_model, data, defenses, config(), tmp_path, share=0.65)
    assert not all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("bad", "pieces"),
    [
        ({"eps": -0.1}, ["-0.1"]),
        ({"eps": math.nan}, ["nan"]),
        ({"eps": "eight"}, ["eight"]),
        ({"replays": 0}, ["replays", "0"]),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_in_one_sentence(refuses, bad, pieces):
    with refuses(*pieces):
        FreeAdversarialTraining(**bad)


def test_only_one_defense_makes_the_batch(refuses):
    with refuses("Free AT", "AT", "make the training batch"):
        compose([AdversarialTraining(), FreeAdversarialTraining()])


def test_text_radius_is_read():
    assert FreeAdversarialTraining(eps="2/255").eps == 2 / 255
