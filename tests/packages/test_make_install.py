# SPDX-License-Identifier: GPL-2.0-or-later
"""`make install`, on which every recipe of a distribution stands."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.packages.trees import TREE, contents, copy_of_the_source, files, run, shared

USR = ["prefix=/usr"]
EXTRAS = ["install-policy", "install-apparmor", "install-libvirt", "install-qemu"]
MODULES = "usr/lib/qbhelper/qbhelper"


def make(*words: str, tree: Path = TREE, **details: object) -> str:
    """Run make in a tree."""
    return run(["make", "-s", "-C", tree, *words], **details)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that make installs, as for a package, by somebody whose umask is odd."""
    root = tmp_path_factory.mktemp("installed")
    make("install", *EXTRAS, *USR, f"DESTDIR={root}", f"BUILD={tmp_path_factory.mktemp('build')}", umask=0o077)
    return root


def test_each_file_is_where_it_belongs(installed: Path) -> None:
    """Programs, units, account, modules, configuration, links for those who look for QEMU's own name."""
    there = files(installed)
    assert {
        "usr/bin/qbhelper",
        "usr/sbin/qbhelperd",
        "usr/lib/systemd/system/qbhelper.service",
        "usr/lib/systemd/system/qbhelper.socket",
        "usr/lib/sysusers.d/qbhelper.conf",
        f"{MODULES}/standalone.py",
        f"{MODULES}/broker/server.py",
        f"{MODULES}/kernel/sieve/rules.py",
        *shared("usr/share"),
        "etc/qbhelper/policy.toml",
        "etc/apparmor.d/qbhelper",
        "etc/apparmor.d/qbhelperd",
        "usr/bin/qemu-bridge-helper",
        "usr/libexec/qemu-bridge-helper",
    } <= there
    assert {path.partition("/")[0] for path in there} == {"usr", "etc"}


def test_every_module_of_the_core_is_installed_with_its_byte_code(installed: Path) -> None:
    """And nothing else of the source: no test, no C."""
    ours = {str(path.relative_to(TREE)) for path in (TREE / "qbhelper").rglob("*.py")}
    theirs = files(installed / "usr/lib/qbhelper")
    sources = {path for path in theirs if "__pycache__" not in path}
    assert sources == ours
    compiled = {path.replace("/__pycache__", "").partition(".")[0] + ".py" for path in theirs - sources}
    assert compiled == ours


def test_modes_are_the_ordinary_ones(installed: Path) -> None:
    """Whatever the umask: 0644, 0755 for programs and directories, no set-id bit, nobody but root can write."""
    for path, entry in contents(installed).items():
        if entry.mode.startswith("l"):
            continue
        program = path.startswith(("usr/bin/", "usr/sbin/"))
        assert entry.mode == {"d": "drwxr-xr-x"}.get(entry.mode[0], "-rwxr-xr-x" if program else "-rw-r--r--"), path


def test_no_capability_is_set(installed: Path) -> None:
    """Privilege is the administrator's to give."""
    assert [path for path in installed.rglob("*") if os.listxattr(path, follow_symlinks=False)] == []


def test_what_is_installed_knows_where_it_is(installed: Path) -> None:
    """No path of the place where it was built is in it; the unit starts the program that was installed."""
    for path in files(installed):
        data = (installed / path).read_bytes() if not (installed / path).is_symlink() else b""
        # -g leaves the names of the source files, which are relative.
        assert str(TREE).encode() not in data, path
        assert str(installed).encode() not in data, path
    assert b"/usr/lib/qbhelper" in (installed / "usr/bin/qbhelper").read_bytes()
    assert '"/usr/lib/qbhelper"' in (installed / "usr/sbin/qbhelperd").read_text()
    assert "\nExecStart=/usr/sbin/qbhelperd\n" in (installed / "usr/lib/systemd/system/qbhelper.service").read_text()


def test_directories_can_be_chosen(tmp_path: Path) -> None:
    """As every distribution has them."""
    chosen = {
        "bindir": "b",
        "sbindir": "s",
        "moduledir": "m",
        "unitdir": "u",
        "sysusersdir": "y",
        "docdir": "d",
        "libexecdir": "l",
        "sysconfdir": "e",
        "mandir": "h",
        "bashcompdir": "bash",
        "zshcompdir": "zsh",
        "fishcompdir": "fish",
    }
    words = [f"{name}=/{directory}" for name, directory in chosen.items()]
    root = tmp_path / "root"
    make("install", *EXTRAS, *words, f"DESTDIR={root}", f"BUILD={tmp_path}/build")
    assert set(os.listdir(root)) == set(chosen.values())
    there = files(root)
    assert {"b/qbhelper", "b/qemu-bridge-helper", "s/qbhelperd", "m/qbhelper/grant.py", "u/qbhelper.socket"} <= there
    assert {"h/man8/qbhelper.8", "bash/qbhelperctl.bash", "zsh/_qbhelperctl", "fish/qbhelperctl.fish"} <= there
    assert {"l/qemu-bridge-helper", "e/qbhelper/policy.toml", "e/apparmor.d/qbhelper"} <= there
    assert "\nExecStart=/s/qbhelperd\n" in (root / "u/qbhelper.service").read_text()
    assert b"/m" in (root / "b/qbhelper").read_bytes()
    assert os.readlink(root / "l/qemu-bridge-helper") == "/b/qbhelper"


