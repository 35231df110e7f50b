"""The attack's width: against a slow measurement, its mean over time, what it leaves alone, and a resume."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from training_steps import step_on

from spikeproof.data import load_data
from spikeproof.defenses.attack_width import AttackWidth, margin_changes
from spikeproof.defenses.mpd_sgr import MPDSGR
from spikeproof.defenses.tgo import TGO
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.spiking import Neuron, Triangle, probe, sites
from spikeproof.train import TrainConfig, train


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=3, width=0.25)


@pytest.fixture
def images():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))


LABELS = torch.arange(6)


def test_the_change_is_that_of_fgsm_in_slow_sums(model, images):
    model.double()
    images = images.double()
    found = margin_changes(model, images, LABELS, 0.1)
    model.eval()
    leaf = images.clone().requires_grad_()
    cross_entropy(model(leaf), LABELS, reduction="sum").backward()
    moved = (images + 0.1 * leaf.grad.sign()).clamp(0, 1)
    margins = []
    for shown in (images, moved):
        with probe(model, "margins") as record, torch.no_grad():
            model(shown)
        margins.append({name: seen.margins for name, seen in record.items()})
    for name in sites(model):
        difference = margins[1][name] - margins[0][name]
        for c in range(difference.shape[2]):
            values = difference[:, :, c].flatten().tolist()
            expected = math.sqrt(sum(v * v for v in values) / len(values))
            assert found[name][c].item() == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert all(change.max() > 0 for change in found.values())


def test_changes_grow_with_the_margins(images):
    """Gains, thresholds and surrogates twice as large: the same spikes and attack, twice the margins and changes."""

    def at(scale):
        torch.manual_seed(0)
        neuron = Neuron(threshold=scale, surrogate=Triangle(scale))
        made = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25, neuron=neuron).double()
        with torch.no_grad():
            for site in sites(made).values():
                # The last site has no batch norm: its currents are scaled by the layer before.
                layer = made.body[4] if site.norm is None else site.norm
                layer.weight *= scale
                layer.bias *= scale
        return margin_changes(made, images.double(), LABELS, 0.05)

    plain, doubled = at(1.0), at(2.0)
    for name, change in plain.items():
        torch.testing.assert_close(doubled[name], 2 * change)


def test_measuring_leaves_model_and_random_numbers_alone(model, images):
    TGO(sigma=0.3, noise_at_inference=True).install(model)
    model.train()
    before = {name: held.clone() for name, held in model.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (margin_changes(model, images, LABELS, 0.1, seed=4) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and all(torch.equal(held, before[name]) for name, held in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    # Both images meet the same noise: without an attack nothing changes.
    still = margin_changes(model, images, LABELS, 0.0, seed=4)
    assert all(change.max() == 0 for change in still.values())


def test_it_is_measured_every_so_many_steps_into_a_mean_of_squares(model, images):
    width = AttackWidth(owner="mine", eps=0.1, every=3)
    memory, seen = {}, []
    for number in range(5):
        step = step_on(model, images, LABELS, seed=number, memory=memory)
        width.measure(step)
        seen.append(memory["mine change body.0"].clone())
        assert int(memory["mine steps"]) == number + 1
        if number == 1:
            with torch.no_grad():
                model.body[0].norm.weight *= 3
    first = margin_changes_of_weight(model, images, 1 / 3)
    later = margin_changes(model, images, LABELS, 0.1)["body.0"]
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[3], seen[4])
    torch.testing.assert_close(seen[0], first)
    torch.testing.assert_close(seen[3], (0.9 * first**2 + 0.1 * later**2).sqrt())


def margin_changes_of_weight(model, images, factor):
    with torch.no_grad():
        model.body[0].norm.weight *= factor
    found = margin_changes(model, images, LABELS, 0.1)["body.0"]
    with torch.no_grad():
        model.body[0].norm.weight /= factor
    return found


def test_other_parts_and_replays_of_a_step_are_not_measured(model, images):
    width = AttackWidth(owner="mine", eps=0.1, every=1)
    for rest in ({"part": 1}, {"replay": 2}):
        step = step_on(model, images, LABELS, **rest)
        width.measure(step)
        assert step.memory == {}


def test_widths_stand_in_the_order_of_the_record(model, images):
    width, step = AttackWidth(owner="mine", eps=0.1, every=1), step_on(model, images, LABELS)
    width.measure(step)
    with probe(model, "moments") as step.record:
        model(images)
    expected = torch.cat([step.memory[f"mine change {name}"] for name in step.record])
    assert torch.equal(width.widths(step, step.record), expected)


@pytest.mark.parametrize("bad", [{"eps": 0.0}, {"every": 0}], ids=str)
def test_impossible_settings_are_refused(bad, refuses):
    with refuses("attack"):
        AttackWidth(**({"owner": "mine", "eps": 0.1, "every": 10} | bad))


def test_a_model_without_sites_is_refused(images):
    with pytest.raises(SpikeproofError, match="sites"):
        margin_changes(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), images, LABELS, 0.1)


def test_a_run_that_is_stopped_goes_on_with_its_measurements(tmp_path):
    data = load_data("digits", validation=50, train_limit=160)
    config = TrainConfig(epochs=2, batch_size=32, augmentation=None, device="cpu", precision="fp32", microbatch=16)
    defenses = [
        MPDSGR(width="attack", attack_eps=0.1, every=4),
        TGO(width="attack", attack_eps=0.1, every=3, sigma=0.1),
    ]

    def run(folder):
        torch.manual_seed(0)
        new = create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25)
        return train(new, data, defenses, config, out=tmp_path / folder, resume=True, show=False)

    whole = run("whole").model.state_dict()

    class Stopped(Exception):
        pass

    def stop(_, step):
        if step.progress >= 0.5:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MPDSGR, "learned", stop)
        with pytest.raises(Stopped):
            run("parts")
    resumed = run("parts").model.state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
