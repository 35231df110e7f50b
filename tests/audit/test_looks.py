"""What an audit sees before it attacks: a state that is kept, randomness that nobody declared, no gradient."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from foreign import Potential, Wrapped
from spikeproof.attacks import look_at
from spikeproof.attacks.generators import generators_of, put_back
from spikeproof.audit import audit


class Counting(Wrapped):
    """It says a little more of the last class each time that it is asked."""

    asked = 0

    def forward(self, images):
        self.asked += 1
        return self.inner(images) + 0.05 * self.asked * torch.arange(10.0)


class Drops(Wrapped):
    """Dropout that stays on in eval mode."""

    def forward(self, images):
        return self.inner(dropout(images, 0.3, training=True))


@pytest.mark.parametrize("kind", [Potential, Counting])
def test_a_network_that_keeps_its_state_is_refused_before_any_attack(tiny, digits, quick, refuses, attacked, kind):
    with refuses("differ by", "keeps its state", "Reset"):
        audit(kind(tiny), digits.test, quick(), show=False)
    assert not attacked


def test_a_network_that_resets_itself_is_none(tiny, digits):
    class Reset(Potential):
        def forward(self, images):
            self.potential = 0.0
            return super().forward(images)

    images = digits.test.images[:20].float() / 255
    assert not look_at(Reset(tiny), images).drawn


@pytest.mark.thorough
def test_randomness_is_no_state_and_is_averaged(tiny, digits, quick):
    config = quick(trials=("FGSM", "PGD-3"), samples=12, diagnostics=True, sweep_samples=5)
    found = audit(Drops(tiny), digits.test, config, show=False)
    assert (found.config.noise, found.config.eot_iter, found.config.verdict_draws) == (True, 10, 100)
    assert not any(flag.raised for flag in found.flags if flag.name == "randomness without EoT")
    one = audit(Drops(tiny), digits.test, quick(trials=("FGSM",), eot_iter=1, diagnostics=True, samples=12), show=False)
    assert any(flag.raised for flag in one.flags if flag.name == "randomness without EoT")
    # An image that had luck with its draws is judged by others.
    assert found.to_json("")["noise"] == "on"


def test_looking_disturbs_nothing(tiny, digits):
    tiny.train()
    state = torch.get_rng_state()
    numpys = np.random.get_state()[1].copy()  # noqa: NPY002
    own = Own(tiny)
    before = own.generator.get_state()
    for number in (5, 0):
        images = digits.test.images[:number].float() / 255
        assert not look_at(tiny, images).drawn
        assert look_at(Drops(tiny), images).drawn == look_at(own, images).drawn == (number > 0)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(own.generator.get_state(), before)
    assert (np.random.get_state()[1] == numpys).all()  # noqa: NPY002
    assert all(module.training for module in tiny.modules())


def test_generators_are_put_back(tiny):
    """Python's own too, from which the tests' type checker draws in every call."""
    generators = generators_of(Enclosed(tiny))
    assert len(generators) == 3
    with put_back(generators):
        before = random.getstate()
        for generator in generators:
            generator.seed(7)
        assert random.getstate() != before
    assert random.getstate() == before


class ByNumpy(Wrapped):
    """Noise from NumPy's global generator."""

    def forward(self, images):
        noise = np.random.normal(0, 0.1, images.shape)  # noqa: NPY002
        return self.inner(images + torch.from_numpy(noise).float())


class Shifted(Wrapped):
    """One of three shifts: often the same twice in a row."""

    def forward(self, images):
        return self.inner(torch.roll(images, random.choice((-1, 0, 1)), 3))


class Own(Wrapped):
    def __init__(self, inner):
        super().__init__(inner)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, images):
        return self.inner(images + 0.1 * torch.randn(images.shape, generator=self.generator))


class OfItsClass(Own):
    generators = {"noise": [np.random.default_rng(0)]}

    def forward(self, images):
        noise = self.generators["noise"][0].normal(0, 0.1, images.shape)
        return self.inner(images + torch.from_numpy(noise).float())


class Enclosed(Wrapped):
    """What draws is a function that holds its generator."""

    def __init__(self, inner):
        super().__init__(inner)
        dice = random.Random(0)
        self.draw = lambda: dice.gauss(0, 0.3)

    def forward(self, images):
        return self.inner(images + self.draw())


LOOSE = np.random.RandomState(0)


class Global(Wrapped):
    def forward(self, images):
        return self.inner(images + 0.3 * float(LOOSE.normal()))


UNFIXED = {
    ByNumpy: "NumPy's global generator",
    Shifted: "Python's module random",
    Own: "a torch.Generator of its own",
    OfItsClass: "a NumPy generator of its own",
    Enclosed: "a random.Random of its own",
    Global: "a NumPy generator of its own",
}


