"""One tiny run, trained once, with an audit and without; and a hub that is not the world's."""

import dataclasses
import shutil

import huggingface_hub
import pytest
from local_hub import LocalHub

from spikeproof.audit import AuditConfig
from spikeproof.recipes import audit_run, find_recipe, train_recipe

AUDIT = AuditConfig(
    eps=0.1,
    samples=40,
    battery=None,
    trials=("FGSM", "PGD-2", "SA-PGD-3@ASSG"),
    tune_samples=0,
    sweep=(0.05,),
    sweep_samples=5,
    diagnostics=False,
)


@pytest.fixture(scope="session")
def _audited(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mine"
    recipe = find_recipe("demo-digits-at")
    training = dataclasses.replace(recipe.train, epochs=1, device="cpu")
    images = dataclasses.replace(recipe.data, train_limit=256)
    recipe = dataclasses.replace(recipe, data=images, train=training, audit=AUDIT)
    train_recipe(recipe, data_dir=None, out=out, command=f"spikeproof train demo-digits-at --out {out}", show=False)
    audit_run(out, AUDIT, data_dir=None, device="cpu", command=f"spikeproof audit {out}", show=False)
    return out


@pytest.fixture
def audited(_audited, tmp_path):
    """A trained and audited run, one's own to spoil."""
    return shutil.copytree(_audited, tmp_path / "audited")


@pytest.fixture
def trained(audited):
    """The same without its audit."""
    shutil.rmtree(audited / "audits")
    return audited.rename(audited.with_name("trained"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, with which the real client talks instead of the world's."""
    local = LocalHub()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", local.address)
    template = local.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_not_a_real_one")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()  # it has read its settings
    yield local
    huggingface_hub.close_session()
    local.close()
