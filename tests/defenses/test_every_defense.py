"""What every defense keeps to: it leaves what is frozen, goes on from where it was, and knows itself."""

import dataclasses

import pytest
import torch
from watching import Watcher

from spikeproof import defenses
from spikeproof.data import load_data
from spikeproof.defenses import (
    DLIF,
    FEEL,
    HIRE,
    LSG,
    AdversarialTraining,
    Defense,
    Dspike,
    FreeAdversarialTraining,
    HoSNN,
    LearnableWidth,
    RandHet,
)
from spikeproof.engine.estimate import _training_seconds
from spikeproof.models import create_model, load_model
from spikeproof.names import plain
from spikeproof.recipes.recipe import Recipe
from spikeproof.report.trained import _perturbed_once
from spikeproof.spiking import LEARNED, sites
from spikeproof.train import TrainConfig, train
from stops import stopped_at

# Thresholds that move within a training of a few steps; an attack that moves images of eight pixels a side.
EARLY = {"hosnn": HoSNN(warmup=0.0)}
DEFENSES = {name: EARLY.get(name) or kind() for name, kind in defenses.DEFENSES.items()}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", validation=8, train_limit=96)


def new_model(name="conv", **changes):
    torch.manual_seed(0)
    size = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 2, "width": 0.25}
    return create_model(name, **(size | changes))


def trained(model, digits, defenses, **options):
    config = TrainConfig(
        epochs=2, batch_size=32, augmentation=None, validate_every=2, weight_decay=0.1, device="cpu", precision="fp32"
    )
    return train(model, digits, defenses, config, show=False, **options)


def values_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.sweep
@pytest.mark.parametrize("network", ["conv", "wrn16"])
@pytest.mark.parametrize("name", DEFENSES)
def test_it_leaves_what_is_frozen(digits, name, network):
    """All but the last layer; weight decay and batch norms' statistics included."""
    model = new_model(network, **({"width": 0.05} if network == "wrn16" else {})).requires_grad_(False)
    last, module = list(model.named_modules())[-1]
    module.requires_grad_(True)
    before = values_of(model)
    trained(model, digits, [DEFENSES[name]])
    moved = {key for key, value in before.items() if not torch.equal(value, model.state_dict()[key])}
    assert moved == {f"{last}.weight", f"{last}.bias"}


@pytest.mark.sweep
@pytest.mark.parametrize("name", DEFENSES)
def test_the_same_again_goes_on_from_what_was_learned(digits, name, tmp_path):
    model = new_model()
    trained(model, digits, [DEFENSES[name]], out=tmp_path / "first")
    learned = {
        (place, part): held.clone()
        for place, site in sites(model).items()
        for part in (*LEARNED, "setpoint")
        if (held := getattr(site, part)) is not None
    } | {(place, "gate"): site.gate.rate.clone() for place, site in sites(model).items() if site.gate is not None}
    for again in (model, load_model(tmp_path / "first" / "model.safetensors")):
        DEFENSES[name].install(again)
        for (place, part), value in learned.items():
            site = sites(again)[place]
            assert torch.equal(site.gate.rate if part == "gate" else getattr(site, part), value)
        run = trained(again, digits, [DEFENSES[name]])
        assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())


@pytest.mark.sweep
@pytest.mark.parametrize("name", DEFENSES)
def test_the_very_network_that_was_stopped_goes_on_as_any(digits, name, tmp_path):
    whole = trained(new_model(), digits, [DEFENSES[name]]).model.state_dict()
    model = new_model()
    with stopped_at(0.5):
        trained(model, digits, [DEFENSES[name]], out=tmp_path)
    # Weights of its own are nothing: the state has them.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    resumed = trained(model, digits, [DEFENSES[name]], out=tmp_path, resume=True).model.state_dict()
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


@pytest.mark.parametrize("name", ["hire", "dlif", "feel", "lsg", "stog"])
def test_what_it_has_learned_and_was_frozen_stays(digits, name):
    """Decays, gains and gates; of widths and thresholds see below."""
    model = new_model()
    DEFENSES[name].install(model)
    parts = [part for site in sites(model).values() for part in (site.decay, site.gain, site.gate and site.gate.rate)]
    learned = [part for part in parts if part is not None]
    for part in learned:
        part.requires_grad_(False).mul_(0.75)
    before = [part.clone() for part in learned]
    trained(model, digits, [DEFENSES[name]])
    assert learned and all(torch.equal(part, held) for part, held in zip(learned, before, strict=True))


def test_some_learn_at_the_sites():
    """Or the test above would compare nothing."""
    for name in ("hire", "dlif", "feel", "lsg", "dspike", "learnable-width", "hosnn", "stog"):
        model = new_model()
        before = len(model.state_dict())
        DEFENSES[name].install(model)
        assert len(model.state_dict()) > before


