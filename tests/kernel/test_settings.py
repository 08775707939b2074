# SPDX-License-Identifier: GPL-2.0-or-later
"""What a rule says of a port is so when the port is handed over, whichever way it was asked for."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import broker, caller, install, world
from tests.support.caller import Outcome
from tests.support.install import Privilege

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip]


@pytest.fixture(params=[Privilege.NONE, Privilege.SETUID, Privilege.FILE_CAPABILITY], ids=lambda way: way.name.lower())
def helper(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Our helper, brokered and with each privilege of its own."""
    with broker.by_hand() if request.param is Privilege.NONE else ExitStack():
        yield install.ours(request.param)


@contextmanager
def rule(*lines: str) -> Iterator[None]:
    """One rule for br0, and that bridge."""
    with world.rule(*lines), world.bridge("br0"):
        yield


def flag(outcome: Outcome, name: str) -> str:
    """A flag of the bridge's for the port that was granted."""
    return Path("/sys/class/net", outcome.tap().name, "brport", name).read_text().strip()


def test_flags_are_set_before_the_port_is_handed_over(helper: Path) -> None:
    """Isolated and unicast_flood, and all else as a plain port has it: up, on the bridge."""
    with rule("isolated = true", "unicast_flood = false"):
        with caller.call(helper) as outcome:
            assert outcome.granted, outcome
            name = outcome.tap().name
            assert [flag(outcome, of) for of in ("isolated", "learning", "unicast_flood")] == ["1", "1", "0"]
            assert world.ports("br0") == {name}
            (link,) = json.loads(world.run("ip", "-json", "link", "show", name))
            assert "UP" in link["flags"]
        assert broker.no_tap_is_left()


def test_settings_and_a_limit_go_together(helper: Path) -> None:
    """A port that is counted has its settings and its name as well; the one too many leaves nothing."""
    with rule("isolated = true", "max_ports = 1", 'name = "vm%d"', "mtu = 1400"):
        for mtu in ("1400", "1500"):  # a bridge whose MTU was never set has that of its smallest port
            world.run("ip", "link", "set", "br0", "mtu", mtu)
        with caller.call(helper) as outcome:
            assert outcome.granted, outcome
            assert (outcome.tap().name, flag(outcome, "isolated")) == ("vm0", "1")
            assert Path("/sys/class/net/vm0/mtu").read_text() == "1400\n"
            refused = caller.call(helper)
            assert refused.refused
            assert refused.stderr.startswith("quota: ")
            assert broker.await_links(lambda: broker.taps() == {"vm0"})
        assert broker.no_tap_is_left()


@pytest.mark.parametrize("line", ["mtu = 9000", "vlan = 20"])
def test_what_the_bridge_cannot_do_is_refused_by_name(helper: Path, line: str) -> None:
    """No port without what its rule says: the refusal names the setting, and nothing is left."""
    with rule(line):
        outcome = caller.call(helper)
        assert outcome.refused
        assert f"`{line.partition(' ')[0]}'" in outcome.stderr
        assert broker.no_tap_is_left()
