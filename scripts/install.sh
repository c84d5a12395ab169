#!/usr/bin/env bash
# Installs the Debian packages that are missing, without starting or enabling their system services.
#
#   scripts/install.sh demo    what running the platform needs
#   scripts/install.sh test    that and what the tests need
#
# Says nothing and asks apt nothing when everything is there. Works as root and as a user with sudo.
set -euo pipefail

run_packages=(
    kamailio                 # SIP edge
    kamailio-extra-modules   # evapi, jansson, uuid
    kamailio-tls-modules     # tls
    kamailio-utils-modules   # utils
    rtpengine-daemon         # RTP relay and recorder
    espeak-ng                # says the prompts
    python3                  # 3.11 or newer
    python3-venv
    fonts-noto-cjk           # invoices, pictures of plans
)
test_packages=(
    postgresql-15            # the database tests run on PostgreSQL too
    sip-tester               # SIPp: a SIP phone written by strangers
    tshark                   # reads captures as a stranger would
    chromium                 # opens the API's page as a person would
    curl                     # the guides' examples are run as they are printed
    jq
    openssl                  # makes certificates
    ffmpeg                   # makes and judges audio independently of the product
    poppler-utils            # reads invoices as a stranger would
    gcc                      # makes what sets the clock of the platform's processes only
    libc6-dev
    libvo-amrwbenc0          # encodes AMR-WB as phones do
    python3-swift            # an S3 store that others wrote
)
# Services that the packages bring; the platform runs its own engines as child processes instead.
services=(kamailio.service rtpengine-daemon.service rtpengine.service)

case "${1:-}" in
    demo) wanted=("${run_packages[@]}") ;;
    test) wanted=("${run_packages[@]}" "${test_packages[@]}") ;;
    *) echo "usage: scripts/install.sh demo|test" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install.sh: this script knows Debian's apt only; install by hand: ${wanted[*]}" >&2
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    # The status is asked for by name, so that a removed package with files left counts as missing.
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

[ "${2:-}" = announced ] || echo "installing Debian packages (a minute or two): ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "install.sh: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
    exec sudo -- bash "$0" "$1" announced
fi

export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
cluster_policy=/etc/postgresql-common/createcluster.d/no-cluster-please.conf
kept="$(mktemp -d)"

restore() {
    rm -f "$policy" "$cluster_policy" "$kept/log"
    [ ! -e "$kept/policy-rc.d" ] || mv "$kept/policy-rc.d" "$policy"
    rmdir --ignore-fail-on-non-empty "$kept" "${cluster_policy%/*}" "${cluster_policy%/*/*}" 2>/dev/null || true
}
trap restore EXIT
trap 'exit 130' INT TERM

# invoke-rc.d asks this script whether a service may be started: 101 means no (Debian policy-rc.d(8)).
[ ! -e "$policy" ] || mv "$policy" "$kept/policy-rc.d"
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"
mkdir -p "${cluster_policy%/*}"
echo "create_main_cluster = false" >"$cluster_policy"

enabled_before=()
for service in "${services[@]}"; do
    [ ! -e "/etc/systemd/system/multi-user.target.wants/$service" ] || enabled_before+=("$service")
done

# apt's hundreds of lines are shown only where they are of use.
apt() {
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >"$kept/log" 2>&1
}
install() {
    apt install --yes --no-install-recommends "${missing[@]}"
}
# Lists older than a day may name versions that the archive no longer has.
fresh=$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mtime -1 2>/dev/null | head -n 1)
[ -n "$fresh" ] || apt update || true
if ! install && ! { apt update && install; }; then
    tail -n 20 "$kept/log" >&2
    echo "install.sh: apt could not install: ${missing[*]}" >&2
    exit 1
fi

# What was not enabled before must not start at the next boot either (where systemd boots at all).
if command -v systemctl >/dev/null; then
    for service in "${services[@]}"; do
        case " ${enabled_before[*]-} " in
            *" $service "*) ;;
            *) systemctl --quiet disable "$service" >/dev/null 2>&1 || true ;;
        esac
    done
fi
