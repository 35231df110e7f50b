"""A network with spiking attention, from SpikingJelly's model zoo: adapted and audited like any other."""

import pytest
import torch
from networks import EVERY, crafted
from torch import nn

import spikeproof as sp
from spikeproof.spiking import probe, sites

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.model.spikformer import Spikformer

T = 2


@pytest.fixture(scope="module")
def spikformer():
    """One block over four patches of a digit, its batch norms calibrated so that every layer fires."""
    torch.manual_seed(0)
    sizes = {"in_channels": 1, "img_size_h": 8, "img_size_w": 8, "patch_size": 4, "embed_dims": 32}
    net = Spikformer(T=T, num_classes=10, num_heads=4, depths=1, **sizes)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
            nn.init.constant_(module.bias, 2.0)
    data = sp.load_data("digits")
    net.train()
    net(data.train.images[:64].float() / 255)
    functional.reset_net(net)
    return net.eval()


@pytest.fixture(scope="module")
def images():
    return sp.load_data("digits").test.images[:4].float() / 255


def test_every_layer_is_a_site_and_logits_are_its_own(spikformer, images):
    adapted = sp.adapt(spikformer, num_steps=T)
    found = adapted(images)
    functional.reset_net(spikformer)
    assert torch.equal(found, spikformer(images).mean(0))
    functional.reset_net(spikformer)
    assert len(sites(adapted)) == 10  # five of the patches, three of attention, two of the MLP
    assert adapted.settled.readouts == ()
    with probe(adapted, "rate") as record:
        adapted(images)
    assert all(0 < seen.rate < 1 for seen in record.values())
    assert "blocks.0.attn.attn_lif" in record
    # Every layer but that of the attention's product, which no batch norm drives.
    assert [name for name, seen in record.items() if not seen.normed] == ["blocks.0.attn.attn_lif"]


@pytest.mark.parametrize("source", EVERY, ids=lambda source: source.name)
def test_every_source_has_a_gradient_and_moves_no_logit(spikformer, images, source):
    adapted = sp.adapt(spikformer, num_steps=T)
    gradient, logits = crafted(adapted, images, torch.arange(4), source=source)
    assert torch.equal(logits, adapted(images))
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


@pytest.mark.thorough
def test_a_quick_audit(spikformer):
    config = sp.AuditConfig(eps=0.1, samples=20, battery="quick", sweep_samples=5)
    found = sp.audit(sp.adapt(spikformer, num_steps=T), sp.load_data("digits").test, config, show=False)
    assert (found.network.name, found.network.library, found.network.reads) == ("Spikformer", "SpikingJelly", "mean")
    assert [result.trial.stands_for for result in found.results if result.trial.stands_for] == []
    assert found.worst_case.correct <= found.protocol.correct <= found.clean.correct
