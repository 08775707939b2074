# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor`: systemd-networkd that takes our ports for its own, by its files; and NetworkManager.

What networkd really does, before and after the printed command, is seen in tests/host/test_doctor_on_machines.py.
"""

import configparser
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbhelper.ctl.doctor import managers
from qbhelper.ctl.doctor.finding import State
from tests.ctl.doctor import found, is_well, mend, the_problem

TREE = Path(__file__).resolve().parents[2]
NETWORKD = Path("/etc/systemd/network")
OF_UDEV = Path("/etc/udev/rules.d/70-qbhelper.rules")

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("a_host", "clean")]


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of either manager, and a program to tell networkd that always succeeds."""
    (tmp_path / "networkctl").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "networkctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    # What the distribution below has brought is none of the tests'.
    monkeypatch.setattr(managers, "NETWORKD_DIRECTORIES", managers.NETWORKD_DIRECTORIES[:2])
    places = [NETWORKD, Path("/run/systemd"), Path("/run/NetworkManager"), Path("/run/udev"), OF_UDEV.parent]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    yield
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def networkd(clean: None) -> None:
    """It runs."""
    Path("/run/systemd/netif").mkdir(parents=True)


@pytest.fixture
def manager(clean: None) -> None:
    """NetworkManager runs."""
    Path("/run/NetworkManager").mkdir(parents=True)


