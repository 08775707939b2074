# SPDX-License-Identifier: GPL-2.0-or-later
"""The units of systemd: as tight as they can be with what the broker has to do."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from qbhelper import wire

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
EXPOSURE_MAX = 1.5
TRACELESS = re.compile(
    r"TemporaryFileSystem|Root(Directory|Image)|(Mount|Extension)Images|ExtensionDirectories|BindReadOnlyPaths"
    r"|DynamicUser|PrivateUsers|MountFlags|ProcSubset"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they are installed, with a program that is there."""
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("@sbindir@/qbhelperd", "/bin/true"))
    return tmp_path


def test_the_exposure_is_small(installed: Path) -> None:
    """What systemd-analyze counts as exposure is 1.5 at most."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: install systemd")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(installed / "qbhelper.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    check_exposure(done.stdout)


def check_exposure(said: str) -> None:
    """See that what `systemd-analyze security` says of the service counts no more than was promised."""
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= EXPOSURE_MAX, "\n".join(line for line in said.splitlines() if "✗" in line)


def settings(unit: str) -> dict[str, str]:
    """Return what a unit sets; of several lines for one setting the last."""
    lines = (UNITS / unit).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_includes_in_homes_can_be_read() -> None:
    """ProtectHome=yes would hide files that the access list may name."""
    assert settings("qbhelper.service")["ProtectHome"] == "read-only"


def test_nothing_hides_files_without_leaving_a_trace() -> None:
    """What the broker can't tell from the host's own files would pass over an include, with a deny in it."""
    found = settings("qbhelper.service")
    assert found["PrivateTmp"] == "yes"  # seen, and refused
    assert found["BindPaths"] == "-/dev/net/tun -/dev/vhost-net"
    assert not [name for name in found if TRACELESS.fullmatch(name)]


def test_no_number_of_changes_shuts_the_service_down() -> None:
    """Every change of the policy ends the broker, and the next caller starts it: that may be as often as it likes."""
    assert settings("qbhelper.socket")["TriggerLimitIntervalSec"] == "0"
    assert settings("qbhelper.service")["StartLimitIntervalSec"] == "0"
    assert settings("qbhelper.service")["Restart"] == "on-failure"


def test_the_socket_is_the_one_that_helpers_ask() -> None:
    """Everybody may connect, to the path that is fixed in the helper."""
    text = (UNITS / "qbhelper.socket").read_text()
    assert f"ListenSequentialPacket={wire.SOCKET_PATH}\n" in text
    assert "SocketMode=0666\n" in text
