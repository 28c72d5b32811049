#!/usr/bin/env bash
# Is Stage 7 done? Proves every deliverable of harness/features.json by a command,
# on servers that it starts itself, then breaks each deliverable and demands that
# its proof turns red. Exit code 0 only where all of that holds.
#
#   bash harness/stage-7-done.sh                     everything
#   bash harness/stage-7-done.sh --only ID           one feature (again for more)
#   bash harness/stage-7-done.sh --no-mutations      a quick look; proves less
#
# Nothing of the caller's environment reaches a proof but PATH: no AWS_*, no
# AGENTKEYS_*, no key of any service, and a home directory that is empty.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Once more through a clean environment. What installers need (a mirror, a proxy,
# where the toolchain is) goes as far as the build and no further.
if [[ ${STAGE7_SCRUBBED:-} != yes ]]; then
  home=$(mktemp -d "${TMPDIR:-/tmp}/stage7-home-XXXXXX")
  trap 'rm -rf "$home"' EXIT
  kept=(
    STAGE7_SCRUBBED=yes "PATH=$PATH" "HOME=$home" LANG=C.UTF-8
    "CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}" "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}"
  )
  [[ -z ${TMPDIR:-} ]] || kept+=("TMPDIR=$TMPDIR")
  installers='^(PIP_|UV_|npm_config_|NPM_CONFIG_|CARGO_|RUSTUP_|RUST|PYENV_|https?_proxy$|HTTPS?_PROXY$|no_proxy$|NO_PROXY$|SSL_CERT_|REQUESTS_CA_BUNDLE$|NODE_EXTRA_CA_CERTS$|CURL_CA_BUNDLE$)'
  while IFS= read -r name; do
    [[ ! $name =~ $installers || $name == CARGO_HOME || $name == RUSTUP_HOME ]] || kept+=("$name=${!name}")
  done < <(compgen -e)
  # Settings that these programs would look for in the home directory.
  for pair in "PIP_CONFIG_FILE .config/pip/pip.conf" "PIP_CONFIG_FILE .pip/pip.conf" "npm_config_userconfig .npmrc"; do
    read -r name file <<<"$pair"
    [[ -n ${!name:-} || ! -f $HOME/$file ]] || kept+=("$name=$HOME/$file")
  done
  env -i "${kept[@]}" bash "${BASH_SOURCE[0]}" "$@"
  exit
fi

cd "$root"
fail() {
  printf 'stage-7: FAIL %s (%d s)\n' "$*" "$SECONDS"
  exit 1
}
echo "$ scripts/bootstrap"
scripts/bootstrap || fail "scripts/bootstrap did not succeed; its message is above"
# shellcheck source=scripts/env.sh
. scripts/env.sh
echo "$ cargo build --workspace --bins --locked"
cargo build --workspace --bins --locked || fail "the build did not succeed; the compiler's message is above"
echo "built after $SECONDS s"
cd harness
exec ../.tools/venv/bin/python -m stage7.run "$@"
