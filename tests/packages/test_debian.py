# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian packages: what is in them, and what installing, upgrading, removing and purging them does.

They are installed with dpkg into a copy of the system that we run on.  What takes a running systemd is in tests/host.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packages import debs
from tests.packages.conftest import Needs
from tests.packages.debs import Debs
from tests.packages.throwaway import OWN_PROGRAMS, System
from tests.packages.trees import TREE, run, shared
from tests.support import caller, world
from tests.support.broker import Readiness
from tests.support.caller import PLAIN_UID, Outcome

QEMUS = "/usr/lib/qemu/qemu-bridge-helper"
WANTED = "/etc/systemd/system/sockets.target.wants/qbhelper.socket"
POLICY = "/etc/qbhelper/policy.toml"
HELPER = "/usr/bin/qbhelper"
PROFILES = [path.name for path in (TREE / "packaging/apparmor").iterdir()]

installs = pytest.mark.needs_root


# --- What is in them -----------------------------------------------------------------------------


def test_lintian_has_nothing_to_warn_of(built: Debs, needs: Needs) -> None:
    """Neither about the source nor about a package."""
    needs("lintian")
    (changes,) = built.directory.glob("*.changes")
    run(["lintian", "--allow-root", "--fail-on=warning", changes], env=OWN_PROGRAMS)


def test_each_package_has_its_files(built: Debs) -> None:
    """The helper and the broker in one; the links by which others find the helper in two more."""
    ours = built.files("qbhelper")
    assert {
        "usr/bin/qbhelper",
        "usr/sbin/qbhelperd",
        "usr/lib/sysusers.d/qbhelper.conf",
        "usr/share/qbhelper/qbhelper/standalone.py",
        "usr/share/qbhelper/qbhelper/broker/server.py",
        "usr/share/qbhelper/qbhelper/kernel/sieve/rules.py",
        *shared("usr/share", zsh="zsh/vendor-completions", compressed=".gz"),
        "etc/qbhelper/policy.toml",
        *(f"etc/apparmor.d/{profile}" for profile in PROFILES),
    } <= ours
    units = {path for path in ours if path.removeprefix("usr/").startswith("lib/systemd/system/")}
    assert {Path(unit).name for unit in units} == {"qbhelper.service", "qbhelper.socket"}
    assert not [path for path in ours if "__pycache__" in path], "the interpreter's own version compiles them"
    links = {
        name: {path for path in built.files(name) if not path.startswith(("usr/share/doc/", "usr/share/man/"))}
        for name in ("qbhelper-libvirt", "qbhelper-qemu")
    }
    assert links == {"qbhelper-libvirt": {"usr/bin/qemu-bridge-helper"}, "qbhelper-qemu": {QEMUS[1:]}}


@pytest.mark.parametrize("name", debs.NAMES)
def test_nothing_is_setuid_or_writable(built: Debs, name: str) -> None:
    """Every file is root's, with one of two modes, and no script gives a mode, a capability or an owner."""
    listing = run(["dpkg-deb", "--contents", built[name]]).splitlines()
    assert {line.split()[1] for line in listing} == {"root/root"}
    assert set(built.modes(name).values()) <= {"-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x", "lrwxrwxrwx"}
    scripts = [path for path in (built.unpacked(name) / "DEBIAN").iterdir() if path.name.endswith(("inst", "rm"))]
    for script in scripts:
        assert not re.search(r"chmod|setcap|chown|dpkg-statoverride", script.read_text()), script.name


@pytest.mark.parametrize("program", ["usr/bin/qbhelperctl", "usr/sbin/qbhelperd"])
def test_programs_take_nothing_from_their_callers_environment(built: Debs, program: str) -> None:
    """The interpreter is isolated, whatever the tools of Debian make of a first line."""
    assert (built.unpacked("qbhelper") / program).read_text().startswith("#!/usr/bin/python3 -I\n")


def test_configuration_is_known_as_such(built: Debs) -> None:
    """What an administrator changes survives an upgrade: all files in /etc are conffiles."""
    conffiles = (built.unpacked("qbhelper") / "DEBIAN/conffiles").read_text().split()
    assert set(conffiles) == {f"/{path}" for path in built.files("qbhelper") if path.startswith("etc/")}


