# SPDX-License-Identifier: GPL-2.0-or-later
"""Each setting of a policy: what it takes, what it makes of it, and what it says to the rest."""

import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbhelper.kernel import message
from qbhelper.policy import settings as table
from qbhelper.policy import values
from qbhelper.policy.port import PLAIN, PLAIN_TERMS, PortSettings, Terms
from qbhelper.policy.settings import BY_NAME, SETTINGS, Setting
from qbhelper.policy.values import WrongValue
from qbhelper.policy.who import Ids

GOLDENS = Path(__file__).parent / "goldens" / "policy-values.txt"


def parse(name: str, written: str) -> object:
    """What a setting makes of a value as it is written."""
    return BY_NAME[name].kind.parse(tomllib.loads(f"x = {written}")["x"])


def plain(value: object) -> object:
    """A value that can be compared."""
    return (value.names, value.ranges) if isinstance(value, Ids) else value


RIGHT: list[tuple[str, str, object]] = [
    ("qemu_acl", "true", True),
    ("bridge", '"br0"', frozenset({b"br0"})),
    ("bridge", '["br0", "brücke"]', frozenset({b"br0", "brücke".encode()})),
    ("bridge", '"*"', None),
    ("bridge", '["*"]', None),
    ("bridge", '"123456789012345"', frozenset({b"123456789012345"})),
    ("users", '"alice"', (("alice",), ())),
    ("users", "1000", ((), ((1000, 1000),))),
    ("users", '"1000"', ((), ((1000, 1000),))),
    (
        "users",
        '["bob", "alice", "1000-1999", 0, 2000, "4294967294"]',
        (("alice", "bob"), ((0, 0), (1000, 2000), (2**32 - 2,) * 2)),
    ),
    ("users", '["1500-1600", "1000-1999"]', ((), ((1000, 1999),))),
    ("groups", '"LAB\\\\domain users"', (("LAB\\domain users",), ())),
    ("groups", '["a-b", "1000x"]', (("1000x", "a-b"), ())),
    ("expires", "2027-01-31", (2027, 1, 31)),
    ("max_ports", "1", 1),
    ("max_ports_total", "65535", 65535),
    ("queues", "253", 253),
    ("name", '"vm%d"', b"vm%d"),
    ("name", '"q.{uid}_%d"', b"q.{uid}_%d"),
    ("mtu", "68", 68),
    ("mtu", "65521", 65521),
    ("vlan", "4094", 4094),
    ("trunk", "30", (30,)),
    ("trunk", '["40-42", 30, "31"]', (30, 31, 40, 41, 42)),
    ("trunk", '"1-4094"', tuple(range(1, 4095))),
    ("isolated", "false", False),
    ("macs", '"52:54:00:12:34:5F"', (bytes.fromhex("52540012345f"),)),
    ("macs", '["02:00:00:00:00:02", "02:00:00:00:00:01"]', (b"\2\0\0\0\0\2", b"\2\0\0\0\0\1")),
    ("addresses", '"10.0.0.5"', (ip_network("10.0.0.5/32"),)),
    ("addresses", '["10.0.0.0/24", "2001:db8::/64"]', (ip_network("10.0.0.0/24"), ip_network("2001:db8::/64"))),
    ("addresses", '["0.0.0.0/0", "::/0"]', (ip_network("0.0.0.0/0"), ip_network("::/0"))),
    ("guards", '"ra"', frozenset({"ra"})),
    ("guards", '["bpdu", "dhcp-server", "ra", "vlan-tags"]', frozenset({"bpdu", "dhcp-server", "ra", "vlan-tags"})),
    ("rate_to_guest", '"100mbit"', 100_000_000),
    ("rate_to_guest", '"12.5Mbit"', 12_500_000),
    ("rate_to_guest", '"8000bit"', 8000),
    ("rate_to_guest", '"8kbit"', 8000),
    ("rate_from_guest", '"1TBIT"', 10**12),
    ("rate_from_guest", '"0.000001tbit"', 10**6),
]


@pytest.mark.parametrize(("name", "written", "meant"), RIGHT, ids=lambda value: str(value)[:40])
def test_a_right_value_is_taken(name: str, written: str, meant: object) -> None:
    """Each form of a value that the reference knows is parsed to what it means."""
    assert plain(parse(name, written)) == meant


LINES = [line for line in GOLDENS.read_text().splitlines() if line and not line.startswith("#")]
WRONG = [(said, message.strip()) for said, message in zip(LINES[::2], LINES[1::2], strict=True)]


@pytest.mark.parametrize(("said", "message"), WRONG, ids=[said[:40] for said, _ in WRONG])
def test_a_wrong_value_says_what_to_write_instead(said: str, message: str) -> None:
    """The message shows the value, says what is wrong with it, and gives an example that is right."""
    name, _, written = said.partition(" = ")
    with pytest.raises(WrongValue) as caught:
        parse(name, written)
    assert ["; ".join(fault) for fault in caught.value.faults] == [message]


