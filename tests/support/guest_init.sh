#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Process 1 of a test guest: busybox and a few kernel modules, nothing else.
#
# In:  the kernel's command line, one word per NIC: guest.nic=MAC,ADDRESS/PREFIX,MTU (MTU 0 leaves
#      it as the driver found it; Debian's kernel has no ip= of its own); the serial console, one
#      command per line: NUMBER COMMAND
# Out: the serial console.  What a command printed, then a line that begins with the byte 0x1e
#      (ASCII "record separator"): NUMBER STATUS.  The guest itself is command number 0, so it is
#      ready when it says "0 0".

/bin/busybox --install -s /bin
mount -t devtmpfs devices /dev
mount -t proc processes /proc
mount -t sysfs kernel /sys
mount -t tmpfs files /tmp

exec </dev/ttyS0 >/dev/ttyS0 2>&1
# Raw: what goes in is not echoed, and what comes out is not given carriage returns.
stty raw -echo

while read -r module; do
    insmod "/modules/$module"
done </modules/order

name_of() { # the interface with this MAC address
    for device in /sys/class/net/*; do
        if [ "$(cat "$device/address")" = "$1" ]; then
            echo "${device##*/}"
            return
        fi
    done
    echo "no NIC has the address $1" >&2
    return 1
}

configure() { # MAC,ADDRESS/PREFIX,MTU
    mac=${1%%,*}
    rest=${1#*,}
    name=$(name_of "$mac") || return
    mtu=${rest#*,}
    [ "$mtu" = 0 ] || ip link set "$name" mtu "$mtu" || return
    ip address add "${rest%,*}" dev "$name" || return
    ip link set "$name" up
}

wait_for_carrier() { # e1000 negotiates for a moment; the kernel has no way to wait for it but to look
    looks=0
    until [ "$(cat "/sys/class/net/$1/carrier")" = 1 ]; do
        looks=$((looks + 1))
        if [ "$looks" -gt 500 ]; then
            echo "$1 has no carrier" >&2
            return 1
        fi
        usleep 20000
    done
}

outcome=0
ip link set lo up
read -r words </proc/cmdline
for word in $words; do
    case $word in
    guest.nic=*) configure "${word#guest.nic=}" || outcome=1 ;;
    esac
done
for word in $words; do
    case $word in
    guest.nic=*)
        mac=${word#guest.nic=}
        wait_for_carrier "$(name_of "${mac%%,*}")" || outcome=1
        ;;
    esac
done

printf '\0360 %d\n' "$outcome"
# The loop runs in a process of its own: what is left running in the background is given to
# process 1, and the signal of its end must not meet the shell that reads the console.
(
    while read -r number command; do
        # A subshell: a command may cd, exit or set what it likes.
        (eval "$command") </dev/null
        printf '\036%d %d\n' "$number" "$?"
    done
)
poweroff -f
