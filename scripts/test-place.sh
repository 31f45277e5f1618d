#!/usr/bin/env bash
# Runs a command in a place of its own: namespaces of processes and mounts that the caller has just made, with its own
# /run/netns. Whatever the command leaves behind is told, counts as a failure, and ends with the place.
#   test-place.sh COMMAND ARGUMENT…
mkdir -p /run/netns 2>/dev/null || { mount -t tmpfs -o mode=0755 tmpfs /run && mkdir -p /run/netns; }
mount -t tmpfs -o mode=0755 tmpfs /run/netns
# A new network namespace begins with its loopback down.
ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null || echo 'loopback stays down: install iproute2; tests over 127.0.0.1 fail'

"$@"
code=$?

others() {
  local folder pid
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    if [ "$pid" != 1 ] && [ "$pid" != "$BASHPID" ]; then tr '\0' ' ' 2>/dev/null <"$folder/cmdline" | grep . | sed "s/^/process $pid: /"; fi
  done
}

# what was told to end may take a moment
for _ in $(seq 50); do
  left=$(others; find /run/netns -mindepth 1 -printf 'network namespace %f\n')
  [ -z "$left" ] && exit "$code"
  sleep 0.1
done
printf 'left behind by the tests:\n%s\n' "$left"
[ "$code" = 0 ] && code=1
exit "$code"
