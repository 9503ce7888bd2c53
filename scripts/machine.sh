# shellcheck shell=bash
# What a machine needs to build, run and test the platform, and how it gets it: the one list behind ./run and ./test.
# Sourced, never run. Everything here is safe to repeat and quick when there is nothing to do.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$here/.tools

# To build both programs and the web pages.
build_packages=(build-essential ca-certificates curl libjson-glib-dev libx264-dev pkg-config)

# What a session is made of. librsvg2-common draws GIMP's icons; tigervnc-standalone-server is the display where Xorg's
# dummy driver can't be used; e2fsprogs, mount and libcap2-bin serve the disk quota and the sandbox.
session_packages=(
  bubblewrap dbus-daemon e2fsprogs fontconfig fonts-dejavu-core gimp libcap2-bin librsvg2-common mount openbox
  shared-mime-info tigervnc-standalone-server tigervnc-xorg-extension util-linux x11-xkb-utils xauth xkb-data
  xserver-xorg-core xserver-xorg-video-dummy
)

# To test: browsers, PostgreSQL, something to look at X with, and the linter for these scripts.
test_packages=(chromium firefox-esr git imagemagick postgresql python3-pip shellcheck x11-utils xdotool)

# Oldest Rust that builds the workspace: `rust-version` of Cargo.toml.
rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml")

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*"; }

fail() {
  printf '%s==> %s%s\n' "$bold" "$*" "$plain" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "This needs root and sudo is not installed. As root, run: $*"
  fi
}

# need_packages NAME...: installs those that are missing, and only those.
need_packages() {
  local missing
  missing=$(comm -13 \
    <(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' | sort -u) \
    <(printf '%s\n' "$@" | sort -u))
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || fail "This needs Debian or Ubuntu. Missing here: $(echo $missing)"
  say "Installing with apt: $(echo $missing)"
  as_root apt-get update -qq
  # shellcheck disable=SC2086 # one word per package
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
}

need_packages_to_run() {
  need_packages "${build_packages[@]}" "${session_packages[@]}"
  need_theme_engine
  need_gimp_library
}

need_packages_to_test() {
  need_packages "${build_packages[@]}" "${session_packages[@]}" "${test_packages[@]}"
  need_theme_engine
  need_gimp_library
}

# Draws the themes of GIMP 2.10, which does not depend on it; GIMP 3 has no use for it.
need_theme_engine() { [ ! -d /usr/share/gimp/2.0 ] || need_packages gtk2-engines-pixbuf; }

# What the GIMP link, a plug-in, is compiled against: the library of the GIMP that is here.
need_gimp_library() {
  if [ -d /usr/share/gimp/2.0 ]; then need_packages libgimp2.0-dev; else need_packages libgimp-3.0-dev; fi
}

# at_least WANTED FOUND: compares dotted versions.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# What vite asks for: 20.19 and later of 20, or 22.12 and later.
node_is_new_enough() {
  local found
  command -v npm >/dev/null && found=$(node --version 2>/dev/null) && found=${found#v} || return 1
  case $found in
    20.*) at_least 20.19.0 "$found" ;;
    *) at_least 22.12.0 "$found" ;;
  esac
}

# Debian 13's Node is new enough. On Debian 12 its npm fetches a newer Node into .tools, which only we use.
need_node() {
  local machine
  case $(uname -m) in
    x86_64) machine=x64 ;;
    aarch64) machine=arm64 ;;
    *) machine=$(uname -m) ;;
  esac
  local own=$tools/node/node_modules/node-linux-$machine/bin
  [ ! -x "$own/node" ] || PATH=$own:$PATH
  node_is_new_enough && return
  command -v npm >/dev/null || need_packages nodejs npm
  node_is_new_enough && return
  say "Installing Node.js 22 into .tools"
  npm install --silent --no-save --no-audit --no-fund --prefix "$tools/node" "node-linux-$machine@22"
  PATH=$own:$PATH
  node_is_new_enough || fail "Node.js 20.19 or 22.12 is needed, found: $(node --version 2>&1)"
}

need_rust() {
  [ ! -d "$HOME/.cargo/bin" ] || PATH=$HOME/.cargo/bin:$PATH
  if ! command -v cargo >/dev/null; then
    if apt-cache show rustup >/dev/null 2>&1; then
      need_packages rustup
      say "Installing Rust with rustup"
      rustup --quiet default stable
    else
      say "Installing Rust with rustup (https://rustup.rs)"
      curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -q -y --profile default --no-modify-path
      PATH=$HOME/.cargo/bin:$PATH
    fi
  fi
  local found
  found=$(rustc --version | cut -d' ' -f2)
  at_least "$rust_wanted" "$found" && return
  if command -v rustup >/dev/null; then
    say "Updating Rust $found (needed: $rust_wanted)"
    rustup --quiet update stable
    found=$(rustc --version | cut -d' ' -f2)
  fi
  at_least "$rust_wanted" "$found" ||
    fail "Rust $rust_wanted or newer is needed, found $found. Remove the packages cargo and rustc, then run this again: it installs a newer one."
}

# Hash of the content of files and folders, and of their names.
fingerprint() {
  (cd "$here" && find "$@" -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
}

# need_node_modules FOLDER: npm ci, only when the lock file or Node changed.
need_node_modules() {
  local folder=$1 wanted
  wanted="$(fingerprint "$folder/package-lock.json") $(node --version)"
  [ "$(cat "$here/$folder/node_modules/.installed" 2>/dev/null)" != "$wanted" ] || return 0
  say "Installing the packages of $folder/"
  (cd "$here/$folder" && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-audit --no-fund --loglevel=error)
  echo "$wanted" >"$here/$folder/node_modules/.installed"
}

# The web pages in web/dist, built only when something they are made of changed.
need_web() {
  need_node_modules web
  local wanted
  wanted=$(fingerprint web/src web/wasm web/public web/index.html web/package.json web/package-lock.json \
    web/vite.config.ts web/svelte.config.js web/tsconfig.json)
  [ "$(cat "$here/web/node_modules/.built" 2>/dev/null)" != "$wanted" ] || [ ! -f "$here/web/dist/index.html" ] || return 0
  say "Building the web pages"
  (cd "$here/web" && npm run --silent build -- --logLevel warn)
  echo "$wanted" >"$here/web/node_modules/.built"
}
