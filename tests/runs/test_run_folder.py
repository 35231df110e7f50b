"""The run folder: what it holds, and what is said when a file in it is damaged."""

import dataclasses
import io
import json
import platform
import shutil

import pytest
import torch

import spikeproof
from spikeproof.defenses import TGO
from spikeproof.disk import sealed_bytes, write_atomically
from spikeproof.machine.device import machine_name
from spikeproof.models import load_model
from spikeproof.runs import RunFolder
from spikeproof.train import train
from spikeproof.train.identity import identity, identity_of_network
from stops import stopped_at


@pytest.fixture
def stopped(new_model, few_digits, quick, tmp_path):
    """A run that was stopped after its 11th step of 20, and how to go on with it."""
    folder = tmp_path / "stopped"
    with stopped_at(0.5):
        train(new_model(), few_digits, config=quick(), out=folder, settings={"train": {"a": 1}}, show=False)

    def resume(**changes):
        model = changes.pop("model", None) or new_model()
        shared = {"config": quick(), "out": folder, "settings": {"train": {"a": 1}}, "resume": True, "show": False}
        return train(model, few_digits, **(shared | changes))

    return folder, resume


@pytest.fixture
def finished(new_model, few_digits, quick, tmp_path):
    folder = tmp_path / "finished"
    train(new_model(), few_digits, config=quick(), out=folder, show=False)

    def resume(**changes):
        model = changes.pop("model", None) or new_model()
        return train(model, few_digits, config=quick(**changes), out=folder, resume=True, show=False)

    return folder, resume


def test_what_a_finished_run_leaves(new_model, few_digits, quick, tmp_path):
    settings = {"train": {"epochs": 2}}
    run = train(
        new_model(),
        few_digits,
        [TGO(sigma=0.3)],
        quick(),
        out=tmp_path / "run",
        name="mine",
        settings=settings,
        command="made by hand",
        show=False,
    )
    assert run.folder == tmp_path / "run"
    names = sorted(path.name for path in run.folder.iterdir())
    assert names == [".lock", "config.json", "metrics.jsonl", "model.safetensors"]
    assert RunFolder(run.folder).config() == {
        "name": "mine",
        "recipe": settings,
        "machine": machine_name("cpu"),
        "precision": "fp32",
        "spikeproof": spikeproof.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "images": few_digits.fingerprints(),
        "identity": json.loads(
            json.dumps({**identity([TGO(sigma=0.3)], quick()), "model": identity_of_network(run.model)})
        ),
        "perturbed": False,
        "labels": {"tgo": "TGO", "TGO": "TGO"},
        "command": "made by hand",
    }
    assert RunFolder(run.folder).metrics() == run.metrics
    loaded, images = load_model(run.folder / "model.safetensors"), few_digits.validation.images.float() / 255
    assert torch.equal(loaded(images), run.model(images))


def test_the_default_settings_say_how_it_was_trained(finished):
    folder, _ = finished
    recorded = RunFolder(folder).config()["recipe"]
    assert recorded["train"]["epochs"] == 2
    assert recorded["defenses"] == []


def test_a_folder_in_use_is_left_alone(finished, new_model, few_digits, quick, refuses):
    folder, _ = finished
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with refuses(folder, "already holds a run", "--resume", "--out"):
        train(new_model(), few_digits, config=quick(), out=folder, show=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_resuming_with_another_setting_names_the_field(finished, refuses):
    folder, resume = finished
    with refuses(folder, "train.epochs: 2 then, 4 now", "other settings") as _:
        resume(epochs=4)
    with refuses("train.learning_rate: 0.1 then, 0.2 now", "train.seed: 0 then, 5 now"):
        resume(learning_rate=0.2, seed=5)


def test_resuming_with_a_setting_more_or_less_names_it(stopped, refuses):
    _, resume = stopped
    with refuses("train.b: None then, 2 now"):
        resume(settings={"train": {"a": 1, "b": 2}})
    with refuses("train.a: 1 then, None now"):
        resume(settings={"train": {}})


def test_resuming_a_finished_run_with_another_model(finished, new_model, refuses):
    _, resume = finished
    with refuses("other settings", "model.num_steps: 4 then, 2 now"):
        resume(model=new_model(num_steps=2))


def test_resuming_a_stopped_run_with_another_model(stopped, new_model, refuses):
    folder, resume = stopped
    with refuses(folder, "other settings", "model.width: 1.0 then, 0.5 now"):
        resume(model=new_model(width=0.5))


@pytest.mark.sweep
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:100],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-20],
        lambda whole: b"no zip at all",
        lambda whole: bytes(len(whole)),
    ],
    ids=["empty", "its head", "half", "all but its end", "text", "zeros"],
)
def test_a_damaged_state(stopped, refuses, damage):
    folder, resume = stopped
    state = folder / "state.pt"
    state.write_bytes(damage(state.read_bytes()))
    with refuses(state, "is damaged"):
        resume()


