"""The first things to know on a GPU: the kernels are right, nothing waits, a training and an audit run.

Without a GPU the same functions run on the CPU, where nothing can wait, so that they are known to work.
"""

import contextlib
import copy
import threading
import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

from digit_networks import network
from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.attacks.projected_gradient import SteepestStep
from spikeproof.attacks.pursuit import Pursuit, chase, climb
from spikeproof.attacks.stable_adaptive import StableStep
from spikeproof.audit import AuditConfig, audit
from spikeproof.data import Augmentation, load_data
from spikeproof.defenses import MPDSGR, TGO, AdversarialTraining, compose
from spikeproof.gradients import ASSG, BPTT
from spikeproof.models import create_model
from spikeproof.runs import Processes
from spikeproof.spiking import Neuron, sites
from spikeproof.threat import Linf
from spikeproof.train import TrainConfig, train
from spikeproof.train.loop import _Trainer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
pytestmark = [
    pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)]),
    # The first use of the mode in a process says so.
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
]
PRECISIONS = pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.thorough)])
DEFENSES = {
    "vanilla": [],
    "AT": [AdversarialTraining(attack="pgd", steps=2)],
    "MPD-SGR": [MPDSGR()],
    "TGO": [TGO()],
}


@contextlib.contextmanager
def no_waits(device):
    """A context in which an operation that waits for the GPU raises; compiled kernels must be there already."""
    if device == "cpu":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(device, work):
    """How often ``work`` waits for the GPU."""
    if device == "cpu":
        work()
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def vgg11(device):
    """A small one in float64 whose sites fire, by both kinds of kernels."""
    torch.manual_seed(0)
    neuron = Neuron(decay=0.9, threshold=0.6)
    model = create_model("vgg11", num_classes=5, image_size=8, width=0.06, num_steps=3, neuron=neuron).double()
    with torch.no_grad():
        for site in sites(model).values():
            if site.norm is not None:
                site.norm.bias += 0.3
        for _ in range(30):
            model.train()(torch.rand(16, 3, 8, 8, dtype=torch.float64))
    pair = {kernels: copy.deepcopy(model).to(device) for kernels in ("reference", "fused")}
    for kernels, twin in pair.items():
        for site in sites(twin).values():
            site.kernels = kernels
    return pair


def everything(model, device, *, training):
    """Logits, and the gradients of a loss by images and parameters."""
    images = torch.rand(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images = images.to(device).requires_grad_()
    logits = model.train(training)(images)
    leaves = {"images": images} | dict(model.named_parameters())
    gradients = torch.autograd.grad(logits.cumsum(1).square().sum(), list(leaves.values()))
    return {"logits": logits.detach(), **dict(zip(leaves, gradients, strict=True))}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_fused_kernels_equal_the_reference_in_float64(device, training):
    pair = vgg11(device)
    expected, found = (everything(pair[kernels], device, training=training) for kernels in ("reference", "fused"))
    assert expected["images"].abs().max() > 0
    for name, part in expected.items():
        assert found[name].device.type == device and found[name].dtype == torch.float64
        scale = max(part.abs().max().item(), 1e-6)
        torch.testing.assert_close(found[name], part, rtol=0, atol=1e-9 * scale, msg=lambda m, n=name: f"{n}: {m}")


def digits(train_limit=48):
    return load_data("digits", validation=8, train_limit=train_limit)


@pytest.mark.sweep
@PRECISIONS
@pytest.mark.parametrize("name", DEFENSES)
def test_a_training_step_waits_for_nothing(device, name, precision):
    torch.manual_seed(0)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, width=0.25, kernels="fused")
    augmentation = Augmentation(crop_padding=1, flip=True, cutout=2)
    config = TrainConfig(epochs=9, batch_size=16, augmentation=augmentation, device=device, precision=precision)
    data, defenses = digits().to(device), DEFENSES[name]
    trainer = _Trainer(model.to(device), data, defenses, compose(defenses), config, None, Processes())
    trainer.look_every, trainer.steps_an_epoch, trainer.saved_at = 100, 100, 0.0
    batch, never = torch.arange(16), threading.Event()
    for trainer.step in range(2):  # kernels are compiled
        trainer._train_on(batch, never)
    trainer.step = 2
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with no_waits(device):
        trainer._train_on(batch, never)
    assert any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    trainer.finite.check()
    assert trainer.sums.read()["loss"] > 0


def on_digits(device):
    """A network that has learned the digits, by fused kernels, and eight digits."""
    model = network("learned").to(device)
    for site in sites(model).values():
        site.kernels = "fused"
    test = digits().test
    return model, (test.images[:8].float() / 255).to(device), test.labels[:8].to(device)


@pytest.mark.thorough
@PRECISIONS
@pytest.mark.parametrize("name", ["PGD-20", "SA-PGD@ASSG"])
def test_an_attack_step_waits_for_nothing(device, name, precision):
    model, images, labels = on_digits(device)
    threat = Linf(0.2)
    source = BPTT() if name == "PGD-20" else ASSG()

    def rule():
        return SteepestStep(threat, 0.025) if name == "PGD-20" else StableStep(threat, 20)

    with crafting(model, Crafting(source=source, precision=precision)) as craft:
        objective = cross_entropy_of(labels)
        climb(craft, images, images, rule(), steps=2, objective=objective)  # compiled, and labels looked at
        with no_waits(device):
            last = climb(craft, images, images, rule(), steps=20, objective=objective)
        assert (last - images).abs().max() <= 0.2 + 1e-6
        before, after = (cross_entropy(craft.judge(shown).float(), labels) for shown in (images, last))
    assert after > before


def test_a_chase_waits_once_a_step(device):
    model, images, _ = on_digits(device)
    labels = model(images).argmax(1)
    threat = Linf(1e-6)  # breaks nobody
    with crafting(model, Crafting(source=ASSG())) as craft:

        def chased(steps):
            pursuit = Pursuit(craft, images, labels)
            chase(pursuit, pursuit.images, StableStep(threat, steps), steps=steps)
            assert len(pursuit) == len(images)

        chased(2)  # compiled
        few, many = (waits(device, lambda steps=steps: chased(steps)) for steps in (2, 10))
    assert many - few <= 8
    assert few > 0 or device == "cpu"


@pytest.mark.thorough
def test_an_audit_of_eight_digits_runs(device):
    model, _, _ = on_digits(device)
    trials = ("FGSM", "PGD-3", "SA-PGD-3@ASSG", "APGD-DLR-3", "SQUARE-3")
    config = AuditConfig(eps=0.2, samples=8, battery=None, trials=trials, diagnostics=False, tune_samples=0)
    found = audit(model, digits().test, config, show=False)
    assert len(found.outcomes) >= 8
    assert found.to_json("command")


@pytest.mark.thorough
def test_a_run_trains_stops_nowhere_and_is_read_again(device, tmp_path):
    data = digits()
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1, num_steps=2, kernels="fused")
    config = TrainConfig(epochs=2, batch_size=16, augmentation=None, device=device)
    run = train(model, data, [MPDSGR(), TGO()], config, out=tmp_path, show=False)
    assert len(run.metrics) == 2 and next(run.model.parameters()).device.type == device
    again = train(copy.deepcopy(model), data, [MPDSGR(), TGO()], config, out=tmp_path, resume=True, show=False)
    assert again.metrics == run.metrics
