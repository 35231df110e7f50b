"""Lists of defenses: what goes together, and what is refused at once."""

import dataclasses

import pytest
from training_steps import after_forward

from spikeproof.defenses import (
    DLIF,
    FEEL,
    LSG,
    MART,
    MPDSGR,
    NDL,
    SR,
    TGO,
    TRADES,
    AdversarialTraining,
    Defense,
    Dspike,
    FreeAdversarialTraining,
    HoSNN,
    LearnableWidth,
    Needs,
    RandHet,
    RecDis,
    RMPLoss,
    compose,
)
from spikeproof.errors import SpikeproofError
from spikeproof.spiking import Hinge, Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherHinge(Defense):
    width: float

    @property
    def needs(self):
        return Needs(cost=Hinge(self.width))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherBatch(Defense):
    @property
    def perturbs(self):
        return True


@pytest.mark.parametrize(
    ("defenses", "needs"),
    [
        ([], Needs()),
        ([AdversarialTraining()], Needs()),
        ([MPDSGR()], Needs(moments=True)),
        ([TGO(delta=0.3)], Needs(cost=Hinge(0.3))),
        ([TGO(lambda_max=0.0)], Needs()),
        ([AdversarialTraining(), MPDSGR(), TGO(delta=0.4)], Needs(moments=True, cost=Hinge(0.4))),
        ([TGO(delta=0.4), OtherHinge(width=0.4)], Needs(cost=Hinge(0.4))),
        ([TGO(lambda_max=0.0, delta=0.4), OtherHinge(width=0.3)], Needs(cost=Hinge(0.3))),
    ],
    ids=str,
)
def test_needs_of_a_list_are_the_union(defenses, needs):
    assert compose(defenses) == compose(defenses[::-1]) == needs


@pytest.mark.parametrize(
    ("defenses", "pieces"),
    [
        ([MPDSGR(), TGO(), MPDSGR(eta=0.1)], ["MPDSGR", "twice"]),
        ([AdversarialTraining(), OtherBatch()], ["AT", "OtherBatch"]),
        ([TGO(delta=0.4), OtherHinge(width=0.3)], ["0.3", "0.4"]),
        ([TRADES(), MART()], ["TRADES", "MART", "training batch"]),
        ([FEEL(), RandHet()], ["FEEL", "RandHet", "the decays"]),
        ([LSG(), DLIF()], ["LSG", "DLIF", "the decays"]),
        ([NDL(), TGO()], ["NDL", "TGO", "firing noise"]),
        ([LearnableWidth(), Dspike()], ["learnable width", "Dspike", "the surrogate"]),
        ([HoSNN(), RMPLoss()], ["RMP-Loss", "HoSNN", "thresholds"]),
        ([SR(), FreeAdversarialTraining()], ["SR", "Free AT"]),
        ([MPDSGR(), RecDis(), TGO(width="spread", potential="after-reset")], ["before reset"]),
    ],
    ids=str,
)
def test_what_cannot_work_together_is_refused(defenses, pieces):
    with pytest.raises(SpikeproofError) as caught:
        compose(defenses)
    assert all(piece in str(caught.value) for piece in pieces)


def test_a_defense_does_nothing_unless_it_says_so():
    nothing = Defense()
    assert nothing.needs == Needs() and not nothing.perturbs and nothing.penalty(after_forward(Record(), 0.5)) is None
