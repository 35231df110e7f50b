"""Inductor's kernels on disk: compiled once a machine, and never in the way; and what runs without a compiler."""

import gc
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from twin import STEPS, assert_same, currents, new_site, observe

from spikeproof.spiking import Neuron, Site
from spikeproof.spiking.ops import compile as compiling
from spikeproof.spiking.ops import instance as instances
from spikeproof.spiking.ops import kernel_folder, kernels


def double_and_add(setting, values, vector):
    """A function small enough to be compiled in a moment."""
    return 2 * values + vector * setting


def run_it():
    values, vector = torch.rand(2, 3, 5, 4), torch.rand(4)
    (found,) = kernels.run(double_and_add, 3.0, values, vector)
    torch.testing.assert_close(found, double_and_add(3.0, values, vector))


@pytest.fixture
def new_process(monkeypatch):
    """Forget what this process has loaded, as a new one would; called again, once more."""

    def forget():
        monkeypatch.setattr(kernels, "_kernels", {})
        instances.instance.cache_clear()

    forget()
    return forget


@pytest.fixture
def folder(monkeypatch, tmp_path, new_process):
    monkeypatch.setenv("SPIKEPROOF_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def compilations(monkeypatch):
    """One entry for each time that the compiler really ran."""
    made, compile_it = [], compiling._compile

    def counted(*arguments):
        made.append(arguments)
        return compile_it(*arguments)

    monkeypatch.setattr(compiling, "_compile", counted)
    return made


@pytest.mark.thorough
def test_a_second_process_compiles_nothing(monkeypatch, folder, new_process):
    run_it()
    new_process()

    def refuse(*arguments):
        raise AssertionError("compiled again")

    monkeypatch.setattr(compiling, "_compile", refuse)
    run_it()


def damages(whole):
    yield b""
    yield whole[: len(whole) // 2]
    yield whole[:-1]
    yield b"\x80\x04" + whole
    yield bytes(byte ^ 0x55 for byte in whole)
    yield whole[: len(whole) // 3] + bytes(64) + whole[len(whole) // 3 + 64 :]


@pytest.mark.thorough
def test_a_damaged_file_is_made_again(folder, new_process, compilations):
    run_it()
    (file,) = folder.glob("*.bin")
    for damage in damages(file.read_bytes()):
        before = len(compilations)
        file.write_bytes(damage)
        new_process()
        run_it()
        new_process()
        run_it()
        assert len(compilations) <= before + 1  # once to mend it, at the most
    assert len(compilations) >= 2


@pytest.mark.thorough
def test_without_the_compilers_own_files_a_kernel_still_loads(folder, new_process):
    run_it()
    compiling._remove(compiling._workshop(folder, os.getpid()), os.getpid())
    compiling._workshop.cache_clear()
    new_process()
    run_it()


@pytest.mark.thorough
def test_each_setting_dtype_and_function_has_a_kernel_of_its_own(folder, compilations):
    values, vector = torch.rand(2, 3, 5, 4), torch.rand(4)
    for _ in range(2):
        for setting in (1.0, 2.0):
            for dtype in (torch.float32, torch.float64):
                (found,) = kernels.run(double_and_add, setting, values.to(dtype), vector.to(dtype))
                torch.testing.assert_close(found, double_and_add(setting, values.to(dtype), vector.to(dtype)))
    assert len(compilations) == 4 == len(list(folder.glob("*.bin")))


def test_a_folder_that_cannot_be_written_still_works(monkeypatch, tmp_path, new_process):
    """The place of the folder is taken by a file, which stops the superuser too."""
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("SPIKEPROOF_CACHE_DIR", str(tmp_path / "taken"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "the user's own"))
    run_it()
    assert not (tmp_path / "the user's own").exists()


def test_the_compiler_takes_up_nothing_that_another_process_left(folder, new_process, compilations):
    """It would load it without a look, damaged or for other vector units."""
    kernels.run(double_and_add, 7.25, torch.rand(2, 3, 5, 4), torch.rand(4))  # no other test has this one in memory
    workshop = compiling._workshop(folder, os.getpid())
    assert any(workshop.rglob("*.so")) and not any(folder.rglob("*.so"))
    assert compiling._workshop(folder, os.getpid() + 1) != workshop


def test_each_kind_of_machine_has_headers_of_its_own(monkeypatch, folder):
    first = compiling._workshop(folder, -1) / "precompiled_headers"
    monkeypatch.setattr(compiling, "machine", lambda _: "another")
    second = compiling._workshop(folder, -2) / "precompiled_headers"
    assert first.resolve().parent == second.resolve().parent == folder / "headers"
    assert first.resolve() != second.resolve()


def test_sixty_flipped_bits_of_a_kernel_are_all_seen(folder, new_process, compilations):
    """What is behind a bit may be machine code: it is made again, and never loaded."""
    run_it()
    (file,) = folder.glob("*.bin")
    whole = file.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 60):
        byte, place = divmod(bit, 8)
        file.write_bytes(whole[:byte] + bytes([whole[byte] ^ 1 << place]) + whole[byte + 1 :])
        with pytest.raises(ValueError, match="not what was written"):
            compiling._load(file)
    before = len(compilations)
    new_process()
    run_it()
    assert len(compilations) == before + 1


@pytest.mark.skipif(os.name != "posix", reason="permissions are the system's")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720])
def test_kernels_lie_where_nobody_else_can_write(folder, mode):
    folder.chmod(mode)
    run_it()
    (file,) = folder.rglob("*.bin")
    assert file.parent == folder / f"user-{os.getuid()}" and file.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "variable",
    [pytest.param(each, marks=pytest.mark.thorough) for each in ("HOME", "SPIKEPROOF_CACHE_DIR", "TMPDIR")],
)
def test_a_space_in_a_path_does_no_harm(tmp_path, variable):
    """In a process of its own, as the places are asked for once."""
    place = tmp_path / "with a space"
    place.mkdir()
    program = (
        "import torch, warnings; warnings.simplefilter('error')\n"
        "from spikeproof.spiking.ops import kernels\n"
        "def double(setting, values): return 2 * values + setting\n"
        "values = torch.rand(3, 5)\n"
        "(found,) = kernels.run(double, 3.0, values)\n"
        "assert torch.allclose(found, 2 * values + 3)\n"
    )
    surroundings = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "TMPDIR")}
    surroundings["SPIKEPROOF_CACHE_DIR"] = str(tmp_path / "cache")
    if variable == "HOME":
        del surroundings["SPIKEPROOF_CACHE_DIR"]
    (tmp_path / "program.py").write_text(program)
    run = [sys.executable, tmp_path / "program.py"]
    done = subprocess.run(run, env=surroundings | {variable: str(place)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    if variable != "TMPDIR":
        assert any(place.rglob("*.bin"))
    assert not any(place.rglob("spikeproof-kernels-*"))


def test_each_gpu_has_kernels_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "the same")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    first, second, current = (kernel_folder.machine(torch.device(name)) for name in ("cuda:0", "cuda:1", "cuda"))
    assert first != second == current


def surroundings():
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR"), gc.isenabled(), list(warnings.filters)


@pytest.mark.parametrize("collecting", [True, False], ids=["collector on", "collector off"])
@pytest.mark.parametrize("named", [None, "/somewhere/else"], ids=["unset", "set"])
def test_compiling_leaves_the_process_as_it_was_exception_or_not(monkeypatch, folder, new_process, named, collecting):
    if named is None:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    else:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", named)
    (gc.enable if collecting else gc.disable)()
    try:
        before = surroundings()
        run_it()
        assert surroundings() == before
        new_process()

        def fail(*arguments):
            workshop = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
            assert not gc.isenabled() and workshop == compiling._workshop(folder, os.getpid())
            raise ZeroDivisionError("no room")

        monkeypatch.setattr(kernel_folder, "_failures", [])
        values, vector = torch.rand(2, 3, 5, 4), torch.rand(4)
        with monkeypatch.context() as patch, pytest.warns(RuntimeWarning, match="could not be built.*no room"):
            patch.setattr(compiling, "_compile", fail)
            (found,) = kernels.run(double_and_add, 4.0, values, vector)
        assert torch.equal(found, double_and_add(4.0, values, vector))
        assert surroundings() == before and not list(folder.glob("*.bin"))[1:]
    finally:
        gc.enable()


def test_without_a_compiler_the_reference_runs_with_one_warning(monkeypatch, folder):
    monkeypatch.setenv("CXX", str(folder / "no-compiler"))
    kernel_folder._warn_once.cache_clear()
    options = {"with_norm": True, "pool": 2}
    current = currents((4, 5, 6, 2))
    with pytest.warns(RuntimeWarning, match="No compiler") as caught:
        first = observe(new_site("fused", 5, **options), current, training=True)
    assert len(caught) == 1
    expected = observe(new_site("reference", 5, **options), current, training=True)
    assert_same(first, expected)
    # From here on any warning is an error.
    assert_same(observe(new_site("fused", 5, **options), current, training=True), expected)
    features = torch.rand(2 * STEPS, 5)
    assert torch.equal(Site(Neuron(), STEPS, "fused")(features), Site(Neuron(), STEPS)(features))
    assert not kernels._kernels and not list(folder.glob("*.bin"))
    kernel_folder._warn_once.cache_clear()


def test_the_folder_is_the_named_one_or_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKEPROOF_CACHE_DIR", str(tmp_path / "mine"))
    assert kernel_folder.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SPIKEPROOF_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert kernel_folder.cache_folder() == tmp_path / "xdg" / "spikeproof" / "kernels"