def write(path: Path, *lines: str, mode: int = 0o644) -> None:
    """Write a file, and its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]))
    path.chmod(mode)


def test_neither_runs() -> None:
    """What they are told does not matter then."""
    write(NETWORKD / "50-all.network", "[Match]", "Name=*")
    [finding] = found(managers.look, user="alice")
    assert (finding.state, finding.what) == (State.OK, "neither NetworkManager nor systemd-networkd runs here")


def test_what_systemd_says_counts() -> None:
    """A directory may be left of one that ran."""
    Path("/run/systemd/netif").mkdir(parents=True)
    write(NETWORKD / "50-all.network", "[Match]", "Name=*")
    Path("/run/systemd/units").mkdir()
    assert is_well(managers.look)
    Path("/run/systemd/units/invocation:systemd-networkd.service").symlink_to("0123")
    assert not is_well(managers.look)


@pytest.mark.usefixtures("networkd")
class TestNetworkd:
    """It takes what its files match."""

    @pytest.mark.parametrize(
        "match",
        [
            ["Name=*"],
            ["Name=eth* tap*"],
            ["Name=!eth*"],
            ["Type=ether"],
            ["Kind=tun"],
            ["Name=e*", "Name=tap0"],
            ["Name=eth0", "Name=", "Type=!loopback"],
            ["Name=*", "Virtualization=!container"],
        ],
    )
    def test_it_takes_our_ports(self, match: list[str]) -> None:
        """Anybody can see it, and the command that root is told is the end of it."""
        write(NETWORKD / "50-all.network", "# mine", "[Match]", *match, "", "[Network]", "DHCP=yes")
        problem = the_problem(managers.look)
        assert found(managers.look, user="alice") == [problem]
        assert problem.remedy == (
            r"printf '[Match]\nKind=tun\nName=tap*\n\n[Link]\nUnmanaged=yes\n'"
            " | install -D -m 0644 /dev/stdin /etc/systemd/network/10-qbhelper.network && networkctl reload"
        )
        mend(problem)
        assert is_well(managers.look)
        assert (NETWORKD / "10-qbhelper.network").stat().st_mode & 0o777 == 0o644

    @pytest.mark.parametrize(
        "match",
        [
            ["Name=eth0"],
            ["Kind=bridge"],
            ["Name=*", "Kind=!tun"],
            ["Name=!tap*"],
            ["Type=wlan"],
            ["Kind=!*", "Type=ether"],
            ["MACAddress=52:54:00:00:00:01"],
            ["Name=*", "Path=pci-*"],
            [],
        ],
    )
    def test_it_does_not(self, match: list[str]) -> None:
        """Nothing of theirs is like a TAP."""
        write(NETWORKD / "50-some.network", "[Match]", *match)
        assert is_well(managers.look)

    @pytest.mark.parametrize(
        "lines", [["[Link]", "Unmanaged=yes"], ["[Network]", "KeepMaster=true"], ["[Network]", "Bridge=br0"]]
    )
    def test_it_does_no_harm(self, lines: list[str]) -> None:
        """It does not touch them, not their bridge, or puts them where they are anyway; that may be in a drop-in."""
        write(NETWORKD / "50-all.network", "[Match]", "Name=*")
        write(NETWORKD / "50-all.network.d/more.conf", *lines)
        assert is_well(managers.look)

    def test_the_first_file_that_matches_counts(self) -> None:
        """In the order of the names, whichever directory; one that root has masked is none."""
        write(NETWORKD / "20-all.network", "[Match]", "Name=*")
        write(Path("/run/systemd/network/15-ours.network"), "[Match]", "Name=tap*", "[Link]", "Unmanaged=yes")
        assert is_well(managers.look)
        (NETWORKD / "15-ours.network").symlink_to("/dev/null")
        assert not is_well(managers.look)

    def test_a_file_of_theirs_may_come_early(self) -> None:
        """Then ours comes earlier still; who was there before all others has to mend it by hand."""
        write(NETWORKD / "05-all.network", "[Match]", "Name=*")
        problem = the_problem(managers.look)
        assert "/etc/systemd/network/00-qbhelper.network" in problem.remedy
        mend(problem)
        assert is_well(managers.look)
        write(NETWORKD / "00-all.network", "[Match]", "Name=*")
        problem = the_problem(managers.look)
        assert problem.remedy == ""
        assert "/etc/systemd/network/00-all.network" in problem.what

    def test_a_file_that_is_closed_to_who_asks(self) -> None:
        """Nothing is claimed, and nothing of it is shown."""
        write(NETWORKD / "50-all.network", "[Match]", "Name=*", mode=0o600)
        [finding] = found(managers.look, user="alice")
        assert (finding.state, finding.remedy) == (State.UNKNOWN, "cat /etc/systemd/network/50-all.network")
        assert not is_well(managers.look)

    def test_udevs_rule_is_enough_for_a_new_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of systemd 257; before it networkd does not look at what udev says."""
        write(NETWORKD / "50-all.network", "[Match]", "Name=*")
        write(OF_UDEV, (TREE / "packaging/examples/70-qbhelper.rules").read_text())
        write(Path("/run/udev/control"))
        for version in (256, 257):
            monkeypatch.setattr(managers, "_systemd_version", lambda version=version: version)
            assert is_well(managers.look) is (version == 257)

    def test_what_is_written_is_what_we_ship(self) -> None:
        """packaging/examples has it with an explanation."""
        write(NETWORKD / "50-all.network", "[Match]", "Name=*")
        mend(the_problem(managers.look))
        assert parsed(NETWORKD / "10-qbhelper.network") == parsed(TREE / "packaging/examples/10-qbhelper.network")


@pytest.mark.usefixtures("manager")
def test_networkmanager_leaves_ports_where_they_are() -> None:
    """With and without our snippet, as it was tried with the real one; beside networkd each has its say."""
    [finding] = found(managers.look, user="alice")
    assert finding.state is State.OK
    assert finding.what.startswith("NetworkManager leaves our ports where they are")
    Path("/run/systemd/netif").mkdir(parents=True)
    assert [one.what.split()[0] for one in found(managers.look)] == ["systemd-networkd", "NetworkManager"]


def parsed(path: Path) -> dict[str, dict[str, str]]:
    """What a file says, without its comments."""
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None)
    assert parser.read(path)
    return {name: dict(parser[name]) for name in parser.sections()}
