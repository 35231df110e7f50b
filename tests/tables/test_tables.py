"""The papers' tables: numbers as printed, and rows that can be built, trained and judged at every scale."""

import dataclasses
from typing import get_args

import pytest

from spikeproof.audit import AuditConfig
from spikeproof.defenses import DLIF, FEEL, MPDSGR, REG, SR, TGO, AdversarialTraining, compose
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.recipes.recipe import Recipe
from spikeproof.spiking import Rectangular
from spikeproof.tables import TABLES, Column, Scale, at_scale, audit_sizes, describe, find_table
from spikeproof.tables.settings import AT
from spikeproof.threat import parse_eps

SCALES = get_args(Scale)
ROWS = [(table, row) for table in TABLES.values() for row in table.rows]


def row_of(table, name):
    return next(row for row in find_table(table).rows if row.name == name)


def recipes_of(table):
    """Every recipe that a table's runner may train, at full scale."""
    for row in table.rows:
        yield row.recipe
        if row.substitute is not None:
            yield row.substitute
    for held in table.calibrations:
        yield held.reference
        yield from (held.recipe.having(candidate) for candidate in held.candidates)


EVERY = [recipe for table in TABLES.values() for recipe in recipes_of(table)]


# Numbers as printed, each read from the paper again.


@pytest.mark.parametrize(
    ("table", "row", "printed"),
    [
        ("mpd-sgr-table1", "c10-vanilla-reg", {"Clean": 92.49, "FGSM": 25.18, "PGD": 0.88, "BIM": 0.60}),
        ("mpd-sgr-table1", "c10-vanilla-mpd-sgr", {"Clean": 91.63, "FGSM": 47.59, "PGD": 20.55, "BIM": 16.85}),
        ("mpd-sgr-table1", "c10-at-sr", {"Clean": 88.26, "FGSM": 44.28, "PGD": 28.63, "BIM": 27.03}),
        ("mpd-sgr-table1", "c100-vanilla-feel", {"Clean": 70.06, "FGSM": 9.74, "PGD": 2.06, "BIM": 1.92}),
        ("mpd-sgr-table1", "c100-at-stog", {"Clean": 69.24, "FGSM": 19.64, "PGD": 9.77, "BIM": 3.23}),
        ("mpd-sgr-table1", "c100-at-mpd-sgr", {"Clean": 69.56, "FGSM": 39.45, "PGD": 22.23, "BIM": 19.45}),
        (
            "mpd-sgr-table2",
            "c10-wrn16-at-mpd-sgr",
            {"Clean": 91.34, "FGSM (BPTT)": 63.32, "PGD (BPTT)": 38.11, "BIM (BPTT)": 33.13, "CW (BPTT)": 43.06}
            | {"FGSM (BPTR)": 70.93, "PGD (BPTR)": 46.91, "BIM (BPTR)": 44.79, "CW (BPTR)": 70.10},
        ),
        (
            "mpd-sgr-table2",
            "c100-vgg11-reg",
            {"Clean": 72.54, "FGSM (BPTT)": 8.95, "PGD (BPTT)": 0.24, "BIM (BPTT)": 0.20, "CW (BPTT)": 5.62}
            | {"FGSM (BPTR)": 11.45, "PGD (BPTR)": 4.66, "BIM (BPTR)": 4.44, "CW (BPTR)": 25.03},
        ),
        ("mpd-sgr-table3", "c100-vanilla-sr", {"Clean": 66.76, "Gaussian Noise": 47.47, "Uniform Noise": 61.37}),
        ("mpd-sgr-table4", "vgg11-rec-mpd-sgr", {"Clean": 91.23, "FGSM": 43.28, "PGD": 15.82, "BIM": 14.2}),
        ("mpd-sgr-table4", "wrn16-sup-reg", {"Clean": 86.57, "FGSM": 11.54, "PGD": 0.05, "BIM": 0.05}),
        ("mpd-sgr-table5", "rsc-mpd-sgr", {"Clean": 46.98, "FGSM": 35.06, "PGD": 17.60}),
        (
            "tgo-main",
            "bptt-tgo",
            {"Clean": 88.79, "FGSM": 51.40, "RFGSM": 71.38, "PGD10": 6.14, "PGD20": 1.52, "PGD40": 0.45},
        ),
        (
            "tgo-main",
            "rat",
            {"Clean": 91.44, "FGSM": 42.02, "RFGSM": 75.89, "PGD10": 19.81, "PGD20": 16.24, "PGD40": 14.18},
        ),
        ("tgo-ablation", "bptt-both", {"Clean": 66.9, "FGSM": 21.5}),
        ("tgo-ablation", "rat-mc", {"Clean": 61.4, "FGSM": 26.2, "PGD40": 6.2}),
        ("tgo-advanced", "at-tgo", {"MTPGD-7": 21.23, "MTPGD-40": 7.40, "APGD-7": 18.93, "APGD-40": 7.53}),
        ("tgo-proximal", "bptt-tgo", {}),
        (
            "assg-main",
            "at",
            {"APGD (STBP)": 24.62, "APGD (PDSG)": 30.69, "APGD (HART)": 22.78, "APGD (ASSG)": 15.94}
            | {"SA-PGD (STBP)": 24.89, "SA-PGD (PDSG)": 31.24, "SA-PGD (HART)": 20.51, "SA-PGD (ASSG)": 11.56},
        ),
        (
            "assg-main",
            "trades",
            {"SA-PGD (STBP)": 33.76, "SA-PGD (PDSG)": 41.67, "SA-PGD (HART)": 27.53, "SA-PGD (ASSG)": 20.44},
        ),
        ("assg-main", "at-mpd-sgr", {}),
    ],
)
def test_numbers_are_as_printed(table, row, printed):
    assert row_of(table, row).published == printed


