# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that lacks what a setting takes: a refusal that names the setting, and never a port without it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qbhelper.errors import UnsupportedError
from qbhelper.policy.port import PLAIN, PortSettings
from tests.support import full_kernel, lan, left, wiles, world

pytestmark = pytest.mark.inside(full_kernel.MACHINE)  # always: whose kernel is used otherwise needs its modules

MODPROBE = Path("/proc/sys/kernel/modprobe")
"""What the kernel calls when it wants a module."""

ADDRESSES = PortSettings(addresses=wiles.ADDRESSES.addresses)
CASES = {
    "rate_to_guest": (PortSettings(rate_to_guest=10**6), "sch_tbf"),
    "rate_from_guest": (PortSettings(rate_from_guest=10**6), "act_police"),
    "addresses": (ADDRESSES, "act_gact"),
    "addresses, without the classifier": (ADDRESSES, "cls_bpf"),
    "addresses, without ingress": (ADDRESSES, "sch_ingress"),
}


@contextmanager
def without(module: str) -> Iterator[None]:
    """A kernel that can't load a module."""
    before = MODPROBE.read_text()
    # Those that use it, if they are loaded, first.
    subprocess.run(["rmmod", "act_gact", "act_police", "cls_bpf", "sch_ingress", "sch_tbf"], check=False, stderr=-3)
    MODPROBE.write_text("/bin/false\n")
    try:
        for other in sorted({"act_gact", "act_police", "cls_bpf", "sch_ingress", "sch_tbf"} - {module}):
            world.run("modprobe", other)
        yield
    finally:
        MODPROBE.write_text(before)


@pytest.mark.parametrize(("settings", "module"), CASES.values(), ids=CASES)
def test_a_setting_that_the_kernel_lacks_is_a_refusal(settings: PortSettings, module: str) -> None:
    """It says which setting, and which module would bring it; nothing is left."""
    with lan.lan() as net, without(module):
        before = left.everything()
        with pytest.raises(UnsupportedError) as refusal, lan.port_on(net.bridge, settings):
            pass
        assert left.everything() == before
    (setting,) = (name for name in settings.__slots__ if getattr(settings, name) != getattr(PLAIN, name))
    words = str(refusal.value)
    assert words.startswith(f"this kernel does not support `{setting}', so `tap1' can't have it: ")
    assert module in words
    assert "as root: modprobe" in words
