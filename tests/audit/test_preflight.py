"""What an audit sees before it attacks: a state that is kept, randomness that nobody declared, no gradient."""

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from spikeproof.audit import audit
from spikeproof.audit.preflight import draws_where_nobody_said_so


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner


class Potential(Wrapped):
    """A potential that nobody resets."""

    potential = 0.0

    def forward(self, images):
        self.potential = 0.9 * self.potential + self.inner(images)
        return self.potential


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
    assert not draws_where_nobody_said_so(Reset(tiny), images)


@pytest.mark.thorough
def test_randomness_is_no_state_and_is_averaged(tiny, digits, quick):
    config = quick(trials=("FGSM", "PGD-3"), samples=12, diagnostics=True, sweep_samples=5)
    found = audit(Drops(tiny), digits.test, config, show=False)
    assert (found.config.noise, found.config.draws, found.config.verdict_draws) == (True, 10, 10)
    assert not any(flag.raised for flag in found.flags if flag.name == "randomness without EoT")
    one = audit(Drops(tiny), digits.test, quick(trials=("FGSM",), draws=1, diagnostics=True, samples=12), show=False)
    assert any(flag.raised for flag in one.flags if flag.name == "randomness without EoT")
    # An image that had luck with its draws is judged by others.
    assert found.to_json("")["noise"] == "on"


def test_looking_disturbs_nothing(tiny, digits):
    tiny.train()
    state = torch.get_rng_state()
    assert not draws_where_nobody_said_so(tiny, digits.test.images[:5].float() / 255)
    assert draws_where_nobody_said_so(Drops(tiny), digits.test.images[:5].float() / 255)
    assert not draws_where_nobody_said_so(tiny, digits.test.images[:0].float() / 255)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in tiny.modules())


class Hard(Wrapped):
    def forward(self, images):
        return self.inner((images > 0.5).float())


class Without(Wrapped):
    @torch.no_grad()
    def forward(self, images):
        return self.inner(images)


@pytest.mark.parametrize("kind", [Hard, Without])
def test_no_path_to_the_image_is_told_and_queries_decide(learned, digits, quick, kind):
    config = quick(trials=("FGSM", "PGD-5", "APGD-CE-5", "SQUARE-100"), radius=0.2, diagnostics=True, sweep_samples=20)
    found = audit(kind(learned), digits.test, config, show=False)
    raised = {flag.name for flag in found.flags if flag.raised}
    assert "zero input gradients" in raised and found.zero_gradient_share == 1
    queries = found.results[-1]
    assert queries.newly > 3
    assert found.worst_case.correct < found.nominal.correct


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
