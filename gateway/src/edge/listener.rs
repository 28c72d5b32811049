//! Binds, accepts, shakes hands and hands each connection to Pingora.
//!
//! The accept loop is ours and not `pingora::server::Server`'s: its handshake
//! deadline is fixed at 60 s, it has no caps, a failed bind panics in a service
//! thread, and its graceful end always sleeps the whole grace period.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpServerApp, HttpServerOptions, ServerApp};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora::server::configuration::ServerConf;
use pingora_proxy::http_proxy;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::deadline::{CONNECTION, HeadDeadline};
use super::guard::{Guard, OverCap};
use super::proxy::Gateway;
use super::shutdown::Drain;
use super::watched::{Arrivals, Watched};
use super::{Address, ListenerSpec};
use crate::metrics::Metrics;

/// How long idle connections stay open at the end, for a request already on its
/// way when the broker began to close.
const LAST_CALL: Duration = Duration::from_millis(250);
/// How long the accept loop waits when the process has no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    address: String,
    source: io::Error,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

struct Listener {
    socket: Socket,
    app: Arc<HeadDeadline>,
    acceptor: Option<Arc<Acceptor>>,
    guard: Arc<Guard>,
    handshake: Duration,
    name: &'static str,
    metrics: Arc<Metrics>,
}

/// Binds listeners.
pub struct Server {
    drain: Arc<Drain>,
    grace: Duration,
}

impl Server {
    /// A server that ends when `drain` begins, within `grace`.
    pub fn new(drain: Arc<Drain>, grace: Duration) -> Self {
        Self { drain, grace }
    }

    /// Binds every listener, or none. Must run inside the runtime that serves.
    pub fn bind(self, specs: Vec<ListenerSpec>) -> Result<Bound, BindError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        let mut public: Option<Arc<Guard>> = None;
        for spec in specs {
            let (socket, shown) = bind(&spec).map_err(|source| BindError {
                address: match &spec.address {
                    Address::Tcp(address) => address.to_string(),
                    Address::Unix(path) => path.display().to_string(),
                },
                source,
            })?;
            addresses.push((spec.name, shown));
            let settings = &spec.settings;
            let fresh = || Guard::new(settings.connections_total, settings.connections_per_source);
            // Public listeners share one cap; the operator's own have theirs, so
            // that a flood outside cannot lock the operator out.
            let guard =
                if spec.name == "public" { public.get_or_insert_with(fresh).clone() } else { fresh() };
            let mut proxy =
                http_proxy(&Arc::new(ServerConf::default()), Gateway::new(&spec, self.drain.clone()));
            let mut options = HttpServerOptions::default();
            options.keepalive_request_limit = Some(settings.requests_per_connection);
            options.h2_idle_timeout = Some(settings.idle);
            // So that our hook refuses CONNECT as it does any other method, and not Pingora before it.
            options.allow_connect_method_proxying = true;
            proxy.server_options = Some(options);
            let mut h2 = default_h2_options();
            h2.max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX));
            proxy.h2_options = Some(h2);
            listeners.push(Listener {
                socket,
                acceptor: spec.tls.clone().map(|config| Arc::new(Acceptor::from_server_config(config))),
                guard,
                handshake: settings.handshake,
                name: spec.name,
                metrics: spec.metrics.clone(),
                app: Arc::new(HeadDeadline {
                    proxy: Arc::new(proxy),
                    head: settings.head,
                    idle: settings.idle,
                    metrics: spec.metrics.clone(),
                    listener: spec.name,
                }),
            });
        }
        Ok(Bound { listeners, addresses, drain: self.drain, grace: self.grace })
    }
}

/// Bound listeners, not yet accepting.
pub struct Bound {
    listeners: Vec<Listener>,
    addresses: Vec<(&'static str, String)>,
    drain: Arc<Drain>,
    grace: Duration,
}

impl Bound {
    /// Every listener's name and URL, with the port that was really bound.
    pub fn addresses(&self) -> &[(&'static str, String)] {
        &self.addresses
    }

    /// Serves until the drain begins, then ends: see [`super::shutdown`].
    pub async fn run(self) {
        let (stop, _) = watch::channel(false);
        let (close, _) = watch::channel(false);
        // Every connection holds a sender; the receiver ends with the last one.
        let (alive, mut last_connection) = mpsc::channel::<()>(1);
        let apps: Vec<_> = self.listeners.iter().map(|listener| listener.app.clone()).collect();
        let sockets: Vec<PathBuf> = self.listeners.iter().filter_map(Listener::path).collect();
        for listener in self.listeners {
            tokio::spawn(listener.accept(stop.subscribe(), close.subscribe(), alive.clone()));
        }
        drop(alive);

        self.drain.begun().await;
        let deadline = tokio::time::Instant::now() + self.grace;
        self.drain.idle(self.grace / 2).await;
        stop.send_replace(true);
        close.send_replace(true);
        if timeout(LAST_CALL, last_connection.recv()).await.is_err() {
            for app in &apps {
                app.http_cleanup().await;
            }
            if tokio::time::timeout_at(deadline, last_connection.recv()).await.is_err() {
                tracing::warn!("the grace period is over with connections still open");
            }
        }
        for path in sockets {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!(%error, "the admin socket is gone already");
            }
        }
    }
}

impl Listener {
    fn path(&self) -> Option<PathBuf> {
        match &self.socket {
            Socket::Unix(_, path) => Some(path.clone()),
            Socket::Tcp(_) => None,
        }
    }

