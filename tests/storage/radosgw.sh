#!/usr/bin/env bash
# A Ceph object gateway on one machine, in memory, on loopback: a real S3 server for these tests.
#   apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-mgr
#   tests/storage/radosgw.sh start FOLDER     # prints the environment for pytest
#   tests/storage/radosgw.sh stop FOLDER
set -euo pipefail
action=$1 folder=$(realpath -m "$2") port=${RADOSGW_PORT:-17480}

stop() {
  for file in "$folder"/run/*.pid; do
    [ -e "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
  done
}

if [ "$action" = stop ]; then
  stop
  exit
fi
mkdir "$folder" "$folder"/{osd,mgr,rgw,log,run}
cd "$folder"
fsid=$(cat /proc/sys/kernel/random/uuid)
cat > ceph.conf <<END
[global]
fsid = $fsid
mon initial members = a
mon host = [v2:127.0.0.1:13300/0,v1:127.0.0.1:13301/0]
public addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
mon allow pool size one = true
mon data = $folder/mon
osd data = $folder/osd
mgr data = $folder/mgr
rgw data = $folder/rgw
keyring = $folder/keyring
run dir = $folder/run
admin socket = $folder/run/\$name.asok
log file = $folder/log/\$name.log
pid file = $folder/run/\$name.pid
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:$port
END
export CEPH_CONF=$folder/ceph.conf
{
  monmaptool --create --fsid "$fsid" --addv a '[v2:127.0.0.1:13300,v1:127.0.0.1:13301]' monmap
  ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
  ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  ceph-mon --mkfs -i a --monmap monmap --keyring keyring
  cp keyring mon/keyring
  ceph-mon -i a
  timeout 60 ceph osd create
  ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *' mgr 'allow profile osd' >> keyring
  ceph auth get-or-create mgr.a mon 'allow profile mgr' osd 'allow *' >> keyring
  ceph auth get-or-create client.rgw.a mon 'allow rw' osd 'allow rwx' mgr 'allow rw' >> keyring
  ceph-osd -i 0 --mkfs
  ceph-osd -i 0
  timeout 60 ceph osd crush add osd.0 1 root=default host=localhost
  ceph-mgr -i a
  timeout 120 radosgw -n client.rgw.a
  timeout 120 radosgw-admin user create --uid=tests --display-name=tests \
    --access-key=key-of-the-tests --secret-key=secret-of-the-tests
} > log/start.log 2>&1 || { tail -5 log/start.log >&2; stop; exit 1; }
timeout 60 bash -c "until (: < /dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.5; done"
echo "export SGPO_TEST_S3_ENDPOINT=http://127.0.0.1:$port AWS_EC2_METADATA_DISABLED=true"
echo "export AWS_ACCESS_KEY_ID=key-of-the-tests AWS_SECRET_ACCESS_KEY=secret-of-the-tests"
