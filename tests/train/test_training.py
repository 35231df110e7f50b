"""What training learns, and what its random numbers follow from."""

import dataclasses
import math
import signal
import threading
from typing import Any

import pytest
import torch

from spikeproof.data import Augmentation, load_data
from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining, Defense
from spikeproof.train import TrainConfig, train


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recorder(Defense):
    """Keeps every batch, as it was before any defense touched it, and the seed that the attack would get."""

    batches: list[Any] = dataclasses.field(default_factory=list)
    seeds: list[int] = dataclasses.field(default_factory=list)

    @property
    def perturbs(self) -> bool:
        return True

    def perturb(self, step: Any) -> Any:
        self.batches.append((step.clean.clone(), step.labels.clone()))
        self.seeds.append(step.seed)
        return step.clean


def batches_of(model, data, config, *others):
    recorder = Recorder()
    train(model, data, [recorder, *others], config, show=False)
    return recorder


def same_batches(first, second):
    pairs = zip(first.batches, second.batches, strict=True)
    return [torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs]


def test_learns_the_digits(new_model):
    data = load_data("digits", validation=200)
    config = TrainConfig(epochs=3, batch_size=16, learning_rate=0.3, augmentation=None, device="cpu", precision="fp32")
    run = train(new_model(), data, config=config, show=False)
    losses = [line["loss"] for line in run.metrics]
    assert run.metrics[-1]["validation_accuracy"] > 0.9
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < 2 * math.log(10)  # near chance on average at the worst: the start is not thrown away
    assert not run.model.training
    assert run.folder is None


def test_metrics_of_an_epoch_are_what_happened(new_model, few_digits, quick):
    run = train(new_model(), few_digits, [MPDSGR(eta=0.3), TGO(sigma=0.0)], quick(epochs=3), show=False)
    assert [(line["epoch"], line["step"]) for line in run.metrics] == [(0, 10), (1, 20), (2, 30)]
    # Cosine by step: the rate of the last step of each epoch.
    expected = [0.1 * (1 + math.cos(math.pi * step / 30)) / 2 for step in (9, 19, 29)]
    assert [line["learning_rate"] for line in run.metrics] == pytest.approx(expected)
    last = run.metrics[-1]
    right = sum(
        int((run.model(images).argmax(1) == labels).sum()) for images, labels in few_digits.validation.batches(7)
    )
    assert last["validation_accuracy"] == right / 50
    assert set(last["penalties"]) == {"MPDSGR", "TGO"}
    assert last["loss"] > sum(last["penalties"].values()) > 0
    assert set(last["firing_rates"]) == {"body.0", "body.2", "body.5"}
    assert all(0 <= rate <= 1 for rate in last["firing_rates"].values())


def test_firing_rates_are_those_of_the_validation_images(new_model, few_digits, quick):
    run = train(new_model(), few_digits, config=quick(epochs=1), show=False)
    spikes = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: spikes.__setitem__(name, out.mean().item()))
        for name, module in run.model.named_modules()
        if name in run.metrics[-1]["firing_rates"]
    ]
    run.model(few_digits.validation.images.float() / 255)
    assert len(handles) == 3
    assert run.metrics[-1]["firing_rates"] == pytest.approx(spikes, rel=1e-5)


def test_validate_every_skips_looks_but_never_the_last(new_model, few_digits, quick):
    run = train(new_model(), few_digits, config=quick(epochs=5, validate_every=2), show=False)
    assert [line["validation_accuracy"] is None for line in run.metrics] == [True, False, True, False, False]
    assert [bool(line["firing_rates"]) for line in run.metrics] == [False, True, False, True, True]


def test_validating_less_changes_no_weight(new_model, few_digits, quick, same_weights):
    often = train(new_model(), few_digits, config=quick(epochs=3), show=False)
    seldom = train(new_model(), few_digits, config=quick(epochs=3, validate_every=9), show=False)
    assert same_weights(often.model.state_dict(), seldom.model.state_dict())


def test_same_seed_same_bits_other_seed_others(new_model, few_digits, quick, all_defenses, same_weights):
    config = quick(epochs=1, batch_size=64, augmentation=Augmentation(crop_padding=1, cutout=2))
    torch.manual_seed(1)
    first = train(new_model(), few_digits, all_defenses(), config, show=False)
    torch.manual_seed(2)
    torch.rand(7)
    again = train(new_model(), few_digits, all_defenses(), config, show=False)
    other = train(new_model(), few_digits, all_defenses(), dataclasses.replace(config, seed=1), show=False)
    assert same_weights(first.model.state_dict(), again.model.state_dict())
    assert [line["loss"] for line in first.metrics] == [line["loss"] for line in again.metrics]
    assert not same_weights(first.model.state_dict(), other.model.state_dict())


@pytest.mark.parametrize(
    "defense",
    [AdversarialTraining(eps=0.05), AdversarialTraining(eps=0.05, attack="pgd"), MPDSGR(eta=0.3), TGO(sigma=0.3)],
    ids=["at-fgsm", "at-pgd", "mpd-sgr", "tgo"],
)
def test_every_defense_changes_the_weights(new_model, few_digits, quick, same_weights, defense):
    plain = train(new_model(), few_digits, [], quick(epochs=1), show=False)
    defended = train(new_model(), few_digits, [defense], quick(epochs=1), show=False)
    assert not same_weights(plain.model.state_dict(), defended.model.state_dict())


