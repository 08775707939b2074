# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor`: NetworkManager and systemd-networkd that take our ports for theirs, by their files.

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
MANAGER = Path("/etc/NetworkManager")
OF_UDEV = Path("/etc/udev/rules.d/70-qbhelper.rules")

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("a_host", "clean")]


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of either manager, and programs of theirs that always succeed."""
    for name in ("networkctl", "nmcli"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    # What the distribution below has brought is none of the tests'.
    monkeypatch.setattr(managers, "NETWORKD_DIRECTORIES", managers.NETWORKD_DIRECTORIES[:2])
    places = [NETWORKD, Path("/run/systemd"), MANAGER, Path("/run/NetworkManager"), Path("/run/udev"), OF_UDEV.parent]
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
class TestNetworkManager:
    """It takes what it is not told to leave alone."""

    def test_it_takes_our_ports(self) -> None:
        """Anybody can see it, and the command that root is told is the end of it."""
        write(MANAGER / "NetworkManager.conf", "[main]", "plugins=ifupdown,keyfile", "[ifupdown]", "managed=false")
        problem = the_problem(managers.look)
        assert found(managers.look, user="alice") == [problem]
        assert problem.remedy == (
            r"printf '[keyfile]\nunmanaged-devices+=interface-name:tap*\n'"
            " | install -D -m 0644 /dev/stdin /etc/NetworkManager/conf.d/qbhelper-networkmanager.conf"
            " && nmcli general reload conf"
        )
        mend(problem)
        assert is_well(managers.look)
        name = "qbhelper-networkmanager.conf"
        assert parsed(MANAGER / "conf.d" / name) == parsed(TREE / "packaging/examples" / name)

    @pytest.mark.parametrize(
        "lines",
        [
            ["[keyfile]", "unmanaged-devices=interface-name:docker0;interface-name:tap*"],
            ["[keyfile]", "unmanaged-devices+=*,except:interface-name:eth0"],
            ["[keyfile]", "unmanaged-devices=type:tun"],
            ["[keyfile]", "unmanaged-devices=interface-name:=tap0"],
            ["[device-taps]", "match-device=interface-name:tap*", "managed=0"],
        ],
    )
    def test_it_is_told_in_another_way(self, lines: list[str]) -> None:
        """What its own manual page knows."""
        write(MANAGER / "conf.d/mine.conf", *lines)
        assert is_well(managers.look)

    @pytest.mark.parametrize(
        "lines",
        [
            ["[keyfile]", "unmanaged-devices=interface-name:docker0"],
            ["[keyfile]", "unmanaged-devices=interface-name:tap*", "unmanaged-devices=type:veth"],
            ["[device]", "match-device=type:wifi", "managed=0"],
            ["[device]", "match-device=interface-name:tap*", "managed=1"],
        ],
    )
    def test_it_is_told_of_others(self, lines: list[str]) -> None:
        """They are not ours."""
        write(MANAGER / "conf.d/mine.conf", *lines)
        mend(the_problem(managers.look))
        assert is_well(managers.look)

    def test_who_overrides_our_file_has_to_mend_it(self) -> None:
        """The same command again would not."""
        mend(the_problem(managers.look))
        write(MANAGER / "conf.d/zz.conf", "[keyfile]", "unmanaged-devices=none")
        problem = the_problem(managers.look)
        assert problem.remedy == ""
        assert "overrides" in problem.what

    def test_who_wants_it_managed_has_to_mend_it(self) -> None:
        """What is excepted from the list can't be put on it by another file."""
        write(MANAGER / "conf.d/mine.conf", "[keyfile]", "unmanaged-devices=*;except:interface-name:tap*")
        problem = the_problem(managers.look)
        assert problem.remedy == ""
        assert problem.what.endswith("/etc/NetworkManager/conf.d/mine.conf excepts them")

    def test_udevs_rule_is_enough(self) -> None:
        """If udev runs."""
        write(OF_UDEV, (TREE / "packaging/examples/70-qbhelper.rules").read_text())
        assert not is_well(managers.look)
        write(Path("/run/udev/control"), "")
        assert is_well(managers.look)

    def test_a_file_that_is_closed_to_who_asks(self) -> None:
        """Nothing is claimed."""
        write(MANAGER / "conf.d/secret.conf", "[keyfile]", "unmanaged-devices=type:tun", mode=0o600)
        [finding] = found(managers.look, user="alice")
        assert (finding.state, finding.remedy) == (State.UNKNOWN, "NetworkManager --print-config")
        assert is_well(managers.look)


def parsed(path: Path) -> dict[str, dict[str, str]]:
    """What a file says, without its comments."""
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None)
    assert parser.read(path)
    return {name: dict(parser[name]) for name in parser.sections()}
