#!/bin/sh
# Two machines on one network, as network namespaces on a bridge, and an address that either may have: `network.sh NAME PREFIX`.
# The bridge is PREFIX.1, the machines, `NAMEa` and `NAMEb`, are PREFIX.2 and PREFIX.3, the address is PREFIX.10 and `a` has it
# at first. Each line of the standard input is a command, answered by a line once it has happened. All of it ends with the
# input, and what runs on the machines with them.
name=$1
prefix=$2

remove() {
    for machine in "$name"a "$name"b; do
        for process in $(ip netns pids "$machine" 2>/dev/null); do kill -9 "$process"; done
        ip netns del "$machine"
        ip link del "$machine"
    done
    ip link del "$name"
}

make() {
    ip link add "$name" type bridge && ip addr add "$prefix.1/24" dev "$name" && ip link set "$name" up || return
    last=2
    for machine in "$name"a "$name"b; do
        ip netns add "$machine" \
            && ip link add "$machine" type veth peer name eth0 netns "$machine" \
            && ip link set "$machine" master "$name" up \
            && ip -n "$machine" addr add "$prefix.$last/24" dev eth0 \
            && ip -n "$machine" link set lo up \
            && ip -n "$machine" link set eth0 up || return
        last=$((last + 1))
    done
    ip -n "$name"a addr add "$prefix.10/24" dev eth0
}

if make >/dev/null 2>&1; then echo made; else
    remove >/dev/null 2>&1
    echo refused
    exit
fi
while read -r command machine; do
    case $command in
    cut) ip link set "$name$machine" down ;;
    mend) ip link set "$name$machine" up ;;
    move)
        case $machine in a) other=b ;; *) other=a ;; esac
        ip -n "$name$other" addr del "$prefix.10/24" dev eth0
        ip -n "$name$machine" addr add "$prefix.10/24" dev eth0
        # Who knew where it was asks again, as if the machine had said so.
        ip neigh flush to "$prefix.10" dev "$name"
        ;;
    esac
    echo "$command $machine"
done
remove >/dev/null 2>&1
