# SPDX-License-Identifier: GPL-2.0-or-later
"""What test_user_namespace.py runs in a user namespace: a broker, a grant, a port that is kept against the rules."""

import fcntl
from pathlib import Path

from qbhelper.lease import parse_alias
from tests.support import broker, world

TUNSETPERSIST = 0x400454CB
CAP_NET_ADMIN = 1 << 12


def main() -> None:
    """Raise AssertionError where something is not as on a host."""
    assert not world.is_real_root()
    world.run("mount", "-t", "sysfs", "sysfs", "/sys")
    with world.bridge("br0"), broker.activated() as running:
        status = broker.status_of(running.worker)
        assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == CAP_NET_ADMIN, status
        with broker.call(uid=None) as outcome:
            assert outcome.granted, outcome
            assert world.ports("br0") == {outcome.tap().name}
            alias = Path("/sys/class/net", outcome.tap().name, "ifalias").read_bytes().rstrip(b"\n")
            assert parse_alias(alias) is not None, alias
            fcntl.ioctl(outcome.fds[0], TUNSETPERSIST, 1)
            assert broker.await_links(lambda: not world.ports("br0")), running.log()


if __name__ == "__main__":
    main()
