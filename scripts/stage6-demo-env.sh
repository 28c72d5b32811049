#!/usr/bin/env bash
# The Stage 6 demo's environment, from the broker: no AWS key and no call to sts.
#
#   eval "$(scripts/stage6-demo-env.sh)"      in any shell
#   . scripts/stage6-demo-env.sh              in bash
#
# It needs AGENTKEYS_BROKER_URL (or one stored session) and `agentkeys login`.
# What it exports holds no credential: programs ask the broker when they need one
# (`agentkeys aws configure`, `agentkeys aws exec -- CMD`, agentkeys-daemon).
#
#   --legacy-env   also AWS_* with an hour's credentials, and a sign-up password,
#                  for programs that read nothing else
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then
  # Not `exit`: that would close the shell of the person who sourced this.
  if agentkeys_stage6_lines=$(bash "${BASH_SOURCE[0]}" "$@"); then
    eval "$agentkeys_stage6_lines"
    unset agentkeys_stage6_lines
    return 0
  fi
  unset agentkeys_stage6_lines
  return 1
fi
set -euo pipefail
# An `eval` of nothing would succeed; so that `&&` after it stops, it gets this.
trap '[[ $? == 0 ]] || echo false' EXIT

agentkeys=${AGENTKEYS_BIN:-agentkeys}

say() { printf 'stage6-demo-env: %s\n' "$*" >&2; }
fail() {
  say "$@"
  exit 1
}

# A field of the broker's answer. What a broker may say there needs no quoting;
# anything else is refused, since a shell will evaluate the line.
field() {
  local pattern="\"$1\":\"([^\"]*)\"" plain='^[A-Za-z0-9._/@:+-]+$'
  [[ $answer =~ $pattern ]] || return 1
  local value=${BASH_REMATCH[1]}
  [[ $value =~ $plain ]] || fail "the broker's $1 is not a plain word"
  printf '%s\n' "$value"
}

need() { field "$1" || fail "the broker's answer has no $1"; }

legacy=no
case ${1:-} in
  '') ;;
  --legacy-env) legacy=yes ;;
  *) fail "usage: scripts/stage6-demo-env.sh [--legacy-env]" ;;
esac

command -v "$agentkeys" >/dev/null 2>&1 ||
  fail "$agentkeys is not on PATH: cargo install --locked --path client, or name it in AGENTKEYS_BIN"
for name in DAEMON_ACCESS_KEY_ID DAEMON_SECRET_ACCESS_KEY; do
  [[ -z ${!name:-} ]] || say "$name is set here and not used: only the operator's broker needs it; unset it"
done

answer=$("$agentkeys" environment --json) || fail "the broker gives no environment (its message is above)"
region=$(need region) bucket=$(need bucket) prefix=$(need prefix)
domain=$(need mail_domain) address=$(need signup_address)
wallet=${address%%@*}

lines=(
  "export REGION=$region"
  "export BUCKET=$bucket"
  "export DOMAIN=$domain"
  "export AGENTKEYS_EMAIL_BACKEND=ses-s3"
  "export AGENTKEYS_SES_BUCKET=$bucket"
  "export AGENTKEYS_SES_PREFIX=${prefix}inbound/"
  "export AGENTKEYS_SIGNUP_EMAIL=$address"
  "export AGENTKEYS_USER_WALLET=$wallet"
)
if endpoint=$(field s3_endpoint); then
  lines+=("export AGENTKEYS_S3_ENDPOINT=$endpoint")
fi

if [[ $legacy == yes ]]; then
  say "--legacy-env puts credentials into the environment, where every program of this shell can read them"
  credentials=$("$agentkeys" aws console-env) || fail "the broker gives no credentials (its message is above)"
  lines+=("$credentials")
  lines+=("export AWS_REGION=$region" "export AWS_DEFAULT_REGION=$region")
  lines+=("export AGENTKEYS_SIGNUP_PASSWORD=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')")
fi

printf '%s\n' "${lines[@]}"
