"""Surrogates: formula, symmetry, mass and window, and the text that names them."""

import math

import pytest
import torch
from slow_fire import slope_of

from spikeproof.errors import SpikeproofError
from spikeproof.spiking import (
    SURROGATES,
    ArcTan,
    Gaussian,
    Rectangular,
    RectifiedTriangle,
    Sigmoid,
    Site,
    SuperSpike,
    Triangle,
)
from spikeproof.spiking.neuron import Neuron
from spikeproof.spiking.surrogate import parse_surrogate

EACH = [kind(parameter) for kind in SURROGATES.values() for parameter in (0.5, 1.0, 2.5)]


@pytest.mark.parametrize("surrogate", EACH, ids=str)
def test_is_its_formula_on_a_grid_and_even(surrogate):
    grid = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    expected = torch.tensor([slope_of(surrogate, v) for v in grid.tolist()], dtype=torch.float64)
    torch.testing.assert_close(surrogate(grid), expected, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(surrogate(grid), surrogate(-grid), rtol=1e-12, atol=1e-15)
    assert (surrogate(grid) >= 0).all()
    assert surrogate(grid).argmax() == 500 or surrogate(grid)[500] == surrogate(grid).max()


def _mass(surrogate):
    """The integral over the whole line, by the substitution v = tan(angle) and the midpoint rule."""
    cells = 2_000_000
    angle = (torch.arange(cells, dtype=torch.float64) + 0.5) * (math.pi / cells) - math.pi / 2
    return float((surrogate(angle.tan()) / angle.cos() ** 2).sum() * math.pi / cells)


@pytest.mark.sweep
@pytest.mark.parametrize("surrogate", EACH, ids=str)
def test_integrates_to_its_stated_mass(surrogate):
    stated = 2 / surrogate.beta if isinstance(surrogate, SuperSpike) else 1.0
    assert _mass(surrogate) == pytest.approx(stated, rel=2e-6)


@pytest.mark.parametrize("surrogate", EACH, ids=str)
def test_window_is_the_support_or_that_of_the_triangle_of_equal_peak_and_mass(surrogate):
    inside, outside = (torch.tensor([-g, g], dtype=torch.float64) * surrogate.window for g in (0.999, 1.001))
    if isinstance(surrogate, Triangle | Rectangular | RectifiedTriangle):
        assert (surrogate(inside) > 0).all() and (surrogate(outside) == 0).all()
    else:
        peak = float(surrogate(torch.zeros(1, dtype=torch.float64)))
        assert surrogate.window == pytest.approx(_mass(surrogate) / peak, rel=2e-6)
        assert (surrogate(outside) > 0).all()


def test_default_windows_and_peaks_agree_with_the_default_triangle():
    for kind in (Triangle, Sigmoid, SuperSpike, ArcTan):
        assert kind().window == 1.0
        assert float(kind()(torch.tensor(0.0))) == 1.0
    assert Rectangular().window == 0.5


@pytest.mark.parametrize("kind", SURROGATES.values(), ids=lambda kind: kind.__name__)
def test_autograd_of_a_site_is_the_surrogate(kind):
    surrogate = kind(1.7)
    margins = torch.linspace(-2, 2, 81, dtype=torch.float64)
    current = (margins + 1).view(-1, 1).requires_grad_()
    spikes = Site(Neuron(surrogate=surrogate), num_steps=1)(current)
    (slope,) = torch.autograd.grad(spikes.sum(), current)
    expected = torch.tensor([slope_of(surrogate, v) for v in margins.tolist()], dtype=torch.float64)
    torch.testing.assert_close(slope.flatten(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", SURROGATES.values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_parameter_must_be_positive_and_finite(kind, bad):
    with pytest.raises(SpikeproofError, match=kind.__name__):
        kind(bad)


@pytest.mark.parametrize(
    ("text", "surrogate"),
    [
        ("triangle", Triangle()),
        (" Triangle ", Triangle(1.0)),
        ("triangle()", Triangle(1.0)),
        ("TRIANGLE(0.5)", Triangle(0.5)),
        ("rectangular(gamma=2)", Rectangular(2.0)),
        ("sigmoid(2.5)", Sigmoid(2.5)),
        ("superspike(1e1)", SuperSpike(10.0)),
        ("arctan", ArcTan()),
        ("gaussian(0.3)", Gaussian(0.3)),
        ("gaussian(0.3, 0.5)", Gaussian(0.3, 0.5)),
        ("Gaussian(centre=-1, sigma=2)", Gaussian(2.0, -1.0)),
        ("rectifiedtriangle(threshold=0.5)", RectifiedTriangle(1.0, 0.5)),
    ],
)
def test_parses_text(text, surrogate):
    assert parse_surrogate(text) == surrogate


@pytest.mark.parametrize("surrogate", EACH, ids=str)
def test_text_of_a_surrogate_parses_back(surrogate):
    assert parse_surrogate(str(surrogate)) == surrogate


@pytest.mark.parametrize(
    "text",
    [
        *("", "circle", "triangle(", "triangle(a)", "triangle(-1)", "triangle(nan)", "triangle(1)(2)"),
        *("triangle(1,)", "triangle(1, 2)", "gaussian(1, sigma=2)", "gaussian(1, nan)", "gaussian(1, 2, 3)"),
    ],
)
def test_refuses_other_text_in_one_sentence_that_quotes_it(text):
    with pytest.raises(SpikeproofError) as caught:
        parse_surrogate(text)
    assert repr(text) in str(caught.value) and "\n" not in str(caught.value)


def test_refuses_the_parameter_of_another_surrogate():
    with pytest.raises(SpikeproofError):
        parse_surrogate("sigmoid(gamma=2)")
