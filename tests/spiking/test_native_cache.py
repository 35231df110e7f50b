"""Instances of the C++ twins on disk: compiled once a machine, looked at before they are run, and never in the way."""

import ctypes
import os
import random
import subprocess
import sys

import pytest
import torch
from twin import assert_same, currents, new_site, observe

from spikeproof.disk import is_sealed_behind
from spikeproof.spiking.ops import drive as plain
from spikeproof.spiking.ops import instance as instances
from spikeproof.spiking.ops import kernel_folder, native

VALUES = torch.rand(1, 3, 5, 4)


@pytest.fixture
def new_process():
    """Forget what this process has loaded, as a new one would; called again, once more."""
    instances.instance.cache_clear()
    yield instances.instance.cache_clear
    instances.instance.cache_clear()


@pytest.fixture
def folder(monkeypatch, tmp_path, new_process):
    monkeypatch.setenv("SPIKEPROOF_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def compilations(monkeypatch):
    """One entry for each time that the compiler really ran."""
    made, make = [], instances._made

    def counted(*arguments):
        made.append(arguments)
        return make(*arguments)

    monkeypatch.setattr(instances, "_made", counted)
    return made


def run_it():
    found = native.run(plain.batch_sums, None, VALUES)
    assert found is not None
    for ours, theirs in zip(found, plain.batch_sums(None, VALUES), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_second_process_compiles_nothing_and_gives_equal_numbers(new_process, compilations):
    current = currents((4, 5, 6, 2))
    site = new_site("fused", 5, with_norm=True, pool=2)
    before = {name: value.clone() for name, value in site.state_dict().items()}
    first = observe(site, current, training=True)
    made = len(compilations)
    new_process()
    site.load_state_dict(before)
    second = observe(site, current, training=True)
    assert len(compilations) == made and all(torch.equal(part, second[name]) for name, part in first.items())


def test_a_source_that_was_changed_under_a_running_process_is_not_called(monkeypatch, folder):
    """Its call may have other fields by now."""

    class Older(ctypes.Structure):
        _fields_ = instances.Call._fields_[:-1]

    monkeypatch.setattr(instances, "Call", Older)
    monkeypatch.setattr(native, "_failed", [])
    monkeypatch.setattr(kernel_folder, "_failures", [])
    with pytest.warns(RuntimeWarning, match="changed while it ran"):
        assert native.run(plain.batch_sums, None, VALUES) is None


def damages(whole):
    yield b""
    yield whole[: len(whole) // 2]
    yield whole[:-1]
    yield b"\x7fELF" + whole
    yield bytes(byte ^ 0x55 for byte in whole)


@pytest.mark.thorough
def test_a_damaged_file_is_made_again(folder, new_process, compilations):
    run_it()
    (file,) = folder.glob("*.so")
    for number, damage in enumerate(damages(file.read_bytes()), 2):
        file.unlink()  # the loaded one stays what it is
        file.write_bytes(damage)
        for _ in range(2):
            new_process()
            run_it()
        assert len(compilations) == number


def test_sixty_flipped_bits_are_all_seen(folder):
    run_it()
    (file,) = folder.glob("*.so")
    whole = file.read_bytes()
    assert is_sealed_behind(whole)
    for bit in random.Random(0).sample(range(8 * len(whole)), 60):
        byte, place = divmod(bit, 8)
        assert not is_sealed_behind(whole[:byte] + bytes([whole[byte] ^ 1 << place]) + whole[byte + 1 :])


def test_a_folder_that_cannot_be_written_still_works(monkeypatch, tmp_path, new_process):
    """The place of the folder is taken by a file, which stops the superuser too."""
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("SPIKEPROOF_CACHE_DIR", str(tmp_path / "taken"))
    run_it()


def test_a_full_disk_costs_the_next_process_its_warm_start(monkeypatch, folder):
    def full(path, write):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(instances, "write_atomically", full)
    run_it()
    assert not list(folder.glob("*.so"))


def test_what_decides_a_kernel_is_in_its_name(folder):
    """dtype, words, source, options, compiler, and the machine."""
    for dtype in (torch.float32, torch.float64):
        native.run(plain.batch_sums, None, VALUES.to(dtype))
    native.run(plain.add_affine, None, VALUES.clone(), VALUES, *torch.rand(3, 4))
    assert len(list(folder.glob("*.so"))) == 3


@pytest.mark.skipif(os.name != "posix", reason="permissions are the system's")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720])
def test_kernels_lie_where_nobody_else_can_write(folder, mode):
    folder.chmod(mode)
    run_it()
    (file,) = folder.rglob("*.so")
    assert file.parent == folder / f"user-{os.getuid()}" and file.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "variable",
    ["HOME", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("SPIKEPROOF_CACHE_DIR", "TMPDIR"))],
)
def test_a_space_in_a_path_does_no_harm(tmp_path, variable):
    """In a process of its own, as the places are asked for once."""
    place = tmp_path / "with a space"
    place.mkdir()
    program = (
        "import torch, warnings; warnings.simplefilter('error')\n"
        "from spikeproof.spiking.ops import drive, native\n"
        "assert native.run(drive.batch_sums, None, torch.rand(1, 3, 5, 4)) is not None\n"
    )
    surroundings = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "TMPDIR")}
    surroundings["SPIKEPROOF_CACHE_DIR"] = str(tmp_path / "cache")
    if variable == "HOME":
        del surroundings["SPIKEPROOF_CACHE_DIR"]
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=surroundings | {variable: str(place)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    if variable != "TMPDIR":
        assert any(place.rglob("*.so"))


def test_a_compiler_that_fails_costs_one_warning_and_no_number(monkeypatch, folder):
    """The reference runs: the same numbers. Nothing is tried twice, and nothing half made stays."""
    broken = folder / "broken"
    broken.write_text("#!/bin/sh\necho 'site.cpp:1: error: no headers' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setattr(native, "_failed", [])
    monkeypatch.setattr(kernel_folder, "_failures", [])
    current, options = currents((4, 5, 6, 2)), {"with_norm": True, "pool": 2}
    expected = observe(new_site("reference", 5, **options), current, training=True)
    with pytest.warns(RuntimeWarning, match="could not be built.*no headers") as caught:
        first = observe(new_site("fused", 5, **options), current, training=True)
    assert len(caught) == 1
    assert_same(first, expected)
    assert_same(observe(new_site("fused", 5, **options), current, training=True), expected)
    assert not list(folder.glob("*.so"))
