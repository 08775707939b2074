# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl run`: a command with the fds of ports; if anything is wrong with it, no port and no process is left."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.ctl.host import POLICY, ctl, write
from tests.support import broker, full_kernel, world

RULES = """\
[[allow]]
bridge = "br0"
users = "alice"
queues = 200
vhost = true

[[allow]]
bridge = "br1"
users = "alice"
[end]
"""
MAC = "52:54:00:aa:bb:cc"
SHOW = 'for fd; do printf "%s " "$(grep ^iff: /proc/self/fdinfo/$fd | cut -f 2)"; done'
"""Shell: the interface behind each fd among its words."""


@pytest.fixture
def a_broker(a_host: None) -> Iterator[None]:
    """A broker that grants by RULES, on two bridges."""
    write(POLICY, RULES)
    with world.bridge("br1"), broker.by_hand():
        yield
        assert broker.no_tap_is_left()


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_broker")
class TestWhatIsFilledIn:
    """Words of the command in which something is written in braces."""

    def test_each_queue_is_an_fd(self) -> None:
        """The command has them open, all of one interface, whose name it is told too; and no other fd of ours."""
        said = ctl(
            *("run", "--bridge", "br0", "--queues", "3", "--mac", MAC, "--"),
            *(
                "sh",
                "-c",
                f"set -- $(echo {{fds}} | tr : ' '); {SHOW}; echo {{ifname}} {{mac}}; ls /proc/self/fd | wc -l",
            ),
            user="alice",
        )
        assert (said.status, said.err) == (0, "")
        first, count = said.out.splitlines()
        *interfaces, name, mac = first.split()
        assert len(interfaces) == 3
        assert set(interfaces) == {name}
        assert mac == MAC
        assert int(count) == 3 + 3 + 1, "stdin, stdout, stderr, the queues, and that of ls"

    def test_each_card_has_its_own(self) -> None:
        """`{fd.2}' is of the second; a card without --mac gets one as QEMU gives them."""
        said = ctl(
            *("run", "--bridge", "br0", "--bridge", "br1", "--"),
            *("sh", "-c", f"set -- {{fd}} {{fdlist.2}}; {SHOW}; echo {{ifname}} {{ifname.2}} {{mac.1}} {{mac.2}}"),
            user="alice",
        )
        one, two, name, second, any_mac, mac = said.out.split()
        assert (one, two) == (name, second)
        assert one != two
        assert any_mac != mac
        assert all(re.fullmatch("52:54:00(:[0-9a-f]{2}){3}", each) for each in (any_mac, mac))

    def test_other_braces_are_the_commands_own(self) -> None:
        """Words may be JSON, or of a shell."""
        words = ['{"driver":"tap"}', "{}", "{fdx}", "{FD}", "{fd", "${fd.}", "--", "{fd}{fd}"]
        said = ctl("run", "--bridge", "br0", "--", "printf", r"%s\n", *words, user="alice")
        *same, fds = said.out.splitlines()
        assert same == words[:-1]
        assert fds.isdecimal()

    def test_the_commands_exit_status_is_ours(self) -> None:
        """And so is its end by a signal: it is the same process."""
        assert ctl("run", "--bridge", "br0", "--", "sh", "-c", "exit 42 {fd}", user="alice").status == 42
        assert ctl("run", "--bridge", "br0", "--", "sh", "-c", "kill -9 $$ {fd}", user="alice").status == -9


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_broker")
class TestRefusals:
    """One line on stderr, and nothing is left."""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--", "true", "{fd}"], "the following arguments are required: --bridge"),
            (["--queues", "2", "--bridge", "br0", "--", "true", "{fd}"], "--queues stands before --bridge"),
            (
                ["--bridge", "br0", "--queues", "2", "--queues", "2", "--", "true"],
                "--queues stands twice for bridge br0",
            ),
            (["--bridge", "br0", "--queues", "0", "--", "true", "{fd}"], "`0' is no number from 1 to 253"),
            (["--bridge", "br0", "--queues", "254", "--", "true", "{fd}"], "`254' is no number from 1 to 253"),
            (["--bridge", "br0", "--queues", "00010000", "--", "true", "{fd}"], "`00010000' is no number from 1 to"),
            (["--bridge", "br0", "--"], "there is no COMMAND to run"),
            (["--bridge", "br0"], "there is no COMMAND to run"),
            (["--bridge", "br/0", "--", "true", "{fd}"], "`br/0' can't be the name of a bridge"),
            (["--bridge", "br0", "--", "true"], "no word of the command has {fds}"),
            (["--bridge", "br0", "--bridge", "br1", "--", "true", "{fd}"], "no word of the command has {fds.2}"),
            (["--bridge", "br0", "--", "true", "{fd}", "{fd.2}"], "{fd.2}: there is no card 2"),
            (["--bridge", "br0", "--", "true", "{fd.0}"], "{fd.0}: there is no card 0"),
            (["--bridge", "br0", "--queues", "2", "--", "true", "{fd}"], "{fd} is one fd, and there are 2 queues"),
            (["--bridge", "br0", "--vhost", "--", "true", "{fd}"], "--vhost and {vhostfds} go together"),
            (["--bridge", "br0", "--", "true", "{fd}", "{vhostfds}"], "--vhost and {vhostfds} go together"),
            (["--bridge", "br0", "--mac", MAC, "--", "true", "{fd}"], "no word of the command has {mac}"),
            (["--bridge", "br0", "--mac", "01:00:00:00:00:00", "--", "true", "{fd}{mac}"], "01:00:00:00:00:00"),
        ],
    )
    def test_words_that_make_no_sense_are_told_before_anything_is_made(self, words: list[str], expected: str) -> None:
        """Exit status 2."""
        said = ctl("run", *words, user="alice")
        assert (said.status, said.out) == (2, "")
        assert expected in said.err
        assert said.err.count("\n") == 1
        assert not broker.taps()

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--bridge", "br2", "--", "true", "{fd}"], "access denied"),
            (["--bridge", "br0", "--queues", "127", "--vhost", "--", "true", "{fds}{vhostfds}"], "ask for 126 at most"),
            (["--bridge", "br0", "--queues", "201", "--", "true", "{fds}"], "allows 200"),
            (["--bridge", "br0", "--bridge", "br2", "--", "true", "{fd}{fd.2}"], "access denied"),
            (["--bridge", "br1", "--vhost", "--", "true", "{fd}{vhostfds}"], "`vhost': /etc/qbhelper/policy.toml:7"),
        ],
    )
    def test_what_the_policy_does_not_give_is_told_as_it_says_it(self, words: list[str], expected: str) -> None:
        """Exit status 1; ports that were granted before are given back."""
        said = ctl("run", *words, user="alice")
        assert (said.status, said.out) == (1, "")
        assert expected in said.err
        assert broker.no_tap_is_left()

    @pytest.mark.parametrize(("command", "status"), [("/nonexistent", 127), ("no-such-command", 127), ("/etc", 126)])
    def test_a_command_that_can_not_be_run_leaves_nothing(self, command: str, status: int) -> None:
        """127 if it is not there, 126 if it is no program, as of env(1)."""
        said = ctl("run", "--bridge", "br0", "--", command, "{fd}", user="alice", variables={"PATH": "/usr/bin:/bin"})
        assert (said.status, said.out) == (status, "")
        assert f"failed to run `{command}': " in said.err


