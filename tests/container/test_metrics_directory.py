"""A metrics directory is removed only if it belongs to this user, has a lock file, and is unused."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tokensvc.container.metrics_directory import LOCK_FILE, PREFIX, create, lock, remove_if_unused, remove_unused
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