@pytest.mark.parametrize("foreign", [[1, 2], {"step": 3}], ids=["list", "too little"])
def test_a_state_that_is_none_of_ours(stopped, refuses, foreign):
    folder, resume = stopped
    buffer = io.BytesIO()
    torch.save(foreign, buffer)
    (folder / "state.pt").write_bytes(sealed_bytes(buffer.getvalue()))
    with refuses(folder):
        resume()


@pytest.mark.sweep
@pytest.mark.parametrize(
    "text", ["", "{", '{"name": "x"', "\x00\x01", "{}", "[]", "null", '{"recipe": null}', '"text"'], ids=repr
)
def test_a_damaged_config(stopped, refuses, text):
    folder, resume = stopped
    (folder / "config.json").write_text(text)
    with refuses(folder):
        resume()


def test_a_config_that_is_not_text(stopped, refuses):
    folder, resume = stopped
    (folder / "config.json").write_bytes(b"\xff\xfe\xff")
    with refuses(folder / "config.json", "cannot be read"):
        resume()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_weights(finished, refuses, share):
    folder, resume = finished
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(share * weights.stat().st_size)])
    with refuses(weights, "damaged"):
        resume()


def test_damaged_metrics_of_a_finished_run(finished, refuses):
    folder, resume = finished
    metrics = folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-40])
    with refuses(metrics):
        resume()


def test_metrics_cut_short_are_written_again_from_the_state(stopped):
    folder, resume = stopped
    (folder / "metrics.jsonl").write_text("{")
    run = resume()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]
    assert RunFolder(folder).metrics() == run.metrics


def test_a_moved_folder_goes_on(stopped, tmp_path):
    folder, resume = stopped
    shutil.move(folder, tmp_path / "elsewhere")
    assert len(resume(out=tmp_path / "elsewhere").metrics) == 2


def test_an_attack_radius_is_part_of_the_settings(new_model, few_digits, quick, refuses, all_defenses, tmp_path):
    defenses = all_defenses()
    train(new_model(), few_digits, defenses, quick(epochs=1), out=tmp_path, show=False)
    defenses[0] = dataclasses.replace(defenses[0], eps=0.1)
    with refuses("defenses"):
        train(new_model(), few_digits, defenses, quick(epochs=1), out=tmp_path, resume=True, show=False)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    write_atomically(target, lambda path: path.write_text("old"))

    def fail(path):
        path.write_text("half of the n")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="full"):
        write_atomically(target, fail)
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_run_from_before_a_field_goes_on_where_it_has_the_old_meaning(tmp_path, refuses):
    before = {"train": {"epochs": 2}, "audit": {"samples": 5}}
    RunFolder(tmp_path).open("old", before, device="cpu", command="", resume=False)
    RunFolder(tmp_path).write_state({"step": 1})
    meant = {"train": {"epochs": 2, "loss": "mean"}, "audit": {"samples": 5, "transfer": ["PGD-20"]}}
    RunFolder(tmp_path).open("old", meant, device="cpu", command="", resume=True)
    with refuses("train.loss: mean then, tet now"):
        other = {**meant, "train": {"epochs": 2, "loss": "tet"}}
        RunFolder(tmp_path).open("old", other, device="cpu", command="", resume=True)
