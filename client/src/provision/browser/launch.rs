//! A browser of our own: a private profile that is removed afterwards, and a
//! pipe instead of a debugging port, which every user of the machine could open.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::BrowserError;
use super::cdp::Messages;

const NAMES: &[&str] =
    &["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "brave-browser"];
const MACOS: &[&str] = &[
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
const FLAGS: &[&str] = &[
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-service-autorun",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-dev-shm-usage",
    "--disable-features=Translate,OptimizationHints,MediaRouter,AutofillServerCommunication,PasswordManagerOnboarding",
    "--metrics-recording-only",
    "--password-store=basic",
    "--use-mock-keychain",
    "--window-size=1280,900",
    "about:blank",
];
/// What a browser needs of this process's environment: a display, a language. No
/// token, no key and no home directory of the user.
const PASSED_ON: &[&str] =
    &["PATH", "LANG", "LC_ALL", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR"];
const LEAVING: Duration = Duration::from_secs(5);

/// A browser process and its profile.
pub struct Launched {
    child: Child,
    profile: TempDir,
}

/// Starts one, headless unless a person is to see it.
pub fn launch(program: Option<&Path>, headed: bool) -> Result<(Launched, Messages), BrowserError> {
    let program = program.map(Path::to_owned).or_else(find).ok_or(BrowserError::NotFound)?;
    // Of mode 0700, as tempfile makes it.
    // With our process's number, so that whoever finds one knows whether it is in use.
    let prefix = format!("agentkeys-browser-{}-", std::process::id());
    let profile = tempfile::Builder::new().prefix(&prefix).tempdir()?;
    let (their_in, our_out) = std::io::pipe()?;
    let (our_in, their_out) = std::io::pipe()?;

    let mut command = Command::new(&program);
    command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display()));
    if !headed {
        command.arg("--headless=new");
    }
    // Chromium's sandbox cannot start as root (in containers, mostly).
    if rustix::process::geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    command
        .env_clear()
        .env("HOME", profile.path())
        .envs(PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let not_started = |reason: String| BrowserError::NotStarted { program: program.clone(), reason };
    command
        .as_std_mut()
        .fd_mappings(vec![
            FdMapping { parent_fd: OwnedFd::from(their_in), child_fd: 3 },
            FdMapping { parent_fd: OwnedFd::from(their_out), child_fd: 4 },
        ])
        .map_err(|error| not_started(error.to_string()))?;
    let child = command.spawn().map_err(|error| not_started(error.to_string()))?;
    let messages =
        speak(pipe::Receiver::from_owned_fd(our_in.into())?, pipe::Sender::from_owned_fd(our_out.into())?);
    Ok((Launched { child, profile }, messages))
}

impl Launched {
    /// Waits until it has left (it was asked to), else ends it, and removes the profile.
    pub async fn end(mut self) -> Result<(), BrowserError> {
        if tokio::time::timeout(LEAVING, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        // Its helper processes may still write for a moment after it left.
        let path = self.profile.path().to_owned();
        let mut last = self.profile.close();
        let deadline = tokio::time::Instant::now() + LEAVING;
        while last.is_err() && path.exists() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            last = std::fs::remove_dir_all(&path);
        }
        if path.exists() { Ok(last?) } else { Ok(()) }
    }
}

/// Messages on the pipe end in a zero byte.
fn speak(reader: pipe::Receiver, mut writer: pipe::Sender) -> Messages {
    let (out, mut to_send) = mpsc::channel::<String>(8);
    let (received, back) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Some(text) = to_send.recv().await {
            let sent = async {
                writer.write_all(text.as_bytes()).await?;
                writer.write_all(b"\0").await
            };
            if sent.await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        let mut reader = BufReader::new(reader);
        let mut message = Vec::new();
        while matches!(reader.read_until(0, &mut message).await, Ok(read) if read > 0) {
            message.pop();
            let text = String::from_utf8_lossy(&message).into_owned();
            message.clear();
            if received.send(text).await.is_err() {
                break;
            }
        }
    });
    Messages { out, back }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        NAMES.iter().flat_map(|name| std::env::split_paths(&path).map(move |directory| directory.join(name)));
    on_path.chain(MACOS.iter().map(PathBuf::from)).find(|candidate| candidate.is_file())
}
