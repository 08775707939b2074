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
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done
    assert float(found[1]) <= EXPOSURE_MAX, "\n".join(line for line in done.stdout.splitlines() if "✗" in line)


def test_includes_in_homes_can_be_read() -> None:
    """ProtectHome=yes would hide files that the access list may name."""
    assert not re.search(r"^ProtectHome=(yes|true|tmpfs)$", (UNITS / "qbhelper.service").read_text(), re.MULTILINE)


def test_the_socket_is_the_one_that_helpers_ask() -> None:
    """Everybody may connect, to the path that is fixed in the helper."""
    text = (UNITS / "qbhelper.socket").read_text()
    assert f"ListenSequentialPacket={wire.SOCKET_PATH}\n" in text
    assert "SocketMode=0666\n" in text
