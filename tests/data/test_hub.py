"""The hub's client for real, in a process of its own because it reads its settings once, when it is imported."""

import os
import subprocess
import sys

import pytest

from spikeproof.data import load_data

SCRIPT = """
from spikeproof.data import load_data
from spikeproof.errors import SpikeproofError

data = load_data("cifar10", validation=2)
print(len(data.train), len(data.validation), len(data.test))
try:
    load_data("cifar100")
except SpikeproofError as error:
    print(error)
"""


@pytest.mark.thorough
def test_offline_uses_the_cache_and_says_what_to_do_without_one(tmp_path, colours, encode, write_parquet):
    repo = tmp_path / "hub" / "datasets--uoft-cs--cifar10"
    commit = "0123456789abcdef0123456789abcdef01234567"
    for split, count in (("train", 6), ("test", 3)):
        path = repo / "snapshots" / commit / "plain_text" / f"{split}-00000-of-00001.parquet"
        write_parquet(path, [encode(image) for image in colours(count)], list(range(count)))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)

    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        # Set but empty is unset.
        "SPIKEPROOF_DATA_DIR": "",
    }
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    sizes, sentence = done.stdout.splitlines()
    assert sizes == "4 2 3"
    for piece in ("train split of cifar100", "uoft-cs/cifar100", "--data-dir", "SPIKEPROOF_DATA_DIR"):
        assert piece in sentence


def test_a_split_in_several_files_is_refused(tmp_path, monkeypatch, refuses):
    """A client that finds two files: only one of them would be read."""
    (tmp_path / "plain_text").mkdir()
    for number in range(2):
        (tmp_path / "plain_text" / f"train-0000{number}-of-00002.parquet").write_bytes(b"")
    monkeypatch.delenv("SPIKEPROOF_DATA_DIR", raising=False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    with refuses("train split of cifar10"):
        load_data("cifar10")
