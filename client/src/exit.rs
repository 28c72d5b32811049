//! The exit codes, once: `--help`, the documentation and the code agree because
//! all three read this table.

use std::process::ExitCode;

macro_rules! exits {
    ($($variant:ident, $code:literal, $meaning:literal;)*) => {
        /// Why the process ends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Exit { $(#[doc = $meaning] $variant,)* }

        impl Exit {
            /// Every one, in the order the documentation lists them.
            pub const ALL: &[Exit] = &[$(Exit::$variant,)*];

            /// The number.
            pub fn code(self) -> u8 {
                match self { $(Exit::$variant => $code,)* }
            }

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Exit::$variant => $meaning,)* }
            }
        }

        /// The table for `--help`.
        pub const HELP: &str = concat!("Exit codes:\n", $("  ", stringify!($code), "  ", $meaning, "\n",)*
            "`run` and `aws exec` end with the exit code of their command; 127 where it cannot be started.");
    };
}

exits! {
    Done, 0, "Done.";
    Failed, 1, "Something failed that has no code of its own.";
    Usage, 2, "The command line is wrong.";
    NotLoggedIn, 3, "There is no session, or the broker does not accept it: log in.";
    Refused, 4, "The broker refuses this to this session.";
    NotFound, 5, "There is nothing by that name.";
    Unavailable, 6, "The broker cannot be reached, or asks to try again later.";
    Ambiguous, 7, "Two sessions or identities fit: name one.";
    LocalStore, 8, "The keychain or a local file cannot be used.";
    Settings, 78, "A setting is wrong.";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
