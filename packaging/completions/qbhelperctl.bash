# SPDX-License-Identifier: GPL-2.0-or-later
# From qbhelper/ctl/parser.py, by `python3 -m tests.pages`.
# shellcheck shell=bash

# Offer those of the words that begin with what was typed.
_qbhelperctl_offer() {
    local typed=$1 word
    shift
    for word; do
        if [[ $word == "$typed"* ]]; then
            printf -v word '%q' "$word"
            COMPREPLY+=("$word")
        fi
    done
}

_qbhelperctl_bridges() {
    local path
    for path in /sys/class/net/*/bridge; do
        path=${path%/bridge}
        [[ ! -e $path ]] || _qbhelperctl_offer "$1" "${path##*/}"
    done
}

_qbhelperctl_users() {
    local -a users
    mapfile -t users < <(compgen -u)
    _qbhelperctl_offer "$1" "${users[@]}"
}

_qbhelperctl() {
    local typed=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _qbhelperctl_offer "$typed" check doctor explain import log show status revoke reconcile run tap attach detach -h --help
        return
    fi
    # Of --bridge=br0 bash makes three words.
    if [[ $typed == = ]]; then
        typed=
    elif [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case ${COMP_WORDS[1]}:$previous:$typed in
        check:*:-*) _qbhelperctl_offer "$typed" --json -h --help ;;
        check:*) compopt -o default ;;
        doctor:--bridge:*) _qbhelperctl_bridges "$typed" ;;
        doctor:--user:*) _qbhelperctl_users "$typed" ;;
        doctor:*) _qbhelperctl_offer "$typed" --bridge --user --json -h --help ;;
        explain:--bridge:*) _qbhelperctl_bridges "$typed" ;;
        explain:--user:*) _qbhelperctl_users "$typed" ;;
        explain:--mac:*) : ;;
        explain:*) _qbhelperctl_offer "$typed" --bridge --user --mac --json -h --help ;;
        import:*:-*) _qbhelperctl_offer "$typed" --name-users -h --help ;;
        import:*) compopt -o default ;;
        log:--user:*) _qbhelperctl_users "$typed" ;;
        log:--bridge:*) _qbhelperctl_bridges "$typed" ;;
        log:--since:*) : ;;
        log:*) _qbhelperctl_offer "$typed" --user --bridge --since --follow --json -h --help ;;
        show:*) _qbhelperctl_offer "$typed" --json -h --help ;;
        status:*) _qbhelperctl_offer "$typed" --watch --json -h --help ;;
        revoke:--user:*) _qbhelperctl_users "$typed" ;;
        revoke:--bridge:*) _qbhelperctl_bridges "$typed" ;;
        revoke:*:-*) _qbhelperctl_offer "$typed" --user --bridge --detach -h --help ;;
        revoke:*) : ;;
        reconcile:*) _qbhelperctl_offer "$typed" --apply --json -h --help ;;
        run:--bridge:*) _qbhelperctl_bridges "$typed" ;;
        run:--queues:*) : ;;
        run:--mac:*) : ;;
        run:*:-*) _qbhelperctl_offer "$typed" --bridge --queues --vhost --mac -h --help ;;
        run:*) compopt -o default ;;
        tap:--bridge:*) _qbhelperctl_bridges "$typed" ;;
        tap:--queues:*) : ;;
        tap:*:-*) _qbhelperctl_offer "$typed" --bridge --queues --json -h --help ;;
        tap:*) _qbhelperctl_offer "$typed" create delete list ;;
        attach:--qmp:*) compopt -o default ;;
        attach:--bridge:*) _qbhelperctl_bridges "$typed" ;;
        attach:--queues:*) : ;;
        attach:--mac:*) : ;;
        attach:--model:*) : ;;
        attach:--id:*) : ;;
        attach:*) _qbhelperctl_offer "$typed" --qmp --bridge --queues --vhost --mac --model --id -h --help ;;
        detach:--qmp:*) compopt -o default ;;
        detach:*:-*) _qbhelperctl_offer "$typed" --qmp -h --help ;;
        detach:*) : ;;
    esac
}

complete -F _qbhelperctl qbhelperctl
