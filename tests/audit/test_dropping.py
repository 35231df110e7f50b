"""Who is attacked: each trial gets what all before it left, or everyone; both tell the same worst case."""

import itertools

import pytest

from digit_networks import InDouble
from spikeproof.audit import audit

# These start at the clean image and draw no random number.
DETERMINISTIC = ("FGSM", "BIM-3", "BIM-6", "FGSM@RGA", "FGSM@STE", "BIM-10@ASSG", "BIM-8@HART", "BIM-5@BPTR")


def rows_by_trial(found):
    rows = sorted(found.outcomes.to_pylist(), key=lambda row: row["trial"])
    return {name: list(group) for name, group in itertools.groupby(rows, key=lambda row: row["trial"])}


def samples(rows, correct=None):
    return [row["sample"] for row in rows if correct is None or row["correct"] == correct]


def test_a_trial_gets_what_all_before_it_left(model, digits, quick):
    trials = ("FGSM", "PGD-3", "SA-PGD-10@ASSG", "APGD-CE-10@HART", "SQUARE-30", "UNIFORM")
    found = audit(model, digits.test, quick(trials=trials, batch_size=17), show=False)
    rows = rows_by_trial(found)
    left = set(samples(rows["clean"], True))
    right = sorted(left)
    assert found.clean.correct == len(left)
    for result in found.results:
        verdicts = rows[result.trial.name]
        everyone = result.trial.kind == "protocol"
        assert result.everyone == everyone
        if everyone:
            assert samples(verdicts) == digits.test.part(40).tolist()
            assert result.attempted == len(right)
            assert result.own.correct == len(samples(verdicts, True))
        else:
            assert set(samples(verdicts)) == left
            assert result.attempted == len(left)
            assert result.own is None
        broken = set(samples(verdicts, False)) & set(right)
        assert (result.broken, result.newly) == (len(broken), len(broken & left))
        left -= broken
        assert (result.left.correct, result.left.samples) == (len(left), 40)
        assert result.measured == (result.own if everyone else result.left)
    assert found.worst_case.correct == len(left)
    assert sum(result.newly for result in found.results) == found.clean.correct - found.worst_case.correct
    # Or nothing was shown: some trial after the protocol ones broke what they had left.
    assert any(result.newly for result in found.results[2:])


def test_per_member_every_trial_gets_everyone(model, digits, quick):
    found = audit(model, digits.test, quick(per_member=True, batch_size=17), show=False)
    rows = rows_by_trial(found)
    for result in found.results:
        assert samples(rows[result.trial.name]) == digits.test.part(40).tolist()
        assert (result.everyone, result.attempted) == (True, found.clean.correct)
        assert result.own.correct == len(samples(rows[result.trial.name], True))
        assert result.measured is result.own
    assert sum(result.newly for result in found.results) == found.clean.correct - found.worst_case.correct


@pytest.mark.thorough
def test_dropping_changes_no_number_that_both_tell(model, digits, quick):
    """In float64 and without random starts: a smaller batch may round otherwise, and draws others."""
    exact = InDouble(model).eval()
    dropped, whole = (
        audit(exact, digits.test, quick(trials=DETERMINISTIC, per_member=kept, samples=30), show=False)
        for kept in (False, True)
    )
    assert dropped.worst_case == whole.worst_case
    assert dropped.protocol == whole.protocol
    assert dropped.protocol_trial == whole.protocol_trial == "BIM-6"
    assert [result.left for result in dropped.results] == [result.left for result in whole.results]
    assert [result.newly for result in dropped.results] == [result.newly for result in whole.results]
    assert sum(result.attempted for result in dropped.results) < sum(result.attempted for result in whole.results)
    assert 0 < dropped.worst_case.correct < dropped.protocol.correct


@pytest.mark.parametrize("per_member", [False, True])
def test_protocol_accuracy_does_not_depend_on_the_other_trials(model, digits, quick, per_member):
    alone = audit(model, digits.test, quick(trials=("PGD-3",), per_member=per_member), show=False)
    among = audit(
        model, digits.test, quick(trials=("FGSM", "PGD-3", "SA-PGD-6@ASSG"), per_member=per_member), show=False
    )
    assert alone.protocol == among.protocol
    assert rows_by_trial(alone)["PGD-3"] == rows_by_trial(among)["PGD-3"]


@pytest.mark.parametrize("per_member", [False, True])
def test_cw_is_told_and_never_enters_the_worst_case(model, digits, quick, per_member):
    trials = ("PGD-3", "CW-20", "SA-PGD-6@ASSG")
    found = audit(model, digits.test, quick(trials=trials, per_member=per_member, eps=0.02), show=False)
    without = audit(model, digits.test, quick(trials=trials[::2], per_member=per_member, eps=0.02), show=False)
    cw = next(result for result in found.results if result.trial.attack_name == "CW")
    assert (cw.own.correct, cw.newly, cw.attempted) == (cw.attempted - cw.broken, 0, found.clean.correct)
    assert cw.broken > 0
    # It broke samples that the worst case counts as standing, and hid none of them from the trial behind it.
    survivors = found.worst_case.correct
    assert cw.own.correct < survivors
    assert found.worst_case == without.worst_case
    pairs = zip((result for result in found.results if result is not cw), without.results, strict=True)
    assert all((a.attempted, a.broken, a.newly, a.left) == (b.attempted, b.broken, b.newly, b.left) for a, b in pairs)
    assert {(row["norm"], row["eps"]) for row in rows_by_trial(found)["CW-20"]} == {("l2", 8.0)}
    assert cw.record().norm == "l2"
    assert found.protocol_trial == "PGD-3"


@pytest.mark.parametrize("trial", ["GAUSSIAN", "CONTRAST-5"])
def test_noise_beyond_the_ball_is_told_and_never_enters_the_worst_case(model, digits, quick, trial):
    found = audit(model, digits.test, quick(trials=("FGSM", trial), eps=0.01), show=False)
    (_, noise) = found.results
    assert (noise.newly, noise.left) == (0, found.results[0].left)
    assert found.worst_case == found.results[0].left
    assert {row["norm"] for row in rows_by_trial(found)[trial]} == {noise.record().norm} == {"none"}


def test_a_model_that_is_never_right_leaves_nothing_to_attack(model, digits, quick):
    labels = (digits.test.labels[:12] + 1) % 10
    wrong = type(digits.test)(digits.test.images[:12], labels, digits.test.class_names)
    found = audit(model, wrong, quick(samples=None, diagnostics=True, sweep=(0.05,), sweep_samples=5), show=False)
    assert (found.clean.correct, found.worst_case.correct, found.protocol.correct) in [(n, 0, 0) for n in range(2)]
    assert all(result.broken <= result.attempted <= 1 for result in found.results)
    assert len(found.outcomes) == 12 * 4 + found.results[-1].attempted
