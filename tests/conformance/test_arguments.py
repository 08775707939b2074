# SPDX-License-Identifier: GPL-2.0-or-later
"""Every form of the command line means to ours what it means to the original (contract 1.1)."""

from collections import Counter
from random import Random

import pytest

from tests.conformance.comparison import FD, Case, Peer
from tests.conformance.differences import compare
from tests.conformance.trees import Tree
from tests.support import world

pytestmark = [pytest.mark.conformance, pytest.mark.needs_root]

SEED = 20261122
RANDOM_LISTS = 400

BR, SOCKET, VNET = b"--br=br0", b"--fd=%d" % FD, b"--use-vnet"

FORMS = {
    "QEMU's order": (VNET, SOCKET, BR),
    "libvirt's order": (VNET, BR, SOCKET),
    "libvirt's order without --use-vnet": (BR, SOCKET),
    "--use-vnet last": (BR, SOCKET, VNET),
    "everything twice": (VNET, SOCKET, BR, VNET, SOCKET, BR),
    "the last bridge counts: allowed": (b"--br=other", SOCKET, BR),
    "the last bridge counts: denied": (BR, SOCKET, b"--br=other"),
    "the last fd counts": (b"--fd=99", BR, SOCKET),
    "the last fd counts, and is closed": (SOCKET, BR, b"--fd=99"),
    "no words": (),
    "no bridge": (VNET, SOCKET),
    "no fd": (VNET, BR),
    "only --use-vnet": (VNET,),
    "--help": (b"--help",),
    "-h": (b"-h",),
    "--help among good words": (VNET, SOCKET, BR, b"--help"),
    "--version": (b"--version",),
    "--": (SOCKET, BR, b"--"),
    "a positional word": (SOCKET, BR, b"br0"),
    "an empty word": (SOCKET, BR, b""),
    "bridge in two words": (SOCKET, b"--br", b"br0"),
    "fd in two words": (BR, b"--fd", b"3"),
    "--use-vnet with a value": (b"--use-vnet=1", SOCKET, BR),
    "--use-vnet cut short": (b"--use-vne", SOCKET, BR),
    "--use-vnet in capitals": (b"--USE-VNET", SOCKET, BR),
    "one dash": (b"-br=br0", SOCKET),
    "--bridge": (b"--bridge=br0", SOCKET),
    "blank before": (b" --br=br0", SOCKET),
    "wrong word before a name too long": (b"--wrong", SOCKET, b"--br=" + b"n" * 16),
    "no fd and a name too long": (b"--br=" + b"n" * 16,),
    **{
        f"fd {number!r}": (BR, b"--fd=" + number)
        for number in (b"03", b"0000000003", b"4", b"99", b"1023", b"2147483647")
    },
    **{
        f"odd fd {number!r}": (BR, b"--fd=" + number)
        for number in (
            *(b"", b"abc", b"-1", b"-2", b"+3", b" 3", b"3 ", b"3x", b"0x3", b"3.0", b"\xd9\xa3", b"-0", b"\n3"),
            *(
                b"2147483648",
                b"4294967295",
                b"4294967299",
                b"9223372036854775807",
                b"99999999999999999999",
                b"9" * 4000,
            ),
        )
    },
    "odd fd first, then a good one": (b"--fd=abc", BR, SOCKET),
    "minus one, then a good one": (b"--fd=-1", BR, SOCKET),
    "good fd, then minus one": (SOCKET, BR, b"--fd=-1"),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_the_words_means_the_same(br0: str, form: str) -> None:
    """Whatever the words and their order, both grant the same port, or refuse with the same first words."""
    compare(Case(Tree.of(f"allow {br0}\n"), words=FORMS[form]))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 9, 200])
def test_the_socket_may_have_any_number(br0: str, number: int) -> None:
    """QEMU's socket is taken under any number, even that of a standard stream."""
    pair = compare(Case(Tree.of(f"allow {br0}\n"), fd=number))
    assert pair.ours.granted


