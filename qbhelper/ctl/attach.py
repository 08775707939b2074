# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl attach` and `detach`: a network card for a QEMU that runs, and its end.

What attach does in QEMU is undone if a later step fails, or on Ctrl-C, so that QEMU and the bridge are as before.

A card that is called qb0 hangs on a netdev that is called qbhelper.qb0.  Only attach gives such names, so detach knows
by them what it may touch, and no state is kept anywhere but in QEMU.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from qbhelper.ctl import client
from qbhelper.ctl.card import Card
from qbhelper.ctl.client import Granted
from qbhelper.ctl.held import leases
from qbhelper.ctl.monitor import Monitor, MonitorError, Refused
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, complain, say
from qbhelper.errors import QbError, UsageError, printable
from qbhelper.wire import Ending

SECONDS_TO_LET_GO = 20.0
"""A guest lets go of a card within a second, or within six: PCIe gives five to who changes their mind."""
SECONDS_TO_UNDO = 2.0

_DEVICES = "/machine/peripheral"
"""Where QEMU has the devices that were given an id."""
_IDENTITY = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,30}")
"""QEMU's rule for ids (id_wellformed in its util/id.c), of a length that can be read."""
_NO_HOT_PLUG = "does not support hotplugging"
_NO_PLACE = (_NO_HOT_PLUG, "no slot/function available")
"""In QEMU's words, where it has no free place for a PCI card."""
_TAKEN = "not available for"
"""In QEMU's words, where a PCI slot has a card."""
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(Exception):
    """A signal has come that is to end the program."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def attach(path: str, card: Card, model: str, identity: str | None) -> int:
    """Put a card into the QEMU whose monitor is at `path`, with a port on a bridge; after a failure nothing is left.

    identity: what QEMU is to call the card; None for the first of qb0, qb1 ... that is free.  Raises QbError.
    """
    card.check_bridge()
    card.checked_mac()
    with Monitor(path) as monitor:
        name = _name_for_new(monitor, identity)
        # A netdev of ours without a card: the guest has let go of that after a detach had waited long enough.
        _undo(monitor, "netdev_del", id=_netdev_of(name))
        port, mac = card.ask_for_port()
        try:
            with _signals_put_off() as check_signals:
                _plug(monitor, port, name, {"driver": model, "mac": mac}, check_signals)
        except _Stopped as stopped:
            signal.signal(stopped.number, signal.SIG_DFL)
            os.kill(os.getpid(), stopped.number)
    say(f"attached {name}: {printable(port.name)} on {printable(card.bridge)}, MAC address {mac}")
    return EXIT_YES


def detach(path: str, name: str) -> int:
    """Take a card out that `attach` has put into a QEMU; with it ends the port.  Raises QbError."""
    _check_identity(name)
    with Monitor(path) as monitor:
        was_there = name in _devices(monitor)
        if was_there and not _is_ours(monitor, name):
            raise Refused(f"{name} was not attached by qbhelperctl, which leaves it alone")
        if was_there:
            _unplug(monitor, name)
            if not monitor.await_unplugged(name, SECONDS_TO_LET_GO):
                complain(
                    f"the guest has not let go of {name} within {SECONDS_TO_LET_GO:g} s, and may yet do so, "
                    "at the latest at its next reset; then detach it again"
                )
                return EXIT_NO
        try:
            monitor.execute("netdev_del", id=_netdev_of(name))
        except Refused:
            if not was_there:
                raise Refused(f"that QEMU has no card {name}") from None
    say(f"detached {name}")
    return EXIT_YES


# There, and back --------------------------------------------------------------------------------------


def _plug(
    monitor: Monitor, port: Granted, name: str, properties: dict[str, object], check_signals: Callable[[], None]
) -> None:
    """Hand the port over to QEMU as a netdev, and make a card on it; after a failure nothing of that is left."""
    netdev = _netdev_of(name)
    taps = {f"{netdev}.{number}": fd for number, fd in enumerate(port.taps)}
    vhost = {f"{netdev}.vhost{number}": fd for number, fd in enumerate(port.vhost)}
    with ExitStack() as undo:
        undo.callback(_give_back, port)
        for fd_name, fd in (taps | vhost).items():
            with _step(undo, partial(_undo, monitor, "closefd", fdname=fd_name)):
                monitor.give(fd, fd_name)
            check_signals()
        with _step(undo, partial(_undo, monitor, "netdev_del", id=netdev)):
            monitor.execute("netdev_add", type="tap", id=netdev, **_fds(taps, vhost))
        check_signals()
        with _step(undo, partial(_undo_card, monitor, name)):
            _add_card(monitor, {"id": name, "netdev": netdev, **properties, **_queues(port, properties["driver"])})
        check_signals()
        undo.pop_all()
    port.close()


@contextmanager
def _step(undo: ExitStack, backwards: Callable[[], None]) -> Iterator[None]:
    """Note what undoes a step, unless QEMU has refused it: of any other failure we can't know how far it came.

    What was refused because it is there already is somebody else's.
    """
    try:
        yield
    except Refused:
        raise
    except BaseException:
        undo.callback(backwards)
        raise
    undo.callback(backwards)


def _fds(taps: dict[str, int], vhost: dict[str, int]) -> dict[str, object]:
    """Return the words for them; QEMU takes several by another word than one."""
    several = "s" if len(taps) > 1 else ""
    words: dict[str, object] = {f"fd{several}": ":".join(taps)}
    if vhost:
        words |= {"vhost": True, f"vhostfd{several}": ":".join(vhost)}
    return words


def _queues(port: Granted, model: object) -> dict[str, object]:
    """Return what has a virtio card use all queues: an interrupt for each way of each, and for two things else."""
    queues = len(port.taps)
    if queues == 1 or not str(model).startswith("virtio-net-"):
        return {}
    vectors = {"vectors": 2 * queues + 2} if str(model).startswith("virtio-net-pci") else {}
    return {"mq": True, **vectors}


def _add_card(monitor: Monitor, words: dict[str, object]) -> None:
    """Have QEMU make the card: where it puts it by itself or, on a PCIe machine, on a port that is free."""
    try:
        monitor.execute("device_add", **words)
        return
    except Refused as error:
        refusal = error
    if _NO_HOT_PLUG in str(refusal):
        for port in sorted(_devices(monitor, "pcie-root-port")):
            try:
                # Such a port has one slot.  QEMU 7.2 would put a card into the next, where no guest looks for it.
                monitor.execute("device_add", bus=port, addr="0", **words)
                return
            except Refused as error:
                if _TAKEN not in str(error):
                    raise
    if any(reason in str(refusal) for reason in _NO_PLACE):
        raise Refused(
            refusal.what,
            "it has no place for one more; start it with a place for each card to come, on q35 "
            "-device pcie-root-port,id=port1,chassis=1",
        )
    raise refusal


def _undo(monitor: Monitor, command: str, **arguments: object) -> None:
    """Undo a step, if it was done.  A QEMU that is gone has nothing left, of one that is silent see _give_back."""
    with suppress(Refused, MonitorError):
        monitor.execute(command, **arguments)


def _undo_card(monitor: Monitor, name: str) -> None:
    with suppress(Refused, MonitorError):
        _unplug(monitor, name)
        if not monitor.await_unplugged(name, SECONDS_TO_UNDO):
            complain(f"the guest has not let go of {name} yet, which has no network any more")


def _give_back(port: Granted) -> None:
    """Close our fds; if QEMU does not close all of its own, have the broker end the lease: the port is then dead."""
    try:
        ours = {held.lease.identity for held in leases() if held.link.name == port.name}
    finally:
        port.close()
    try:
        for held in leases():
            if held.lease.identity in ours:
                client.ask_for_end(Ending(held.lease.identity, False))
    except client.Refusal:
        pass  # it has just ended
    except QbError as error:
        complain(printable(str(error)))


@contextmanager
def _signals_put_off() -> Iterator[Callable[[], None]]:
    """Have the signals that end a program wait for who calls what we yield, which raises _Stopped if one has come."""
    came: list[int] = []

    def check() -> None:
        if came:
            raise _Stopped(came[0])

    before = {number: signal.getsignal(number) for number in _STOPPING}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


# What QEMU has ------------------------------------------------------------------------------------------


def _netdev_of(name: str) -> str:
    return f"qbhelper.{name}"


def _devices(monitor: Monitor, driver: str = "") -> list[str]:
    """Return the ids of QEMU's devices, or of those that are made by one driver."""
    answer = monitor.execute("qom-list", path=_DEVICES)
    kind = f"child<{driver}>" if driver else ""
    return (
        [each["name"] for each in answer if each["type"].startswith(kind or "child<")]
        if isinstance(answer, list)
        else []
    )


def _is_ours(monitor: Monitor, name: str) -> bool:
    try:
        return monitor.execute("qom-get", path=f"{_DEVICES}/{name}", property="netdev") == _netdev_of(name)
    except Refused:  # it is no network card
        return False


def _name_for_new(monitor: Monitor, identity: str | None) -> str:
    """Return the id for a card to come, which no device of QEMU's has.  Raises UsageError and Refused."""
    if identity is not None:
        _check_identity(identity)
    there = _devices(monitor)
    if identity in there:
        raise Refused(f"that QEMU has a device {identity} already", "leave --id out, and a free one is taken")
    return identity or next(name for name in map("qb{}".format, range(len(there) + 1)) if name not in there)


def _unplug(monitor: Monitor, name: str) -> None:
    try:
        monitor.execute("device_del", id=name)
    except Refused as refusal:
        if "already in the process of unplug" not in str(refusal):
            raise


def _check_identity(identity: str) -> None:
    if not _IDENTITY.fullmatch(identity):
        raise UsageError(
            f"`{printable(identity)}' can't be the id of a card",
            "a letter, then letters, digits, dots, dashes and underscores, 31 at most",
        )
