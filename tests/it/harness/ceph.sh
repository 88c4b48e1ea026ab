#!/bin/sh
# Ceph on one machine, in memory: a monitor, a disk, and as often as told the S3 gateway. `ceph.sh ROOT DIRECTORY MONITOR_PORT
# GATEWAY_PORT`; ROOT is where its packages are unpacked. A line `gateway` on the standard input starts the gateway, and its
# process id is printed; anything else is a command of Ceph's, whose end is printed as `done` or `failed`. It all ends with
# the standard input.
set -eu
root=$1 dir=$2 monitor=$3 gateway=$4
libraries=$(dirname "$(find "$root/usr/lib" -maxdepth 2 -name 'librados.so.2')")
export LD_LIBRARY_PATH="$libraries:$libraries/ceph:$root/lib/$(basename "$libraries")"
export PATH="$root/usr/bin:$PATH" CEPH_CONF="$dir/ceph.conf" PYTHONPATH="$root/usr/lib/python3/dist-packages"
fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$CEPH_CONF" <<END
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$monitor
ms bind msgr1 = false
public addr = 127.0.0.1
keyring = $dir/keyring
run dir = $dir
admin socket =
log file = $dir/\$type.log
log to stderr = false
pid file =
plugin dir = $libraries/ceph
erasure code dir = $libraries/ceph/erasure-code
osd class dir = $libraries/rados-classes
osd pool default size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon data = $dir/mon
mon data avail crit = 0
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd crush chooseleaf type = 0
rgw data = $dir
rgw frontends = beast endpoint=127.0.0.1:$gateway
rgw thread pool size = 32
rgw bucket quota ttl = 0
END
pids=""
trap 'kill -9 $pids 2>/dev/null || true' EXIT
exec 3>&1 >"$dir/out" 2>&1
ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *'
ceph-authtool "$dir/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *'
ceph-authtool "$dir/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor]" "$dir/monmap"
mkdir "$dir/mon" "$dir/osd"
ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
ceph-mon -f -i a &
pids=$!
osd=$(cat /proc/sys/kernel/random/uuid)
timeout 60 ceph osd new "$osd" </dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$osd"
ceph-osd -f -i 0 &
pids="$pids $!"
while read -r line; do
    if [ "$line" = gateway ]; then
        radosgw -f -n client.admin &
        pids="$pids $!"
        echo $! >&3
    # shellcheck disable=SC2086 # one word an argument
    elif timeout 60 $line </dev/null; then
        echo done >&3
    else
        echo failed >&3
    fi
done
