# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether AppArmor or SELinux confines the helper, and keeps a libvirt that it confines from the helper.

A guest's own profile does not matter: libvirt starts the helper before the guest, and QEMU that a user starts has none.
"""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from qbhelper.ctl.doctor.finding import Finding, State, Subject
from qbhelper.ctl.doctor.kind_of_helper import installed
from qbhelper.errors import printable, reason

STATION = "confinement"

APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
SECURITY = Path("/sys/kernel/security/apparmor")
PROFILES = Path("/etc/apparmor.d")
OURS = "qbhelper"
ATTACHED = ("/usr/bin/qbhelper", "/usr/local/bin/qbhelper")
"""What our profile is for (packaging/apparmor)."""
OF_LIBVIRT = {"usr.sbin.virtqemud": ("virtqemud",), "usr.sbin.libvirtd": ("libvirtd", "/usr/sbin/libvirtd")}
"""libvirt's profiles: the file of each, and what it is called; older ones have the program's path for a name."""
TALK = "unix (send, receive) type=stream addr=none peer=(label=qbhelper),"
END = 'signal (send) set=("term", "kill") peer=qbhelper,'
"""What libvirt has to be allowed if we are confined as well, as packaging/examples/libvirt-local explains."""

SELINUX = Path("/sys/fs/selinux/enforce")
SELINUX_SETTINGS = Path("/etc/selinux")
LABEL = "security.selinux"


def look(subject: Subject) -> Iterator[Finding]:
    """Say what is confined, and what that is in the way of.  Raises OSError."""
    del subject  # it is the same for all
    found = [*_apparmor(), *_selinux()]
    yield from found or [Finding(STATION, State.OK, "neither AppArmor nor SELinux is in force here")]


def _apparmor() -> Iterator[Finding]:
    if _text(APPARMOR).strip() != "Y":
        return
    loaded = _loaded()
    helper = installed()
    has_profile = helper in ATTACHED and (PROFILES / OURS).exists() and not (PROFILES / "disable" / OURS).is_symlink()
    if not has_profile:
        yield Finding(STATION, State.OK, f"AppArmor has no profile for {printable(helper)}")
    elif loaded is None:
        yield _for_root("whether AppArmor confines the helper")
    elif OURS in loaded:
        yield Finding(STATION, State.OK, f"AppArmor confines {helper} by a profile of its own ({loaded[OURS]} mode)")
    else:
        what = f"AppArmor does not confine {helper}: its profile is there, and not loaded"
        yield Finding(STATION, State.PROBLEM, what, f"apparmor_parser -r {PROFILES / OURS}")
    for file, names in OF_LIBVIRT.items():
        if (PROFILES / file).exists():
            yield from _of_libvirt(file, names, helper, loaded, is_confined=has_profile)


def _of_libvirt(
    file: str, names: tuple[str, ...], helper: str, loaded: dict[str, str] | None, *, is_confined: bool
) -> Iterator[Finding]:
    """Say whether a libvirt that is confined may start the helper, and talk to it."""
    if loaded is not None and not any(loaded.get(name) == "enforce" for name in names):
        return
    local = PROFILES / "local" / file
    try:
        there = " ".join(_text(local).split())
    except OSError as error:
        what = f"what libvirt may do with the helper stands in {local}: {reason(error)}"
        yield Finding(STATION, State.UNKNOWN, what, f"cat {local}")
        return
    missing = [rule for rule in _needed(helper, is_confined=is_confined) if rule not in there]
    good = f"AppArmor lets {names[0]} start {printable(helper)} and talk to it"
    if not missing:
        yield Finding(STATION, State.OK, good)
    elif missing == [END]:
        # virCommandAbort() after each refusal: the helper ends by itself, mostly before that.
        yield Finding(STATION, State.OK, f"{good}, not end it: the kernel may log refused ports as `DENIED', too")
    elif loaded is None:
        yield _for_root(f"whether AppArmor keeps {names[0]} from the helper")
    else:
        # Its own profile has `/usr/bin/* PUx', and nothing for /usr/local.
        deed = "talking to" if missing[0] == TALK else "starting"
        what = f"AppArmor keeps {names[0]} from {deed} {printable(helper)}"
        text = "\\n".join([*missing, ""])
        remedy = f"printf {shlex.quote(text)} >>{local} && apparmor_parser -r {PROFILES / file}"
        yield Finding(STATION, State.PROBLEM, what, remedy)


def _needed(helper: str, *, is_confined: bool) -> Iterator[str]:
    """Yield the rules that libvirt needs in addition to its own."""
    real = os.path.realpath(helper)
    if os.path.dirname(real) not in ("/usr/bin", "/usr/sbin"):
        yield f'"{real}" PUx,'
    # A kernel that can't tell who is at the other end of a socket does not ask (Debian 13's; Ubuntu's can).
    if is_confined and [*SECURITY.glob("features/network*/af_unix")]:
        yield TALK
    if is_confined and (SECURITY / "features/signal").exists():
        yield END


def _loaded() -> dict[str, str] | None:
    """Return the mode of each profile in the kernel; None for who may not see them."""
    try:
        lines = (SECURITY / "profiles").read_text().splitlines()
    except OSError:
        return None
    return {name: mode.rstrip(")") for name, _, mode in (line.rpartition(" (") for line in lines)}


def _for_root(what: str) -> Finding:
    return Finding(STATION, State.UNKNOWN, f"{what}, is for root to see", "qbhelperctl doctor")


def _selinux() -> Iterator[Finding]:
    enforce = _text(SELINUX).strip()
    if not enforce:
        return
    how = "SELinux enforces its rules" if enforce == "1" else "SELinux is permissive"
    programs = [installed(), *_daemons()]
    wanted = {path: label for path, label in _labels().items() if path in programs}
    if not wanted:
        what = f"{how}, and has no module of ours: the helper is confined as who starts it is"
        yield Finding(STATION, State.OK, what)
        return
    wrong = [path for path, label in wanted.items() if _type_of(_label(path)) != _type_of(label)]
    if not wrong:
        yield Finding(STATION, State.OK, f"{how}, by our module, and {' and '.join(wanted)} have its labels")
    else:
        state = State.PROBLEM if enforce == "1" else State.OK
        paths = shlex.join(wrong)
        what = f"{how}, and {printable(paths)} has not the label that our module wants"
        yield Finding(STATION, state, what, f"restorecon -v {paths}" if state is State.PROBLEM else "")


def _daemons() -> list[str]:
    return [path for path in ("/usr/sbin/qbhelperd", "/usr/bin/qbhelperd") if os.path.exists(path)]


def _labels() -> dict[str, str]:
    """Return the labels that the policy has for single paths (file_contexts(5)); ours are among them if we have one."""
    kind = "targeted"
    for line in _text(SELINUX_SETTINGS / "config").splitlines():
        if line.startswith("SELINUXTYPE="):
            kind = line.partition("=")[2].strip()
    lines = _text(SELINUX_SETTINGS / kind / "contexts/files/file_contexts").splitlines()
    fields = [line.split() for line in lines if line.startswith("/")]
    return {path: rest[-1] for path, *rest in fields if rest}


def _label(path: str) -> str:
    try:
        return os.getxattr(path, LABEL).rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


def _type_of(label: str) -> str:
    """Return the type in a label, which the rules go by: USER:ROLE:TYPE:RANGE."""
    return (label.split(":") + [""] * 3)[2]


def _text(path: Path) -> str:
    """Return what is in a file; empty if it is not there.  Raises OSError if it can't be read."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
