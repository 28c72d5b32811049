//! What the AWS SDKs read: the answer of a `credential_process`, the answer of a
//! container endpoint, the variables of a child process, and the config file.

pub mod config_file;
pub mod shapes;
