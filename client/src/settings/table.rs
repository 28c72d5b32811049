//! Every setting, once: `agentkeys config` and the documentation show this table.

/// One setting.
pub struct Setting {
    /// Its key in `config.toml`; the flag and the variable follow from it.
    pub name: &'static str,
    /// Is there a flag for it?
    pub flag: bool,
    /// What stands where nobody says.
    pub default: &'static str,
    /// What it is.
    pub meaning: &'static str,
}

/// The settings, in the order they are shown.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "home",
        flag: true,
        default: "~/.agentkeys",
        meaning: "Where config.toml, the list of sessions and the file fallback are (not in the file).",
    },
    Setting {
        name: "broker_url",
        flag: true,
        default: "the broker of the only stored session, else http://localhost:8090",
        meaning: "The broker.",
    },
    Setting {
        name: "identity",
        flag: true,
        default: "the only stored one, else \"default\"",
        meaning: "Which of several sessions at one broker.",
    },
    Setting {
        name: "ca_file",
        flag: true,
        default: "none",
        meaning: "A PEM file of certificate authorities, trusted beside the system's.",
    },
    Setting {
        name: "session_store",
        flag: true,
        default: "auto",
        meaning: "Where secrets are kept: auto, keychain or file.",
    },
    Setting {
        name: "insecure_plain_http",
        flag: true,
        default: "false",
        meaning: "Allow http:// to a broker on another machine.",
    },
    Setting {
        name: "connect_timeout",
        flag: false,
        default: "5s",
        meaning: "How long a connection to the broker may take.",
    },
    Setting {
        name: "timeout",
        flag: false,
        default: "15s",
        meaning: "How long one operation may take, retries included.",
    },
];

/// The variable of a setting.
pub fn variable(name: &str) -> String {
    format!("AGENTKEYS_{}", name.to_uppercase())
}
