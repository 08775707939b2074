# SPDX-License-Identifier: GPL-2.0-or-later
#
# NixOS: imports = [ .../packaging/nix/module.nix ]; services.qbhelper.enable = true;
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.qbhelper;
in
{
  options.services.qbhelper = {
    enable = lib.mkEnableOption "the broker that gives unprivileged users' virtual machines a place on a bridge";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package to use.";
    };

    policy = lib.mkOption {
      type = lib.types.nullOr lib.types.lines;
      default = null;
      example = ''
        [[allow]]
        bridge = "br0"
        groups = ["users"]
        max_ports = 4

        [end]
      '';
      description = ''
        /etc/qbhelper/policy.toml.  With null QEMU's access list rules, which
        virtualisation.libvirtd.allowedBridges or environment.etc."qemu/bridge.conf" write.
      '';
    };

    inPlaceOfQemus = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether /run/wrappers/bin/qemu-bridge-helper, where NixOS's libvirt and QEMU look, is qbhelper.";
    };

    standalone = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        The alternative: no broker, but a wrapper with CAP_NET_ADMIN, which is of no use under QEMU's -sandbox on.
        Store paths can't have capabilities, so it is /run/wrappers/bin/qemu-bridge-helper in any case.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];

    environment.etc = lib.mkIf (cfg.policy != null) { "qbhelper/policy.toml".text = cfg.policy; };

    boot.kernelModules = [ "tun" ];

    # For the broker: its account, and its units, of which the socket is there from boot on.
    users.users.qbhelper = lib.mkIf (!cfg.standalone) {
      isSystemUser = true;
      group = "qbhelper";
      extraGroups = [ "kvm" ]; # whose /dev/vhost-net is
      description = "Broker of the QEMU bridge helper";
    };
    users.groups.qbhelper = lib.mkIf (!cfg.standalone) { };
    systemd.packages = lib.mkIf (!cfg.standalone) [ cfg.package ];
    systemd.sockets.qbhelper.wantedBy = lib.mkIf (!cfg.standalone) [ "sockets.target" ];

    # libvirtd's module makes this wrapper setuid root.  Ours needs no privilege, unless there is no broker.
    security.wrappers = lib.mkIf (cfg.inPlaceOfQemus || cfg.standalone) {
      qemu-bridge-helper = lib.mkForce {
        source = "${cfg.package}/bin/qbhelper";
        owner = "root";
        group = "root";
        setuid = false;
        capabilities = if cfg.standalone then "cap_net_admin+ep" else "";
      };
    };
  };
}
