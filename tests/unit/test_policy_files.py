# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding and reading the files of a policy: whom they may belong to, what is missing, what callers are told."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qbhelper import sources
from qbhelper.accounts import HostAccounts
from qbhelper.errors import AccessListError, PolicyError
from qbhelper.policy.access_list import AccessList
from qbhelper.policy.rules import Policy
from qbhelper.request import Caller
from tests.support import world
from tests.support.policies import ALICE

pytestmark = pytest.mark.needs_root

ALLOW = b'[[allow]]\nbridge = "br0"\n[end]\n'
DENY = b'[[deny]]\nbridge = "br0"\n[end]\n'


ETC = Path("/etc/qbhelper")


@pytest.fixture
def etc() -> Iterator[Path]:
    """The private world's own /etc/qbhelper, with nothing in it; and no access list."""
    world.ACCESS_LIST.unlink(missing_ok=True)
    yield ETC
    if ETC.is_symlink():
        ETC.unlink()
    elif ETC.exists():
        shutil.rmtree(ETC)
    ETC.mkdir(mode=0o755)
    world.ACCESS_LIST.unlink(missing_ok=True)


def write(path: Path, text: bytes = ALLOW, mode: int = 0o644) -> Path:
    """Write a file of a policy, and its directory."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_bytes(text)
    path.chmod(mode)
    return path


def read() -> Policy:
    """The policy that is there."""
    policy = sources.read_policy()
    assert policy is not None
    return policy


def problems() -> list[str]:
    """All that is wrong with the policy that is there."""
    with pytest.raises(PolicyError) as caught:
        sources.read_policy()
    return [str(problem) for problem in caught.value.problems]


def places() -> list[str]:
    """The rules that are there, by file and line, without the directory."""
    return [str(rule.place).removeprefix(f"{ETC}/") for rule in read().rules]


def test_without_a_file_there_is_no_policy(etc: Path) -> None:
    """No directory, an empty one, an empty policy.d, and files in it that do not count: the access list rules."""
    assert sources.read_policy() is None
    (etc / "policy.d").mkdir()
    assert sources.read_policy() is None
    for name in ("README", "a.toml~", ".a.toml", "a.toml.dpkg-new", "toml"):
        write(etc / "policy.d" / name)
    assert sources.read_policy() is None
    for path in (etc / "policy.d").iterdir():
        path.unlink()
    (etc / "policy.d").rmdir()
    etc.rmdir()
    assert sources.read_policy() is None


def test_the_files_come_in_the_order_of_their_names(etc: Path) -> None:
    """First policy.toml, then those of policy.d by the bytes of their names."""
    for number, name in enumerate(("b", "10", "a", "9", "policy", "\u00e9", "B")):
        write(etc / "policy.d" / f"{name}.toml", b'[[allow]]\nbridge = "br%d"\n[end]' % number)
    write(etc / "policy.toml", DENY)
    assert places() == [
        "policy.toml:1",
        *(f"policy.d/{name}.toml:1" for name in ("10", "9", "B", "a", "b", "policy", "\\xe9")),
    ]


def test_files_without_the_main_one_are_an_error(etc: Path) -> None:
    """policy.toml may have been lost: the rules beside it neither count alone nor are they passed over."""
    write(etc / "policy.d" / "a.toml", DENY)
    assert problems() == [
        (
            f"{etc}/policy.toml: missing, and {etc}/policy.d/a.toml is there; "
            "write it, if only with the line [end] in it; or remove the files of policy.d"
        )
    ]
    write(etc / "policy.toml", b"[end]\n")
    assert places() == ["policy.d/a.toml:1"]


def _owned_by_another(path: Path) -> None:
    os.chown(path, 61234, 0)


def _writable_by_group(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o020)


def _writable_by_all(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


UNTRUSTED: list[tuple[Callable[[Path], None], str, str]] = [
    (_owned_by_another, "uid 61234 owns it", "as root: chown root it, after a look at what is in it"),
    (_writable_by_group, "others than root can write to it", "as root: chmod go-w it, after a look at what is in it"),
    (_writable_by_all, "others than root can write to it", "as root: chmod go-w it, after a look at what is in it"),
]


@pytest.mark.parametrize(("spoil", "what", "hint"), UNTRUSTED)
@pytest.mark.parametrize("name", ["policy.toml", "policy.d", "policy.d/a.toml", "."])
def test_what_others_can_change_is_no_policy(
    etc: Path, name: str, spoil: Callable[[Path], None], what: str, hint: str
) -> None:
    """Files and directories belong to root and are root's alone to write; one that is not refuses everything."""
    write(etc / "policy.toml")
    write(etc / "policy.d" / "a.toml", DENY)
    assert len(places()) == 2
    spoil(etc / name)
    # Where the directory itself is not trusted, neither is what was looked up in it.
    paths = [etc / "policy.toml", etc / "policy.d"] if name == "." else [etc / name]
    if name == ".":
        what, hint = re.sub(r"\bit$", "its directory", what), re.sub(r"\bit,", "its directory,", hint)
    assert problems() == [f"{path}: {what}; {hint}" for path in paths]


