"""``push``: shares a finished run on the hub or in a folder; what is there is complete or as it was before."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from spikeproof.disk import user_path, write_atomically
from spikeproof.errors import SpikeproofError, said_by_the_system
from spikeproof.hub.card import model_card
from spikeproof.hub.private_words import shared_json, without_paths
from spikeproof.models import load_model
from spikeproof.models.hub import HUB_PREFIX, WEIGHTS_FILE, parse_repository
from spikeproof.report import SavedRun, audits_in, read_outcomes, read_run
from spikeproof.runs import RunFolder

_CARD_FILE = "README.md"
# Only these are pushed. Pictures are not: they are images of the data set, whose licence may not allow it.
_FILES = (_CARD_FILE, WEIGHTS_FILE, "config.json", "metrics.jsonl", "audit.json", "outcomes.parquet")


def push(
    run: str | Path,
    target: str | Path,
    *,
    audit: str | Path | None = None,
    license: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> str:
    """Share a finished run: weights, config, metrics, the audit where there is one, and a model card.

    ``hub:OWNER/NAME`` is a model repository, which is made if it does not exist. All files come in one commit, which
    also removes the audit of an earlier push if this one has none. Any other target is a folder, which is moved into
    place when it is complete. Commands are left out of all files, and absolute paths are cut to their last part.

    Args:
        run: the run folder.
        target: ``hub:OWNER/NAME``, or a folder that is new, empty or was pushed to before.
        audit: the folder of the audit to push, where the run has several or it lies elsewhere; None for the run's own.
        license: of the weights, as the hub calls licences (mit, cc-by-4.0, ...); None to name none.
        private: make the repository private; refused where it is public already.
        message: of the commit; None for one that names the run.

    Returns:
        What ``load_model`` takes to load it.

    Raises:
        SpikeproofError: an unfinished or damaged run, an ``audit`` that is none or is of another run, a target that
            cannot be used, or a hub that refuses or cannot be reached.

    Example:
        >>> from spikeproof.data import load_data
        >>> from spikeproof.models import create_model, load_model
        >>> from spikeproof.train import TrainConfig, train
        >>> data = load_data("digits", validation=100, train_limit=128)
        >>> model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
        >>> with TemporaryDirectory() as folder:
        ...     config = TrainConfig(epochs=1, augmentation=None, device="cpu")
        ...     ran = train(model, data, config=config, out=f"{folder}/run", show=False)
        ...     loaded = load_model(push(ran.folder, f"{folder}/shared"))
        >>> loaded.description.name
        'conv'
    """
    on_hub = str(target).startswith(HUB_PREFIX)
    here = str(target).removeprefix(HUB_PREFIX)
    if on_hub and here and user_path(here).is_dir():
        # Loading `target` here would load from the folder.
        raise SpikeproofError(f"{target} is a folder that exists here; leave out {HUB_PREFIX} to push into a folder.")
    shared, audited = _read(Path(run), None if audit is None else Path(audit))
    # The path of a folder on this machine is of no use elsewhere.
    card = model_card(shared, source=str(target) if on_hub else f"{HUB_PREFIX}FOLDER", license=license)

    def stage(into: Path) -> None:
        _stage(shared.folder, audited, without_paths(card), into)

    if on_hub:
        _to_hub(str(target), stage, private=private, message=message or f"Push {shared.name}")
        return str(target)
    if private:
        raise SpikeproofError(
            f"{target} is a folder, and only a repository of the hub (hub:OWNER/NAME) can be private."
        )
    return f"{HUB_PREFIX}{_to_folder(Path(target), stage)}"


def _read(folder: Path, audited: Path | None) -> tuple[SavedRun, Path | None]:
    """The run with its audit, and the folder of the audit, or None."""
    run_folder = RunFolder(folder)
    config = run_folder.config()
    run_folder.refuse_own_network()
    if not run_folder.finished:
        raise SpikeproofError(
            f"The run in {folder} is not finished, so there are no weights to push; continue it with "
            "`spikeproof train ... --resume`."
        )
    load_model(run_folder.weights)  # so that damaged weights are refused here, and not where they are loaded
    if audited is None:
        audits = audits_in(folder)
        if len(audits) > 1:
            named = ", ".join(each.name for each in audits[:3])
            raise SpikeproofError(
                f"The run in {folder} has {len(audits)} audits ({named}, ...), and one is pushed; give its folder by "
                "--audit."
            )
        audited = audits[0] if audits else None
    elif not (audited / "audit.json").is_file():
        raise SpikeproofError(f"{audited} has no audit.json; give the folder of an audit of {folder}, or none.")
    elif RunFolder(audited).exists and RunFolder(audited).config() | {"command": ""} != config | {"command": ""}:
        raise SpikeproofError(
            f"The audit in {audited} is of another run than {folder}: its config.json is not that run's; give the "
            "folder of an audit of this run, or none."
        )
    return read_run(folder, audited), audited


def _stage(run: Path, audited: Path | None, card: str, into: Path) -> None:
    """Write all files into an empty folder. Files that are links, or damaged, are refused."""
    texts = {_CARD_FILE: card, "config.json": shared_json(_own(run / "config.json", run))}
    copies = [_own(run / WEIGHTS_FILE, run), _own(run / "metrics.jsonl", run)]
    if audited is not None:
        texts["audit.json"] = shared_json(_own(audited / "audit.json", audited))
        if (audited / "outcomes.parquet").exists():
            outcomes = _own(audited / "outcomes.parquet", audited)
            read_outcomes(outcomes)
            copies.append(outcomes)
    for name, text in texts.items():
        write_atomically(into / name, lambda path, text=text: path.write_text(text, "utf-8", "replace"))  # type: ignore[misc]
    for file in copies:
        write_atomically(into / file.name, lambda path, file=file: shutil.copyfile(file, path))  # type: ignore[misc]


def _own(path: Path, folder: Path) -> Path:
    """The same path, if it is a file of this folder and no link, which may lead to anything on this machine."""
    if path.is_symlink() or not path.is_file() or path.resolve().parent != folder.resolve():
        raise SpikeproofError(
            f"{path} is a link or something else that is no file, which is not pushed; put the file in its place."
        )
    return path


def _to_folder(target: Path, stage: Callable[[Path], None]) -> Path:
    """Fill a folder beside ``target``, then move it into place."""
    final = user_path(target).resolve()
    _refuse_other_content(final)
    staged, earlier = (final.with_name(f".{final.name}.{os.getpid()}.{what}") for what in ("new", "old"))
    try:
        staged.mkdir(parents=True)
        stage(staged)
        if not final.exists():
            staged.rename(final)
            return final
        final.rename(earlier)
        try:
            staged.rename(final)
        except BaseException:
            earlier.rename(final)
            raise
        shutil.rmtree(earlier)
    except OSError as error:
        raise SpikeproofError(f"{target} cannot be written: {said_by_the_system(error)}.") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return final


def _refuse_other_content(folder: Path) -> None:
    try:
        _look_into(folder)
    except OSError as error:
        raise SpikeproofError(f"{folder} cannot be read ({error.strerror or error}); give another folder.") from error


def _look_into(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise SpikeproofError(f"{folder} is a file; give a folder to push to.")
    if Path.cwd().is_relative_to(folder):
        raise SpikeproofError(f"{folder} is where you are; give a folder below it, such as {folder / 'shared'}.")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    card = folder / _CARD_FILE
    ours = (
        names <= set(_FILES) and card.is_file() and "\nlibrary_name: spikeproof\n" in card.read_text(errors="replace")
    )
    if names and not ours:
        raise SpikeproofError(
            f"{folder} holds other files than those of an earlier push; give a new or an empty folder."
        )


def _to_hub(target: str, stage: Callable[[Path], None], *, private: bool, message: str) -> None:
    repository = parse_repository(target)
    if repository.revision is not None:
        raise SpikeproofError(f"{target} names a revision, and a push makes a new one; push to hub:{repository.name}.")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    name = repository.name
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # The client asks whether a parquet file belongs to a model: the outcomes do.
        warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
        staged = Path(folder)
        try:
            stage(staged)
        except OSError as error:
            raise SpikeproofError(
                f"The files could not be gathered in {staged}: {said_by_the_system(error)}, or check that the run "
                "can be read."
            ) from error
        try:
            hub = HfApi()
            hub.create_repo(name, private=private or None, exist_ok=True)
            if private and not hub.model_info(name).private:
                raise SpikeproofError(f"{name} is public already; make it private on the hub, or push without private.")
            stale = [file for file in hub.list_repo_files(name) if file in _FILES and not (staged / file).exists()]
            # Not upload_folder: it may make several commits of one folder.
            additions = [CommitOperationAdd(path.name, path) for path in sorted(staged.iterdir())]
            deletions = [CommitOperationDelete(file) for file in stale]
            hub.create_commit(name, [*additions, *deletions], commit_message=without_paths(message))
        except SpikeproofError:
            raise
        # The client's exceptions differ from version to version and with the HTTP library below it.
        except Exception as error:
            raise SpikeproofError(
                f"The run could not be pushed to {name} ({_reason(error)}): go online, log in with `hf auth login`, "
                "and push to a name of your own or of your organisation."
            ) from error


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return type(error).__name__ if status is None else f"{type(error).__name__}, HTTP {status}"
