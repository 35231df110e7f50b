"""The command line called in process, on digits that train in a second."""

import shutil

import pytest

from spikeproof.cli.main import main

TINY = {
    "train.epochs": 1,
    "train.device": "cpu",
    "data.train-limit": 256,
    "data.validation": 50,
    "audit.samples": 20,
    "audit.battery": None,
    "audit.trials": ["FGSM", "PGD-2", "SA-PGD-3@ASSG"],
    "audit.tune-samples": 0,
    "audit.sweep-samples": 5,
    "audit.sweep": 0.05,
}


@pytest.fixture(scope="session")
def train_words():
    """The words of a training command that takes a second."""

    def words(out, *more, recipe="demo-digits-vanilla", **changes):
        settings = TINY | {name.replace("__", ".").replace("_", "-"): value for name, value in changes.items()}
        options = []
        for name, value in settings.items():
            options += [f"--{name}", *(str(word) for word in (value if isinstance(value, list) else [value]))]
        options += ["--audit.no-diagnostics"]
        return ["train", recipe, *options, "--out", str(out), *more]

    return words


@pytest.fixture
def call(capsys):
    """Run a command; returns exit code, stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def refused(call):
    """Demand that a command ends with code 2 and one line on stderr that has all the given pieces."""

    def run(*words, says=()):
        code, out, err = call(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("spikeproof: ")
        assert err.rstrip().endswith((".", "?"))
        for piece in says:
            assert str(piece) in err
        return err

    return run


@pytest.fixture(scope="session")
def _trained(tmp_path_factory, train_words):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    main(train_words(folder))
    return folder


@pytest.fixture
def trained(_trained, tmp_path):
    """A trained run, one's own to spoil."""
    return shutil.copytree(_trained, tmp_path / "trained")


@pytest.fixture(scope="session")
def _audited(_trained, tmp_path_factory):
    folder = shutil.copytree(_trained, tmp_path_factory.mktemp("runs") / "audited")
    main(["audit", str(folder), "--device", "cpu"])
    return folder


@pytest.fixture
def audit_in():
    """The folder of a run's only audit."""

    def find(folder):
        (place,) = (folder / "audits").iterdir()
        return place

    return find


@pytest.fixture
def audited(_audited, tmp_path):
    """A trained and audited run, one's own to spoil."""
    return shutil.copytree(_audited, tmp_path / "audited")
