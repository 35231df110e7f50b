"""An ANN is audited as the line that spiking networks are held against; nothing that may spike passes for one."""

import json

import pytest
import torch
from own_spikes import Fire
from torch import nn

import spikeproof as sp
from spikeproof.audit import audit
from spikeproof.audit.network import network_of
from spikeproof.report import audits_in, read_run, read_runs, text_table, write_report
from spikeproof.report.wording import reservations, unlike


@pytest.fixture(scope="module")
def by_means():
    """A ReLU network that tells digits apart by their classes' means."""
    data = sp.load_data("digits")
    means = torch.stack([data.train.images[data.train.labels == k].double().mean(0).flatten() for k in range(10)]) / 255
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    with torch.no_grad():
        for part, weight, bias in (
            (net[1], torch.eye(64), torch.zeros(64)),
            (net[3], 2 * means, -means.square().sum(1)),
        ):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
    return net.eval()


def rows_of(found):
    return {result.trial.name: result.trial for result in found.results}


def test_attacks_of_a_battery_run_through_its_own_gradient(by_means, digits, quick):
    found = audit(by_means, digits.test, quick(battery="quick", trials=()), show=False)
    rows = rows_of(found)
    assert list(rows) == ["FGSM", "PGD-20", "SA-PGD-20", "APGD-CE-20", "LOCAL-200", "CURVES AND CHECKS"][: len(rows)]
    assert [rows[name].stands_for for name in ("PGD-20", "SA-PGD-20", "APGD-CE-20", "LOCAL-200")] == [
        (),
        ("SA-PGD-20@ASSG",),
        ("APGD-CE-20@PDSG",),
        (),
    ]
    assert found.clean.accuracy > 0.8
    assert found.worst_case.accuracy <= found.protocol.accuracy < found.clean.accuracy
    assert (found.network.name, found.network.library, found.network.plain) == ("Sequential", None, True)
    assert not any("adaptive" in warning or "surrogate" in warning for warning in found.warnings)


def test_a_trial_that_becomes_another_one_runs_once(by_means, digits, quick):
    found = audit(by_means, digits.test, quick(battery="paper-mpd-sgr", trials=(), samples=5), show=False)
    rows = rows_of(found)
    assert list(rows) == ["FGSM", "PGD-7", "BIM-7", "CW-10"]
    assert rows["PGD-7"].stands_for == ("PGD-7", "PGD-7@RGA")
    assert rows["PGD-7"].kind == "protocol"


def test_what_was_asked_for_by_itself_is_refused(by_means, digits, quick, attacked, refuses):
    with refuses("The trial SA-PGD-20@ASSG cannot run", "no", "spiking sites"):
        audit(by_means, digits.test, quick(battery="quick", trials=("SA-PGD-20@ASSG",)), show=False)
    assert attacked == []


def test_record_and_report_say_so(by_means, digits, quick, tmp_path):
    audit(by_means, digits.test, quick(battery="quick", trials=(), samples=10), show=False).save(tmp_path / "ann")
    (place,) = audits_in(tmp_path / "ann")
    said = json.loads((place / "audit.json").read_text())
    assert (said["network"]["name"], said["network"]["library"]) == ("Sequential", None)
    assert {row["name"]: row["stands_for"] for row in said["trials"][1:]}["SA-PGD-20"] == ["SA-PGD-20@ASSG"]
    page = write_report([tmp_path / "ann"], tmp_path / "report.html").read_text()
    for words in (text_table(read_runs(tmp_path / "ann")), page):
        assert "Sequential: no spiking layer: an ANN." in words
        assert "SA-PGD-20 for SA-PGD-20@ASSG; APGD-CE-20 for APGD-CE-20@PDSG" in words
    (run,) = read_runs(tmp_path / "ann")
    assert not any("adaptive" in str(sentence) for sentence in reservations(run.audit))


@pytest.mark.thorough
def test_it_stands_beside_a_spiking_network(by_means, tiny, digits, quick, tmp_path):
    config = quick(battery="quick", trials=(), samples=10)
    for name, net in (("ann", by_means), ("snn", tiny)):
        audit(net, digits.test, config, show=False).save(tmp_path / name)
    runs = [read_run(tmp_path / name, audits_in(tmp_path / name)[0]) for name in ("ann", "snn")]
    assert unlike(runs) == []
    assert runs[1].audit.network.library == "spikeproof"


