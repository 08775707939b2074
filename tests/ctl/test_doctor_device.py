# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor` at /dev/net/tun: each thing that can be wrong with it, and mended."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ctl.ward import Ward
from tests.support import broker, world

pytestmark = [pytest.mark.needs_root]
TUN = Path("/dev/net/tun")


@pytest.fixture(autouse=True)
def a_device() -> Iterator[None]:
    """Whatever a test does to the device, the next one has a new one."""
    yield
    for each in TUN.parent.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    TUN.parent.chmod(0o755)
    os.mknod(TUN, stat.S_IFCHR, os.makedev(*world.TUN_DEVICE))
    TUN.chmod(0o666)


class TestTheDevice:
    """With a broker, as most hosts have it."""

    def test_is_well_as_udev_makes_it(self, a_healthy_ward: Ward) -> None:
        """Who opens it is told: with a broker it is the broker."""
        [found] = a_healthy_ward.visit().of("device")
        assert (found.state, found.what, found.remedy) == (
            "ok",
            "/dev/net/tun is there, and the broker can open it",
            None,
        )

    def test_that_is_not_there_is_made(self, a_healthy_ward: Ward) -> None:
        """Where the kernel has the driver it takes a node, and its directory."""
        TUN.unlink()
        assert a_healthy_ward.cured("device").what == "there is no /dev/net/tun"
        with broker.ask(uid=1000) as given:
            assert given.granted

    def test_that_can_not_be_made_in_a_container_is_told_without_a_command(self, a_healthy_ward: Ward) -> None:
        """None could: it is the container's start that has to be changed."""
        TUN.unlink()
        [found] = a_healthy_ward.visit(
            "--user=alice", user="root", wrapper=["setpriv", "--bounding-set=-mknod"]
        ).problems()
        assert (found.station, found.remedy) == ("device", None)
        assert "start the container with --device /dev/net/tun" in found.what

    @pytest.mark.parametrize("kind", ["file", "directory", "null"])
    def test_that_is_something_else_is_put_aside(self, a_healthy_ward: Ward, kind: str) -> None:
        """A directory is what container engines make of a path that was not there; nothing is removed."""
        TUN.unlink()
        if kind == "file":
            TUN.touch()
        elif kind == "directory":
            TUN.mkdir()
        else:
            os.mknod(TUN, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        assert "not the device that TAPs are made of" in a_healthy_ward.cured("device").what
        assert TUN.with_name("tun.wrong").exists()

    def test_that_is_closed_to_the_broker_is_opened(self, a_healthy_ward: Ward) -> None:
        """Root may always open it, but it is not root who does."""
        TUN.chmod(0o600)
        assert a_healthy_ward.cured("device").what.startswith("the broker can't open /dev/net/tun")
        assert stat.S_IMODE(TUN.stat().st_mode) == 0o666

    def test_in_a_closed_directory_is_found(self, a_healthy_ward: Ward) -> None:
        """What is in the way is named, which is not always the file."""
        TUN.parent.chmod(0o700)
        found = a_healthy_ward.cured("device")
        assert found.what.endswith("/dev/net does not let them")

    def test_that_the_broker_opens_may_be_closed_to_others(self, a_healthy_ward: Ward) -> None:
        """An administrator who gives it to the broker's account alone has made no mistake."""
        os.chown(TUN, broker.NOBODY, broker.NOBODY)  # as whom a broker serves where there is no account for it
        TUN.chmod(0o600)
        visit = a_healthy_ward.visit()
        assert visit.problems() == []
        assert visit.of("device")[0].state == "cannot tell"
        assert a_healthy_ward.visit("--user=alice", user="root").of("device")[0].state == "ok"

    def test_is_opened_by_the_caller_where_the_helper_does_it_alone(self, a_ward: Ward) -> None:
        """The helper acts as its caller, setuid or not."""
        a_ward.helper.chmod(0o4755)
        TUN.chmod(0o600)
        assert a_ward.cured("device").what.startswith("alice can't open /dev/net/tun")