def test_the_directory_counts_also_where_nothing_is_in_it(etc: Path) -> None:
    """Who can write to it can have moved the policy away."""
    etc.chmod(0o775)
    assert problems()


def test_a_symbolic_link_is_followed_to_what_counts(etc: Path, tmp_path: Path) -> None:
    """As on hosts that keep their configuration elsewhere; what is at the end has to be root's."""
    target = write(tmp_path / "elsewhere" / "rules")
    (etc / "policy.toml").symlink_to(target)
    (etc / "policy.d").symlink_to(tmp_path / "elsewhere")
    assert places() == ["policy.toml:1"]
    target.chmod(0o666)
    assert problems() == [f"{etc}/policy.toml: {UNTRUSTED[1][1]}; {UNTRUSTED[1][2]}"]


@pytest.mark.parametrize("name", ["policy.toml", "policy.d", "policy.d/a.toml", ""])
def test_a_link_that_leads_nowhere_is_an_error(etc: Path, name: str) -> None:
    """It was to lead to rules: that is not the same as no rules."""
    if name == "":
        etc.rmdir()
    if name == "policy.d/a.toml":
        write(etc / "policy.toml")
        (etc / "policy.d").mkdir()
    (etc / name).symlink_to("/nowhere/at/all")
    found = problems()
    path = etc / (name or "policy.toml")
    assert found[0] == f"{path}: a symbolic link that leads nowhere; the administrator has to mend it"


def test_only_regular_files_of_a_bounded_size_are_read(etc: Path) -> None:
    """A FIFO makes nobody wait, and a directory or a file without end is an error like others."""
    write(etc / "policy.toml", b"#" * (sources.SIZE_MAX + 1))
    (etc / "policy.d").mkdir()
    os.mkfifo(etc / "policy.d" / "a.toml", 0o644)
    (etc / "policy.d" / "b.toml").mkdir()
    assert problems() == [
        f"{etc}/policy.toml: larger than 1048576 bytes; the administrator has to mend it",
        f"{etc}/policy.d/a.toml: not a regular file; the administrator has to mend it",
        f"{etc}/policy.d/b.toml: not a regular file; the administrator has to mend it",
    ]


def test_what_should_be_a_directory_and_is_none_is_an_error(etc: Path) -> None:
    """A file named policy.d may hold somebody's denies."""
    write(etc / "policy.toml")
    write(etc / "policy.d")
    assert problems() == [f"{etc}/policy.d: Not a directory; the administrator has to mend it"]


