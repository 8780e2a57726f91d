"""Where processes meet: the folder of the sockets is ours alone."""

import os
from pathlib import Path

import pytest

from health.places import make_socket_dir


def test_a_socket_folder_is_ours_alone_whatever_it_is_made_in(tmp_path):
    # As an emptyDir with an fsGroup: open to all, and handing its group down.
    tmp_path.chmod(0o2777)

    make_socket_dir(tmp_path / "sockets")

    assert (tmp_path / "sockets").stat().st_mode & 0o7777 == 0o700


def test_one_that_was_left_open_is_closed(tmp_path):
    (tmp_path / "sockets").mkdir(mode=0o755)

    make_socket_dir(tmp_path / "sockets")

    assert (tmp_path / "sockets").stat().st_mode & 0o7777 == 0o700


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(SystemExit, match="somebody else"):
        make_socket_dir(tmp_path / "link")


def test_a_socket_folder_of_somebody_else_is_refused(tmp_path):
    folder = Path("/usr")
    if os.geteuid() == 0:
        folder = tmp_path / "theirs"
        folder.mkdir()
        os.chown(folder, 65534, 65534)

    with pytest.raises(SystemExit, match="somebody else"):
        make_socket_dir(folder)
