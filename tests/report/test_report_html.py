"""The page is whole, loads nothing, says everything, and is never half-written."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_folders import make_audit, make_epochs, make_flag, make_pictures, write_run

from spikeproof.errors import SpikeproofError
from spikeproof.report import write_report

VANILLA = (462, 121, 31, 2)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Balanced(HTMLParser):
    """Fails on a tag that closes nothing, and keeps texts, attributes and ids."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len({name for name, _ in attrs}), f"<{tag}> repeats an attribute"
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def values(page: Balanced, name: str) -> list[str]:
    return [value for key, value in page.attributes if key == name]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [
        write_run(tmp_path / "a", name="vanilla", audit=make_audit(correct=VANILLA), pictures=make_pictures()),
        write_run(tmp_path / "b", name="mpd-sgr", audit=make_audit()),
        write_run(tmp_path / "c", name="unfinished", epochs=[]),
    ]


def test_page_is_balanced_and_loads_nothing(folders: list[Path], tmp_path: Path) -> None:
    text = write_report(folders, tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    page = Balanced(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.tags.count("img") == 6
    assert all(source.startswith("data:image/png;base64,") for source in values(page, "src"))
    assert all(target.startswith("#") for target in values(page, "href"))
    assert "url(" not in text and "@import" not in text and "http:" not in text and "https:" not in text
    assert "default-src 'none'" in text


def test_every_link_and_picture_is_complete(folders: list[Path], tmp_path: Path) -> None:
    page = Balanced(write_report(folders, tmp_path / "report.html").read_text(encoding="utf-8"))
    ids = values(page, "id")
    assert len(ids) == len(set(ids)) == 3
    assert {target[1:] for target in values(page, "href")} == set(ids)
    assert all(values(page, "alt")) and len(values(page, "alt")) == 6
    assert page.tags.count("figure") == page.tags.count("h4") - 3 * 3  # every figure has a heading, each card three


def test_page_says_numbers_and_conditions(folders: list[Path], tmp_path: Path) -> None:
    text = write_report(folders, tmp_path / "report.html").read_text(encoding="utf-8")
    words = " ".join(Balanced(text).text.split())
    assert f"Robustness of {len(folders)} spiking networks" in words
    assert "mpd-sgr keeps 35.2 % in the worst case at L∞ 2/255" in words
    assert "where its protocol accuracy says 43.8 %" in words
    assert "No other run's interval reaches its own." in words
    assert "protocol 6.2 · worst case 0.4 · gap 5.8" in words
    for stated in ("n = 500", "noise off", "crafted in bf16", "device cpu", "seed 0", "test split"):
        assert stated in words
    assert words.count("spikeproof audit runs/x --battery reliable --samples 500") == 4
    assert "spikeproof train vanilla" in words and '"num_steps": 4' in words


def test_one_run_shows_nothing_twice(folders: list[Path], tmp_path: Path) -> None:
    text = write_report(folders[:1], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>Robustness of vanilla</h1>" in text and '<details class="run" open>' in text
    headings = re.findall(r"<h4>(.*?)</h4>", text)
    assert len(headings) == len(set(headings)) and "Accuracy against radius" in headings


def test_histogram_bars_of_every_site_are_drawn(folders: list[Path], tmp_path: Path) -> None:
    text = write_report(folders[1:2], tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<rect class="bar ', text)) == 3 * 64
    site = make_audit()["sites"][2]
    assert f"Ω {site['omega']:.2f} · within ±0.5: {100 * site['proximal_share']:.1f} %" in text


def test_only_unaudited_runs(folders: list[Path], tmp_path: Path) -> None:
    folder = write_run(tmp_path / "d", name="trained")
    words = Balanced(write_report([folder, folders[2]], tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "None of these runs has been audited yet" in words
    assert words.count("This run has not been audited") == 2
    assert "Validation accuracy" in words and "No epoch is finished yet" in words
    assert "Penalty mpd_sgr" in words


def test_overlapping_intervals_leave_the_order_open(tmp_path: Path) -> None:
    near = [
        write_run(tmp_path / name, name=name, audit=make_audit(correct=(431, 300, 219, right)))
        for name, right in (("first", 176), ("second", 170), ("third", 20))
    ]
    words = Balanced(write_report(near, tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "Its interval overlaps that of second: the order among them is not settled." in words


def test_unlike_audits_are_not_ranked(folders: list[Path], tmp_path: Path) -> None:
    other = write_run(tmp_path / "d", name="other", audit=make_audit(eps=8 / 255))
    words = Balanced(write_report([folders[1], other], tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "different conditions (threat). So this page does not rank them." in words
    assert "keeps" not in words


def test_each_norm_has_its_own_axis(folders: list[Path], tmp_path: Path) -> None:
    euclidean = make_audit(eps=0.5) | {"threat": {"norm": "l2", "eps": 0.5}}
    other = write_run(tmp_path / "d", name="other", audit=euclidean)
    words = Balanced(write_report([*folders[:2], other], tmp_path / "report.html").read_text(encoding="utf-8")).text
    before_runs = words.split("Each run")[0]
    assert before_runs.count("Accuracy against radius") == 2
    assert "radius (L∞, in 255ths)" in before_runs and "radius (L2)" in before_runs


def test_the_sweep_of_several_runs_takes_the_lowest_trial_of_each_kind(folders: list[Path], tmp_path: Path) -> None:
    audit = make_audit()
    weaker = [point | {"trial": "weaker", "accuracy": point["high"]} for point in audit["sweep"]]
    audit["sweep"] = [*weaker, *audit["sweep"]]
    other = write_run(tmp_path / "d", name="other", audit=audit)
    text = write_report([folders[1], other], tmp_path / "report.html").read_text(encoding="utf-8").split("Each run")[0]
    assert "other: PGD-20 (protocol) at 2/255" in text and "other: SA-PGD-100@ASSG (adaptive) at 2/255" in text
    assert "weaker" not in text


def test_the_dashed_outline_ends_at_the_protocol_accuracy(folders: list[Path], tmp_path: Path) -> None:
    text = write_report(folders[1:2], tmp_path / "report.html").read_text(encoding="utf-8")
    rects = r'<rect class="{} c0" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"'
    ends = [
        sum(map(float, found.groups()))
        for style in ("protocol", "ghost")
        if (found := re.search(rects.format(style), text)) is not None
    ]
    assert len(ends) == 2 and ends[0] == pytest.approx(ends[1], abs=0.02)


def test_strings_are_escaped(tmp_path: Path) -> None:
    bad = "<b>x</b>\"'&"
    audit = make_audit() | {"warnings": [bad], "command": bad, "split": bad, "device": bad, "crafting_precision": bad}
    for trial in audit["trials"]:
        trial["attack"] = trial["source"] = bad
    audit["battery"] = audit["step_sweep"][0]["trial"] = audit["step_sweep"][0]["kind"] = bad
    audit["flags"] = [make_flag(bad, raised=True) | {"value": bad, "threshold": bad, "advice": bad}]
    audit["trials"][3]["name"] = audit["sites"][0]["name"] = audit["sweep"][0]["trial"] = bad
    pictures = make_pictures()
    pictures["class_names"] = pictures["class_names"].astype("U20")
    pictures["class_names"][0] = bad
    epochs = make_epochs(penalties=(bad,))
    first = write_run(tmp_path / "x", name=bad, audit=audit, pictures=pictures, epochs=epochs)
    second = write_run(tmp_path / "y", name="<b>x", audit=audit | {"seed": 7})
    for runs in ([first], [first, second]):
        text = write_report(runs, tmp_path / "report.html").read_text(encoding="utf-8")
        assert "<b>x" not in text and bad in Balanced(text).text


def test_odd_numbers_do_not_break_the_page(tmp_path: Path) -> None:
    epochs = make_epochs(3)
    epochs[1]["loss"] = float("nan")
    epochs[2]["loss"] = float("inf")
    audit = make_audit(correct=(500, 500, 0, 0), sites=1)
    audit["sites"][0] |= {"omega": None, "proximal_share": None, "firing_rate": None}
    folder = write_run(tmp_path / "x", epochs=epochs, audit=audit)
    text = write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    Balanced(text)
    assert "Ω undefined · within ±0.5: undefined" in text
    assert not re.search(r'(?:d|x|y|width|height)="[^"]*(?:nan|inf)', text)


def test_a_report_without_runs() -> None:
    with pytest.raises(SpikeproofError, match="at least one run"):
        write_report([], "report.html")


def test_out_may_not_be_a_folder(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SpikeproofError, match="is a folder"):
        write_report(folders, tmp_path)


def test_a_damaged_folder_leaves_the_old_report(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out" / "report.html"
    write_report(folders, out)
    old = out.read_bytes()
    (folders[1] / "audit.json").write_text("{", encoding="utf-8")
    with pytest.raises(SpikeproofError, match="audit.json is not valid JSON"):
        write_report(folders, out)
    assert out.read_bytes() == old


def test_a_failed_write_leaves_the_old_report_and_nothing_else(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "report.html"
    write_report(folders[:1], out)
    old = out.read_bytes()
    write_text = Path.write_text

    def full_disk(path: Path, text: str, **options: str) -> int:
        write_text(path, text[:100], **options)
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_report(folders, out)
    assert out.read_bytes() == old and [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_a_failed_exchange_leaves_the_old_report_and_nothing_else(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "report.html"
    write_report(folders[:1], out)
    old = out.read_bytes()

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(f"{path} to {target}")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        write_report(folders, out)
    assert out.read_bytes() == old and [path.name for path in out.parent.iterdir()] == ["report.html"]
