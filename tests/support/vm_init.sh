#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Process 1 of a virtual machine until its disks are mounted, and then systemd is.
# In: /dev/vda, its root; /dev/vdb, what is to be at /opt (tests/support/payload.py).

/bin/busybox --install -s /bin
mount -t devtmpfs devices /dev

while read -r module; do
    insmod "/modules/$module"
done </modules/order

mount -t ext4 /dev/vda /root
mount -t ext4 /dev/vdb /root/opt

# What is not needed and takes long in an emulated processor: programs that make units for all kinds of
# machines, and these units.  A test that needs one can unmask and start it.  The getty would wait for a
# device that only udev announces.
mask() { # DIRECTORY NAME...
    directory=/root/etc/systemd/$1
    mkdir -p "$directory"
    shift
    for name in "$@"; do
        ln -s /dev/null "$directory/${name##*/}"
    done
}
mask system-generators /root/usr/lib/systemd/system-generators/*
mask system getty.target timers.target \
    apparmor.service systemd-logind.service systemd-user-sessions.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pstore.service \
    sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-tracing.mount sys-kernel-debug.mount \
    dev-hugepages.mount dev-mqueue.mount run-lock.mount tmp.mount \
    kmod-static-nodes.service systemd-modules-load.service modprobe@.service systemd-random-seed.service \
    systemd-remount-fs.service systemd-sysctl.service systemd-journal-flush.service \
    systemd-tmpfiles-setup-dev-early.service systemd-tmpfiles-setup-dev.service

cat >/root/etc/systemd/system/agent.service <<UNIT
[Unit]
Description=Does what tests ask for
# Not before all else that is started at boot.
DefaultDependencies=no
After=multi-user.target

[Service]
# What udev would do.
ExecStartPre=/sbin/modprobe tun
ExecStartPre=/bin/chmod 0666 /dev/net/tun
WorkingDirectory=/opt/qbhelper
ExecStart=/usr/bin/python3 -m tests.support.agent
# On the serial console as well, for who looks why a machine does not answer.
StandardError=journal+console
UNIT
mkdir -p /root/etc/systemd/system/multi-user.target.wants
ln -s ../agent.service /root/etc/systemd/system/multi-user.target.wants/

mount --move /dev /root/dev
exec switch_root /root /sbin/init
