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
