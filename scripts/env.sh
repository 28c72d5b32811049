# shellcheck shell=bash
# Source this: puts the tools of scripts/bootstrap first on PATH, and names the
# cmake that the Rust build needs.
#
#   . scripts/env.sh

agentkeys_tools=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)/.tools/venv/bin
if [ -x "$agentkeys_tools/python" ]; then
  case ":$PATH:" in
    *":$agentkeys_tools:"*) ;;
    *) export PATH="$agentkeys_tools:$PATH" ;;
  esac
  export CMAKE="$agentkeys_tools/cmake"
else
  echo "env.sh: run scripts/bootstrap first" >&2
fi
unset agentkeys_tools
