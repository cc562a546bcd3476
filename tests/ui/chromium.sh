#!/usr/bin/env bash
# Prints the path of a Chromium: the one named in CHROMIUM, one on the path, or the system's package, installed for this.
set -euo pipefail

say() { echo "chromium for the tests of the web interface: $*" >&2; }

find_browser() {
  local name
  for name in ${CHROMIUM:-chromium chromium-browser google-chrome-stable google-chrome}; do
    # A name may stand for a wrapper that installs nothing (Ubuntu's): what tells no version is no browser.
    if "$name" --version >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

if find_browser; then exit; fi
if [ -n "${CHROMIUM:-}" ]; then
  say "CHROMIUM=$CHROMIUM names no browser that starts"
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  say "none is installed, and there is no apt-get to install it with: install Chromium, or name one in CHROMIUM"
  exit 1
fi
if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
  say "none is installed, and installing needs root: run 'apt-get install chromium' as root, or name one in CHROMIUM"
  exit 1
fi
say "installing the system's package"
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
as_root "${apt[@]}" update >&2 || say "apt-get update failed; trying with the lists that are here"
if ! as_root "${apt[@]}" install --yes --no-install-recommends chromium >&2; then
  say "apt-get cannot install it (no network?): install Chromium, or name one in CHROMIUM"
  exit 1
fi
find_browser || { say "it was installed and does not start"; exit 1; }
