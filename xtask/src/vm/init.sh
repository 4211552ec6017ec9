#!/bin/busybox sh
# The init of a test machine: mounts, modules, then the runs. The kernel's messages go to the first
# serial line, the tests' to the second.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true
mkdir -p /proc /sys /dev /run /tmp /root /etc /var/log /var/spool /var/mail /var/tmp
ln -s /run /var/run
chmod 1777 /tmp /var/tmp
. /owners.sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo 2>/dev/null
say() { echo "tcpw-vm: $*"; }

printf 'root:*:20000:0:99999:7:::\n' >/etc/shadow
chmod 640 /etc/shadow
printf 'passwd: files\ngroup: files\nhosts: files dns\nnetgroup: files\n' >/etc/nsswitch.conf
printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
hostname vm
for module in /modules/*; do
    insmod "$module" || say "broken: insmod $module"
done
ip link set lo up
say "booted $(uname -r)"

# A test program; its output goes between two marks.
run() {
    name=$1
    shift
    say "begin $name"
    "$@"
    say "end $name $?"
}
. /runs.sh
say done
poweroff -f
