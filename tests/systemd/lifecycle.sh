#!/usr/bin/env bash
# Runs the commands of docs/systemd.md: the relay is installed as a service, used and removed, from
# the package and once more by hand. This happens in a throw-away container whose root is a Debian
# of this release, and whose first process is that Debian's systemd. It needs root, and makes
# nothing but the container. .ci/packages has made the packages a/*.deb and b/*.deb, of which b is
# newer.
#
#     lifecycle.sh RELEASE PACKAGES
set -euo pipefail
cd "$(dirname "$0")/../.."

release=$1 packages=$2

work=$(mktemp -d /var/tmp/callhome-relay.XXXXXX)
groups=()
for mounted in $(findmnt -nlo TARGET -t cgroup2) /sys/fs/cgroup/systemd; do
    # Where control group hierarchies are mixed, the container has a group in each.
    [ -f "$mounted/cgroup.procs" ] && groups+=("$mounted/${work##*/}")
done
root=$work/root nspawn='' load=''
passed=0
# The mirror that this machine's packages come from.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | awk '!/security/ && !n++')

# Ends by its id everything that was started, and leaves nothing behind.
end_load() {
    [ -z "$load" ] || kill "$load" 2>/dev/null || true
    load=''
}
halt() {
    end_load
    [ -n "$nspawn" ] || return 0
    kill -TERM "$nspawn" 2>/dev/null || true
    for _ in {1..200}; do
        kill -0 "$nspawn" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$nspawn" 2>/dev/null || true
    wait "$nspawn" 2>/dev/null || true
    nspawn=''
    for group in "${groups[@]}"; do
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}
clean() {
    status=$?
    if [ $status -ne 0 ]; then
        echo "FAILED under the systemd of $release"
        [ -z "$nspawn" ] || within journalctl --no-pager --unit callhome-relay --lines 60 || true
    fi
    halt
    rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

ok() {
    passed=$((passed + 1))
    echo "ok    $release: $*"
}
wrong() {
    echo "wrong $release: $*"
    exit 1
}
# Runs a command in the container, or in its network alone.
within() { nsenter --target "$leader" --mount --uts --ipc --net --pid -- /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
nearby() { nsenter --target "$leader" --net -- "$@"; }
property() { within systemctl show --value --property "$1" callhome-relay.service; }
until_it_is() {
    for _ in {1..300}; do
        [ "$(property "$1")" != "$2" ] || return 0
        sleep 0.1
    done
    wrong "$1 is $(property "$1") and not $2"
}
# Waits until `systemctl status` has this, because a reload may still be under way.
until_status() {
    for _ in {1..100}; do
        ! within systemctl --no-pager status callhome-relay | grep -F -- "$1" >"$work/line" || return 0
        sleep 0.1
    done
    within systemctl --no-pager status callhome-relay || true
    wrong "the status has no \"$1\""
}
# Runs the commands of a section of the page, in the directory that it speaks of.
blocks=0
document() {
    awk -v title="## $1" '/^## /{here = $0 == title} here && /^```$/{code = 0} here && code; here && /^```sh$/{code = 1; found++}
        END{exit !found}' docs/systemd.md >"$root/root/commands" || wrong "docs/systemd.md has no commands under \"$1\""
    blocks=$((blocks + $(awk -v title="## $1" '/^## /{here = $0 == title} here && /^```sh$/' docs/systemd.md | wc -l)))
    within bash -c "cd $2 && bash -euo pipefail /root/commands" >"$work/said" 2>&1 </dev/null || {
        cat "$work/said"
        wrong "a command under \"$1\" in docs/systemd.md failed"
    }
    ok "docs/systemd.md, $1"
}
under_load() {
    # Don't use the function, because a signal must reach the clients themselves.
    nsenter --target "$leader" --net -- python3 tests/systemd/load.py >"$work/load" 2>&1 &
    load=$!
    sleep 2
    "$@"
    sleep 2
    kill -TERM "$load"
    local ended=0
    wait "$load" || ended=$?
    load=''
    cat "$work/load"
    [ $ended -eq 0 ] || wrong "clients were refused, or tunnels broken"
}

boot() {
    mkdir "$root"
    mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,ca-certificates,init-system-helpers "$release" - \
        "$mirror" 2>"$work/mmdebstrap" | tar -C "$root" -x || { cat "$work/mmdebstrap"; wrong "no root can be made"; }
    echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
    echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/90yes"
    mkdir -p "$root/root/package" "$root/root/sources/target/dist"
    cp "$packages"/a/*.deb "$root/root/package"
    cp -r systemd "$root/root/sources"
    cp target/dist/callhome-relay "$root/root/sources/target/dist"
    (
        for group in "${groups[@]}"; do
            mkdir -p "$group"
            echo "$BASHPID" >"$group/cgroup.procs"
        done
        exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory="$root" --boot --private-network \
            --register=no --keep-unit --resolv-conf=off --machine="${work##*.}" </dev/null >"$work/console" 2>&1
    ) &
    nspawn=$!
    for _ in {1..300}; do
        leader=$(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null || true)
        leader=${leader%% *}
        # A container may be degraded, because some of its units need what it doesn't have.
        [ -z "$leader" ] || [[ $(within systemctl is-system-running 2>/dev/null || true) != @(running|degraded) ]] || return 0
        kill -0 "$nspawn" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/console"
    wrong "systemd doesn't start"
}

boot
version=$(within systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
echo "systemd $version of $release"
file=$root/etc/callhome-relay/relay.toml

document "Install the package" /root/package
[ "$(property ActiveState)" = active ] || wrong "it isn't active after the installation"
within systemctl is-enabled --quiet callhome-relay.service || wrong "it isn't enabled"
! within systemctl is-enabled --quiet callhome-relay-proxy.socket || wrong "the socket is enabled"
[ "$(property Type)" = "$([ "$version" -ge 253 ] && echo notify-reload || echo notify)" ] || wrong "Type=$(property Type)"
until_status 'Status: "0 tunnels open, listening on proxy [::]:3128"'
[ -z "$(within systemctl --no-pager --failed --plain --no-legend)" ] || wrong "$(within systemctl --failed --no-pager)"
verified=$(within systemd-analyze verify callhome-relay.service callhome-relay-proxy.socket 2>&1) || true
[ -z "$verified" ] || wrong "systemd-analyze verify: $verified"
within systemd-analyze security --no-pager callhome-relay.service | tail -1 | grep -oE '[0-9.]+ [A-Z]+' >"$work/level"
awk '{exit !($1 <= 1.5)}' "$work/level" || wrong "exposure $(cat "$work/level")"
ok "installed, enabled, active, Type=$(property Type), exposure $(cat "$work/level")"
within cat "/proc/$(property MainPID)/status" >"$work/proc"
grep -q '^CapPrm:.*0000000000000000$' "$work/proc" && grep -q '^NoNewPrivs:.*1$' "$work/proc" && grep -q '^Seccomp:.*2$' "$work/proc" ||
    wrong "the unit's sandbox isn't there: $(grep -E 'Cap|NoNew|Seccomp' "$work/proc")"
[ "$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "$work/proc")" = "$(within id -u callhome-relay)" ] || wrong "it runs as $(grep ^Uid: "$work/proc")"
ok "a user of its own, no capability, no new privileges, a filter of system calls"

cat >>"$file" <<'EOF'

[[destination]]
name = "echo"
hosts = ["echo.example"]
ports = [7777]
sni = "any"
tls_only = false
addresses = ["127.0.0.1"]
ip_ranges = ["127.0.0.1"]

[limits]
rate_per_client = "100000/s"
EOF
cp "$file" "$work/good"
pid=$(property MainPID)
document "Configure" /root
echo 'no_such_key = 1' >>"$file"
within systemctl reload callhome-relay
until_status 'Status: "degraded: the last reload was rejected: /etc/callhome-relay/relay.toml:'
[ "$(property MainPID) $(property ActiveState)" = "$pid active" ] || wrong "a broken file stopped it"
ok "a reload with a broken file: $(sed 's/^ *//' "$work/line")"
within systemctl restart callhome-relay 2>/dev/null && wrong "it starts with a broken file"
sleep 7 # longer than RestartSec
[ "$(property ActiveState) $(property Result) $(property ExecMainStatus) $(property NRestarts)" = "failed exit-code 78 0" ] ||
    wrong "after exit 78: $(property ActiveState) $(property Result) $(property ExecMainStatus), $(property NRestarts) restarts"
ok "exit 78 isn't restarted"
cp "$work/good" "$file"
nsenter --target "$leader" --net -- python3 -c 'import socket, time; s = socket.create_server(("::", 3128), family=socket.AF_INET6); time.sleep(8)' &
load=$!
sleep 1
within systemctl restart callhome-relay 2>/dev/null && wrong "it starts on a port that is taken"
[ "$(property ExecMainStatus)" = 69 ] || wrong "exit status $(property ExecMainStatus) for a port that is taken"
wait "$load"
load=''
until_it_is ActiveState active
[ "$(property NRestarts)" -ge 1 ] || wrong "it wasn't restarted"
ok "exit 69 is restarted: active again after $(property NRestarts)"
within systemctl reload callhome-relay
until_status 'Status: "0 tunnels open'

document "The log" /root

document "Restarts that refuse nobody" /root
restarts() { for _ in 1 2 3 4; do within systemctl restart callhome-relay; done; }
pid=$(property MainPID)
under_load restarts
[ "$(property MainPID)" != "$pid" ] || wrong "it wasn't restarted"
ok "four restarts under load with socket activation"

within systemctl disable --now --quiet callhome-relay-proxy.socket callhome-relay.service 2>/dev/null
printf '\n[[listener]]\nname = "passthrough"\nmode = "sni"\nbind = "[::]:443"\n' >>"$file"
within systemctl start callhome-relay 2>/dev/null && wrong "it binds port 443 without the capability"
[ "$(property ExecMainStatus)" = 69 ] || wrong "exit status $(property ExecMainStatus) without the capability"
document "Ports below 1024" /root
until_status 'passthrough [::]:443'
ok "port 443 with the drop-in, and 69 without"
within systemctl stop callhome-relay
rm "$root/etc/systemd/system/callhome-relay.service.d/privileged-ports.conf"
cp "$work/good" "$file"

document "Secrets" /root
awk '/^## /{here = $0 == "## Secrets"} here && /^```$/{code = 0} here && code; here && /^```toml$/{code = 1}' docs/systemd.md >>"$file"
cp "$file" "$work/good"
within systemctl enable --now --quiet callhome-relay-proxy.socket
within systemctl enable --now --quiet callhome-relay.service
nearby python3 - "$(cat "$root/etc/callhome-relay/credentials/admin-token")" <<'EOF' || wrong "the token isn't the credential"
import sys, urllib.error, urllib.request
url = "http://127.0.0.1:9090/metrics"
assert urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {sys.argv[1]}"})).status == 200
try:
    urllib.request.urlopen(url)
    sys.exit(1)
except urllib.error.HTTPError as error:
    assert error.code == 401, error
EOF
ok "the admin token is a credential of systemd"

mkdir -p "$root/etc/systemd/system/callhome-relay.service.d"
printf '[Service]\nWatchdogSec=4\n' >"$root/etc/systemd/system/callhome-relay.service.d/test.conf"
within systemctl daemon-reload
within systemctl restart callhome-relay
pid=$(property MainPID)
within systemctl daemon-reexec
sleep 6
[ "$(property MainPID) $(property NRestarts)" = "$pid 0" ] || wrong "the watchdog killed a healthy relay"
within sh -c "kill -STOP $pid"
until_it_is NRestarts 1
until_it_is ActiveState active
[ "$(property MainPID)" != "$pid" ] || wrong "it is the same process"
# Read to the end each time, because a reader that leaves early would fail the pipe.
for _ in {1..100}; do
    within journalctl --no-pager --unit callhome-relay >"$work/journal"
    ! grep -q "Watchdog timeout" "$work/journal" || break
    sleep 0.1
done
grep -q "Watchdog timeout" "$work/journal" || wrong "it wasn't the watchdog"
ok "the watchdog survives a daemon-reexec, and restarts a relay that hangs"
rm "$root/etc/systemd/system/callhome-relay.service.d/test.conf"
within systemctl daemon-reload
within systemctl restart callhome-relay

pid=$(property MainPID)
rm "$root"/root/package/*.deb
cp "$packages"/b/*.deb "$root/root/package"
under_load document "Upgrade" /root/package
[[ $(within dpkg-query --show --showformat '${Version}' callhome-relay) == *-2 ]] || wrong "it wasn't upgraded"
[ "$(property MainPID)" != "$pid" ] && [ "$(property ActiveState)" = active ] || wrong "it doesn't run the new version"
cmp -s "$work/good" "$file" || wrong "the configuration wasn't kept"
within callhome-relay audit verify /var/lib/callhome-relay/audit >"$work/verdict" 2>&1 || wrong "$(cat "$work/verdict")"
ok "an upgrade under load, with the configuration kept and the trail whole"

document "Remove" /root
[ ! -e "$root/usr/bin/callhome-relay" ] && [ -e "$file" ] || wrong "a removal takes the program, and leaves the configuration"
[ "$(within systemctl is-active callhome-relay.service callhome-relay-proxy.socket | sort -u)" = inactive ] || wrong "something runs after the removal"
! nearby python3 -c 'import socket; socket.create_connection(("127.0.0.1", 3128))' 2>/dev/null || wrong "the port is still open"
within apt-get purge callhome-relay >"$work/purge" 2>&1
grep -q 'audit trail in /var/lib/callhome-relay is kept' "$work/purge" || wrong "the purge doesn't say that the trail is kept"
[ ! -e "$file" ] && [ -s "$root/var/lib/callhome-relay/audit/access.jsonl" ] || wrong "a purge takes the configuration, and leaves the trail"
ok "removed and purged; the trail is still there"

rm -r "$root/etc/callhome-relay" "$root/etc/systemd/system/callhome-relay.service.d"
document "By hand" /root/sources
[ "$(property ActiveState)" = active ] || wrong "it isn't active"
within callhome-relay health >/dev/null || wrong "it isn't ready"
[ "$(grep -c '^```sh$' docs/systemd.md)" -eq "$blocks" ] || wrong "not every command in docs/systemd.md was run"
ok "by hand; all $blocks blocks of commands in docs/systemd.md ran"
echo "$passed passed, 0 failed"
