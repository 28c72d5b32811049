//! Sessions, grants, credentials and the audit behind the traits of `agentkeys_core::store`. The only room that knows rusqlite.
