"""The gallery: its page links every report, each stands alone, and the only images in them are digits."""

import base64
import importlib.util
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import spikeproof as sp

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "gallery").iterdir())
# What each page is there to show.
SHOWN = {
    "masked.html": ("rounds its image", "filters, then rounds", "none", "zero input gradients"),
    "one-run.html": ("Certified by interval bounds", "true &lt;= worst case", "AT + SR"),
    "side-by-side.html": ("vanilla", "AT + SR", "Runs side by side"),
    "your-network.html": ("before", "hardened", "SR", "EMA"),
}
EPS = 0.1


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "examples" / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gallery"] = module  # a dataclass looks its module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    return sp.load_data("digits", validation=200)


def pictures(text):
    """The pictures of a page by their descriptions, in pixels again: a report enlarges them by 16."""
    for source, description in re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', text):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
        assert pixels.shape == (128, 128), description
        small = pixels[::16, ::16]
        assert np.array_equal(small.repeat(16, 0).repeat(16, 1), pixels), description
        yield description, small


def test_the_page_links_every_report_and_no_other():
    linked = re.findall(r"\]\(gallery/([^)]+)\)", (ROOT / "docs" / "gallery.md").read_text())
    assert sorted(linked) == [page.name for page in PAGES] == sorted(SHOWN)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_report_stands_alone(page):
    text = page.read_text()
    assert len(text) < 400_000
    assert "default-src 'none'" in text
    sources = re.findall(r"""\b(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", text) + re.findall(r"url\(([^)]*)", text)
    assert [each for each in sources if not each.startswith(("#", "data:image/png;base64,"))] == []
    assert not re.search(r"<(?:script|iframe|object|embed|link)\b|@import", text)
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|Users)/", text), "a path of the machine that made it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_report_shows_what_it_is_there_for(page):
    text = re.sub(r"\s+", " ", page.read_text())
    assert [words for words in SHOWN[page.name] if words not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_report_has_no_images_but_digits(page, digits):
    known = digits.test.images[:, 0].numpy().astype(int)
    text = page.read_text()
    found = list(pictures(text))
    assert len(found) == text.count("<img") == text.count("data:image") > 0
    for description, small in found:
        apart = np.abs(known - small.astype(int)).max((1, 2)).min()
        if description.startswith("Clean image"):
            assert apart == 0, description
        elif description.startswith("Adversarial image"):
            assert apart <= 255 * EPS + 1, description  # half a grey level of rounding each
        else:
            assert description.startswith("Magnified perturbation")


def test_both_roundings_are_one_function_without_a_slope(gallery, digits):
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    images = (digits.test.images[:20].float() / 255).requires_grad_()
    plain, filtered = (gallery.Rounded(inner, filtered=each)(images) for each in (False, True))
    assert torch.equal(plain, filtered) and not torch.equal(plain, inner(images))
    slopes = [torch.autograd.grad(logits.square().sum(), images)[0] for logits in (plain, filtered, inner(images))]
    assert [bool(slope.any()) for slope in slopes] == [False, False, True]


def test_the_loop_is_the_same_network_adapted(gallery, digits):
    torch.manual_seed(0)
    own, images = gallery.Loop().eval(), digits.test.images[:20].float() / 255
    net = sp.adapt(own, num_steps=own.steps, spikes=gallery.Fire)
    assert torch.equal(net(images), own(images))
    assert [0 < site.firing_rate < 1 for site in sp.describe_sites(net, images)] == [True]


@pytest.mark.thorough
def test_the_script_makes_every_page(gallery, tmp_path):
    config = sp.AuditConfig(eps=EPS, samples=10, battery=None, trials=("PGD-2",), diagnostics=False)
    made = gallery.make(tmp_path, gallery.Effort(epochs=1, minutes=0.1, audit=config))
    assert sorted(made) == [tmp_path / page.name for page in PAGES]
    for page in made:
        text = page.read_text()
        assert "default-src 'none'" in text
        assert str(tmp_path.parent) not in text
