# SPDX-License-Identifier: GPL-2.0-or-later
"""A distribution's kernel and modules, unpacked: bytes that a guest need not unpack itself."""

import lzma
import re
import struct
import subprocess
import zlib
from collections.abc import Iterable
from pathlib import Path


class NoModule(Exception):
    """The kernel packages lack a module."""


def bare_kernel(packed: bytes) -> bytes:
    """The ELF kernel inside a bzImage, or the bzImage itself where that can't be had.

    Unpacking itself takes a kernel five seconds in an emulated CPU.  QEMU can start the bare
    kernel if it says where (its PVH note).  The header's fields are in the kernel's
    Documentation/arch/x86/boot.rst.
    """
    sectors = packed[0x1F1]
    offset, length = struct.unpack_from("<II", packed, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = packed[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        bare = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        bare = zlib.decompressobj(wbits=31).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        bare = _unzstd(payload[:-4])  # the last four bytes are the unpacked size
    else:
        return packed
    has_pvh_note = re.search(rb"\x04\0\0\0[\x04\x08]\0\0\0\x12\0\0\0Xen\0", bare)
    return bare if has_pvh_note else packed


def modules(tree: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """The wanted modules of an unpacked kernel and all they depend on, in the order to insert them.

    Those that are built into the kernel are left out.
    """
    builtin_list = next(tree.glob("**/modules.builtin"))
    builtin = {_module_name(Path(line).name) for line in builtin_list.read_text().split()}
    files = {_module_name(path.name): path for path in tree.rglob("*.ko*")}
    found: dict[str, bytes] = {}

    def collect(name: str) -> None:
        if name in builtin or name in found:
            return
        if name not in files:
            raise NoModule(f"the kernel packages have no module {name}")
        data = _read_module(files[name])
        depends = re.search(rb"\0depends=([^\0]+)\0", data)
        for needed in depends[1].decode().split(",") if depends else []:
            collect(_module_name(needed))
        found[name] = data

    for name in wanted:
        collect(name)
    return found


def _module_name(file_name: str) -> str:
    return file_name.split(".ko")[0].replace("-", "_")


def _read_module(path: Path) -> bytes:
    data = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".zst":
            return _unzstd(data)
        case ".gz":
            return zlib.decompress(data, wbits=31)
    return data


def _unzstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