@contextmanager
def dev_with(*nodes: tuple[str, str]) -> Iterator[list[str]]:
    """Words that start a program with a /dev of its own: TUN, what a Python needs, and these nodes."""
    directory = world.WORLD / "dev"
    directory.mkdir()
    (directory / "net").mkdir()
    for name, number in (("net/tun", "10 200"), ("null", "1 3"), ("urandom", "1 9"), *nodes):
        world.run("mknod", "-m", "0666", str(directory / name), "c", *number.split())
    try:
        yield ["unshare", "--mount", "sh", "-c", f'mount --rbind {directory} /dev && exec "$@"', "sh"]
    finally:
        world.run("rm", "-r", str(directory))


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
class TestVhost:
    """Fds of /dev/vhost-net, which the broker opens for whom the rule gives them."""

    def test_there_is_one_for_each_queue(self) -> None:
        """A device stands in for it here, which has not got it; tests/host has a kernel that has."""
        write(POLICY, RULES)
        command = ["sh", "-c", "for fd in $(echo {fds}:{vhostfds} | tr : ' '); do readlink /proc/self/fd/$fd; done"]
        with dev_with(("vhost-net", "1 3")) as wrapper, broker.by_hand(wrapper=wrapper):
            said = ctl("run", "--bridge", "br0", "--queues", "2", "--vhost", "--", *command, user="alice")
        assert said.err == ""
        files = [line.rpartition("/")[2] for line in said.out.splitlines()]
        assert files == ["tun", "tun", "vhost-net", "vhost-net"]
        assert broker.no_tap_is_left()

    def test_a_host_without_it_says_so(self) -> None:
        """With what to do, and no port is left."""
        write(POLICY, RULES)
        with dev_with() as wrapper, broker.by_hand(wrapper=wrapper):
            said = ctl("run", "--bridge", "br0", "--vhost", "--", "true", "{fd}{vhostfds}", user="alice")
        assert said.status == 1
        assert "failed to open /dev/vhost-net: No such file or directory; as root: modprobe vhost_net" in said.err
        assert broker.no_tap_is_left()


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
def test_without_a_broker_it_says_how_to_start_one() -> None:
    """Exit status 2: nothing was decided."""
    said = ctl("run", "--bridge", "br0", "--", "true", "{fd}", user="alice")
    assert said.status == 2
    assert said.err.startswith("qbhelperctl: failed to connect to the broker at /run/qbhelper/broker.sock: ")
    assert said.err.endswith("; as root: systemctl enable --now qbhelper.socket\n")


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_broker")
def test_the_command_has_the_privileges_of_the_caller_and_no_more() -> None:
    """Whoever runs it gains fds, and nothing else: no capability, no uid; signals and environment are as they were."""
    script = "grep -E '^(Uid|Cap...|NoNewPrivs|Sig...)' /proc/self/status; umask; echo $TZ {fd}"
    plain = subprocess.run(
        ["sh", "-c", script.replace("{fd}", "")], capture_output=True, text=True, check=True, user=1000, group=1000,
        extra_groups=[], env={"TZ": "here", "PATH": os.environ["PATH"]},
    )  # fmt: skip
    said = ctl("run", "--bridge", "br0", "--", "sh", "-c", script, user="alice", variables={"TZ": "here"})
    assert said.out.splitlines()[:-1] == plain.stdout.splitlines()[:-1]
    assert said.out.splitlines()[-1].startswith("here ")


