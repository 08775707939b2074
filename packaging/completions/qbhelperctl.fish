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
complete -c qbhelperctl -n __fish_use_subcommand -a show -d 'show the rules as a table'
complete -c qbhelperctl -n __fish_use_subcommand -a status -d 'show the bridges, their ports, and whose they are'
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
complete -c qbhelperctl -n '__fish_seen_subcommand_from show' -l json -d 'print the answer as JSON (docs/qbhelperctl.md)'
complete -c qbhelperctl -n '__fish_seen_subcommand_from status' -l watch -d 'keep showing it, with the traffic of now, until Ctrl-C; where there is no terminal: print it again whenever something changes, and with --json each time on one line'
complete -c qbhelperctl -n '__fish_seen_subcommand_from status' -l json -d 'print the answer as JSON (docs/qbhelperctl.md)'
