# SPDX-License-Identifier: GPL-2.0-or-later
# From qbhelper/ctl/parser.py, by `python3 -m tests.pages`.

function __qbhelperctl_bridges
    for path in /sys/class/net/*/bridge
        string split --fields 5 / -- $path
    end
end

complete -c qbhelperctl -f
complete -c qbhelperctl -s h -l help -d 'show this help message and exit'
complete -c qbhelperctl -n __fish_use_subcommand -a check -d 'say what is wrong with the policy or the access list'
complete -c qbhelperctl -n __fish_use_subcommand -a doctor -d 'look for what keeps a guest off the network, and say what mends it'
complete -c qbhelperctl -n __fish_use_subcommand -a explain -d 'say who may have a port on a bridge, and which line decides'
complete -c qbhelperctl -n __fish_use_subcommand -a import -d 'print a policy that means what an access list means'
complete -c qbhelperctl -n __fish_use_subcommand -a log -d 'show who was granted or refused ports, and why'
complete -c qbhelperctl -n __fish_use_subcommand -a show -d 'show the rules as a table'
complete -c qbhelperctl -n __fish_use_subcommand -a status -d 'show the bridges, their ports, and whose they are'
complete -c qbhelperctl -n __fish_use_subcommand -a revoke -d 'end leases, so that their ports are dead'
complete -c qbhelperctl -n __fish_use_subcommand -a reconcile -d 'show which leases the policy of today would not grant'
complete -c qbhelperctl -n __fish_use_subcommand -a run -d 'get ports, and run a command with their fds'
complete -c qbhelperctl -n __fish_use_subcommand -a tap -d 'TAPs that stay, for programs that open one by its name'
complete -c qbhelperctl -n __fish_use_subcommand -a attach -d 'plug a network card into a QEMU that runs'
complete -c qbhelperctl -n __fish_use_subcommand -a detach -d 'take a network card out that attach has plugged in'
complete -c qbhelperctl -n '__fish_seen_subcommand_from check' -l json -d 'print the answer as JSON (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from check' -F
complete -c qbhelperctl -n '__fish_seen_subcommand_from doctor' -l bridge -x -a '(__qbhelperctl_bridges)' -d 'the bridge, as it would be asked for (default: each that the user may use)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from doctor' -l user -x -a '(__fish_complete_users)' -d 'a name or a uid; only root may ask about others (default: who calls)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from doctor' -l json -d 'print the answer as JSON (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from explain' -l bridge -x -a '(__qbhelperctl_bridges)' -d 'the bridge, as it would be asked for'
complete -c qbhelperctl -n '__fish_seen_subcommand_from explain' -l user -x -a '(__fish_complete_users)' -d 'a name or a uid; only root may ask about others (default: who calls)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from explain' -l mac -x -d 'say also whether a guest with this MAC address could be heard'
complete -c qbhelperctl -n '__fish_seen_subcommand_from explain' -l json -d 'print the answer as JSON (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from import' -l name-users -d 'where no rule can say who can read a file, name the users of this host who can today'
complete -c qbhelperctl -n '__fish_seen_subcommand_from import' -F
complete -c qbhelperctl -n '__fish_seen_subcommand_from log' -l user -x -a '(__fish_complete_users)' -d 'of this user alone: a name or a uid'
complete -c qbhelperctl -n '__fish_seen_subcommand_from log' -l bridge -x -a '(__qbhelperctl_bridges)' -d 'on this bridge alone, as it was asked for'
complete -c qbhelperctl -n '__fish_seen_subcommand_from log' -l since -x -d 'not what is older, as for journalctl: today, \'2h ago\', 2026-01-31'
complete -c qbhelperctl -n '__fish_seen_subcommand_from log' -l follow -d 'begin with the last ones, and go on until Ctrl-C'
complete -c qbhelperctl -n '__fish_seen_subcommand_from log' -l json -d 'print each as JSON on a line (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from show' -l json -d 'print the answer as JSON (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from status' -l watch -d 'keep showing it, with the traffic of now, until Ctrl-C; where there is no terminal: print it again whenever something changes, and with --json each time on one line'
complete -c qbhelperctl -n '__fish_seen_subcommand_from status' -l json -d 'print the answer as JSON (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from revoke' -l user -x -a '(__fish_complete_users)' -d 'all leases of a user, by name or uid'
complete -c qbhelperctl -n '__fish_seen_subcommand_from revoke' -l bridge -x -a '(__qbhelperctl_bridges)' -d 'all leases on a bridge; with --user, those of that user'
complete -c qbhelperctl -n '__fish_seen_subcommand_from revoke' -l detach -d 'as root: take the port off its bridge, but keep the lease; ip(8) can put it back, without its settings'
complete -c qbhelperctl -n '__fish_seen_subcommand_from revoke' -x
complete -c qbhelperctl -n '__fish_seen_subcommand_from reconcile' -l apply -d 'end them, as revoke does'
complete -c qbhelperctl -n '__fish_seen_subcommand_from reconcile' -l json -d 'print the answer as JSON (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from run' -l bridge -x -a '(__qbhelperctl_bridges)' -d 'a bridge to get a port on; once or more'
complete -c qbhelperctl -n '__fish_seen_subcommand_from run' -l queues -x -d 'how many queues the port has (default: 1)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from run' -l vhost -d 'get fds of /dev/vhost-net as well, one for each queue'
complete -c qbhelperctl -n '__fish_seen_subcommand_from run' -l mac -x -d 'the guest\'s MAC address (default: one it may have)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from run' -F
complete -c qbhelperctl -n '__fish_seen_subcommand_from tap' -l bridge -x -a '(__qbhelperctl_bridges)' -d 'for create: the bridge to put it on'
complete -c qbhelperctl -n '__fish_seen_subcommand_from tap' -l queues -x -d 'for create: how many it may have (1)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from tap' -l json -d 'for list: print it as JSON (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from tap' -x -a 'create delete list'
complete -c qbhelperctl -n '__fish_seen_subcommand_from attach' -l qmp -r -F -d 'the monitor, from QEMU\'s -qmp unix:SOCKET,server=on,wait=off'
complete -c qbhelperctl -n '__fish_seen_subcommand_from attach' -l bridge -x -a '(__qbhelperctl_bridges)' -d 'the bridge to get a port on'
complete -c qbhelperctl -n '__fish_seen_subcommand_from attach' -l queues -x -d 'how many queues it has (default: 1)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from attach' -l vhost -d 'have the host\'s kernel move the packets, by /dev/vhost-net'
complete -c qbhelperctl -n '__fish_seen_subcommand_from attach' -l mac -x -d 'the guest\'s MAC address (default: one it may have)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from attach' -l model -x -d 'QEMU\'s word for the card (default: virtio-net-pci)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from attach' -l id -x -d 'what QEMU is to call it (default: qb0, or the next that is free)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from detach' -l qmp -r -F -d 'the monitor, from QEMU\'s -qmp unix:SOCKET,server=on,wait=off'
complete -c qbhelperctl -n '__fish_seen_subcommand_from detach' -x