def test_order_and_augmentation_follow_from_seed_and_step_alone(new_model, few_digits, quick):
    config = quick(augmentation=Augmentation(crop_padding=1, cutout=2))
    plain = batches_of(new_model(), few_digits, config)
    # Another model, another learning rate and noise that draws random numbers in every step: the same batches.
    torch.manual_seed(9)
    other = batches_of(new_model(5), few_digits, dataclasses.replace(config, learning_rate=0.01), TGO(sigma=0.5))
    assert len(plain.batches) == 20
    assert same_batches(plain, other) == [True] * 20
    assert plain.seeds == other.seeds
    assert len(set(plain.seeds)) == 20
    reseeded = batches_of(new_model(), few_digits, dataclasses.replace(config, seed=1))
    assert not any(same_batches(plain, reseeded))
    assert not set(plain.seeds) & set(reseeded.seeds)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(new_model, few_digits, quick):
    seen = batches_of(new_model(), few_digits, quick())
    rows = [image.numpy().tobytes() for images, _ in seen.batches for image in images]
    stored = [image.numpy().tobytes() for image in few_digits.train.images.float() / 255]
    assert sorted(rows[:320]) == sorted(rows[320:]) == sorted(stored)
    assert rows[:320] != rows[320:]
    assert rows[:320] != stored


def test_labels_stay_with_their_images(new_model, few_digits, quick):
    seen = batches_of(new_model(), few_digits, quick(epochs=1))
    label_of = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(few_digits.train.images.float() / 255, few_digits.train.labels, strict=True)
    }
    for images, labels in seen.batches:
        assert [label_of[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_an_incomplete_last_batch_is_left_out(new_model, few_digits, quick):
    seen = batches_of(new_model(), few_digits, quick(epochs=1, batch_size=100))
    assert [len(images) for images, _ in seen.batches] == [100, 100, 100]


def test_the_callers_random_state_and_signal_handlers_are_untouched(new_model, few_digits, quick, all_defenses):
    torch.manual_seed(3)
    before, handlers = torch.get_rng_state(), [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    train(new_model(), few_digits, all_defenses(), quick(epochs=1), show=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_the_callers_random_state_survives_an_error(new_model, few_digits, quick, refuses):
    torch.manual_seed(3)
    before, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    with refuses("loss is", "step", "learning rate"):
        train(new_model(), few_digits, [TGO(sigma=0.3)], quick(epochs=5, learning_rate=1e30), show=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_test_split_is_not_looked_at(new_model, few_digits, quick, same_weights):
    # Other test images of the same kind: nothing that training gives may differ.
    swapped = dataclasses.replace(few_digits, test=few_digits.validation)
    first = train(new_model(), few_digits, config=quick(), show=False)
    second = train(new_model(), swapped, config=quick(), show=False)
    assert same_weights(first.model.state_dict(), second.model.state_dict())


def test_trains_in_another_thread(new_model, few_digits, quick, same_weights):
    # Signals can be caught in the main thread only; a notebook's or a server's thread must train all the same.
    found = []
    worker = threading.Thread(
        target=lambda: found.append(train(new_model(), few_digits, config=quick(epochs=1), show=False))
    )
    worker.start()
    worker.join()
    expected = train(new_model(), few_digits, config=quick(epochs=1), show=False)
    assert same_weights(found[0].model.state_dict(), expected.model.state_dict())


def test_bf16_is_near_fp32_but_not_it(new_model, few_digits, quick):
    wide = train(new_model(), few_digits, config=quick(), show=False)
    narrow = train(new_model(), few_digits, config=quick(precision="bf16"), show=False)
    assert all(weight.dtype == torch.float32 for weight in narrow.model.parameters())
    losses = [[line["loss"] for line in run.metrics] for run in (wide, narrow)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.thorough
def test_fused_kernels_train_like_the_reference(new_model, few_digits, quick):
    runs = [
        train(new_model(kernels=kernels), few_digits, config=quick(learning_rate=0.05), show=False).metrics
        for kernels in ("reference", "fused")
    ]
    # Not the accuracy: rounding may flip a spike, and one of these few images with it. Every gradient is compared in
    # float64 in tests/spiking/test_fused_models.py.
    assert [line["loss"] for line in runs[0]] == pytest.approx([line["loss"] for line in runs[1]], rel=1e-2)


def test_progress_is_told_on_stderr_and_can_be_silenced(new_model, few_digits, quick, capsys):
    train(new_model(), few_digits, [MPDSGR(eta=0.3)], quick(), name="mine", show=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(",")[0] for line in err.splitlines()] == ["mine: epoch 1/2", "mine: epoch 2/2"]
    assert all("loss" in line and "MPDSGR" in line and "validation" in line for line in err.splitlines())
    train(new_model(), few_digits, config=quick(), show=False)
    assert capsys.readouterr() == ("", "")