class Wrapped(nn.Module):
    """A user's own way round a state: right, but nothing that an attack could follow."""

    def __init__(self, inner, steps):
        super().__init__()
        self.inner, self.steps = inner, steps

    def forward(self, images):
        from spikingjelly.activation_based import functional

        functional.reset_net(self.inner)
        return torch.stack([self.inner(images) for _ in range(self.steps)]).mean(0)


def test_layers_that_were_not_adapted_are_no_ann(by_means, digits, quick, attacked, refuses):
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import neuron

    net = Wrapped(nn.Sequential(by_means[0], by_means[1], neuron.IFNode(), by_means[3]), 3)
    with refuses("layers of SpikingJelly", "not adapted", "spikeproof.adapt(net, num_steps=T)", "battery None"):
        audit(net, digits.test, quick(battery="quick", trials=()), show=False)
    assert attacked == []
    found = audit(net, digits.test, quick(trials=("PGD-3",), samples=10), show=False)
    assert any("layers of SpikingJelly" in warning for warning in found.warnings)
    assert any("adaptive" in warning for warning in found.warnings)


class Spikes(nn.Module):
    def forward(self, current):
        return Fire.apply(current - 0.5)


def test_functions_of_its_own_may_form_spikes(by_means, digits, quick, attacked, refuses, tmp_path):
    net = nn.Sequential(by_means[0], by_means[1], Spikes(), by_means[3])
    with refuses("functions of its own (Fire)", "spikes=Fire", "battery None"):
        audit(net, digits.test, quick(battery="quick", trials=()), show=False)
    assert attacked == []
    found = audit(net, digits.test, quick(trials=("PGD-3",), samples=10), show=False)
    assert not found.network.plain
    assert any("spikes=Fire" in warning for warning in found.warnings)
    found.save(tmp_path)
    assert "functions of its own in its backward (Fire)" in text_table(read_runs(tmp_path))


class Detached(nn.Module):
    """A spike by a straight-through estimator that needs no function of its own."""

    def forward(self, current):
        smooth = (5 * (current - 0.5)).sigmoid()
        return (current >= 0.5).to(current.dtype).detach() + smooth - smooth.detach()


class Sharper(nn.Module):
    def forward(self, logits):
        return 1e4 * logits


def test_layers_of_zeros_and_ones_may_be_spikes(by_means, digits, quick, attacked, refuses):
    net = nn.Sequential(by_means[0], by_means[1], Detached(), by_means[3])
    with refuses("zeros and ones alone", "(2)", "spikes=..."):
        audit(net, digits.test, quick(battery="quick", trials=()), show=False)
    assert attacked == []
    found = audit(net, digits.test, quick(trials=("PGD-3",), samples=10), show=False)
    assert any("zeros and ones alone" in warning for warning in found.warnings)
    bright = nn.Sequential(nn.Flatten(), nn.Dropout(), by_means[3])  # bits that come in are none of its making
    assert network_of(bright, (digits.test.images[:4] > 100).float()).plain
    sure = nn.Sequential(by_means, Sharper(), nn.Softmax(1))
    assert network_of(sure, digits.test.images[:4].float() / 255).plain


def test_a_network_that_knows_nothing(by_means, digits, quick):
    nothing = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(nothing[1].weight)
    for net, doubted in ((nothing, True), (by_means, False)):
        found = audit(net, digits.test, quick(trials=("FGSM",)), show=False)
        assert any("not above chance for 10 classes" in warning for warning in found.warnings) == doubted


@pytest.mark.parametrize("outputs", [5, 20])
def test_other_classes_than_those_of_the_images(outputs, digits, quick, refuses):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))
    with refuses(f"has {outputs} outputs", "10 classes"):
        audit(net, digits.test, quick(trials=("FGSM",)), show=False)


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, AssertionError], ids=lambda error: error.__name__)
def test_a_network_that_refuses_the_images(error, digits, quick, refuses):
    class Refuses(nn.Module):
        def forward(self, images):
            raise error("only squares of 32")

    with refuses("images of 1x8x8", "only squares of 32"):
        audit(Refuses(), digits.test, quick(trials=("FGSM",)), show=False)
