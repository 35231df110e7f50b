"""Recipes: every one of them can be built, and says what it is."""

import dataclasses
import json
import re

import pyarrow.parquet as pq
import pytest
import torch

from spikeproof.audit import AuditConfig
from spikeproof.coding import CODINGS, Frames, Frequency
from spikeproof.data import Data, ImageSet
from spikeproof.defenses import DEFENSES, MPDSGR, TGO, AdversarialTraining, Defense, compose
from spikeproof.disk import sealed
from spikeproof.errors import SpikeproofError
from spikeproof.recipes import (
    COMPARISONS,
    DIGITS,
    RECIPES,
    Recipe,
    audit_run,
    find_recipe,
    recorded_audit_config,
    train_recipe,
    with_defense,
)
from spikeproof.recipes.recipe import ModelConfig
from spikeproof.report import read_runs, text_table, write_report
from spikeproof.runs import RunFolder
from spikeproof.spiking import Neuron, Sigmoid, sites

SUFFIXES = {
    "vanilla": set(),
    "mpd-sgr": {"MPD-SGR"},
    "tgo": {"TGO"},
    "at": {"AT"},
    "at-mpd-sgr": {"AT", "MPD-SGR"},
    "at-tgo": {"AT", "TGO"},
}
FAMILIES = ("demo-digits", "mini-cifar10", "vgg11-cifar10", "wrn16-cifar10")


def blank(recipe):
    """Two blank images of the recipe's data set in each split."""
    channels, size = (1, 8) if recipe.data.name == "digits" else (3, 32)
    classes = 10 if recipe.data.classes is None else len(recipe.data.classes)
    images = ImageSet(
        torch.zeros(2, channels, size, size, dtype=torch.uint8),
        torch.zeros(2, dtype=torch.int64),
        tuple(str(label) for label in range(classes)),
    )
    return Data("blank", images, images, images, mean=(0.5,) * channels, std=(0.25,) * channels)


MINI = COMPARISONS["mini-cifar10"]


def test_four_families_of_six_and_the_rest_of_the_comparison():
    six = {f"{family}-{suffix}" for family in FAMILIES for suffix in SUFFIXES}
    assert set(RECIPES) == six | {recipe.name for recipe in MINI}
    assert len(RECIPES) == len(six) + len(MINI) - 6
    assert all(recipe.name == name for name, recipe in RECIPES.items())
    assert [recipe.name for recipe in DIGITS] == [f"demo-digits-{suffix}" for suffix in SUFFIXES]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_name_tells_the_defenses(family, suffix):
    defenses = RECIPES[f"{family}-{suffix}"].defenses
    assert {defense.label for defense in defenses} == SUFFIXES[suffix]


@pytest.mark.parametrize("name", RECIPES)
def test_the_defenses_of_a_recipe_go_together(name):
    compose(RECIPES[name].defenses)


def test_every_defense_and_coding_has_a_row():
    shown = {type(defense) for recipe in MINI for defense in recipe.defenses}
    assert shown == set(DEFENSES.values())
    codings = {type(recipe.model.coding) for recipe in MINI} | {Frequency}  # which FEEL brings along
    assert codings == set(CODINGS.values()) - {Frames}  # CIFAR-10 has none
    assert {recipe.model.batch_norm for recipe in MINI} == {"merged", "per-step"}  # td is merged at threshold 1


def test_a_row_with_adversarial_training_is_its_twin_and_nothing_else():
    rows = {recipe.name.removeprefix("mini-cifar10-"): recipe for recipe in MINI}
    twins = [name for name in rows if f"at-{name}" in rows and name != "dlif"]
    assert len(twins) > 20
    for name in twins:
        expected = dataclasses.replace(rows[name].having(*rows["at"].defenses), name=f"mini-cifar10-at-{name}")
        assert rows[f"at-{name}"] == expected


def test_rows_of_the_comparison_are_audited_alike():
    alike = {dataclasses.replace(recipe.audit, eot_iter=None, judge_draws=None) for recipe in MINI}
    assert len(alike) == 1
    assert len({recipe.data for recipe in MINI}) == 1