def test_the_number_of_files_is_bounded(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file more than are read is an error: which of them does not count, nobody could know."""
    monkeypatch.setattr(sources, "DROP_INS_MAX", 2)
    write(etc / "policy.toml")
    for name in ("a", "b"):
        write(etc / "policy.d" / f"{name}.toml", b"[end]")
    assert len(places()) == 1
    write(etc / "policy.d" / "c.toml", b"[end]")
    assert problems() == [f"{etc}/policy.d: more than 2 files; put rules together in fewer"]


def test_a_file_that_goes_while_it_is_read_is_an_error(etc: Path) -> None:
    """What was listed and is gone may have been a deny in the middle of being replaced."""
    write(etc / "policy.toml")
    write(etc / "policy.d" / "a.toml", DENY)

    class Fleeting(sources.PolicyFiles):
        def names(self, directory: bytes, name: bytes) -> list[bytes]:
            found = super().names(directory, name)
            (etc / "policy.d" / "a.toml").unlink()
            return found

    with pytest.raises(PolicyError, match=r"policy.d/a.toml: No such file"):
        sources.read_policy(Fleeting())


def test_nothing_is_left_open(etc: Path) -> None:
    """However reading ends, every fd is closed."""
    write(etc / "policy.toml")
    write(etc / "policy.d" / "a.toml", DENY)
    before = os.listdir("/proc/self/fd")
    read()
    (etc / "policy.d").chmod(0o777)
    problems()
    etc.chmod(0o777)
    problems()
    assert os.listdir("/proc/self/fd") == before


class TestWhatCallersAreTold:
    """The text of a PolicyError, which may be for somebody who can't read the files."""

    def told(self) -> str:
        """What a caller is told."""
        with pytest.raises(PolicyError) as caught:
            sources.load_policy(ALICE)
        return str(caught.value)

    def test_it_is_the_place_of_the_first_error_and_never_what_stands_there(self, etc: Path) -> None:
        """A file of mode 0600 that the broker reads for everybody keeps its secrets."""
        write(etc / "policy.toml", b'[[allow]]\nbridge = "secret*"\nsecret = 1\n', 0o600)
        assert self.told() == (
            f"the policy has an error: {etc}/policy.toml:2 (and 2 more); "
            "nothing is allowed until the administrator mends it: `qbhelperctl check' says what is wrong"
        )

    def test_what_is_wrong_with_a_whole_file_is_told(self, etc: Path) -> None:
        """Owner and mode are no secrets, and the remedy is needed."""
        write(etc / "policy.toml", mode=0o666)
        assert self.told() == (
            f"failed to read the policy: {etc}/policy.toml: others than root can write to it; "
            "as root: chmod go-w it, after a look at what is in it"
        )

    @pytest.mark.parametrize("name", ["policy.toml", "policy.d", "policy.d/a.toml", "."])
    def test_who_may_not_read_it_alone_is_told_both_remedies(self, etc: Path, name: str) -> None:
        """The helper alone reads as its caller: what they can't read must not count as not there."""
        write(etc / "policy.toml")
        write(etc / "policy.d" / "a.toml", DENY)
        (etc / name).chmod(0o700 if (etc / name).is_dir() else 0o600)
        path = etc / ("policy.toml" if name == "." else name)
        assert as_caller(61234, self.told) == (
            f"failed to read the policy: {path}: Permission denied; "
            "as root chmod 0644 it (a directory: 0755), or start the broker, which reads it for all: qbhelperd"
        )


def as_caller(uid: int, act: Callable[[], str]) -> str:
    """Return what `act` returns in a process of this uid."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(write_end, act().encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(pid, 0)
    return text


class TestWhatRules:
    """Policy or access list: `load_policy`, which both ways stand on."""

    def test_without_a_policy_it_is_the_access_list_as_ever(self, etc: Path) -> None:
        """The very same object and the very same errors as without all this."""
        with pytest.raises(AccessListError, match="failed to parse default acl file"):
            sources.load_policy(ALICE)
        write(world.ACCESS_LIST, b"allow br0\n")
        found = sources.load_policy(ALICE)
        assert isinstance(found, AccessList)
        assert found.decide(b"br0").terms.port.is_plain

    def test_a_policy_rules_alone(self, etc: Path) -> None:
        """The access list is not even looked at: neither what it allows counts nor that it has an error."""
        write(world.ACCESS_LIST, b"allow br1\nnonsense\n")
        write(etc / "policy.toml")
        found = sources.load_policy(ALICE)
        assert found.path == f"{etc}/policy.toml"
        assert (found.decide(b"br0").allowed, found.decide(b"br1").allowed) == (True, False)

    def test_with_qemu_acl_both_count(self, etc: Path) -> None:
        """A list that is missing or wrong refuses everything then, as it does alone."""
        write(etc / "policy.toml", b"qemu_acl = true\n" + ALLOW)
        with pytest.raises(AccessListError, match="No such file"):
            sources.load_policy(ALICE)
        write(world.ACCESS_LIST, b"allow br1\n")
        found = sources.load_policy(ALICE)
        assert (found.decide(b"br0").allowed, found.decide(b"br1").allowed) == (True, True)
        write(world.ACCESS_LIST, b"allow br1\nnonsense\n")
        with pytest.raises(AccessListError, match="Invalid config line"):
            sources.load_policy(ALICE)

    def test_names_are_those_of_this_host(self, etc: Path) -> None:
        """Root is an account everywhere."""
        write(etc / "policy.toml", b'[[allow]]\nbridge = "br0"\nusers = "root"\ngroups = "root"\n[end]')
        assert sources.load_policy(Caller(0, 5, ())).decide(b"br0").allowed
        assert sources.load_policy(Caller(5, 0, ())).decide(b"br0").allowed
        assert not sources.load_policy(Caller(5, 5, ())).decide(b"br0").allowed

    def test_the_date_is_todays(self, etc: Path) -> None:
        """What expired long ago is over, and what expires in centuries is not."""
        for day, allowed in ((b"2026-01-01", False), (b"9999-12-31", True)):
            write(etc / "policy.toml", b'[[allow]]\nbridge = "br0"\nexpires = %s\n[end]' % day)
            assert sources.load_policy(ALICE).decide(b"br0").allowed == allowed


class TestTheAccountsOfThisHost:
    """What names mean, as getpwnam(3) and getgrnam(3) say."""

    def test_are_asked_by_name(self) -> None:
        """A name that is there has its number; one that is not there, or can't be one, has none."""
        accounts = HostAccounts()
        assert (accounts.uid_of("root"), accounts.gid_of("root")) == (0, 0)
        for name in ("no-such-account-here", "", "a\0b", "x" * 100000, "\u00e9"):
            assert (accounts.uid_of(name), accounts.gid_of(name)) == (None, None)

    def test_a_name_that_was_not_known_is_asked_for_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who makes an account waits a second at most; what is known is asked for again after a while."""
        import pwd

        now = [1000.0]
        known: dict[str, int] = {}
        asked: list[str] = []

        class Entry:
            def __init__(self, name: str) -> None:
                asked.append(name)
                self.pw_uid = known[name]

        monkeypatch.setattr(pwd, "getpwnam", Entry)
        monkeypatch.setattr("qbhelper.accounts.time.monotonic", lambda: now[0])
        accounts = HostAccounts()
        assert accounts.uid_of("ann") is None
        known["ann"] = 7
        # A thousand callers at once need not all wait for a directory service to say no.
        assert accounts.uid_of("ann") is None
        assert len(asked) == 1
        now[0] += 1.1
        assert accounts.uid_of("ann") == 7
        known["ann"] = 8
        assert accounts.uid_of("ann") == 7
        assert len(asked) == 2
        now[0] += 11
        assert accounts.uid_of("ann") == 8
