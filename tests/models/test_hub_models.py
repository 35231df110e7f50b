"""``load_model("hub:...")`` without a network: folders are taken as they are, bad names refused at once."""

import huggingface_hub.constants
import pytest
import torch

from spikeproof.models import create_model, load_model, save_model


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path):
    model = create_model("conv", num_classes=4, image_size=8, in_channels=1).eval()
    save_model(model, tmp_path / "owner" / "name" / "model.safetensors")
    return model


@pytest.mark.parametrize("way", ["absolute", "relative", "home"])
def test_a_folder_that_exists_goes_before_the_hub(model, tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = {"absolute": tmp_path / "owner" / "name", "relative": "owner/name", "home": "~/owner/name"}[way]
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(load_model(f"hub:{place}", expected=model.description)(images), model(images))


def test_a_folder_without_weights(tmp_path, refuses):
    with refuses(tmp_path, "no model.safetensors", "push"):
        load_model(f"hub:{tmp_path}")


@pytest.mark.parametrize(
    "source", ["hub:", "hub:name", "hub:/no/such/folder", "hub:a/b/c", "hub:a/b@", "hub:a/b c", "hub:a/..", "hub:@v1"]
)
def test_names_that_are_none(source, refuses):
    with refuses(source, "OWNER/NAME", "PATH"):
        load_model(source)


@pytest.mark.parametrize("source", ["hub:owner/unknown", "hub:owner/unknown@v1"])
def test_offline_without_a_copy(source, refuses):
    with refuses("owner/unknown", "cannot be reached", "hub:PATH"):
        load_model(source)
