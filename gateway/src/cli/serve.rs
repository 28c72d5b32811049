//! `serve`: the story of a process, from its settings to its last request.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agentkeys_filters::Registry;
use anyhow::Context;

use super::{EX_CONFIG, Global};
use crate::assemble::{self, Assembled};
use crate::config::{Environment, Settings, settings};
use crate::edge::Server;
use crate::edge::shutdown::{self, Drain};
use crate::edge::tls::TlsError;
use crate::logging::{self, LogFormat};

/// How long the last audit records may take to reach the disk at the end.
const FLUSH: Duration = Duration::from_secs(5);

pub(super) fn run(global: &Global, registry: &Registry) -> ExitCode {
    let environment = Environment::of_process();
    let loaded = match global.load(&environment, registry) {
        Ok(loaded) => loaded,
        Err(errors) => {
            for error in &errors {
                eprintln!("error: {error}");
            }
            return ExitCode::from(EX_CONFIG);
        }
    };
    let settings = loaded.settings;
    let format = match settings.log.format {
        settings::LogFormat::Auto => LogFormat::Auto,
        settings::LogFormat::Json => LogFormat::Json,
        settings::LogFormat::Human => LogFormat::Human,
    };
    logging::install(format, &settings.log.level);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "agentkeys-broker-server");
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match serve(settings, &environment, registry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // To both: a supervisor reads the log, a person the terminal.
            tracing::error!("cannot serve: {error:#}");
            eprintln!("error: {error:#}");
            exit_code(&error)
        }
    }
}

/// A certificate or key that cannot be served with is the configuration's fault:
/// no restart mends it, and a supervisor should not try.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<TlsError>() { ExitCode::from(EX_CONFIG) } else { ExitCode::FAILURE }
}

fn serve(settings: Settings, environment: &Environment, registry: &Registry) -> anyhow::Result<()> {
    harden().context("the process cannot be hardened")?;
    assemble::install_crypto()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("broker").build()?;
    runtime.block_on(async {
        let drain = Drain::new();
        shutdown::on_signals(drain.clone()).context("signals cannot be handled")?;
        let assembled = assemble::assemble(&settings, environment, registry, drain.clone()).await?;
        let Assembled { listeners, audit, broker, .. } = assembled;
        let bound = Server::new(drain, settings.shutdown_grace).bind(listeners)?;
        announce(&settings, bound.addresses(), &broker);
        bound.run().await;
        anyhow::ensure!(audit.close(FLUSH).await, "the last audit records did not reach the disk in time");
        tracing::info!("ended");
        anyhow::Ok(())
    })?;
    // Background tasks end with the process; nothing durable rests on them.
    runtime.shutdown_background();
    Ok(())
}

/// One line for scripts, and for a person what to do next.
fn announce(settings: &Settings, addresses: &[(&'static str, String)], broker: &Arc<crate::broker::Broker>) {
    let shown: Vec<String> = addresses.iter().map(|(name, address)| format!("{name}={address}")).collect();
    println!("ready {}", shown.join(" "));
    tracing::info!(
        issuer = settings.issuer.as_str(),
        exchange = %broker.exchange.mode(),
        reason = %settings.aws.exchange.reason,
        data_dir = %settings.data_dir.display(),
        "ready: {}",
        shown.join(" ")
    );
    if settings.issuer.is_loopback() {
        println!();
        println!("Next, in another terminal:");
        println!(
            "  agentkeys-broker-server session issue --label my-agent    issue a session; its token is shown once"
        );
        println!("  export AGENTKEYS_BROKER_URL={}    all that a developer sets", settings.issuer.as_str());
        println!("  agentkeys login    takes the token; then any AWS SDK works");
    }
}

/// No core dump and no debugger may read the keys, nor `/proc/self/environ`.
fn harden() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
