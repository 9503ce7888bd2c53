#!/usr/bin/env bash
# Follows the README on a machine where nothing is installed: a fresh Debian in namespaces of its own, `git clone`,
# `./run`, a browser that signs up and paints, Ctrl-C. Fails when anything of it is left.
#
#   scripts/bare-machine.sh [--user] [--lend-rust] [RELEASE]
#
#   RELEASE      bookworm or trixie (default)
#   --user       as an ordinary user with sudo, not as root
#   --lend-rust  this machine's Rust instead of rustup's, for networks that don't reach it
#
# Needs root, debootstrap and what ./test installs. The Debian is kept in BARE_CACHE (/var/tmp/gimp-platform-bare), the
# copy made of it is removed.
set -euo pipefail
# shellcheck source=scripts/machine.sh
. "$(dirname "$0")/machine.sh"

release=trixie who=root lend_rust=
for argument; do
  case $argument in
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --user) who=ada ;;
    --lend-rust) lend_rust=yes ;;
    bookworm | trixie) release=$argument ;;
    *) fail "unknown argument: $argument" ;;
  esac
done
[ "$(id -u)" = 0 ] || fail "This makes mounts and namespaces: run it as root."

cache=${BARE_CACHE:-/var/tmp/gimp-platform-bare}
port=${BARE_PORT:-18080}
need_packages debootstrap git
if [ ! -e "$cache/$release/.complete" ]; then
  say "Fetching Debian $release, nothing but its base"
  rm -rf --one-file-system "${cache:?}/$release"
  mkdir -p "$cache"
  debootstrap --variant=minbase "$release" "$cache/$release" >/dev/null
  touch "$cache/$release/.complete"
fi

machine=$(mktemp -d "$cache/machine-XXXXXX")
log=$machine/work/run.log
job=
finish() {
  local status=$?
  trap - EXIT INT TERM
  # The first process of the namespaces takes all others along, and the mounts with them.
  [ -z "$job" ] || { kill "$job" 2>/dev/null || true; wait "$job" 2>/dev/null || true; }
  [ $status = 0 ] || tail -n 60 "$log" 2>/dev/null || true
  rm -rf --one-file-system "$machine"
  exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cp -a --reflink=auto "$cache/$release/." "$machine"
mkdir -p "$machine/work" "$machine/lent"
chmod 777 "$machine/work"
git clone --quiet --bare "$here" "$machine/work/source.git"
git config --file "$machine/work/source.git/config" uploadpack.allowAnySHA1InWant true
chmod -R a+rX "$machine/work/source.git"
cp /etc/resolv.conf "$machine/etc/resolv.conf"
echo "127.0.0.1 localhost $(uname -n)" >"$machine/etc/hosts"
# Certificates and proxies belong to the network, not to the machine.
cp /etc/ssl/certs/ca-certificates.crt "$machine/lent/ca.crt"
mkfifo "$machine/work/ctrl-c"

cat >"$machine/work/newcomer" <<'INSIDE'
#!/usr/bin/env bash
# In the bare machine, as the newcomer.
set -euo pipefail
cd "$HOME"
git config --global --add safe.directory /work/source.git
git clone --quiet /work/source.git gimp
cd gimp
# A job of its own, as in a terminal: only then does SIGINT reach it.
set -m
./run --listen "127.0.0.1:$PORT" &
run=$!
set +m
(read -r _ </work/ctrl-c; kill -INT -- -$run) &
wait $run
INSIDE
cat >"$machine/work/init" <<'INSIDE'
#!/usr/bin/env bash
# First process of the bare machine.
set -euo pipefail
apt-get update -qq
# What a person needs to clone at all, and to be an ordinary user.
apt-get install -qq -y --no-install-recommends git ca-certificates sudo >/dev/null
export SSL_CERT_FILE=/lent/ca.crt NODE_EXTRA_CA_CERTS=/lent/ca.crt CARGO_HTTP_CAINFO=/lent/ca.crt
keep=SSL_CERT_FILE,NODE_EXTRA_CA_CERTS,CARGO_HTTP_CAINFO,PORT
if [ -d /lent/rustup ]; then
  export RUSTUP_HOME=/lent/rustup PATH=/lent/rust:$PATH
  keep+=,RUSTUP_HOME,PATH
fi
status=0
if [ "$WHO" = root ]; then
  HOME=/root bash /work/newcomer || status=$?
else
  useradd --create-home --shell /bin/bash "$WHO"
  echo "$WHO ALL=(ALL) NOPASSWD: ALL" >"/etc/sudoers.d/$WHO"
  runuser -u "$WHO" -w "$keep" -- env HOME="/home/$WHO" bash /work/newcomer || status=$?
fi
echo "./run ended with $status"
# Nothing may be left: no process but this one, no mount of a workspace.
for folder in /proc/[0-9]*; do
  pid=${folder#/proc/}
  [ "$pid" = 1 ] || [ "$pid" = "$BASHPID" ] || ! [ -s "$folder/cmdline" ] ||
    { echo "left running: $(tr '\0' ' ' <"$folder/cmdline")"; status=1; }
done
! grep -E '/(workspaces|run)/[0-9a-f-]{36}' /proc/self/mounts || { echo "left mounted"; status=1; }
exit $status
INSIDE

say "Starting a bare Debian $release; its log is $log"
(
  exec unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    cd "$1"
    mount --bind . .
    cd "$1"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mount -t tmpfs tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    if [ -n "$4" ]; then
      mkdir -p lent/rustup lent/rust
      mount --bind "$4" lent/rustup
      mount --bind "$5" lent/rust
    fi
    mkdir .old
    pivot_root . .old
    umount -l .old
    exec env -i WHO="$2" PORT="$3" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      bash /work/init' \
    bare "$machine" "$who" "$port" \
    "${lend_rust:+${RUSTUP_HOME:-$HOME/.rustup}}" "${lend_rust:+${CARGO_HOME:-$HOME/.cargo}/bin}"
) >"$log" 2>&1 </dev/null &
job=$!

url=http://127.0.0.1:$port
began=$SECONDS shown=0
until curl --silent --fail --output /dev/null "$url/readyz"; do
  kill -0 "$job" 2>/dev/null || fail "./run ended before the platform was ready"
  # What the newcomer sees.
  lines=$(wc -l <"$log")
  tail -n "+$((shown + 1))" "$log" | sed 's/^/    /'
  shown=$lines
  sleep 2
done
say "Ready after $((SECONDS - began)) s. A browser signs up and paints"
need_node
need_node_modules tests/e2e
(cd "$here/tests/e2e" && PLATFORM_URL=$url npx --no-install playwright test --project=newcomer)

say "Ctrl-C"
echo now >"$machine/work/ctrl-c"
wait "$job" || { job=; fail "./run did not end cleanly"; }
job=
tail -n 4 "$log" | sed 's/^/    /'
say "Nothing is left: a bare Debian $release works, as $who"
