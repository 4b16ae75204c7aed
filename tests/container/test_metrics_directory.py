"""A metrics directory is removed only if it belongs to this user, has a lock file, and is unused."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tokensvc.container.metrics_directory import LOCK_FILE, PREFIX, create, keep, lock, remove_if_unused, remove_unused
from tokensvc.errors import SettingsError


@pytest.fixture(autouse=True)
def _own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def left_behind() -> Path:
    """A directory whose process has exited."""
    directory, descriptor = create()
    os.close(descriptor)
    (directory / "counter_4711.db").write_bytes(b"x")
    return directory


def test_a_new_directory_is_private_and_locked() -> None:
    directory, descriptor = create()
    assert directory.stat().st_mode & 0o777 == 0o700
    remove_unused()
    assert directory.exists()
    os.close(descriptor)
    remove_unused()
    assert not directory.exists()


def test_a_machine_without_a_directory_for_temporary_files_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(SettingsError) as raised:
        create()
    assert [error.field for error in raised.value.errors] == ["TMPDIR"]
    assert "must name a directory in which several workers can share their metrics: No such file" in str(raised.value)


def test_a_directory_is_in_use_while_any_process_has_locked_it() -> None:
    directory, first = create()
    second = lock(directory)
    os.close(first)
    assert not remove_if_unused(directory)
    os.close(second)
    assert remove_if_unused(directory)


def test_a_directory_that_is_kept_looks_used_and_stays_locked_with_the_same_file() -> None:
    directory, descriptor = create()
    (directory / "counter_4711.db").write_bytes(b"x")
    before = (directory / LOCK_FILE).stat()
    for path in directory.iterdir():
        os.utime(path, (0, 0))
    keep(directory, descriptor)
    assert all(min(path.stat().st_atime, path.stat().st_mtime) >= before.st_mtime - 1 for path in directory.iterdir())
    assert os.path.samestat((directory / LOCK_FILE).stat(), before)
    assert not remove_if_unused(directory)
    os.close(descriptor)


@pytest.mark.parametrize("deleted", [LOCK_FILE, "."])
def test_what_was_deleted_of_a_directory_in_use_is_created_again_and_locked(deleted: str) -> None:
    directory, descriptor = create()
    if deleted == LOCK_FILE:
        (directory / LOCK_FILE).unlink()
    else:
        shutil.rmtree(directory)
    keep(directory, descriptor)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert not os.get_inheritable(descriptor)
    worker = lock(directory)
    os.close(worker)
    assert not remove_if_unused(directory), "the new lock file is locked"
    os.close(descriptor)
    assert remove_if_unused(directory)


def test_a_directory_that_is_removed_as_unused_while_it_is_created_again_is_created_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, descriptor = create()
    (directory / LOCK_FILE).unlink()
    flock, calls = fcntl.flock, list[int]()

    def lock_late(descriptor: int, kind: int) -> None:
        calls.append(kind)
        if len(calls) == 1:
            shutil.rmtree(directory)
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    keep(directory, descriptor)
    assert len(calls) == 2
    assert not remove_if_unused(directory)
    os.close(descriptor)


def test_a_directory_is_not_removed_under_the_lock_of_a_deleted_file(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = left_behind()
    flock = fcntl.flock

    def replace_and_lock(descriptor: int, kind: int) -> None:
        (directory / LOCK_FILE).unlink()
        (directory / LOCK_FILE).touch()
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", replace_and_lock)
    assert not remove_if_unused(directory)
    assert (directory / LOCK_FILE).exists()


def test_a_link_that_has_taken_the_name_of_a_deleted_directory_is_not_followed(tmp_path: Path) -> None:
    directory, descriptor = create()
    shutil.rmtree(directory)
    elsewhere = left_behind()
    directory.symlink_to(elsewhere)
    for use in (lambda: keep(directory, descriptor), lambda: lock(directory)):
        with pytest.raises(PermissionError):
            use()
    assert remove_if_unused(elsewhere), "it is not locked"
    os.close(descriptor)


def test_all_unused_directories_are_removed_with_their_contents() -> None:
    directories = [left_behind() for _ in range(3)]
    remove_unused()
    assert not any(map(Path.exists, directories))


def test_a_directory_without_a_lock_file_stays(tmp_path: Path) -> None:
    """Another process may be creating it."""
    directory = tmp_path / f"{PREFIX}new"
    directory.mkdir()
    remove_unused()
    assert directory.exists()


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    directory = left_behind()
    elsewhere = tmp_path / "elsewhere"
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)
    remove_unused()
    assert (elsewhere / LOCK_FILE).exists()


def test_a_lock_file_that_is_a_symbolic_link_does_not_count(tmp_path: Path) -> None:
    directory = left_behind()
    (directory / LOCK_FILE).unlink()
    (tmp_path / "file").touch()
    (directory / LOCK_FILE).symlink_to(tmp_path / "file")
    remove_unused()
    assert directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_a_directory_of_another_user_stays() -> None:
    directory = left_behind()
    os.chown(directory, 4711, -1)
    remove_unused()
    assert (directory / LOCK_FILE).exists()


def test_a_directory_that_is_removed_before_it_is_locked_is_created_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the creation of its lock file and the lock it looks unused."""
    flock, made = fcntl.flock, list[str]()

    def lock_late(descriptor: int, kind: int) -> None:
        if not made:
            made.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            shutil.rmtree(Path(made[0]).parent)
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    directory, descriptor = create()
    assert str(directory / LOCK_FILE) != made[0]
    assert directory.exists()
    os.close(descriptor)
