//! A broker in this process over real sockets, and the real binaries run with an
//! environment that holds nothing but what a test gives them.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's own machinery fails loudly")]

pub mod broker;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A person's machine: a home directory and a broker's address.
pub struct Machine {
    home: tempfile::TempDir,
    pub broker_url: String,
}

impl Machine {
    pub fn new(broker_url: &str) -> Self {
        Self { home: tempfile::tempdir().unwrap(), broker_url: broker_url.to_owned() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A command with nothing inherited but PATH.
    pub fn command(&self, binary: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("AGENTKEYS_BROKER_URL", &self.broker_url)
            .env("AGENTKEYS_SESSION_STORE", "file");
        command
    }

    pub fn agentkeys(&self, arguments: &[&str]) -> Outcome {
        self.with_stdin(arguments, "")
    }

    pub fn with_stdin(&self, arguments: &[&str], stdin: &str) -> Outcome {
        run(self.command(env!("CARGO_BIN_EXE_agentkeys"), arguments), stdin)
    }

    pub fn login(&self, token: &str) {
        self.with_stdin(&["login", "--token-stdin"], token).done();
    }

    pub fn daemon(&self, arguments: &[&str]) -> Daemon {
        let mut all = vec!["--listen", "127.0.0.1:0", "--check-every", "1s"];
        all.extend_from_slice(arguments);
        Daemon::start(self.command(env!("CARGO_BIN_EXE_agentkeys-daemon"), &all))
    }
}

pub fn run(mut command: Command, stdin: &str) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads no stdin may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    Outcome::from(child.wait_with_output().unwrap())
}

#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// A running daemon; stopped when dropped.
pub struct Daemon {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub stderr: PathBuf,
    _stderr: tempfile::NamedTempFile,
}

impl Daemon {
    pub fn from_command(command: Command) -> Self {
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let stderr = tempfile::NamedTempFile::new().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, stderr: stderr.path().to_owned(), _stderr: stderr }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of stdout that begins so.
    #[track_caller]
    pub fn line(&self, beginning: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(beginning) => return line,
                Ok(_) => {}
                Err(_) => panic!("no line {beginning:?}; stderr: {}", self.log()),
            }
        }
    }

    /// Waits for `ready` and reads the addresses in it.
    #[track_caller]
    pub fn ready(&self) -> Ready {
        let line = self.line("ready");
        let field = |name: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let container = field("container").unwrap();
        let address = container.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
        let token_file = PathBuf::from(field("token_file").unwrap());
        Ready {
            token: std::fs::read_to_string(&token_file).unwrap(),
            address,
            token_file,
            imds: field("imds").map(|url| url.trim_start_matches("http://").to_owned()),
            socket: field("socket").map(PathBuf::from),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    pub fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Asks it to stop and waits.
    pub fn stop(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Ready {
    pub address: String,
    pub token: String,
    pub token_file: PathBuf,
    pub imds: Option<String>,
    pub socket: Option<PathBuf>,
}

impl Ready {
    /// Asks as an SDK does.
    pub fn ask(&self) -> Answer {
        let request = format!(
            "GET /credentials HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
            self.address, self.token
        );
        raw(&self.address, &request)
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// Sends these very bytes, and reads until the other side closes.
pub fn raw(address: &str, request: &str) -> Answer {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Waits for a condition, not for a time.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::park_timeout(Duration::from_millis(25));
    }
}

/// Every file below a directory, with its content.
pub fn files_below(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files_below(&path));
        } else if let Ok(content) = std::fs::read(&path) {
            all.push((path, content));
        }
    }
    all
}