@pytest.mark.parametrize(
    ("table", "calibration", "drop"),
    [
        ("mpd-sgr-table1", "c10-mpd-sgr", 0.86),
        ("mpd-sgr-table1", "c100-sr", 6.06),
        ("mpd-sgr-table2", "c100-vgg11-mpd-sgr", 2.98),
        ("mpd-sgr-table4", "wrn16-sup-mpd-sgr", 0.03),
        ("tgo-main", "tgo", 4.53),
        ("tgo-ablation", "mc", 7.1),
        ("assg-main", "at-mpd-sgr", 0.72),
    ],
)
def test_a_calibration_pays_what_the_paper_paid(table, calibration, drop):
    (found,) = [each for each in find_table(table).calibrations if each.name == calibration]
    assert found.drop == drop
    assert len(set(found.candidates)) == len(found.candidates) >= 3


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_claim_holds_in_the_printed_numbers(table):
    published = {row.name: row.published for row in table.rows}
    for claim in table.claims:
        higher, lower = (published[name].get(claim.column) for name in (claim.higher, claim.lower))
        if higher is not None and lower is not None:
            assert higher > lower, claim
        else:
            assert not published[claim.higher] and not published[claim.lower], claim
    texts = [(claim.text, claim.column) for claim in table.claims]
    assert len(set(texts)) == len(texts)


def test_the_claims_that_matter_are_made():
    made = {(name, c.column, c.higher, c.lower) for name, table in TABLES.items() for c in table.claims}
    for data in ("c10", "c100"):
        assert ("mpd-sgr-table1", "PGD", f"{data}-vanilla-sr", f"{data}-vanilla-reg") in made
        assert ("mpd-sgr-table1", "PGD", f"{data}-vanilla-mpd-sgr", f"{data}-vanilla-sr") in made
        for method in ("reg", "stog", "dlif", "feel", "sr", "mpd-sgr"):
            assert ("mpd-sgr-table1", "PGD", f"{data}-at-{method}", f"{data}-vanilla-{method}") in made
    for training in ("bptt", "at", "rat"):
        assert {("tgo-main", column, f"{training}-tgo", training) for column in ("FGSM", "PGD40")} <= made


# What a row is made of.


def test_settings_are_the_methods_own():
    table = {row.name: row.recipe for row in find_table("mpd-sgr-table1").rows}
    assert table["c10-vanilla-reg"].defenses == (REG(beta=0.001),)
    assert table["c10-at-reg"].defenses == (AT, REG(beta=0.001))
    assert AdversarialTraining(eps="2/255", attack="pgd", steps=2, step_size="1/255") == AT
    dlif, feel, sr = (table[f"c100-at-{name}"] for name in ("dlif", "feel", "sr"))
    assert dlif.defenses == (DLIF(),) and dlif.train.epochs == 100
    assert table["c100-vanilla-dlif"].defenses == (DLIF(perturbation="gaussian"),)
    assert feel.defenses == (AT, FEEL()) and (feel.train.epochs, feel.train.batch_size) == (300, 256)
    assert sr.defense(SR).step == 0.01 and sr.train.batch_size == 32
    cutouts = {name.rpartition("-")[2]: recipe.train.augmentation.cutout for name, recipe in table.items()}
    assert cutouts == {"reg": 16, "stog": 16, "dlif": 16, "feel": 0, "sr": 0, "sgr": 16}
    assert {recipe.model.num_steps for recipe in table.values()} == {8}
    assert row_of("mpd-sgr-table2", "c10-wrn16-reg").recipe.defenses == (REG(beta=0.004),)
    assert row_of("mpd-sgr-table4", "vgg11-rec-reg").recipe.model.neuron.surrogate == Rectangular()