@pytest.mark.parametrize(("kind", "name"), UNFIXED.items(), ids=[kind.__name__ for kind in UNFIXED])
def test_randomness_that_the_seed_does_not_fix_is_named(learned, digits, kind, name):
    images = digits.test.images[:8].float() / 255
    seen = look_at(kind(learned), images)
    assert (seen.drawn, seen.unfixed) == (True, (name,))
    assert look_at(Drops(learned), images).unfixed == ()


@pytest.mark.sweep
@pytest.mark.parametrize("kind", [ByNumpy, Own])
def test_randomness_that_the_seed_does_not_fix_is_averaged(learned, digits, quick, kind):
    found = audit(kind(learned), digits.test, quick(trials=("FGSM",), samples=12), show=False)
    assert (found.config.noise, found.config.eot_iter, found.config.verdict_draws) == (True, 10, 100)
    assert any("torch's seed does not fix" in said and UNFIXED[kind] in said for said in found.warnings)
    asked = quick(trials=("FGSM",), transfer=("FGSM",), samples=12)
    told = audit(learned, digits.test, asked, substitutes=[kind(learned)], show=False).warnings
    assert any(said.startswith("The substitute draws") for said in told)


@pytest.mark.parametrize("kind", [ByNumpy, Own])
def test_a_state_is_none_the_less_one_beside_such_randomness(learned, digits, quick, refuses, kind):
    with refuses("keeps its state"):
        audit(Potential(kind(learned)), digits.test, quick(), show=False)


def test_what_no_seed_reaches_is_not_called_a_state_alone(learned, digits, quick, refuses):
    class FromTheSystem(Wrapped):
        def forward(self, images):
            return self.inner(images + 0.3 * random.SystemRandom().random())

    with refuses("keeps its state, or draws random numbers that no seed fixes"):
        audit(FromTheSystem(learned), digits.test, quick(), show=False)


class Hard(Wrapped):
    def forward(self, images):
        return self.inner((images > 0.5).float())


class InPlace(Wrapped):
    """It works on the very tensor that it is given."""

    def forward(self, images):
        return self.inner(images.sub_(0.1).clamp_(0, 1))


@pytest.mark.sweep
def test_a_network_that_works_in_place_needs_no_batch_size(learned, digits, quick):
    """As with one, and as one that works on a copy."""

    class OnACopy(Wrapped):
        def forward(self, images):
            return self.inner((images - 0.1).clamp(0, 1))

    config = quick(trials=("FGSM", "PGD-3", "SQUARE-5"), samples=20, diagnostics=True, sweep_samples=8)
    found, other = (audit(kind(learned), digits.test, config, show=False) for kind in (InPlace, OnACopy))
    assert found.outcomes.equals(other.outcomes)
    assert [site.counts for site in found.sites] == [site.counts for site in other.sites]


class Without(Wrapped):
    @torch.no_grad()
    def forward(self, images):
        return self.inner(images)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [Hard, Without])
def test_no_path_to_the_image_is_told_and_queries_decide(learned, digits, quick, kind):
    config = quick(trials=("FGSM", "PGD-5", "APGD-CE-5", "SQUARE-100"), eps=0.2, diagnostics=True, sweep_samples=20)
    found = audit(kind(learned), digits.test, config, show=False)
    raised = {flag.name for flag in found.flags if flag.raised}
    assert "zero input gradients" in raised and found.zero_gradient_share == 1
    (queries,) = (result for result in found.results if result.trial.name == "SQUARE-100")
    assert queries.newly > 3
    assert found.worst_case.correct < found.protocol.correct


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda logits: (logits, None), "a tuple"),
        (lambda logits: logits.expand(4, -1, -1), "(4, 8, 10)"),
        (lambda logits: logits.flatten(), "(80,)"),
    ],
)
def test_what_is_no_logits(tiny, digits, quick, refuses, forward, says):
    class Other(Wrapped):
        def forward(self, images):
            return forward(self.inner(images))

    with refuses("logits [8, K]", says):
        audit(Other(tiny), digits.test, quick(), show=False)


def test_any_network_in_double_is_audited_in_double(digits, quick):
    """Not one of ours, which take float32 too."""
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    found = audit(
        linear, digits.test, quick(trials=("FGSM", "PGD-3", "SQUARE-5"), samples=10, diagnostics=True), show=False
    )
    right = linear(digits.test.take(digits.test.part(10)).images.double() / 255).argmax(1)
    assert found.clean.correct == int((right == digits.test.take(digits.test.part(10)).labels).sum())