@full_kernel.wanted
@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
def test_a_mac_address_is_one_that_the_rule_lets_through() -> None:
    """The first of them, or the one that was asked for; another is refused, since the guest would not be heard."""
    write(POLICY, '[[allow]]\nbridge = "br0"\nmacs = ["52:54:00:12:34:50", "52:54:00:12:34:51"]\n[end]\n')
    with broker.by_hand():
        words = ("--", "echo", "{fd}", "{mac}")
        assert ctl("run", "--bridge", "br0", *words, user="alice").out.split()[1] == "52:54:00:12:34:50"
        assert broker.no_tap_is_left()
        said = ctl("run", "--bridge", "br0", "--mac", "52:54:00:12:34:51", *words, user="alice")
        assert said.out.split()[1] == "52:54:00:12:34:51"
        assert broker.no_tap_is_left()
        said = ctl("run", "--bridge", "br0", "--mac", MAC, *words, user="alice")
        assert (said.status, said.out) == (1, "")
        assert f"MAC address {MAC} would not be heard on br0; the rule lets through 52:54:00:12:34:50, " in said.err
        assert broker.no_tap_is_left()


@full_kernel.wanted
@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
def test_the_fds_of_a_real_vhost_net_work() -> None:
    """Of the host's own device: an ioctl that it alone knows succeeds on them (VHOST_SET_OWNER)."""
    write(POLICY, RULES)
    script = "import fcntl, sys; print(*(fcntl.ioctl(int(fd), 0xAF01) for fd in sys.argv[1].split(':')))"
    world.run("modprobe", "vhost_net")
    os.chmod("/dev/vhost-net", 0o666)  # the broker serves as nobody here
    with broker.by_hand():
        command = ("--", "python3", "-c", script, "{vhostfds}", "{fds}")
        said = ctl("run", "--bridge", "br0", "--queues", "2", "--vhost", *command, user="alice")
    assert (said.status, said.out) == (0, "0 0\n"), said
    assert broker.no_tap_is_left()