def test_tgo_rows_switch_the_right_parts():
    parts = {row.name: row.recipe.defense(TGO) for row in find_table("tgo-ablation").rows}
    assert parts["rat-none"] is None
    assert parts["rat-mc"].sigma == 0 and parts["rat-mc"].lambda_max == 0.6
    assert parts["rat-nlif"].lambda_max == 0 and parts["rat-nlif"].sigma > 0
    assert parts["rat-both"].lambda_max == 0.6 and parts["rat-both"].sigma > 0
    assert {tgo.lambda_max for row in find_table("tgo-main").rows if (tgo := row.recipe.defense(TGO))} == {0.4}
    (advanced,) = find_table("tgo-advanced").calibrations[1:]
    assert all(isinstance(each, TGO) and each.noise_at_inference for each in advanced.candidates)


def test_tables_share_their_networks():
    """The runner trains a recipe once, whatever table asks for it."""
    one, three = (find_table(f"mpd-sgr-table{number}") for number in (1, 3))
    assert {row.name: row.recipe for row in three.rows}.items() <= {row.name: row.recipe for row in one.rows}.items()
    assert set(three.calibrations) <= set(one.calibrations)
    two = {row.name: row.recipe for row in find_table("mpd-sgr-table2").rows}
    for figure in ("mpd-sgr-figure2", "mpd-sgr-figure3"):
        assert {row.name: row.recipe for row in find_table(figure).rows}.items() <= two.items()
        assert set(find_table(figure).calibrations) <= set(find_table("mpd-sgr-table2").calibrations)
    main = {row.name: row.recipe for row in find_table("tgo-main").rows}
    for name in ("tgo-proximal", "tgo-landscape"):
        assert {row.name: row.recipe for row in find_table(name).rows}.items() <= main.items()


def test_a_substitute_is_a_plain_network_of_another_seed():
    for row in find_table("mpd-sgr-figure3").rows:
        assert row.substitute.defenses == () and row.substitute.model == row.recipe.model
        assert row.substitute.train.seed != row.recipe.train.seed and row.substitute.data == row.recipe.data


# What holds for every table.


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_whole(table):
    labels = [column.label for column in table.columns]
    assert table.protocol in labels and table.note and table.source and "Clean" in labels
    places = [(row.group, row.label) for row in table.rows]
    assert len(set(places)) == len(places)
    assert all(row.name == row.name.lower() and " " not in row.name for row in table.rows)
    for column in table.columns:
        if column.eps is not None:
            assert 0 < parse_eps(column.eps) <= 0.1
    for held in table.calibrations:
        (kind,) = {type(candidate) for candidate in held.candidates}
        # The row of the table that it decides, and a reference that the table trains anyway.
        rows = [row for row in table.rows if held.name in row.calibrated]
        assert rows and all(row.recipe.defense(kind) is not None for row in rows)
        assert any(row.recipe == held.recipe for row in rows)
        assert held.reference in [row.recipe for row in table.rows]
        assert held.recipe.defense(REG) is None and held.recipe != held.reference
    assert {name for row in table.rows for name in row.calibrated} == {held.name for held in table.calibrations}
    assert isinstance(table.audit, AuditConfig) and table.audit.eps == 8 / 255


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{table.name}/{row.name}" for table, row in ROWS])
def test_what_a_row_does_not_publish_waits_for_a_calibration(table, row):
    """A row with a setting of no paper names a calibration, so no guess is printed as if it were published."""
    has = {type(defense) for defense in row.recipe.defenses} & {MPDSGR, SR, TGO}
    decided = {type(held.candidates[0]) for held in table.calibrations if held.name in row.calibrated}
    assert has == decided


def test_defenses_go_together():
    for recipe in EVERY:
        compose(recipe.defenses)
        assert recipe.train.seed in (0, 1000)
        assert recipe.train.precision == recipe.audit.precision == "auto"  # what fits the machine, in every table


# Scales.


@pytest.mark.parametrize("scale", SCALES)
def test_only_width_data_epochs_and_batches_change(scale):
    for full in EVERY:
        scaled = at_scale(full, scale)
        assert isinstance(scaled, Recipe)
        restored = dataclasses.replace(
            scaled,
            data=dataclasses.replace(
                scaled.data,
                classes=full.data.classes,
                train_limit=full.data.train_limit,
                validation=full.data.validation,
            ),
            model=dataclasses.replace(scaled.model, width=full.model.width),
            train=dataclasses.replace(scaled.train, epochs=full.train.epochs, batch_size=full.train.batch_size),
        )
        assert restored == full
        if scale == "full":
            assert scaled == full
        if scale == "short":
            assert scaled.data == full.data


