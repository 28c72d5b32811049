//! Start to end: settings, session (or pairing), listeners, `ready`, stop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand;
use http::request::Parts;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::net::TcpListener;

use super::container::{self, Container};
use super::guard::Guard;
use super::imds::Metadata;
use super::keeper::Keeper;
use super::options::Options;
use super::session_watch::SessionWatch;
use super::state::Credentials;
use super::{enter, server, socket};
use crate::broker::Broker;
use crate::cli::Failure;
use crate::exit::Exit;
use crate::files;
use crate::sessions::{Choice, Store};
use crate::settings::{Settings, Variables};

/// What the `ready` line says.
#[derive(Serialize)]
struct Ready {
    container: String,
    token_file: PathBuf,
    imds: Option<String>,
    socket: Option<PathBuf>,
}

/// Runs until it is told to stop.
pub async fn run(options: Options, variables: Variables<'_>) -> Result<Exit, Failure> {
    let settings = Settings::resolve(&options.flags, variables)?;
    let store = Store::open(&settings);
    let choice = enter::session_or_pairing(&options, &settings, &store).await?;
    let broker = Broker::new(&choice.broker_url, &settings)?;

    // Before there is anything to clean up after.
    let mut stop = std::pin::pin!(stop_signal()?);
    // The listeners come first: an address in use is said before anything is minted.
    let listener = bind(options.listen).await?;
    let address = listener.local_addr()?;
    let imds = match options.imds {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let watch = SessionWatch::new(store.clone(), &settings, &choice);
    let (keeper, credentials) = Keeper::new(broker, options.request(), options.check_every, watch);

    let token = endpoint_token()?;
    let token_file = token_file(&options, &store, &choice)?;
    files::write_private(&token_file, token.expose_secret().as_bytes())?;
    let mut ready = Ready {
        container: format!("http://{address}{}", container::PATH),
        token_file: token_file.clone(),
        imds: None,
        socket: None,
    };

    let container = Arc::new(Container { credentials: credentials.clone(), token });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(keeper.run());
    tasks.spawn(server::tcp(listener, Guard::new(address), move |parts: Arc<Parts>| {
        let container = Arc::clone(&container);
        async move { container.answer(&parts).await }
    }));
    if let Some(listener) = imds {
        let address = listener.local_addr()?;
        let metadata = Metadata::new(credentials.clone())
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let metadata = Arc::new(metadata);
        ready.imds = Some(format!("http://{address}"));
        tasks.spawn(server::tcp(listener, Guard::new(address), move |parts: Arc<Parts>| {
            let metadata = Arc::clone(&metadata);
            async move { metadata.answer(&parts).await }
        }));
    }
    let path = socket::path(&store, &choice.broker_url, &choice.identity);
    if serve_socket(&path, &options, &credentials, &mut tasks).await? {
        ready.socket = Some(path);
    }

    let outcome = tokio::select! {
        // The first credential decides that it can serve; until then it says why not.
        () = until_serving(&credentials) => { announce(&ready, options.json)?; stop.await }
        stopped = &mut stop => stopped,
    };
    tasks.abort_all();
    for file in [Some(&ready.token_file), ready.socket.as_ref()].into_iter().flatten() {
        if let Err(error) = std::fs::remove_file(file) {
            tracing::debug!(%error, file = %file.display(), "a file was left behind");
        }
    }
    outcome?;
    tracing::info!("stopped");
    Ok(Exit::Done)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot listen on {address}: {error}"))
            .next("give another address, or port 0 for any")
    })
}

fn endpoint_token() -> Result<SecretString, Failure> {
    let mut bytes = [0u8; 32];
    rand::fill(&mut bytes).map_err(|_| Failure::new(Exit::Failed, "the system's random source failed"))?;
    Ok(SecretString::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn token_file(options: &Options, store: &Store, choice: &Choice) -> Result<PathBuf, Failure> {
    let path = match &options.token_file {
        Some(path) => path.clone(),
        None => socket::path(store, &choice.broker_url, &choice.identity).with_extension("token"),
    };
    Ok(std::path::absolute(path)?)
}

/// Serves the command line on the socket; false where the path is too long for one.
#[cfg(unix)]
async fn serve_socket(
    path: &Path,
    options: &Options,
    credentials: &Credentials,
    tasks: &mut tokio::task::JoinSet<()>,
) -> Result<bool, Failure> {
    use std::os::unix::fs::PermissionsExt;

    use http::StatusCode;
    use tokio::net::{UnixListener, UnixStream};

    use super::answer;
    use crate::aws::shapes::SocketAnswer;

    // The shortest limit that any system has for a socket's path.
    if path.as_os_str().len() > 100 {
        tracing::warn!(path = %path.display(), "the path is too long for a socket; the command line mints itself");
        return Ok(false);
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(Failure::new(Exit::Failed, "another agentkeys-daemon serves this session already")
            .next("stop it, or give another --identity"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    if let Some(directory) = path.parent() {
        files::private_directory(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let credentials = credentials.clone();
    let (role, read_only) = (options.role.clone(), options.read_only);
    tasks.spawn(server::unix(listener, move |parts: Arc<Parts>| {
        let (credentials, role) = (credentials.clone(), role.clone());
        async move {
            match parts.uri.path() {
                socket::PATH => match credentials.obtain(container::PATIENCE).await {
                    Ok(held) => {
                        let answer = SocketAnswer {
                            session_id: held.session_id.clone(),
                            role,
                            read_only,
                            minted: held.minted.clone(),
                        };
                        answer::json(StatusCode::OK, &answer)
                    }
                    Err(trouble) => answer::trouble(&trouble),
                },
                "/healthz" => container::health(&credentials),
                _ => answer::refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing here"),
            }
        }
    }));
    Ok(true)
}

/// There are no Unix sockets here.
#[cfg(not(unix))]
async fn serve_socket(
    _path: &Path,
    _options: &Options,
    _credentials: &Credentials,
    _tasks: &mut tokio::task::JoinSet<()>,
) -> Result<bool, Failure> {
    Ok(false)
}

/// Waits for the first credential, whatever stands in its way until then.
async fn until_serving(credentials: &Credentials) {
    let mut changes = credentials.changes();
    while changes.borrow_and_update().usable().is_none() {
        if changes.changed().await.is_err() {
            // The keeper is gone; only a signal ends the process then.
            std::future::pending::<()>().await;
        }
    }
}

fn announce(ready: &Ready, json: bool) -> Result<(), Failure> {
    let line = if json {
        let body = serde_json::to_string(ready).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
        format!("ready {body}")
    } else {
        let mut line =
            format!("ready container={} token_file={}", ready.container, ready.token_file.display());
        if let Some(imds) = &ready.imds {
            line.push_str(&format!(" imds={imds}"));
        }
        if let Some(socket) = &ready.socket {
            line.push_str(&format!(" socket={}", socket.display()));
        }
        line
    };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}

/// Takes the signals over at once; the future resolves at the first of them.
#[cfg(unix)]
fn stop_signal() -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

#[cfg(not(unix))]
fn stop_signal() -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    Ok(async { Ok(tokio::signal::ctrl_c().await?) })
}
