# SPDX-License-Identifier: GPL-2.0-or-later
"""The package and the module for Nix: they parse and evaluate, with stand-ins for nixpkgs, which is not in Debian."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.packages.conftest import Needs
from tests.packages.throwaway import OWN_PROGRAMS
from tests.packages.trees import TREE, files, run

RECIPE = TREE / "packaging/nix"

LIB = """
{
  cleanSource = path: "source";
  licenses.gpl2Plus = "GPL-2.0-or-later";
  literalExpression = text: text;
  mkEnableOption = what: { default = false; };
  mkForce = value: value;
  mkIf = condition: value: if condition then value else "off";
  mkOption = option: option;
  platforms.linux = "linux";
  types = { bool = "bool"; lines = "lines"; nullOr = type: type; package = "package"; };
}
"""
PACKAGE = """
import %s/package.nix {
  lib = %s;
  stdenv.mkDerivation = derivation: derivation;
  python3 = { withPackages = choose: "/python"; sitePackages = "lib/python3.13/site-packages"; };
}
"""
MODULE = """
(import %s/module.nix {
  lib = %s;
  pkgs.callPackage = file: arguments: "/store/qbhelper";
  config.services.qbhelper = {
    enable = true; package = "/store/qbhelper"; policy = %s; inPlaceOfQemus = true; standalone = %s;
  };
}).config
"""


@pytest.fixture(autouse=True)
def _nix(needs: Needs) -> None:
    needs("nix-instantiate")


def evaluate(expression: str, tmp_path: Path) -> Any:
    """The value of an expression, without a store."""
    environment = {**OWN_PROGRAMS, "NIX_STATE_DIR": str(tmp_path), "NIX_CONF_DIR": str(tmp_path), "HOME": str(tmp_path)}
    (tmp_path / "nix.conf").write_text("build-users-group =\nexperimental-features = nix-command\n")
    words = ["nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json", "--expr", expression]
    return json.loads(run(words, env=environment).splitlines()[-1])


@pytest.mark.parametrize("name", ["package.nix", "module.nix"])
def test_it_parses(name: str, tmp_path: Path) -> None:
    """As the Nix in Debian reads it."""
    run(["nix-instantiate", "--parse", RECIPE / name], env={**OWN_PROGRAMS, "NIX_STATE_DIR": str(tmp_path)})


def test_the_package_says_to_make_what_make_understands(tmp_path: Path) -> None:
    """With its flags, make installs programs that know where Nix has Python and the modules."""
    package = evaluate(PACKAGE % (RECIPE, LIB), tmp_path)
    make = ["make", "-s", "-C", TREE, *package["makeFlags"], f"BUILD={tmp_path}/build", "CC=cc"]
    run([*make, *package["buildFlags"]])
    # What compiles the modules is Nix's Python, which is not here; the programs are ready.
    here = ["PYTHON=/usr/bin/python3", f"DESTDIR={tmp_path}/root", "--assume-old=installable"]
    run([*make, *here, *package["installTargets"]])
    (output,) = (flag.partition("=")[2] for flag in package["makeFlags"] if flag.startswith("prefix="))
    installed = tmp_path / "root" / output.lstrip("/")
    assert {"bin/qbhelper", "bin/qemu-bridge-helper", "sbin/qbhelperd", "lib/systemd/system/qbhelper.socket"} <= files(
        installed
    )
    assert (installed / "sbin/qbhelperd").read_text().startswith("#!/python/bin/python3 -I\n")
    helper = (installed / "bin/qbhelper").read_bytes()
    assert b"/python/lib/python3.13/site-packages" in helper
    assert b"/nix/store\0" in helper


def test_the_module_has_the_broker_serve(tmp_path: Path) -> None:
    """Its socket from boot on, its account, and QEMU's helper without any privilege."""
    config = evaluate(MODULE % (RECIPE, LIB, '"[end]"', "false"), tmp_path)
    assert config["systemd"] == {
        "packages": ["/store/qbhelper"],
        "sockets": {"qbhelper": {"wantedBy": ["sockets.target"]}},
    }
    assert config["users"]["users"]["qbhelper"]["isSystemUser"] is True
    wrapper = config["security"]["wrappers"]["qemu-bridge-helper"]
    assert (wrapper["setuid"], wrapper["capabilities"]) == (False, "")
    assert wrapper["source"] == "/store/qbhelper/bin/qbhelper"
    assert config["environment"]["etc"] == {"qbhelper/policy.toml": {"text": "[end]"}}


def test_without_a_broker_a_wrapper_has_the_capability(tmp_path: Path) -> None:
    """Nothing of the broker's is there then; without a policy QEMU's access list rules."""
    config = evaluate(MODULE % (RECIPE, LIB, "null", "true"), tmp_path)
    assert config["systemd"]["packages"] == config["users"]["users"]["qbhelper"] == "off"
    assert config["security"]["wrappers"]["qemu-bridge-helper"]["capabilities"] == "cap_net_admin+ep"
    assert config["environment"]["etc"] == "off"