def test_they_depend_on_the_distributions_modules(built: Debs) -> None:
    """python-prctl and pyroute2 come with Debian; the links need the helper."""
    control = (built.unpacked("qbhelper") / "DEBIAN/control").read_text()
    depends = re.findall(r"^Depends: (.*)$", control, re.MULTILINE)[0]
    assert {"python3-prctl", "python3-pyroute2", "python3:any (>= 3.11~)"} <= set(depends.split(", "))
    for name in ("qbhelper-libvirt", "qbhelper-qemu"):
        assert "\nDepends: qbhelper (>= " in (built.unpacked(name) / "DEBIAN/control").read_text()


def test_the_same_source_gives_the_same_packages(built: Debs, tmp_path: Path) -> None:
    """Byte by byte, built in another directory at another time."""
    again = debs.build(tmp_path / "another" / "place")
    for path in [*built.all(), *built.directory.glob("*.orig.tar.xz")]:
        assert (again.directory / path.name).read_bytes() == path.read_bytes(), path.name


# --- What installing does ------------------------------------------------------------------------


@installs
def test_installed_it_is_ready(built: Debs, system: System) -> None:
    """The account is there, the socket is enabled, the modules are compiled, and nobody is setuid."""
    system.install(built["qbhelper"])
    accounts = [line.split(":") for line in system.path("/etc/passwd").read_text().splitlines()]
    (account,) = (fields for fields in accounts if fields[0] == "qbhelper")
    assert account[6] == "/usr/sbin/nologin"
    assert int(account[2]) < 1000
    assert system.path(WANTED).is_symlink()
    assert not list(system.path("/etc/systemd/system").rglob("qbhelper.service"))
    core = system.path("/usr/share/qbhelper/qbhelper")
    assert {path.stem for path in core.glob("*.py")} == {
        path.name.partition(".")[0] for path in (core / "__pycache__").iterdir()
    }
    assert system.path("/etc/apparmor.d/local/qbhelper").exists()
    for name in run(["dpkg", f"--root={system.root}", "--listfiles", "qbhelper"]).split():
        path = system.path(name)
        if not path.is_symlink():
            assert path.stat().st_mode & 0o7022 == 0, name
            assert path.stat().st_uid == 0, name


def call(system: System, bridge: str = "br0", uid: int | None = None, helper: str = HELPER) -> Outcome:
    """Call the installed helper as QEMU does."""

    def argv(fd: int) -> list[str]:
        return system.argv(helper, "--use-vnet", f"--fd={fd}", f"--br={bridge}", uid=uid)[1:]

    return caller.call(Path("/usr/sbin/chroot"), argv=argv, uid=None, env=OWN_PROGRAMS)


def write(system: System, path: str, text: str) -> None:
    """Write a file of the system, as its administrator."""
    system.path(path).parent.mkdir(parents=True, exist_ok=True)
    system.path(path).write_text(text)


@installs
def test_qemus_access_list_rules_as_it_did_before(built: Debs, system: System) -> None:
    """The policy that comes with the package lets it: who changes over from QEMU's helper notices nothing."""
    system.install(built["qbhelper"])
    with world.bridge("br0"), world.bridge("br1"):
        with call(system) as outcome:
            assert outcome.refused, "without an access list nobody is allowed anything"
            assert "/etc/qemu/bridge.conf" in outcome.stderr
        write(system, "/etc/qemu/bridge.conf", "allow br0\n")
        with call(system) as outcome:
            assert outcome.granted, outcome
            assert world.ports("br0") == {outcome.tap().name}
        assert call(system, "br1").refused
        write(system, "/etc/qbhelper/policy.d/us.toml", '[[allow]]\nbridge = "br1"\n[end]\n')
        with call(system, "br1") as outcome:
            assert outcome.granted, outcome
        with call(system, "br0") as outcome:
            assert outcome.granted, outcome


