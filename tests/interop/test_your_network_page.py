"""Every block of docs/your-network.md runs as it stands, where its library is installed."""

import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your-network.md").read_text()
BLOCKS = dict(re.findall(r"\n## ([^\n]+)\n(?:(?!\n## ).)*?```python\n(.*?)```", PAGE, flags=re.DOTALL))
LIBRARIES = {"SpikingJelly": "spikingjelly", "snnTorch": "snntorch", "Norse": "norse", "sinabs": "sinabs"}
NEEDS = {**LIBRARIES, "Train and harden": "spikingjelly"}


def test_every_library_has_a_block():
    assert set(BLOCKS) == {*NEEDS, "Code of your own", "An ANN beside it"}


@pytest.mark.parametrize("title", BLOCKS)
def test_block(title):
    if title in NEEDS:
        pytest.importorskip(NEEDS[title])
    torch.manual_seed(0)
    exec(compile(BLOCKS[title], f"your-network.md, {title}", "exec"), {"__name__": "block"})