NAMES = {
    "empty": b"",
    "a colon": b"br0:1",
    "a colon at the end": b"br0:",
    "a slash": b"br0/x",
    "a path": b"../br0",
    "a dot": b".",
    "two dots": b"..",
    "a template": b"br%d",
    "a percent sign": b"br0%",
    "a blank": b"br0 ",
    "a blank within": b"br 0",
    "a tab": b"br0\t",
    "a vertical tab": b"\vbr0",
    "a line feed": b"br0\nbr0",
    "a carriage return": b"br0\r",
    "ESC": b"\x1b[31mbr0",
    "BEL": b"br0\a",
    "DEL": b"br0\x7f",
    "no UTF-8": b"br\xff",
    "UTF-8": "brücke".encode(),
    "right to left": "br\u202e0".encode(),
    "NBSP": b"br0\xc2\xa0",
    "byte A0": b"br0\xa0",
    "other case": b"BR0",
    "quotes": b"'br0'",
    "a dash": b"-br0",
    "all": b"all",
    "the loopback": b"lo",
    "equals sign": b"=br0",
    "14 bytes": b"n" * 14,
    "15 bytes": b"n" * 15,
    "16 bytes": b"n" * 16,
    "17 bytes": b"n" * 17,
    "16 bytes that begin with the bridge": b"br0" + b"\x01" * 13,
    "16 bytes with ESC": b"\x1b" * 16,
    "16 bytes with a line feed": b"nnnnnnn\nnnnnnnnn",
    "4096 bytes": b"n" * 4096,
    "4096 bytes of ESC": b"\x1b" * 4096,
    "100000 bytes": b"n" * 100_000,
}

LISTS = ("allow br0\n", "allow all\n", "allow all\ndeny br0\n", "", "permit all\n")


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_name_means_the_same(br0: str, name: str) -> None:
    """Whatever stands behind --br=, both answer alike under each kind of access list, but for what is listed."""
    for text in LISTS:
        compare(Case(Tree.of(text), NAMES[name]))


def test_a_bridge_with_a_name_of_15_bytes_is_granted_by_both() -> None:
    """The longest name that an interface can have is taken whole."""
    with world.bridge("fifteen-bytes-x") as name:
        for text in (f"allow {name}\n", f"allow {name[:14]}\n", "allow fifteen-bytes-y\n"):
            pair = compare(Case(Tree.of(text), name.encode()))
            assert pair.ours.granted == (name in text)


def test_a_bridge_with_a_name_of_odd_bytes_is_granted_by_both() -> None:
    """A name is bytes: UTF-8, none, and control characters that the kernel lets pass."""
    for raw in ("brü".encode(), b"br\xff", b"br\x1b[1m", b"br\x01"):
        with world.bridge(raw.decode("utf-8", "surrogateescape")):
            assert compare(Case(Tree.of(b"allow " + raw + b"\n"), raw)).ours.granted
            compare(Case(Tree.of(b"allow all\ndeny " + raw + b"\n"), raw))


def test_random_words_mean_the_same(br0: str) -> None:
    """Of hundreds of random lists of words, good and bad, both answer every one alike, but for what is listed."""
    random = Random(SEED)
    good = (BR, BR, SOCKET, SOCKET, SOCKET, VNET, b"--br=other")
    other = [word for words in FORMS.values() for word in words] + [b"--br=" + name for name in NAMES.values()]
    verdicts: Counter[int] = Counter()
    for number in range(RANDOM_LISTS):
        oddity = random.choice((0.0, 0.1, 0.5))
        words = tuple(
            random.choice(other) if random.random() < oddity else random.choice(good)
            for _ in range(random.randint(0, 6))
        )
        text = random.choice((f"allow {br0}\n", "allow all\n", "allow all\ndeny br0\n"))
        peer = Peer.QEMU if random.random() < 0.9 else random.choice([Peer.NOTHING, Peer.DATAGRAM, Peer.FILE])
        pair = compare(Case(Tree.of(text), words=words, peer=peer))
        verdicts[pair.ours.status] += 1
        assert pair.ours.status in (0, 1), f"list {number} of seed {SEED}: {pair}"
    assert min(verdicts.values()) > RANDOM_LISTS / 12, verdicts
