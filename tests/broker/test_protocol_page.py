# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/protocol.md says what is so: its client works, its tables are those of wire.py."""

import re
import subprocess
from pathlib import Path

import pytest

from qbhelper import wire
from qbhelper.broker import server
from tests.support import broker, world

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def client() -> str:
    """The client in Python that stands in the page."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(code)


def run(bridge: str) -> "subprocess.CompletedProcess[str]":
    """Run the client as a plain uid."""
    return subprocess.run(
        ["/usr/bin/python3", "-c", client(), bridge],
        capture_output=True,
        text=True,
        check=False,
        user=61234,
        group=61234,
        extra_groups=[],
        timeout=30,
    )


@pytest.mark.needs_root
def test_the_client_gets_a_port(either: broker.Broker, br0: str) -> None:
    """Copied from the page, it prints the name of a TAP and the number of an fd."""
    done = run("br0")
    assert re.fullmatch(r"tap\d+ \d+\n", done.stdout), done
    assert broker.no_tap_is_left()


@pytest.mark.needs_root
def test_the_client_says_why_it_was_refused(either: broker.Broker) -> None:
    """A refusal ends it with the broker's message."""
    done = run("br7")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("access denied by acl file")


@pytest.mark.needs_root
def test_the_client_gets_a_port_while_the_policy_changes(either: broker.Broker) -> None:
    """It goes on to the next broker as the page says that clients do."""
    for number in range(5):
        world.write_access_list(f"allow br0\n# {number}\n")
        either.latest_worker()
        assert run("br0").returncode == 0


def test_the_client_is_short() -> None:
    """A client is an afternoon's work: thirty lines."""
    assert len(client().splitlines()) <= 32


def test_the_table_of_codes_is_that_of_the_program() -> None:
    """Every code stands there, with its number, and no other."""
    rows = re.findall(r"^\| (\d+) \| ([a-z ]+) \|", PAGE.read_text(), re.MULTILINE)
    assert [(int(number), name.replace(" ", "_").upper()) for number, name in rows] == [
        (int(code), code.name) for code in wire.Code
    ]


def test_the_numbers_are_those_of_the_program() -> None:
    """Sizes, offsets, limits and the socket's path."""
    text = PAGE.read_text()
    assert wire.SOCKET_PATH in text
    assert f"**The question**, {wire.REQUEST_SIZE} bytes exactly" in text
    assert f"**The answer**, 24 to {wire.REPLY_MAX} bytes" in text
    assert f"room for {server.PER_UID_MAX} connections at once, and for two seconds" in text
    assert server.SECONDS_TO_ASK == 2
    assert f"| 0-3 | magic | `{wire.MAGIC.decode()}` |" in text
    assert [(verb.name, int(verb)) for verb in wire.Verb] == [("GRANT", 1), ("REVOKE", 2), ("DETACH", 3)]
    assert "| 4-5 | verb | 1: grant a port; 2: revoke a lease; 3: detach the port of a lease |" in text
    assert f"(the first {wire.MACS_TOLD})" in text
    assert wire.MACS_TOLD * len("52:54:00:12:34:50 ") <= wire.MESSAGE_MAX