def test_rows_of_the_comparison_make_as_many_steps():
    """A defense that trains several times on a batch has so many fewer epochs."""
    passes = {recipe.train.epochs * max((defense.replays for defense in recipe.defenses), default=1) for recipe in MINI}
    assert passes == {12}


@pytest.mark.parametrize("name", ["mpd-sgr", "rmp_loss"])
def test_a_defense_can_be_added(name, refuses):
    recipe = RECIPES["mini-cifar10-at"]
    added = with_defense(recipe, name)
    assert added.name == f"{recipe.name}-{name.replace('_', '-')}"
    assert added.defenses == (*recipe.defenses, DEFENSES[name.replace("_", "-")]())
    with refuses("already", name.replace("_", "-")):
        with_defense(added, name)


def test_the_order_of_defenses_makes_no_other_recipe():
    recipe = RECIPES["mini-cifar10-vanilla"]
    assert recipe.having(TGO(), AdversarialTraining()) == recipe.having(AdversarialTraining(), TGO())
    assert recipe.having(TGO(), AdversarialTraining()).without(TGO).defenses == (AdversarialTraining(),)


def test_no_two_parts_have_one_name(refuses):
    class Data(Defense):
        """One's own, which would stand where the data stand."""

    recipe = RECIPES["mini-cifar10-vanilla"]
    with refuses("two parts called data"):
        recipe.having(Data())
    with refuses("two parts called tgo"):
        dataclasses.replace(recipe, defenses=(TGO(), TGO(sigma=0.1)))


def test_an_unknown_defense(refuses):
    with refuses("'tgoo'", "did you mean tgo?", "mpd-sgr"):
        with_defense(RECIPES["mini-cifar10-at"], "tgoo")
    with refuses("'zzz'", "the defenses are", *DEFENSES):
        with_defense(RECIPES["mini-cifar10-at"], "zzz")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_differs_in_its_defenses_alone(family):
    bare = {
        dataclasses.replace(
            recipe,
            name="",
            defenses=(),
            audit=dataclasses.replace(recipe.audit, eps=1),
        )
        for name, recipe in RECIPES.items()
        if name.startswith(family) and name.removeprefix(f"{family}-") in SUFFIXES
    }
    assert len(bare) == 1
    members = {name.removeprefix(family + "-"): recipe for name, recipe in RECIPES.items() if name.startswith(family)}
    for first, second, kind in (
        ("mpd-sgr", "at-mpd-sgr", MPDSGR),
        ("tgo", "at-tgo", TGO),
        ("at", "at-tgo", AdversarialTraining),
    ):
        assert members[first].defense(kind) == members[second].defense(kind)
        assert members[first].defense(kind) is not None
    # The rows with adversarial training are compared with each other, at one radius, and so are those without.
    assert len({members[suffix].audit.eps for suffix in ("at", "at-mpd-sgr", "at-tgo")}) == 1
    assert len({members[suffix].audit.eps for suffix in ("vanilla", "mpd-sgr", "tgo")}) == 1


@pytest.mark.sweep
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_its_network(name):
    recipe = RECIPES[name]
    data = blank(recipe)
    # Shapes without memory: the papers' networks have up to 61 million weights.
    with torch.device("meta"):
        model = dataclasses.replace(recipe.model, kernels="reference").create(data, seed=0)
    images = torch.empty(2, data.channels, *data.image_size, device="meta")
    assert model(images).shape == (2, data.num_classes)
    assert len(sites(model)) >= 3
    weights = sum(parameter.numel() for parameter in model.parameters())
    if name.startswith("vgg11"):
        assert weights == 61_377_034
    elif name.startswith("wrn16"):
        assert weights == 2_748_902
    else:
        assert weights < 6_000_000  # small enough for a laptop, as they say


def test_the_papers_protocol():
    for name in RECIPES:
        if name.startswith(("vgg11", "wrn16")):
            recipe = RECIPES[name]
            train, audit = recipe.train, recipe.audit
            assert (train.epochs, train.batch_size, train.learning_rate, train.momentum) == (200, 64, 0.1, 0.9)
            assert audit.eps == 8 / 255
            assert {"PGD-7", "BIM-7"} <= {trial.name for trial in audit.members()}
            assert recipe.model.num_steps == 4
            if at := recipe.defense(AdversarialTraining):
                assert (at.eps, at.steps) == (2 / 255, 2)
            if tgo := recipe.defense(TGO):
                assert tgo.lambda_max == (0.6 if name.startswith("vgg11") else 0.4)