def test_thresholds_that_learned_to_move_go_on_moving(digits):
    model = new_model()
    trained(model, digits, [HoSNN(warmup=0.0)])
    site = sites(model)["body.0"]
    theta, setpoint = site.adaptation.detach().clone(), site.setpoint.clone()
    assert theta.any() and setpoint.any()
    trained(model, digits, [HoSNN(warmup=0.9)])
    site = sites(model)["body.0"]
    assert torch.equal(site.setpoint, setpoint)
    assert not torch.equal(site.adaptation, theta)
    assert (site.adaptation - theta).abs().max() < 0.1  # not from 0 or from the start again


@pytest.mark.parametrize("first", [LSG(), Dspike(), LearnableWidth()], ids=lambda kind: kind.label)
def test_dspike_after_others_goes_on_from_one_width_or_says_why_not(digits, refuses, first):
    model = new_model()
    trained(model, digits, [first])
    widths = {site.sharpness.item() for site in sites(model).values()}
    if len(widths) > 1:
        with refuses("Dspike", "one for each"):
            Dspike().install(model)
    else:
        Dspike().install(model)
        assert {site.sharpness.item() for site in sites(model).values()} == widths


def test_learned_widths_that_are_fixed_say_so(digits, refuses):
    model = new_model()
    trained(model, digits, [LearnableWidth()])
    for site in sites(model).values():
        site.sharpness.requires_grad_(False)
    with refuses("LearnableWidth", "fixed", "requires_grad_"):
        trained(model, digits, [LearnableWidth()])
    for site in sites(model).values():
        site.sharpness.requires_grad_(True)
    trained(model, digits, [LearnableWidth()])


@pytest.mark.parametrize(("first", "piece"), [(FEEL(frequency=False), "decay"), (RandHet(), "at random")], ids=str)
def test_lsg_says_the_true_reason(refuses, first, piece):
    model = new_model()
    first.install(model)
    with refuses("LSG", "body.0", piece):
        LSG().install(model)


def test_frozen_thresholds_are_not_learned_anew(digits, refuses):
    model = new_model()
    trained(model, digits, [HoSNN(warmup=0.0)])
    sites(model)["body.0"].adaptation.requires_grad_(False)
    with refuses("HoSNN", "body.0", "frozen"):
        trained(model, digits, [HoSNN(warmup=0.0)])


@pytest.mark.parametrize("name", DEFENSES)
def test_it_knows_what_a_step_costs(name):
    kind = type(DEFENSES[name])
    assert kind.step_cost is not Defense.step_cost, f"{kind.__name__} needs a step_cost of its own, if only 1.0"
    assert 1 <= DEFENSES[name].step_cost < 6
    plain, with_it = Recipe(name="plain"), Recipe(name="with", defenses=(DEFENSES[name],))
    assert _training_seconds(with_it, "cpu") == pytest.approx(
        DEFENSES[name].step_cost * _training_seconds(plain, "cpu")
    )


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (FreeAdversarialTraining(replays=2), FreeAdversarialTraining(replays=8)),
        (HIRE(periods=2), HIRE(periods=5)),
        (AdversarialTraining(), AdversarialTraining(attack="pgd", steps=7)),
        (DLIF(perturbation="gaussian"), DLIF()),
        (Dspike(every=50), Dspike(every=5)),
    ],
    ids=lambda defense: defense.label,
)
def test_the_cost_follows_the_settings(less, more):
    assert less.step_cost < more.step_cost


@pytest.mark.sweep
@pytest.mark.parametrize("name", DEFENSES)
def test_it_knows_whether_training_accuracy_is_of_its_images(digits, name):
    watcher = Watcher()
    trained(new_model(), digits, [DEFENSES[name], watcher])
    # Some begin with the clean image; no network is moved by less than a grey level.
    moved = any((step.images - step.clean).abs().max() > 1e-3 for step in watcher.seen)
    assert moved == DEFENSES[name].perturbs


@pytest.mark.parametrize("name", ["at", "free", "trades", "mart", "hire", "dlif", "sr", "rmp-loss", "mpd-sgr", "tgo"])
def test_a_report_of_a_run_from_before_it_was_recorded_says_the_same(name):
    """Of a defense that came later there is no such run."""
    defense = DEFENSES[name]
    assert _perturbed_once({"recipe": {defense.field: {}}}) == defense.perturbs
    assert _perturbed_once({"recipe": {"defenses": [repr(defense)]}}) == defense.perturbs


def test_names_tell_defenses_apart():
    names = {plain(word) for kind in defenses.DEFENSES.values() for word in (kind.name, kind.label, kind.__name__)}
    assert len({kind.label for kind in defenses.DEFENSES.values()}) == len(defenses.DEFENSES)
    for name in names:
        assert sum(name in {plain(k.name), plain(k.label), plain(k.__name__)} for k in defenses.DEFENSES.values()) == 1
    parts = {field.name for field in dataclasses.fields(Recipe)}
    assert not parts & {kind().field for kind in defenses.DEFENSES.values()}  # its settings stand beside these


@pytest.mark.parametrize("word", ["mpd-sgr", "mpd_sgr", "MPD-SGR", "MPDSGR"])
def test_a_defense_is_found_by_whatever_people_call_it(word):
    assert defenses.find_defense(word) is defenses.MPDSGR
