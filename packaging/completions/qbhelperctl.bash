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
        _qbhelperctl_offer "$typed" check doctor explain import show status -h --help
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
        show:*) _qbhelperctl_offer "$typed" --json -h --help ;;
        status:*) _qbhelperctl_offer "$typed" --watch --json -h --help ;;
    esac
}

complete -F _qbhelperctl qbhelperctl