@pytest.mark.parametrize(
    ("table", "row", "mini", "width"),
    [
        ("mpd-sgr-table1", "c10-vanilla-reg", 12, 0.125),
        ("mpd-sgr-table1", "c100-vanilla-feel", 30, 0.125),
        ("mpd-sgr-table2", "c10-wrn16-reg", 12, 0.25),
        ("mpd-sgr-table5", "dir-reg", 60, 0.125),
    ],
)
def test_epochs_and_widths(table, row, mini, width):
    full = row_of(table, row).recipe
    assert at_scale(full, "mini").train.epochs == mini
    assert at_scale(full, "mini").model.width == width
    assert at_scale(full, "short").train.epochs == 30
    assert at_scale(full, "short").model.width == 2 * width


@pytest.mark.parametrize("scale", ["mini", "short"])
def test_all_rows_of_a_data_set_make_as_many_steps(scale):
    """Whatever batches the methods' own codes have."""
    assert len({recipe.train.batch_size for recipe in EVERY}) > 2
    steps = {}
    for recipe in (at_scale(each, scale) for each in EVERY):
        images = recipe.data.train_limit or 49_000
        steps.setdefault(recipe.data.name, set()).add(images // recipe.train.batch_size * recipe.train.epochs)
    assert all(len(each) == 1 for each in steps.values()), steps


def test_a_mini_epoch_has_at_least_a_step():
    for recipe in EVERY:
        small = at_scale(recipe, "mini")
        assert small.data.train_limit >= small.train.batch_size
        assert small.data.classes is None or len(set(small.data.classes)) == len(small.data.classes) >= 10


def test_scales_say_what_they_are(refuses):
    assert describe("mini").startswith("10,000 training images of CIFAR-10")
    assert [audit_sizes(scale) for scale in SCALES] == [(500, 200), (1000, 500), (None, 1000)]
    for asked in (describe, audit_sizes, lambda scale: at_scale(EVERY[0], scale)):
        with refuses("scale", "'tiny'", "mini, short, full"):
            asked("tiny")


def test_digits_have_no_mini_scale(refuses):
    digits = dataclasses.replace(EVERY[0], data=dataclasses.replace(EVERY[0].data, name="digits"))
    assert at_scale(digits, "short").data.name == "digits"
    with refuses("digits", "cifar10"):
        at_scale(digits, "mini")


@pytest.mark.thorough
def test_mini_networks_can_be_made_and_take_their_defenses():
    sizes = {"cifar10": 32, "cifar100": 32, "tiny_imagenet": 64}
    seen = set()
    for recipe in (at_scale(recipe, "mini") for recipe in EVERY):
        kind = (recipe.model, recipe.data.name, tuple(type(defense) for defense in recipe.defenses))
        if kind in seen:
            continue
        seen.add(kind)
        model = create_model(
            **recipe.model.arguments,
            num_classes=len(recipe.data.classes or range(10)),
            image_size=sizes[recipe.data.name],
        )
        for defense in recipe.defenses:
            defense.install(model)
        # FEEL's leaks of every neuron and step make it the largest.
        assert 30_000 < sum(parameter.numel() for parameter in model.parameters()) < 2_000_000
    assert {model.name for model, _, _ in seen} == {"vgg11", "vgg16", "wrn16", "sew-resnet19"}


def test_a_column_reads_its_trial_at_once(refuses):
    assert Column(label="Clean").trial_name == "clean"
    assert Column(label="PGD", trial="PGD@RGA").trial_name == "PGD-20@RGA"
    assert Column(label="PGD", trial="PGD-7", on_substitute=True).trial_name == "TRANSFER:PGD-7"
    with refuses("'PGF-7'"):
        Column(label="PGF", trial="PGF-7")
    with refuses("CW-10", "transferred"):
        Column(label="CW", trial="CW", on_substitute=True)


def test_find_table(refuses):
    assert find_table("tgo-main") is TABLES["tgo-main"]
    assert all(table.name == name for name, table in TABLES.items())
    with pytest.raises(SpikeproofError, match=r"'mpd-sgr-tabel1'; did you mean mpd-sgr-table1\?"):
        find_table("mpd-sgr-tabel1")
    with refuses("'x'", "the tables are mpd-sgr-table1"):
        find_table("x")
