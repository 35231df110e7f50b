"""The table holds the exact percentages, and says so where rows may not be compared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from report_folders import FLAGS, make_audit, make_trial, read_one, wilson, write_run

from spikeproof.errors import SpikeproofError
from spikeproof.report import comparison_json, comparison_table, read_run, read_runs, text_table, write_report
from spikeproof.report.compare import finding
from spikeproof.report.html_table import html_table
from spikeproof.report.numbers import eps_text, percent
from spikeproof.report.table import WIDEST
from spikeproof.report.wording import labels


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table_of(tmp_path: Path, **audits: dict[str, Any] | None) -> str:
    return text_table([read_one(write_run(tmp_path / name, name=name, audit=audit)) for name, audit in audits.items()])


def test_rows_hold_the_percentages(tmp_path: Path) -> None:
    lines = table_of(tmp_path, one=make_audit(), two=make_audit(correct=(462, 121, 31, 2))).splitlines()
    heads = ["Run", "Clean", "FGSM", "PGD-20", "Strongest other", "Worst case", "Masking gap", "Red flags"]
    assert cells(lines[0]) == heads
    assert cells(lines[2]) == ["one", "86.2", "60.0", "43.8*", "SA-PGD-100@ASSG -8.6", "35.2", "8.6", "0 of 3"]
    assert cells(lines[3]) == ["two", "92.4", "24.2", "6.2*", "SA-PGD-100@ASSG -5.8", "0.4", "5.8", "0 of 3"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert (
        "Linf 2/255, n = 500, test split, images 000001f4, battery reliable, noise off, crafted in bf16, judged in "
        "float32, device cpu (AMD EPYC, AVX512), seed 0." in lines
    )
    assert "different conditions" not in "\n".join(lines)


def test_the_stated_reach_covers_every_interval(tmp_path: Path) -> None:
    bounds = wilson(219 / 500, 500)
    reach = percent(max(bounds["high"] - bounds["accuracy"], bounds["accuracy"] - bounds["low"]))
    assert f"reach at most {reach} points" in table_of(tmp_path, one=make_audit())


def test_differing_conditions_become_columns(tmp_path: Path) -> None:
    second = make_audit(correct=(100, 90, 80, 60), samples=128, eps=8 / 255) | {"split": "validation"}
    text = table_of(tmp_path, one=make_audit(), two=second)
    lines = text.splitlines()
    assert cells(lines[0])[:5] == ["Run", "Threat", "Samples", "Split", "Images"]
    assert cells(lines[2])[1:5] == ["Linf 2/255", "n = 500", "test split", "images 000001f4"]
    assert cells(lines[3])[1:5] == ["Linf 8/255", "n = 128", "validation split", "images 00000080"]
    assert "different conditions (threat, samples and images)" in text
    html = html_table([read_one(tmp_path / name) for name in ("one", "two")])
    assert "different conditions (threat, samples and images)" in html
    assert "L∞ 2/255 · n = 500 · test split · images 000001f4</span>" in html
    assert "L∞ 8/255 · n = 128 · validation split · images 00000080</span>" in html


def test_other_images_are_other_conditions(tmp_path: Path) -> None:
    """What counts is the images that were audited: not what their split is called, nor how many others it has."""
    first, second = (f"{digit}" * 16 for digit in (1, 2))
    known = make_audit() | {"audited_images": first, "images": second}
    fingerprints = ("audited_images", "images")
    kinds = {
        "same": known | {"images": first, "split": "validation"},
        "other": known | {"audited_images": second},
        "older": {name: value for name, value in known.items() if name != "audited_images"},
        "oldest": {name: value for name, value in known.items() if name not in fingerprints},
    }
    text = {name: table_of(tmp_path / name, one=known, two=audit) for name, audit in kinds.items()}
    assert "different conditions" not in text["same"]
    for name in ("other", "older", "oldest"):
        assert "different conditions (images)" in text[name]
    assert "images 11111111" in text["other"] and "images 22222222" in text["other"]
    assert "images of split 22222222" in text["older"] and "images unknown" in text["oldest"]
    runs = [read_one(tmp_path / "other" / name) for name in ("one", "two")]
    assert "different conditions (images). So this page does not rank them." in finding(runs)
    assert "Of 2 audited runs" in finding([read_one(tmp_path / "same" / name) for name in ("one", "two")])
    with pytest.raises(SpikeproofError, match=r"other conditions \(images\)"):
        comparison_table({"one": runs[:1], "two": runs[1:]}, {"one": 1.0, "two": 1.0})


def test_a_different_set_of_attacks_is_said_too(tmp_path: Path) -> None:
    protocol_only = make_audit(correct=(431, 300, 219, 219))
    protocol_only["trials"].pop()
    protocol_only["battery"] = "custom"
    text = table_of(tmp_path, one=make_audit(), two=protocol_only)
    assert cells(text.splitlines()[3]) == [
        *("two", "battery custom", "86.2", "60.0", "43.8*", "-", "43.8", "0.0?", "0 of 3")
    ]
    assert "different conditions (attacks)" in text
    assert "! two: No adaptive attack was run" in text
    assert "no adaptive attack" in html_table([read_one(tmp_path / "two")])


def test_a_run_without_audit_keeps_its_row(tmp_path: Path) -> None:
    text = table_of(tmp_path, one=make_audit(), two=None)
    assert cells(text.splitlines()[3]) == ["two", "-", "-", "-", "-", "not audited", "-", "-"]
    assert "! two: not audited yet." in text
    assert cells(table_of(tmp_path, three=None).splitlines()[2]) == ["three", "-", "-", "not audited", "-", "-"]


def test_what_was_left_is_never_printed_as_an_accuracy_of_its_own(tmp_path: Path) -> None:
    audit = make_audit(correct=(431, 300, 219, 176))
    square = make_trial("SQUARE-1000", "black-box", 170, clean=431, before=176, everyone=False)
    audit["trials"].append(square)
    audit |= {"worst_case": square["left"], "masking_gap": (219 - 170) / 500}
    one, two = (read_one(write_run(tmp_path / name, name=name, audit=audit)) for name in ("one", "two"))
    text, html = text_table([one, two]), html_table([one, two])
    assert cells(text.splitlines()[2])[4:6] == ["SA-PGD-100@ASSG -8.6", "34.0"]
    assert "35.2" not in text and "<span>35.2" not in html
    assert html.count("<span>−8.6</span><small>newly broken</small>") == 2  # in the table of every trial
    assert html.count("newly broke 6 of the 176 samples that the trials before it left") == 2
    assert "The HTML report has the other trials too: SQUARE-1000." in text


def test_an_adaptive_trial_on_everyone_has_its_own_accuracy(tmp_path: Path) -> None:
    audit = make_audit(everyone=True)
    weaker = make_trial("APGD-CE-100@HART", "adaptive", 250, clean=431, before=176)
    audit["trials"].append(weaker)
    text = table_of(tmp_path, one=audit)
    assert cells(text.splitlines()[2])[4] == "SA-PGD-100@ASSG 35.2"
    assert "with its own accuracy" in text and "minus sign" not in text


def test_an_own_accuracy_is_not_compared_with_what_is_left(tmp_path: Path) -> None:
    audit = make_audit()
    audit["trials"].append(make_trial("UNIFORM", "noise", 170, clean=431, before=176))
    audit |= {"worst_case": audit["trials"][-1]["left"], "masking_gap": 49 / 500}
    assert cells(table_of(tmp_path, one=audit).splitlines()[2])[4] == "SA-PGD-100@ASSG -8.6"


def test_many_protocol_trials_give_way_to_the_width_of_a_terminal(tmp_path: Path) -> None:
    audit = make_audit()
    names = [f"MI-FGSM-{number}@RGA" for number in range(10, 40)]
    audit["trials"][2:2] = [make_trial(name, "protocol", 310, clean=431, before=300) for name in names]
    lines = table_of(tmp_path, one=audit).splitlines()
    assert len(lines[0]) <= WIDEST
    assert "FGSM" in cells(lines[0]) and "PGD-20" in cells(lines[0]) and names[0] in cells(lines[0])
    assert any(line.startswith("The HTML report has the other trials too") and "more." in line for line in lines)
    long = read_one(write_run(tmp_path / "long", name="x" * 60, audit=audit))
    assert cells(text_table([long]).splitlines()[0])[1:4] == ["Clean", "PGD-20", "Strongest other"]


def test_an_unbounded_trial_is_marked_and_comes_last(tmp_path: Path) -> None:
    audit = make_audit()
    unbounded = make_trial("CW-10", "protocol", 300, clean=431, before=300) | {"norm": "l2"}
    audit["trials"].insert(2, unbounded)
    run = read_one(write_run(tmp_path / "x", name="x", audit=audit))
    assert "CW-10 (any L2)" in cells(text_table([run]).splitlines()[0])
    assert "no part of the worst case" in html_table([run])


def test_in_an_l2_audit_the_trials_in_l2_count(tmp_path: Path) -> None:
    audit = make_audit(eps=0.5) | {"threat": {"norm": "l2", "eps": 0.5}}
    audit["trials"] = [trial | {"norm": "l2"} for trial in audit["trials"]]
    run = read_one(write_run(tmp_path / "x", name="x", audit=audit))
    text, html = text_table([run]), html_table([run])
    assert "L2 0.5" in text and "any L2" not in text + html and "no part of the worst case" not in html


def test_a_raised_flag_is_seen_and_a_quiet_audit_says_so(tmp_path: Path) -> None:
    name = FLAGS[1]
    loud = make_audit(raised=name)
    text = table_of(tmp_path, loud=loud, quiet=make_audit(), unchecked=make_audit() | {"flags": []})
    rows = [cells(line)[-1] for line in text.splitlines()[2:5]]
    assert rows == ["1 of 3", "0 of 3", "unchecked"]
    sentence = f"{name.capitalize()}: {name} measured 7.5 % (raised above 3 %); look into"
    assert f"! loud: {sentence}" in text
    assert "! quiet" not in text and "black box beats" not in text.lower()
    assert "No red flag in any check: quiet." in text
    assert "! unchecked: No check looked for red flags" in text
    html = html_table([read_one(tmp_path / "loud")])
    assert sentence in html
    assert 'title="any image allowed leaves survivors"><span><span aria-hidden="true">⚑</span> 1 of 3' in html


def test_a_flag_that_a_warning_already_says_is_not_said_twice(tmp_path: Path) -> None:
    said = "Any image allowed leaves survivors: 7.5 % (raised above 3 %); look into it."
    text = table_of(tmp_path, one=make_audit(raised=FLAGS[1]) | {"warnings": [said]})
    assert text.lower().count("any image allowed leaves survivors:") == 1


def test_what_several_runs_share_is_said_once(tmp_path: Path) -> None:
    first, second = (make_audit(raised=FLAGS[1]) | {"warnings": ["Few samples."], "sites": []} for _ in range(2))
    second["flags"][1]["value"] = f"{FLAGS[1]} measured 12.0 %"
    text = table_of(tmp_path, one=first, two=second, three=make_audit() | {"warnings": ["Few samples."]})
    assert text.count("Few samples.") == 1 and "! one, two and three: Few samples." in text
    name = FLAGS[1].capitalize()
    assert text.count(f"{name}:") == 1
    assert f"! one and two: {name}: {FLAGS[1]} measured 7.5 to 12.0 % (raised above 3 %); look into" in text
    page = write_report([tmp_path / each for each in ("one", "two", "three")], tmp_path / "page.html").read_text()
    assert page.count("Few samples.") == 1 and page.count('href="#doubts"') == 3


def test_warnings_of_one_code_are_said_once_with_the_span_of_their_numbers(tmp_path: Path) -> None:
    """By what an audit wrote down of them, and not by what looks like a number in a sentence."""

    def about(network: str, broken: str) -> dict[str, Any]:
        text = "{} of ResNet18 broke {} %."
        return make_audit() | {"warnings": [{"code": "toy", "text": text, "numbers": [network, broken]}]}

    audits = {"one": about("All", "7.5"), "two": about("All", "12.0"), "three": about("Half", "3")}
    text = table_of(tmp_path, **audits)
    assert "! one and two: All of ResNet18 broke 7.5 to 12.0 %." in text
    assert "! three: Half of ResNet18 broke 3 %." in text


def test_a_raised_flag_that_a_warning_speaks_of_is_known_by_its_code(tmp_path: Path) -> None:
    said = {"code": FLAGS[1], "text": "Survivors: {} %.", "numbers": ["7.5"]}
    text = table_of(tmp_path, one=make_audit(raised=FLAGS[1]) | {"warnings": [said]})
    assert "! one: Survivors: 7.5 %." in text and "look into" not in text


def test_noise_names_the_draws_of_gradients_and_of_verdicts(tmp_path: Path) -> None:
    noisy = make_audit() | {"noise": "on", "eot_iter": 10, "judge_draws": 5}
    assert "noise on, E = 10 draws a gradient, R = 5 a verdict" in table_of(tmp_path, one=noisy)
    assert "eot_iter" not in table_of(tmp_path, two=make_audit() | {"eot_iter": 10})


def test_a_battery_is_only_a_name(tmp_path: Path) -> None:
    text = table_of(tmp_path, one=make_audit(), two=make_audit() | {"battery": "custom"})
    assert "battery custom" in text and "different conditions" not in text


def test_html_row_has_values_intervals_and_counts(tmp_path: Path) -> None:
    html = html_table([read_one(write_run(tmp_path / "x", audit=make_audit()))])
    bounds = wilson(176 / 500, 500)
    low, high = percent(bounds["low"]), percent(bounds["high"])
    assert (
        f'data-label="Worst case" title="right under every attack of the audit; 95 % interval {low}–{high} %"' in html
    )
    assert "219 of 500 right" in html and "gradient source: bptt" in html
    for value in ("86.2", "60.0", "43.8", "−8.6", "35.2", "8.6"):
        assert f"<span>{value}" in html
    assert html.count('class="star"') == 1


def test_text_is_one_ascii_line_per_row(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x", name="a|b\n\x1b[31mü", audit=make_audit() | {"warnings": ["two\nlines"]})
    text = text_table([read_one(run)])
    assert text.isascii() and "\x1b" not in text
    assert cells(text.splitlines()[2])[0] == "a/b ?[31m?"
    assert "two lines" in text


def test_no_run() -> None:
    with pytest.raises(SpikeproofError, match="at least one run"):
        text_table([])


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / each / name, name="same") for each, name in (("a", "x"), ("a", "y"), ("b", "y"))]
    assert labels([read_one(folder) for folder in folders]) == ["same (x, 1)", "same (y, 2)", "same (y, 3)"]
    assert labels([read_one(folder) for folder in folders[:2]]) == ["same (x)", "same (y)"]
    for audit in ("near", "far"):
        (folders[0] / "audits" / audit).mkdir(parents=True)
        (folders[0] / "audits" / audit / "audit.json").write_text(json.dumps(make_audit()))
    assert labels(read_runs(folders[0])) == ["same (far)", "same (near)"]


def test_two_audits_of_a_run_are_told_apart_by_how_they_differ(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x", name="same")
    for eps, battery in ((8 / 255, "quick"), (2 / 255, "quick"), (8 / 255, "thorough")):
        folder = run / "audits" / f"{battery}-{eps:.3f}"
        folder.mkdir(parents=True)
        (folder / "audit.json").write_text(json.dumps(make_audit(eps=eps) | {"battery": battery}))
    assert labels(read_runs(run)) == [
        "same (L∞ 2/255, battery quick)",
        "same (L∞ 8/255, battery quick)",
        "same (L∞ 8/255, battery thorough)",
    ]
    assert labels([*read_runs(run)[:2], read_run(run)]) == [
        "same (L∞ 2/255)",
        "same (L∞ 8/255)",
        "same (not audited)",
    ]


def test_radii_and_percentages_are_written_as_the_field_writes_them() -> None:
    assert [eps_text("linf", eps) for eps in (8 / 255, 0.00784, 0.01, 0.5 / 255)] == [
        "8/255",
        "2/255",
        "2.55/255",
        "0.5/255",
    ]
    assert eps_text("l2", 0.5) == "0.5"
    assert [percent(value) for value in (0.862, 0.0, -1e-17, 1.0, float("nan"))] == [
        "86.2",
        "0.0",
        "0.0",
        "100.0",
        "undefined",
    ]


def test_without_a_number_every_place_says_none(tmp_path: Path) -> None:
    """What an audit added by itself is no other condition; the run that hides its gradient is not ranked."""
    hidden, why = make_audit(), "Something hides the gradient of this network, and what goes round it leads nowhere."
    left = hidden["worst_case"]["correct"]
    found = make_trial("SA-PGD-100@AROUND", "adaptive", left, before=left, clean=431, samples=500, everyone=False)
    hidden["trials"].append(found | {"added": True})
    hidden |= {"no_number": why, "warnings": [why]}
    text = table_of(tmp_path, one=make_audit(correct=(431, 300, 219, 100)), two=hidden)
    assert "different conditions" not in text
    assert "none" in next(line for line in text.splitlines() if line.startswith("| two"))
    runs = [read_one(tmp_path / name) for name in ("one", "two")]
    assert "Of <b>two</b> there is none" in finding(runs) and "<b>one</b>" in finding(runs)
    assert "No number says how robust this is" in finding(runs[1:])
    said = {"threads": 1, "recipe": {"train": {"seed": 0}}}
    rows = {run.name: [dataclasses.replace(run, config={**run.config, **said})] for run in runs}
    assert "**none**" in comparison_table(rows, dict.fromkeys(rows, 1.0))
    first, second = comparison_json(rows)
    assert first["worst_case"] == 0.2 and first["no_number"] is None
    assert second["worst_case"] is None and second["no_number"] == why


def test_a_run_with_two_audits_was_trained_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "x", name="same")
    for eps in (8 / 255, 2 / 255):
        (folder := run / "audits" / f"{eps:.3f}").mkdir(parents=True)
        (folder / "audit.json").write_text(json.dumps(make_audit(eps=eps)))
    html = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    training = html[html.index("Training loss by epoch") : html.index("Training accuracy by epoch")]
    assert "<title>same, epoch 0" in training and "<title>same (" not in training


def test_runs_with_equal_worst_cases_are_all_named(tmp_path: Path) -> None:
    counts = {"one": (431, 300, 219, 176), "two": (400, 290, 200, 176), "three": (431, 300, 219, 30)}
    runs = [
        read_one(write_run(tmp_path / name, name=name, audit=make_audit(correct=each))) for name, each in counts.items()
    ]
    said = " ".join(finding(runs).split())
    assert "Of 3 audited runs, <b>one and two</b> keep 35.2 % in the worst case" in said
    assert "not settled. Their protocol accuracies say 43.8 % (39.5–48.2), 40.0 % (" in said
    assert "No other run's interval reaches theirs." in said
    assert "<b>one</b> keeps 35.2 %" in " ".join(finding([runs[0], runs[2]]).split())