@installs
def test_the_installed_broker_serves_whoever_is_allowed(built: Debs, system: System) -> None:
    """Started by hand; the helper has no privilege, and its user is nobody special."""
    system.install(*built.all())
    write(system, "/etc/qemu/bridge.conf", "allow br0\n")
    readiness = Readiness()
    system.path("/run/ready.sock").touch()
    world.run("mount", "--bind", str(readiness.path), str(system.path("/run/ready.sock")))
    environment = {**OWN_PROGRAMS, "NOTIFY_SOCKET": "/run/ready.sock"}
    broker = subprocess.Popen(system.argv("/usr/sbin/qbhelperd"), env=environment, preexec_fn=world.die_with_parent)
    try:
        assert readiness.next_pid() is not None
        with world.bridge("br0"):
            for helper in (HELPER, "/usr/bin/qemu-bridge-helper", QEMUS):
                with call(system, uid=PLAIN_UID, helper=helper) as outcome:
                    assert outcome.granted, (helper, outcome)
    finally:
        broker.terminate()
        broker.wait()
        readiness.close()


# --- What upgrading does -------------------------------------------------------------------------


@installs
def test_an_upgrade_keeps_what_the_administrator_has_changed(built: Debs, system: System, tmp_path: Path) -> None:
    """The policy, modes of dpkg-statoverride, and that the socket was disabled."""
    system.install(built["qbhelper"])
    write(system, POLICY, "# mine\n[end]\n")
    system.run("dpkg-statoverride", "--update", "--add", "root", "root", "4755", HELPER)
    system.run("systemctl", "disable", "qbhelper.socket")
    assert not system.path(WANTED).is_symlink()
    system.install(debs.newer(built["qbhelper"], tmp_path / "newer.deb"))
    assert system.path(POLICY).read_text() == "# mine\n[end]\n"
    assert system.path(HELPER).stat().st_mode & 0o7777 == 0o4755
    assert not system.path(WANTED).is_symlink()


@installs
def test_an_upgrade_does_not_close_the_socket(built: Debs) -> None:
    """Its scripts stop it when the package is removed, and restart nothing but a broker that runs."""
    scripts = built.unpacked("qbhelper") / "DEBIAN"
    assert not (scripts / "preinst").exists()
    assert re.findall(r"deb-systemd-invoke.*", (scripts / "prerm").read_text()) == [
        "deb-systemd-invoke stop 'qbhelper.socket' >/dev/null || true"
    ]
    assert '"$1" = remove' in (scripts / "prerm").read_text()
    assert re.findall(r"deb-systemd-invoke (\S+) '(\S+)'", (scripts / "postinst").read_text()) == [
        ("start", "qbhelper.socket"),
        ("try-restart", "qbhelper.service"),
    ]


# --- What removing does --------------------------------------------------------------------------


@installs
def test_removed_it_leaves_its_configuration_and_no_more(built: Debs, system: System) -> None:
    """As Debian wants it: what an administrator may have written stays until they say purge."""
    system.install(*built.all())
    system.path("/run/qbhelper").mkdir()
    system.run("dpkg", "--remove", *debs.NAMES)
    assert not system.path("/run/qbhelper").exists()
    left = system.changed() - {str(parent) for parent in Path(WANTED[1:]).parents}
    assert {path for path in left if not path.startswith("var/lib/systemd/")} == {
        *(f"etc/apparmor.d/{profile}" for profile in PROFILES),
        *(f"etc/apparmor.d/local/{profile}" for profile in PROFILES),
        "etc/qbhelper",
        "etc/qbhelper/policy.toml",
        WANTED[1:],
    }


@installs
def test_purged_it_leaves_nothing(built: Debs, system: System) -> None:
    """But for the account, which may own files."""
    system.install(*built.all())
    system.run("dpkg", "--purge", *debs.NAMES)
    assert system.changed() == set()


@installs
def test_purging_does_not_take_rules_of_the_administrators_own(built: Debs, system: System) -> None:
    """Files that came from nobody else stay."""
    system.install(built["qbhelper"])
    write(system, "/etc/qbhelper/policy.d/mine.toml", "[end]\n")
    system.run("dpkg", "--purge", "qbhelper")
    assert system.path("/etc/qbhelper/policy.d/mine.toml").read_text() == "[end]\n"
    assert not system.path(POLICY).exists()


# --- In the place of QEMU's own ------------------------------------------------------------------


@pytest.fixture
def qemus(system: System) -> bytes:
    """QEMU's own helper, which is installed."""
    path = system.path(QEMUS)
    if not path.exists():
        pytest.skip("QEMU's own helper is not here: install qemu-system-common")
    return path.read_bytes()


def is_ours(system: System) -> bool:
    """Whether QEMU would start our helper."""
    return system.run("realpath", QEMUS) == f"{HELPER}\n"