def test_the_same_source_gives_the_same_files(installed: Path, tmp_path: Path) -> None:
    """Built elsewhere, by another user's umask, in another language and time zone, at another time."""
    elsewhere = copy_of_the_source(tmp_path / "a longer" / "path to the source")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "7", "HOME": "/"}
    make("install", *EXTRAS, *USR, f"DESTDIR={tmp_path}/root", tree=elsewhere, umask=0o022, env=environment)
    assert contents(tmp_path / "root") == contents(installed)


def test_a_distributions_flags_are_the_last_word(tmp_path: Path) -> None:
    """CPPFLAGS, CFLAGS and LDFLAGS come after our own."""
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/words\nexec cc "$@"\n')
    compiler.chmod(0o755)
    make(
        f"CC={compiler}",
        f"BUILD={tmp_path}",
        "CPPFLAGS=-DTHEIRS",
        "CFLAGS=-O1 -fno-stack-protector",
        "LDFLAGS=-Wl,-z,lazy",
        "installable",
    )
    words = (tmp_path / "words").read_text().splitlines()
    assert "-DTHEIRS" in words
    assert words.index("-O1") > words.index("-fstack-protector-strong")
    assert words.index("-fno-stack-protector") > words.index("-fstack-protector-strong")
    assert words.index("-Wl,-z,lazy") > words.index("-Wl,-z,relro,-z,now,-z,noexecstack")
    assert "-O2" not in words


@pytest.mark.parametrize(("words", "interpreter"), [([], False), (["CC=cc"], True)], ids=["musl", "libc"])
def test_it_is_a_position_independent_program(words: list[str], interpreter: bool, tmp_path: Path) -> None:
    """With musl it needs no loader; with CC=cc it has the system's.  Either way addresses are not known beforehand."""
    make("installable", f"BUILD={tmp_path}", *words)
    program = tmp_path / "qbhelper.install"
    kind = struct.unpack_from("<H", program.read_bytes(), 16)[0]
    assert kind == 3, "not ET_DYN"
    headers = run(["readelf", "--wide", "--program-headers", "--dynamic", program])
    assert (" INTERP " in headers) is interpreter
    assert ("(NEEDED)" in headers) is interpreter
    assert "GNU_RELRO" in headers
    assert "RWE" not in headers
    assert "NOW" in headers or not interpreter
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.split(" ")[0]) == (1, "Usage:")


def test_a_policy_that_is_there_stays(tmp_path: Path) -> None:
    """Installing anew does not take an administrator's rules away."""
    policy = tmp_path / "etc/qbhelper/policy.toml"
    make("install-policy", f"DESTDIR={tmp_path}")
    policy.write_text("# mine\n[end]\n")
    make("install-policy", f"DESTDIR={tmp_path}")
    assert policy.read_text() == "# mine\n[end]\n"


def test_qemus_own_helper_is_not_overwritten(tmp_path: Path) -> None:
    """Where it is in the way, `make install-qemu` fails and leaves it alone."""
    theirs = tmp_path / "usr/libexec/qemu-bridge-helper"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    words = ["make", "-s", "-C", str(TREE), "install-qemu", *USR, f"DESTDIR={tmp_path}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "File exists" in done.stderr
    assert theirs.read_text() == "theirs"


def test_manual_pages_go_to_their_sections(tmp_path: Path) -> None:
    """Each page of docs/man; and QEMU's name of the helper has the helper's."""
    tree = copy_of_the_source(tmp_path / "tree")
    shutil.rmtree(tree / "docs/man")
    (tree / "docs/man").mkdir()
    for name in ("qbhelper.8", "qbhelper-policy.5"):
        (tree / "docs/man" / name).write_text("a page\n")
    make("install", "install-libvirt", *USR, f"DESTDIR={tmp_path}/root", tree=tree)
    pages = tmp_path / "root/usr/share/man"
    assert {"man5/qbhelper-policy.5", "man8/qbhelper.8", "man8/qemu-bridge-helper.8"} == files(pages)
    assert (pages / "man8/qemu-bridge-helper.8").read_text() == ".so man8/qbhelper.8\n"
    make("uninstall", *USR, f"DESTDIR={tmp_path}/root", tree=tree)
    assert files(pages) == {"man8/qemu-bridge-helper.8"}


def test_uninstall_takes_away_what_install_has_put_there(tmp_path: Path) -> None:
    """With the same variables; only directories stay."""
    words = [*USR, f"DESTDIR={tmp_path}/root", f"BUILD={tmp_path}/build"]
    make("install", *words)
    make("uninstall", *words)
    assert files(tmp_path / "root") == set()