@pytest.mark.sweep
@pytest.mark.parametrize("name", RECIPES)
def test_settings_are_plain_and_complete(name):
    recipe = RECIPES[name]
    settings = recipe.settings()
    assert json.loads(json.dumps(settings)) == json.loads(json.dumps(settings, allow_nan=False))

    def same(value, plain):
        if isinstance(value, tuple):
            assert plain == list(value)
        elif dataclasses.is_dataclass(value):
            names = {field.name for field in dataclasses.fields(value)}
            parts = {name: getattr(value, name) for name in names}
            if value is recipe:  # each of its defenses under its own name
                parts |= {defense.field: defense for defense in parts.pop("defenses")}
            assert set(plain) - {"name"} == parts.keys() - {"name"}
            for name, part in parts.items():
                same(part, plain[name])
        else:
            assert plain == value

    same(recipe, settings)
    surrogate = recipe.model.neuron.surrogate
    assert settings["model"]["neuron"]["surrogate"] == {
        "name": type(surrogate).__name__,
        **dataclasses.asdict(surrogate),
    }
    assert settings["model"]["coding"]["name"] == type(recipe.model.coding).__name__


def test_settings_name_the_surrogate():
    recipe = Recipe(name="mine", model=ModelConfig(neuron=Neuron(surrogate=Sigmoid(2.5))))
    assert recipe.settings()["model"]["neuron"]["surrogate"] == {"name": "Sigmoid", "alpha": 2.5}


@pytest.mark.sweep
@pytest.mark.parametrize("name", RECIPES)
def test_the_audit_comes_back_from_the_run_folder(name, tmp_path):
    recipe = RECIPES[name]
    folder = RunFolder(tmp_path)
    folder.open(name, recipe.settings(), device="cpu", command="", resume=False)
    assert recorded_audit_config(tmp_path) == recipe.audit


def test_no_audit_comes_back_from_what_is_no_recipe(tmp_path):
    with pytest.raises(SpikeproofError, match="no config.json"):
        recorded_audit_config(tmp_path)
    RunFolder(tmp_path).open("x", {"audit": {"strength": 3}}, device="cpu", command="", resume=False)
    with pytest.raises(SpikeproofError, match="audit.*strength"):
        recorded_audit_config(tmp_path)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("demo-digits-vanila", "demo-digits-vanilla"),
        ("mini-cifar10-mpdsgr", "mini-cifar10-mpd-sgr"),
        ("vgg11-cifar10-at-tog", "vgg11-cifar10-at-tgo"),
    ],
)
def test_a_near_miss_is_told_the_right_name(said, meant):
    with pytest.raises(SpikeproofError, match=f"did you mean {meant}"):
        find_recipe(said)


def test_a_far_miss_is_told_where_to_look():
    with pytest.raises(SpikeproofError, match="'zzz'.*spikeproof recipes"):
        find_recipe("zzz")


def test_find_recipe_finds_every_recipe():
    assert all(find_recipe(name) is recipe for name, recipe in RECIPES.items())


def test_images_that_are_not_square():
    data = blank(find_recipe("demo-digits-vanilla"))
    tall = ImageSet(torch.zeros(2, 1, 8, 10, dtype=torch.uint8), data.train.labels, data.train.class_names)
    with pytest.raises(SpikeproofError, match="8x10.*square"):
        ModelConfig(name="conv").create(Data("tall", tall, tall, tall, mean=(0.5,), std=(0.25,)), seed=0)


def test_the_seed_decides_the_start_and_leaves_no_trace():
    data = blank(find_recipe("demo-digits-vanilla"))
    config = ModelConfig(name="conv", kernels="reference")
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first, again, other = (config.create(data, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model.state_dict()["stem.weight"] for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.fixture
def tiny():
    recipe = find_recipe("demo-digits-tgo")
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, train_limit=256, validation=60),
        train=dataclasses.replace(recipe.train, epochs=1, device="cpu"),
        audit=AuditConfig(eps=0.1, samples=20, battery=None, trials=("FGSM",), tune_samples=0, diagnostics=False),
    )


