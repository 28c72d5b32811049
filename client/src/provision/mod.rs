//! Signs up at a service and brings back an API key: a recipe says how, a real
//! browser does it, and the wallet's own mailbox gets the code.
//!
//! Nothing here knows a particular site. The password, the code and the key are
//! never printed, logged or written to a file.

pub mod browser;
mod error;
mod explain;
mod loopback;
pub mod mail;
mod password;
mod pictures;
pub mod recipe;
mod run;
mod values;
mod verify;

pub use error::ProvisionError;
pub use explain::explain;
pub use run::{Made, Ways, prove, run};
