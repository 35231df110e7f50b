"""Numbers that no machine can use end `train` in one sentence, before anything is written."""

import pytest

HUGE = "99999999999999999999"


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--train.microbatch", HUGE),
        ("--train.batch-size", HUGE),
        ("--train.epochs", HUGE),
        ("--train.validate-every", HUGE),
        ("--train.seed", HUGE),
        ("--train.seed", f"-{HUGE}"),
        ("--train.weight-decay", "inf"),
        ("--train.learning-rate", "inf"),
        ("--train.momentum", "nan"),
        ("--data.seed", HUGE),
        ("--data.validation", HUGE),
        ("--data.train-limit", HUGE),
        ("--data.test-limit", HUGE),
        ("--data.classes", HUGE),
        ("--model.num-steps", HUGE),
        ("--model.width", "1e300"),
        ("--model.width", "inf"),
        ("--model.neuron.threshold", "inf"),
        ("--model.neuron.decay", "1e308"),
    ],
)
def test_before_anything_is_written(refused, train_words, tmp_path, option, value):
    refused(*train_words(tmp_path / "run", option, value))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--train.microbatch", "--train.epochs", "--model.num-steps", "--data.seed"])
@pytest.mark.parametrize("digits", [400, 6000])
def test_a_value_of_thousands_of_digits_makes_no_long_sentence(refused, train_words, tmp_path, option, digits):
    said = refused(*train_words(tmp_path / "run", option, "9" * digits))
    assert len(said) < 300
    assert not (tmp_path / "run").exists()


def test_a_nul_in_the_name_of_the_folder(refused, train_words):
    refused(*train_words("runs/a\x00b"), says=["can be no path"])