@installs
def test_qemus_own_helper_goes_aside_and_comes_back(built: Debs, system: System, qemus: bytes) -> None:
    """Installing, upgrading and removing."""
    system.install(built["qbhelper"], built["qbhelper-qemu"])
    assert is_ours(system)
    assert system.path(f"{QEMUS}.qemu").read_bytes() == qemus
    assert system.run("dpkg-divert", "--listpackage", QEMUS) == "qbhelper-qemu\n"
    system.install(built["qbhelper-qemu"])
    assert is_ours(system)
    assert system.path(f"{QEMUS}.qemu").read_bytes() == qemus
    system.run("dpkg", "--remove", "qbhelper-qemu")
    assert system.path(QEMUS).read_bytes() == qemus
    assert not system.path(f"{QEMUS}.qemu").exists()
    assert system.run("dpkg-divert", "--list", QEMUS) == ""


@installs
def test_an_upgrade_of_qemu_does_not_undo_it(built: Debs, system: System, tmp_path: Path, qemus: bytes) -> None:
    """QEMU's new helper goes where the old one went."""
    system.install(built["qbhelper"], built["qbhelper-qemu"])
    newer = debs.write(tmp_path / "qemu.deb", "qemu-system-common", "9:1", {QEMUS[1:]: "newer"})
    run(["dpkg", f"--root={system.root}", "--force-all", "--install", newer], env=OWN_PROGRAMS)
    assert is_ours(system)
    assert system.path(f"{QEMUS}.qemu").read_text() == "newer"
    system.run("dpkg", "--remove", "qbhelper-qemu")
    assert system.path(QEMUS).read_text() == "newer"


def broken(tree: Path) -> None:
    """Add a file that is another package's, so that dpkg stops in the middle."""
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/env").write_text("")


def next_version_broken(tree: Path) -> None:
    """Have it be an upgrade as well."""
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("0.1.0-1~1", "0.1.0-1~2"))
    broken(tree)


@installs
@pytest.mark.parametrize("change", [broken, next_version_broken])
def test_an_installation_that_fails_changes_nothing(
    built: Debs, system: System, tmp_path: Path, qemus: bytes, change: Callable[[Path], None]
) -> None:
    """Before it was installed QEMU's own is in its place again; after an upgrade that failed, ours still is."""
    is_upgrade = change is next_version_broken
    system.install(built["qbhelper"], *([built["qbhelper-qemu"]] if is_upgrade else []))
    bad = debs.another(built["qbhelper-qemu"], tmp_path / "bad.deb", change)
    done = subprocess.run(
        ["dpkg", f"--root={system.root}", "--install", bad], env=OWN_PROGRAMS, capture_output=True, check=False
    )
    assert b"trying to overwrite '/usr/bin/env'" in done.stderr
    assert is_ours(system) is is_upgrade
    assert system.path(f"{QEMUS}.qemu" if is_upgrade else QEMUS).read_bytes() == qemus


@installs
def test_a_statoverride_for_qemus_own_makes_nothing_of_ours_setuid(built: Debs, system: System, qemus: bytes) -> None:
    """Where QEMU's helper was given privilege, ours, which needs none, does not inherit it; QEMU's keeps it."""
    system.run("dpkg-statoverride", "--update", "--add", "root", "root", "4750", QEMUS)
    system.install(built["qbhelper"], built["qbhelper-qemu"])
    assert is_ours(system)
    assert system.path(HELPER).stat().st_mode & 0o7777 == 0o755
    assert system.path(f"{QEMUS}.qemu").stat().st_mode & 0o7777 == 0o4750
    system.run("dpkg", "--remove", "qbhelper-qemu")
    assert system.path(QEMUS).stat().st_mode & 0o7777 == 0o4750


@installs
def test_without_qemu_it_is_there_for_whoever_names_it(built: Debs, system: System) -> None:
    """The package does not need QEMU's file to be there, neither to come nor to go."""
    system.path(QEMUS).unlink(missing_ok=True)
    system.install(built["qbhelper"], built["qbhelper-qemu"])
    assert is_ours(system)
    system.run("dpkg", "--remove", "qbhelper-qemu")
    assert not system.path(QEMUS).exists()
    assert not system.path(f"{QEMUS}.qemu").exists()