    async fn accept(
        self,
        mut stop: watch::Receiver<bool>,
        close: watch::Receiver<bool>,
        alive: mpsc::Sender<()>,
    ) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return self.accept_the_rest(&close, &alive),
                accepted = self.next() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, close.clone(), alive.clone()),
                Err(error) => {
                    self.dropped("accept_error");
                    tracing::warn!(%error, listener = self.name, "accept failed");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    /// Connections that the kernel has accepted and we have not: closing the
    /// socket would reset them. Asked of the kernel itself, since the runtime's
    /// own view of the socket may be older.
    fn accept_the_rest(self, close: &watch::Receiver<bool>, alive: &mpsc::Sender<()>) {
        let Self { socket, .. } = &self;
        let Socket::Tcp(listener) = socket else { return };
        while let Ok((stream, peer)) = rustix::net::acceptfrom(listener) {
            let stream = std::net::TcpStream::from(stream);
            let prepared =
                stream.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
            match (prepared, peer.map(SocketAddr::try_from)) {
                (Ok(stream), Some(Ok(peer))) => {
                    let digest = digest_of(&stream, Some(peer));
                    let mut stream = L4Stream::from(stream);
                    stream.set_socket_digest(digest);
                    self.admit(stream, Some(peer.ip()), close.clone(), alive.clone());
                }
                _ => self.dropped("accept_error"),
            }
        }
    }

    async fn next(&self) -> io::Result<(L4Stream, Option<IpAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let digest = digest_of(&stream, Some(peer));
                let mut stream = L4Stream::from(stream);
                stream.set_socket_digest(digest);
                Ok((stream, Some(peer.ip())))
            }
            Socket::Unix(listener, _) => {
                let (stream, _peer) = listener.accept().await?;
                let digest = digest_of(&stream, None);
                let mut stream = L4Stream::from(stream);
                stream.set_socket_digest(digest);
                Ok((stream, None))
            }
        }
    }

    fn admit(
        &self,
        stream: L4Stream,
        peer: Option<IpAddr>,
        close: watch::Receiver<bool>,
        alive: mpsc::Sender<()>,
    ) {
        let permit = match self.guard.admit(peer) {
            Ok(permit) => permit,
            Err(OverCap::Total) => return self.dropped("total_cap"),
            Err(OverCap::Source) => return self.dropped("source_cap"),
        };
        let (app, acceptor, handshake) = (self.app.clone(), self.acceptor.clone(), self.handshake);
        let (metrics, name) = (self.metrics.clone(), self.name);
        tokio::spawn(async move {
            let _alive = alive;
            let open = metrics.connections.with_label_values(&[name]);
            open.inc();
            match shake_hands(stream, acceptor, handshake).await {
                Ok(stream) => {
                    let arrivals = Arc::new(Arrivals::default());
                    let watched: Stream = Box::new(Watched::new(stream, arrivals.clone(), permit));
                    CONNECTION.scope(arrivals, async { app.process_new(watched, &close).await }).await;
                }
                Err(reason) => metrics.connections_dropped.with_label_values(&[reason]).inc(),
            }
            open.dec();
        });
    }

    fn dropped(&self, reason: &'static str) {
        self.metrics.connections_dropped.with_label_values(&[reason]).inc();
    }
}

async fn shake_hands(
    stream: L4Stream,
    acceptor: Option<Arc<Acceptor>>,
    limit: Duration,
) -> Result<Stream, &'static str> {
    let Some(acceptor) = acceptor else { return Ok(Box::new(stream)) };
    match timeout(limit, acceptor.tls_handshake(stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(_)) => Err("handshake_failed"),
        Err(_) => Err("handshake_deadline"),
    }
}

fn digest_of(socket: &impl AsRawFd, peer: Option<SocketAddr>) -> SocketDigest {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    if let Some(peer) = peer {
        // Only ever unset here: the digest was made a line above.
        let _fresh = digest.peer_addr.set(Some(peer.into()));
    }
    digest
}

fn bind(spec: &ListenerSpec) -> io::Result<(Socket, String)> {
    match &spec.address {
        Address::Tcp(address) => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?;
            let scheme = if spec.tls.is_some() { "https" } else { "http" };
            Ok((Socket::Tcp(TcpListener::from_std(listener)?), format!("{scheme}://{bound}")))
        }
        Address::Unix(path) => {
            remove_stale(path)?;
            let listener = bind_private(path)?;
            Ok((Socket::Unix(listener, path.clone()), format!("unix:{}", path.display())))
        }
    }
}

/// The socket's mode is the operator's authentication, so it must never be
/// connectable with a looser one, not even between bind and chmod: it is bound in
/// a directory of ours with mode 0700 and then moved into place.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().unwrap_or(Path::new("."));
    // No longer than `admin.sock`: a path that the configuration's check let pass fits here too.
    let nursery = parent.join(format!(".{}", std::process::id()));
    if let Err(error) = std::fs::remove_dir_all(&nursery)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&nursery)?;
    let unborn = nursery.join("s");
    let listener = UnixListener::bind(&unborn)?;
    std::fs::set_permissions(&unborn, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&unborn, path)?;
    std::fs::remove_dir(&nursery)?;
    Ok(listener)
}

/// Removes a socket that a dead process left; one that still answers is in use,
/// and anything else at that path is not ours to remove.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another broker answers there; stop it, or give this one another data_dir",
        ));
    }
    std::fs::remove_file(path)
}
