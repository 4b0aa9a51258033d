#!/bin/sh
# The first process of a virtual machine that `cargo xtask kernels` boots. What is to be known goes to the second serial
# line, each part between `@@ begin NAME` and `@@ end NAME EXIT-CODE`; the kernel's own messages go to the first.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
exec >/dev/ttyS1 2>&1 </dev/null

part() {
    name=$1
    shift
    echo "@@ begin $name"
    timeout "$@"
    echo "@@ end $name $?"
}

. /machine
case $CGROUPS in
v1)
    mount -t tmpfs cgroup /sys/fs/cgroup
    for controller in memory cpu pids; do
        mkdir "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
    done
    ;;
*) mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
esac
# To a program, a kernel that was built without type information is one that doesn't show it.
[ "$BTF" = no ] && mount -t tmpfs none /sys/kernel/btf
ip link set lo up

part release 10 uname -r
part doctor 60 tracer doctor -o json
part capture 120 tracer capture --duration 1s -o json
if [ "$CGROUPS" = v1 ]; then
    # What it advised.
    mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified
    part advised 120 tracer capture --duration 1s -o json
fi
case $TESTS in
all)
    part hook-tests 400 hook-tests --test-threads=2
    part demo 200 tracer-demo --tracer /usr/bin/tracer -o json
    ;;
short) part demo 200 tracer-demo --tracer /usr/bin/tracer -o json --fault 'wrong selector' ;;
esac
part oops 10 sh -c 'dmesg | grep -E "BUG:|WARNING:|Oops:|Kernel panic" || true'
sync
echo b >/proc/sysrq-trigger
