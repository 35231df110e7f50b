"""What cannot be trained is said in one sentence, and leaves no folder behind."""

import pytest

from spikeproof.coding import Frequency
from spikeproof.data import load_data
from spikeproof.defenses import LSG, MPDSGR, TGO, AdversarialTraining, Defense, RandHet
from spikeproof.train import TrainConfig, train


@pytest.mark.parametrize("name", ["epochs", "batch_size", "validate_every"])
def test_counts_start_at_one(refuses, name):
    with refuses(name, ">= 1", "0"):
        TrainConfig(**{name: 0})


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf")])
def test_learning_rate_is_positive(refuses, rate):
    with refuses("learning_rate", rate):
        TrainConfig(learning_rate=rate)


@pytest.mark.parametrize(
    "wrong", [{"momentum": 1.0}, {"momentum": -0.1}, {"weight_decay": -1e-4}, {"weight_decay": float("nan")}]
)
def test_momentum_and_weight_decay_have_bounds(refuses, wrong):
    with refuses("momentum", "weight_decay", *wrong.values()):
        TrainConfig(**wrong)


@pytest.mark.parametrize(("field", "value"), [("precision", "fp16"), ("device", "gpu")])
def test_an_unknown_precision_or_device_is_refused(refuses, field, value):
    # The tests' own type checker would speak before the sentence if this were given to the constructor.
    config = TrainConfig()
    object.__setattr__(config, field, value)
    with refuses(value):
        config.__post_init__()


def test_fewer_images_than_a_batch(new_model, few_digits, quick, refuses, tmp_path):
    with refuses("320", "321", "batch_size"):
        train(new_model(), few_digits, config=quick(batch_size=321), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
    # Exactly one batch is enough, and the folder is free for it.
    run = train(new_model(), few_digits, config=quick(batch_size=320), out=tmp_path / "run", show=False)
    assert [line["step"] for line in run.metrics] == [1, 2]


def test_a_model_with_other_outputs_than_classes(new_model, quick, refuses, tmp_path):
    two = load_data("digits", classes=(3, 8), validation=50)
    with refuses("10 outputs", "2 classes", "num_classes=2"):
        train(new_model(), two, config=quick(), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()
    assert train(new_model(num_classes=2), two, config=quick(epochs=1), show=False).metrics[0]["train_accuracy"] > 0.4


@pytest.mark.parametrize("change", [{"in_channels": 3, "mean": None, "std": None}, {"image_size": 16}])
def test_images_of_another_shape_than_the_model(new_model, few_digits, quick, refuses, tmp_path, change):
    model = new_model(**change)
    with refuses(*(value for value in change.values() if value)):
        train(model, few_digits, config=quick(epochs=1), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "defenses",
    [
        [MPDSGR(eta=0.1), MPDSGR(eta=0.2)],
        [AdversarialTraining(eps=0.1), AdversarialTraining(eps=0.2)],
        [TGO(delta=0.1), TGO(delta=0.2)],
    ],
)
def test_defenses_that_do_not_go_together(new_model, few_digits, quick, refuses, tmp_path, defenses):
    with refuses(type(defenses[0]).__name__, "once"):
        train(new_model(), few_digits, defenses, quick(), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite(new_model, few_digits, quick, refuses, tmp_path):
    with refuses("loss is", "lower the learning rate"):
        train(new_model(), few_digits, config=quick(learning_rate=1e30), out=tmp_path / "run", show=False)
    # Nothing that could be taken for a result.
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_file_where_the_folder_should_be(new_model, few_digits, quick, refuses, tmp_path):
    (tmp_path / "run").write_text("a file")
    with refuses(tmp_path / "run"):
        train(new_model(), few_digits, config=quick(), out=tmp_path / "run", show=False)
    assert (tmp_path / "run").read_text() == "a file"


def test_a_network_that_a_defense_refuses_leaves_no_folder(few_digits, new_model, quick, tmp_path, refuses):
    model = new_model()
    RandHet().install(model)
    with refuses("LSG"):
        train(model, few_digits, [LSG()], quick(), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


def test_a_coding_that_does_not_fit_leaves_no_folder(few_digits, new_model, quick, tmp_path, refuses):
    with refuses("radii"):
        train(new_model(coding=Frequency((4, 2))), few_digits, [], quick(), out=tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("hook", ["loss", "penalty"])
def test_a_defense_that_gives_a_number_for_each_image(new_model, few_digits, quick, refuses, hook):
    class Mine(Defense):
        replaces_loss = hook == "loss"

        def given(self, step):
            return step.logits.square().mean(1)

    setattr(Mine, hook, Mine.given)
    with refuses(f"Mine.{hook}", "shape [", "take the mean"):
        train(new_model(), few_digits, [Mine()], quick(), show=False)