def test_a_recipe_trained_and_audited(tiny, tmp_path):
    first = train_recipe(tiny, data_dir=None, out=tmp_path / "first", command="one", show=False)
    torch.manual_seed(77)
    again = train_recipe(tiny, data_dir=None, out=tmp_path / "again", show=False)
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    recorded = RunFolder(tmp_path / "first").config()
    assert (recorded["name"], recorded["command"]) == ("demo-digits-tgo", "one")
    assert recorded["recipe"] == json.loads(json.dumps(tiny.settings()))
    found = audit_run(tmp_path / "first", recorded_audit_config(tmp_path / "first"), data_dir=None, show=False)
    assert found.config == dataclasses.replace(tiny.audit, noise=False, eot_iter=1, precision="fp32")
    # The sites' noise came along with the weights, and stayed off.
    noisy = dataclasses.replace(tiny.audit, noise=True, eot_iter=2)
    assert audit_run(tmp_path / "first", noisy, data_dir=None, show=False).config.noise


def test_a_run_from_before_there_was_one_precision(tiny, tmp_path):
    """Its defenses had one each: it is read, audited as its own recipe says, and reported."""
    folder = tmp_path / "old"
    train_recipe(tiny.having(AdversarialTraining(eps=0.1)), data_dir=None, out=folder, show=False)
    config = RunFolder(folder).config()
    del config["precision"]
    for part in ("train", "at", "audit"):
        config["recipe"][part]["precision"] = "fp32" if part == "train" else "bf16"
    (folder / "config.json").write_text(json.dumps(sealed(config)))
    asked = recorded_audit_config(folder)
    assert asked.precision == "bf16" and RunFolder(folder).precision == "fp32"
    found = audit_run(folder, asked, data_dir=None, show=False)
    assert found.to_json("")["crafting_precision"] == "bf16"
    told = text_table(read_runs(folder))
    assert "crafted in bf16, judged in float32" in told
    page = write_report([folder], tmp_path / "report.html").read_text()
    assert "crafted in bf16" in page and "1 epochs (batches of 64, learning rate 0.1, fp32)" in page


def test_settings_are_chosen_on_validation_images_and_never_on_the_audited(tiny, tmp_path):
    train_recipe(tiny, data_dir=None, out=tmp_path, show=False)
    config = dataclasses.replace(tiny.audit, trials=("FGSM", "SA-PGD-2@ASSG"), tune_samples=10)
    tuned = {}
    for split in ("test", "validation"):
        found = audit_run(tmp_path, dataclasses.replace(config, split=split), data_dir=None, show=False)
        tuned[split] = found.tuning.samples
    assert tuned == {"test": 10, "validation": 0}
    assert not (tmp_path / "audit-parts").exists()


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_audited_split_is_the_one_asked_for(tiny, tmp_path, split):
    train_recipe(tiny, data_dir=None, out=tmp_path, show=False)
    config = dataclasses.replace(tiny.audit, split=split, samples=None)
    found = audit_run(tmp_path, config, data_dir=None, show=False)
    (place,) = (tmp_path / "audits").iterdir()
    data = tiny.data.load(None)
    expected = {"test": data.test, "validation": data.validation}[split]
    rows = pq.read_table(place / "outcomes.parquet").to_pylist()
    labels = {row["sample"]: row["label"] for row in rows if row["kind"] == "clean"}
    assert [labels[sample] for sample in range(len(expected))] == expected.labels.tolist()
    said = json.loads((place / "audit.json").read_text())
    assert (said["split"], said["samples"]) == (split, len(expected))
    assert found.worst_case.samples == len(expected)


def test_recipes_fields_are_documented_by_type():
    # A recipe is read by the command line field by field, so every field needs a default but the name.
    required = [
        field.name
        for field in dataclasses.fields(Recipe)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    assert required == ["name"]
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in RECIPES)
