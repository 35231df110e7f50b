"""The hub's own client against a server on this machine: one commit a push, and every refusal a sentence."""

import shutil

import huggingface_hub
import pytest
import torch

from spikeproof.errors import SpikeproofError
from spikeproof.hub import push
from spikeproof.models import load_model

NAME = "someone/robust"
FILES = {"README.md", "audit.json", "config.json", "metrics.jsonl", "model.safetensors", "outcomes.parquet"}


def test_what_is_pushed_loads_again(audited, hub):
    assert push(audited, f"hub:{NAME}", message="first") == f"hub:{NAME}"
    assert set(hub.files[NAME]) == FILES
    assert (hub.commits[NAME], hub.private[NAME]) == (["first"], False)
    assert f'load_model("hub:{NAME}")' in hub.files[NAME]["README.md"].decode()

    images = torch.rand(4, 1, 8, 8)
    expected = load_model(audited / "model.safetensors")(images)
    assert torch.equal(load_model(f"hub:{NAME}")(images), expected)
    assert torch.equal(load_model(f"hub:{NAME}@v1")(images), expected)


def test_a_message_tells_no_paths(trained, hub):
    push(trained, f"hub:{NAME}", message="from /home/someone/runs/mine")
    assert hub.commits[NAME] == ["from mine"]


def test_no_room_to_gather_the_files(trained, hub, refuses, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with refuses("No space left", "make room"):
        push(trained, f"hub:{NAME}")
    assert not hub.files


def test_a_second_push_takes_back_the_audit_of_the_first_in_the_same_commit(audited, hub):
    push(audited, f"hub:{NAME}")
    hub.files[NAME]["mine.txt"] = b"kept"
    shutil.rmtree(audited / "audits")
    push(audited, f"hub:{NAME}")
    assert set(hub.files[NAME]) == FILES - {"audit.json", "outcomes.parquet"} | {"mine.txt"}
    assert hub.commits[NAME] == ["Push demo-digits-at"] * 2
    assert "Not audited" in hub.files[NAME]["README.md"].decode()


def test_private_is_private_or_refused(trained, hub, refuses):
    push(trained, f"hub:{NAME}", private=True)
    assert hub.private[NAME]
    hub.create("someone/open")
    with refuses("someone/open is public already"):
        push(trained, "hub:someone/open", private=True)
    assert hub.files["someone/open"] == {}


def test_a_hub_that_refuses(trained, hub, refuses):
    hub.refuse = ("/api/repos",)
    with refuses(NAME, "403", "hf auth login"):
        push(trained, f"hub:{NAME}")
    hub.create(NAME)
    hub.refuse = (f"/api/models/{NAME}/commit",)
    with refuses(NAME, "403"):
        push(trained, f"hub:{NAME}")
    assert hub.files[NAME] == {}


@pytest.mark.parametrize(
    ("source", "piece"),
    [
        ("hub:someone/unknown", "no model someone/unknown"),
        (f"hub:{NAME}@v9", "no revision v9"),
        ("hub:someone/empty", "no model.safetensors"),
    ],
)
def test_what_the_hub_does_not_have(hub, refuses, source, piece):
    hub.create(NAME)
    hub.create("someone/empty")
    with refuses(piece):
        load_model(source)


def test_offline_the_cache_serves_and_nothing_else_does(trained, hub, refuses, monkeypatch):
    push(trained, f"hub:{NAME}")
    load_model(f"hub:{NAME}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    load_model(f"hub:{NAME}")
    with refuses("someone/other", "cannot be reached", "hub:PATH"):
        load_model("hub:someone/other")
    with refuses(NAME, "OfflineModeIsEnabled", "go online"):
        push(trained, f"hub:{NAME}")


def test_a_file_that_is_damaged_on_the_hub(trained, hub):
    push(trained, f"hub:{NAME}")
    hub.files[NAME]["model.safetensors"] = b"nothing"
    with pytest.raises(SpikeproofError, match="damaged"):
        load_model(f"hub:{NAME}")