def test_the_goldens_are_about_every_kind_of_value() -> None:
    """Each setting has a wrong value among the goldens, or is of the same kind as one that has."""
    kinds = {BY_NAME[said.partition(" = ")[0]].kind for said, _ in WRONG}
    assert {setting.kind for setting in SETTINGS} == kinds


@pytest.mark.parametrize("name", ["0123456789abcdef", "br:1", "br/0", "br 0", "br%d", "", ".", "..", "br\\u00a00"])
def test_what_can_not_be_a_bridge_is_refused(name: str) -> None:
    """A deny of a name that no interface can have would deny nothing, so it is an error."""
    with pytest.raises(WrongValue) as caught:
        parse("bridge", f'"{name}"')
    assert caught.value.faults[0][0].endswith(" can't be the name of a bridge")


def test_no_guest_may_have_the_mac_of_a_port() -> None:
    """What policies keep free for ports is what ports have: else a guest's MAC could be taken by another port."""
    assert values.BRIDGE_PORT_MAC_START == message.BRIDGE_PORT_MAC_START


def test_all_wrong_entries_of_a_list_are_told() -> None:
    """Nobody has to mend a list entry by entry."""
    with pytest.raises(WrongValue) as caught:
        parse("trunk", '["x", 5, "9-8", 0]')
    assert len(caught.value.faults) == 3


def test_a_long_value_is_cut_in_a_message() -> None:
    """A message stays one that can be read, also where the value is a page long, or holds what terminals obey."""
    with pytest.raises(WrongValue) as caught:
        parse("name", '"' + "\\u001b[2J" * 1000 + '"')
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_a_name_leaves_room_for_its_number_or_says_so() -> None:
    """A template becomes what the kernel is asked for; a uid for which there is no room is an error."""
    port = PortSettings(name=b"vm{uid}-%d")
    assert port.interface_name(1000) == b"vm1000-%d"
    assert port.interface_name(2**32 - 2) == b"vm4294967294-%d"
    with pytest.raises(ValueError, match="too long for uid 4294967294"):
        PortSettings(name=b"port{uid}-%d").interface_name(2**32 - 2)
    assert PLAIN.interface_name(1000) is None


class TestTheTable:
    """The table of settings, from which parser and reference come."""

    @pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
    def test_has_an_example_that_is_right(self, setting: Setting) -> None:
        """What the reference shows can be written as it stands there."""
        parse(setting.name, setting.example)

    def test_has_the_defaults_of_the_product(self) -> None:
        """What the table says of a setting that is absent is what the code does without it."""
        for setting in SETTINGS:
            owner = next((owner for owner in (PLAIN, PLAIN_TERMS) if setting.name in owner.__slots__), None)
            if owner is not None:
                assert getattr(owner, setting.name) == setting.default, setting.name

    def test_has_all_that_a_rule_gives_and_no_more(self) -> None:
        """No attribute of a port can't be set, and no setting is lost on the way."""
        given = {*PortSettings.__slots__, *Terms.__slots__} - {"port", "rule"}
        assert {*table.names_in("allow")} - {"bridge", "users", "groups", "expires"} == given
        assert table.names_in("deny") == ("bridge", "users", "groups")
        assert table.names_in("top") == ("qemu_acl",)

    @pytest.mark.parametrize("name", PortSettings.__slots__)
    def test_knows_which_ports_are_looked_at(self, name: str) -> None:
        """A port with a sieve or a policer gets no virtio-net header, by which frames change after they passed."""
        settings = PortSettings(**{name: parse(name, BY_NAME[name].example)})  # type: ignore[arg-type]
        looked_at = {"vlan", "trunk", "macs", "addresses", "guards", "rate_from_guest"}
        assert settings.is_filtered is (name in looked_at)

    @pytest.mark.parametrize("name", set(PortSettings.__slots__) - {"name"})
    def test_knows_what_is_beyond_a_plain_port(self, name: str) -> None:
        """A port with any setting is not plain; a name is something that every port has."""
        example = parse(name, BY_NAME[name].example)
        assert PortSettings().is_plain
        assert not PortSettings(**{name: example}).is_plain  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.sampled_from(SETTINGS), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes() | st.times(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=6,
))  # fmt: skip
def test_any_value_is_parsed_or_told_to_be_wrong(setting: Setting, value: object) -> None:
    """Whatever tomllib may hand over: a value that is right, or faults on printable lines."""
    faults: tuple[tuple[str, str], ...] = (("none", "none"),)
    try:
        setting.kind.parse(value)
    except WrongValue as error:
        faults = error.faults
    assert faults
    assert all(text.isprintable() and text for fault in faults for text in fault)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted), min_size=1, max_size=8), st.integers(-1, 51)
)
def test_ranges_mean_their_numbers(ranges: list[list[int]], number: int) -> None:
    """However ranges overlap or touch, they have exactly the numbers in them, and are written in one way."""
    ids = Ids((), [(low, high) for low, high in ranges])
    assert ids.have([number], lambda _: None) is any(low <= number <= high for low, high in ranges)
    gaps = zip(ids.ranges, ids.ranges[1:], strict=False)
    assert all(before[1] + 1 < after[0] for before, after in gaps)
