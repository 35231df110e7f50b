"""What sites learn beyond the bounds of a neuron's own setting is told beside a run's numbers."""

import pytest
import torch

from spikeproof.defenses import DLIF, FEEL, HIRE, LSG
from spikeproof.report import read_run
from spikeproof.report.trained import trained_sentences
from spikeproof.runs import RunFolder
from spikeproof.spiking import Neuron, sites
from spikeproof.train import train
from spikeproof.train.beyond import beyond
from spikeproof.train.epoch import sentence


def with_values(model, part, values):
    for site, value in zip(sites(model).values(), values, strict=True):
        with torch.no_grad():
            getattr(site, part).fill_(value)
    return model


@pytest.mark.parametrize(
    ("defense", "part", "values", "expected"),
    [
        (HIRE(), "decay", (0.0, 0.5, 1.0), {}),
        (HIRE(), "decay", (0.9, 1.5, -0.25), {"body.2.decay": 1.5, "body.5.decay": -0.25}),
        (HIRE(), "gain", (3.0, 0.0, -1.0), {"body.2.gain": 0.0, "body.5.gain": -1.0}),
        (DLIF(), "gain", (0.1, 5.0, -0.5), {"body.5.gain": -0.5}),
        (FEEL(frequency=False), "decay", (1.0, 1.125, 0.5), {"body.2.decay": 1.125}),
        (LSG(), "decay", (0.0, 0.5, 1.0), {}),
    ],
    ids=str,
)
def test_what_is_beyond(new_model, defense, part, values, expected):
    model = new_model()
    defense.install(model)
    assert beyond(with_values(model, part, values)) == expected


def test_it_is_what_a_neuron_refuses(refuses, new_model):
    model = new_model()
    HIRE().install(model)
    for value in (-0.1, 0.0, 0.7, 1.0, 1.3):
        found = beyond(with_values(model, "decay", (value, 0.5, 0.5)))
        if found:
            with refuses("decay"):
                Neuron(decay=value)
        else:
            Neuron(decay=value)


def test_a_site_that_is_out_at_both_ends_tells_the_farther(new_model):
    model = new_model()
    FEEL(frequency=False).install(model)
    decay = sites(model)["body.0"].decay
    with torch.no_grad():
        decay.fill_(0.5)[0, 0, 0, :2] = torch.tensor([-3.0, 1.25])
    assert beyond(model)["body.0.decay"] == -3.0


@pytest.mark.thorough
def test_what_a_run_tells_is_what_its_sites_hold(new_model, few_digits, quick, tmp_path):
    run = train(new_model(), few_digits, [HIRE(eps=0.05)], quick(epochs=6, learning_rate=0.3), out=tmp_path, show=False)
    decays = {f"{name}.decay": site.decay.item() for name, site in sites(run.model).items()}
    out = {name: value for name, value in decays.items() if not 0 <= value <= 1}
    told = {name: value for name, value in beyond(run.model).items() if name.endswith(".decay")}
    assert told == out
    last = RunFolder(tmp_path).metrics()[-1]
    assert last.get("beyond", {}) == beyond(run.model)


def test_a_report_and_a_line_of_progress_tell_it(new_model, few_digits, quick, tmp_path):
    model = new_model()
    HIRE(eps=0.05).install(model)
    with_values(model, "decay", (1.5, 1.25, 0.5))
    run = train(model, few_digits, [HIRE(eps=0.05)], quick(epochs=1, learning_rate=1e-6), out=tmp_path, show=False)
    line = run.metrics[-1]
    assert line["beyond"] == {
        "body.0.decay": pytest.approx(1.5, abs=1e-3),
        "body.2.decay": pytest.approx(1.25, abs=1e-3),
    }
    assert "2 learned values beyond their bounds (body.0.decay 1.50)" in sentence("run", line, 1)
    (said,) = [each for each in trained_sentences(read_run(tmp_path)) if "Beyond" in each]
    assert "2 learned values" in said and "body.0.decay = 1.5" in said


def test_most_runs_have_nothing_to_say(new_model, few_digits, quick, tmp_path):
    run = train(new_model(), few_digits, config=quick(epochs=1), out=tmp_path, show=False)
    assert "beyond" not in run.metrics[-1]
    assert "beyond" not in sentence("run", run.metrics[-1], 1)
    assert not any("Beyond" in each for each in trained_sentences(read_run(tmp_path)))
