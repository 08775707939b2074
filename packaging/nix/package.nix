# SPDX-License-Identifier: GPL-2.0-or-later
#
# qbhelper for Nix: pkgs.callPackage ./packaging/nix/package.nix { }
{
  lib,
  stdenv,
  python3,
}:

let
  # One directory with both, which is where the helper looks.
  python = python3.withPackages (packages: [
    packages.python-prctl
    packages.pyroute2
  ]);
in
stdenv.mkDerivation {
  pname = "qbhelper";
  version = "0.1.0";
  src = lib.cleanSource ../..;

  # CC comes from stdenv, so that the helper is linked with the C library of the store.
  makeFlags = [
    "prefix=${placeholder "out"}"
    "PYTHON=${python}/bin/python3"
    "PACKAGE_DIR=${python}/${python3.sitePackages}"
    "STORE=${builtins.storeDir}"
  ];
  buildFlags = [ "installable" ];
  installTargets = [
    "install"
    "install-libvirt"
  ];

  meta = {
    description = "Place on a bridge for the virtual machines of unprivileged users";
    license = lib.licenses.gpl2Plus;
    mainProgram = "qbhelper";
    platforms = lib.platforms.linux;
  };
}
