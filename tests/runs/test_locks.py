"""One writer at a time, and file systems that have no locks: work goes on there, with a word."""

import errno
import fcntl
import os

import pytest

from spikeproof import disk
from spikeproof.disk import Busy, alone, why_no_locks
from spikeproof.errors import SpikeproofError
from spikeproof.spiking.ops import compile as compiling
from spikeproof.train import train

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@pytest.fixture(params=NO_LOCKS, ids=errno.errorcode.get)
def no_locks(request, monkeypatch):
    """Every flock fails as it does on such a file system; what the system says of it."""

    def refuse(file, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    disk._warn_of_no_locks.cache_clear()
    return os.strerror(request.param)


def test_only_one_has_it(tmp_path):
    lock = tmp_path / "run" / ".lock"
    with alone(lock, "it"), pytest.raises(Busy, match="Another process is at the run"), alone(lock, "the run"):
        pass
    assert not (tmp_path / "run").exists()


def test_the_question_touches_nobodys_lock(tmp_path):
    with alone(tmp_path / "run" / ".lock", "this"):
        assert why_no_locks(tmp_path / "run") is None
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_training_goes_on_without_locks(no_locks, new_model, few_digits, quick, tmp_path):
    with pytest.warns(RuntimeWarning, match="no file locks") as said:
        train(new_model(), few_digits, config=quick(epochs=1), out=tmp_path / "run", show=False)
    assert no_locks in str(said[0].message) and str(tmp_path / "run") in str(said[0].message)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["config.json", "metrics.jsonl", "model.safetensors"]


def test_a_folder_in_which_nothing_came_is_removed(no_locks, tmp_path):
    with pytest.warns(RuntimeWarning, match="no file locks"), alone(tmp_path / "run" / ".lock", "the run"):
        pass
    assert not (tmp_path / "run").exists()


def test_the_compiler_waits_for_no_lock_that_cannot_be_had(no_locks, tmp_path):
    workshop = compiling._workshop.__wrapped__(tmp_path, os.getpid())
    assert not (workshop / "precompiled_headers").exists()


def test_with_locks_the_compilers_headers_are_kept(tmp_path):
    workshop = compiling._workshop.__wrapped__(tmp_path, os.getpid())
    assert (workshop / "precompiled_headers").resolve().is_relative_to(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SpikeproofError, match="Permission denied.*mend its permissions"), alone(tmp_path / ".l", "it"):
        pass


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    lock = tmp_path / "file" / "run" / ".lock"
    with pytest.raises(SpikeproofError, match="cannot be made for it.*give another place"), alone(lock, "it"):
        pass
