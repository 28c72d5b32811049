//! `docs/configuration.md`, made from the table. A test holds the file to it.

use super::table::{OTHER_VARIABLES, TABLE};

const HEAD: &str = "# Configuration

This page is made from the table in `gateway/src/config/table.rs`; `conf/broker.yaml` shows the same keys as a file.
To make it again after a change: `UPDATE_DOCS=1 cargo test -p agentkeys-broker-server configuration_reference`.

## Where a value comes from

The later layer wins: built in, then the file (`--config F` or `BROKER_CONFIG`), then the environment, then flags
(`--data-dir`). A list or a mapping of roles is replaced as a whole, never merged. An empty variable counts as unset.
`agentkeys-broker-server check` prints every key with its value and the line, variable or flag that it came from.

- **An unknown key** is an error, with line, column and a suggestion.
- **An unknown variable that begins with `BROKER_`** is a warning. One that is a letter or two away from a variable
  below (or has the same words in another order) is an error, since it was meant to be that one. The same holds for
  names that begin with `DAEMON_` and nearly are one of the two below; other names are left alone.
- **Relative paths** of state (`admin.socket`, `signing_key.path`, `store.path`, `audit.path`) start at `data_dir`;
  those of files that you wrote (certificates, policy templates, `file:` secrets) start at the configuration file.
  `~` is your home directory.
- **Durations** are a whole number and `ms`, `s`, `m`, `h` or `d`. **Quotas** are `50/s`, `10/min` or `600/h`, with
  `burst 200` after it where more may come at once.
- **Lists in variables** are items with commas between them (`BROKER_LISTENERS=127.0.0.1:8090,[::1]:8090`) or YAML in
  brackets (`BROKER_LISTENERS='[{address: 0.0.0.0:8443, tls: development}]'`).

## Secrets

A secret is never written in the file: a literal one is refused. Write a reference:

| reference | where the secret is |
|---|---|
| `env:NAME` | in that environment variable |
| `file:PATH` | in that file: a regular one (no link), owned by the broker's user, mode 0600; a newline at its end is cut |
| `op://vault/item/field` | in 1Password; `op read` fetches it at start, within 15 s |
| `kms:BASE64` | sealed with AWS KMS; recognised, not built yet |

`BROKER_DAEMON_ACCESS_KEY_ID` and `BROKER_DAEMON_SECRET_ACCESS_KEY` hold the operator's key itself, or such a
reference (`op://…`, `file:…`). Both come from one spelling: where either is set, the `DAEMON_…` pair is not looked at.

## Keys

| key | variable | type | default | meaning |
|---|---|---|---|---|
";

/// The page.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for key in TABLE {
        let variable = key.variable().map_or_else(|| "–".to_owned(), |name| format!("`{name}`"));
        let default = key.default.map_or_else(|| "must be written".to_owned(), |text| format!("`{text}`"));
        page.push_str(&format!(
            "| `{}` | {variable} | {} | {default} | {} |\n",
            key.path,
            key.type_name(),
            key.doc
        ));
    }
    page.push_str("\n## Other variables\n\n| variable | meaning |\n|---|---|\n");
    for (name, meaning) in OTHER_VARIABLES {
        page.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
    page
}
