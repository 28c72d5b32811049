//! `op read`, 1Password's CLI: bounded in time and size, in a process group of
//! its own that is killed whole, with an environment that holds none of ours.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::super::environment::Environment;
use super::{MAX_SECRET_BYTES, SecretError, finish};

const MAX_ERROR_BYTES: u64 = 8 * 1024;

/// What `op` needs to find its configuration, its socket and its session.
fn is_passed_on(name: &str) -> bool {
    matches!(name, "HOME" | "PATH") || name.starts_with("OP_") || name.starts_with("XDG_")
}

pub(super) async fn read(
    reference: &str,
    environment: &Environment,
    deadline: Duration,
) -> Result<SecretString, SecretError> {
    let refuse = |reason: String| SecretError::OnePassword { reference: reference.to_owned(), reason };
    let mut command = Command::new("op");
    command
        .args(["read", "--no-newline", reference])
        .env_clear()
        .envs(
            environment
                .names()
                .filter(|name| is_passed_on(name))
                .filter_map(|name| Some((OsString::from(name), OsString::from(environment.text(name)?)))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn().map_err(|error| {
        refuse(match error.kind() {
            std::io::ErrorKind::NotFound => {
                "needs the 1Password CLI, and there is no 'op' on PATH; install it \
                                             (https://developer.1password.com/docs/cli)"
                    .to_owned()
            }
            _ => format!("could not run 'op': {error}"),
        })
    })?;
    let mut child = Group(child);
    let output = tokio::time::timeout(deadline, child.output())
        .await
        .map_err(|_| {
            refuse(format!(
                "was not answered by 'op' within {} s; unlock 1Password, or sign in with 'op signin' first",
                deadline.as_secs_f32()
            ))
        })?
        .map_err(|error| refuse(format!("could not be read from 'op': {error}")))?;
    if output.stdout.len() as u64 > MAX_SECRET_BYTES {
        return Err(refuse("is larger than 64 KiB, which is no secret of ours".to_owned()));
    }
    if !output.status.is_some_and(|status| status.success()) {
        return Err(refuse(explain(&output, reference)));
    }
    finish(output.stdout).map_err(|reason| refuse(reason.to_owned()))
}

/// A child that leads a process group; the whole group ends with it.
struct Group(Child);

struct Output {
    stdout: Zeroizing<Vec<u8>>,
    stderr: Vec<u8>,
    /// `None` where it was cut off for writing too much.
    status: Option<ExitStatus>,
}

impl Group {
    async fn output(&mut self) -> std::io::Result<Output> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let (stdout, stderr) =
            tokio::try_join!(bounded(stdout, MAX_SECRET_BYTES), bounded(stderr, MAX_ERROR_BYTES))?;
        // Nobody reads its pipe any more, so waiting for it could take for ever.
        let cut = stdout.len() as u64 > MAX_SECRET_BYTES;
        let status = if cut { None } else { Some(self.0.wait().await?) };
        Ok(Output { stdout, stderr: stderr.to_vec(), status })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is gone once the leader was waited for; until then the number
        // cannot have been given to another process.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader
            && let Err(error) = kill_process_group(leader, Signal::KILL)
        {
            tracing::warn!(%error, "could not end 'op' and its children");
        }
    }
}

async fn bounded(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // Enough from the start: a buffer that grew would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most as usize + 1));
    if let Some(pipe) = pipe {
        pipe.take(most + 1).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// From what `op` says on stderr to what an operator should do. Its own words
/// are not passed on: nobody can promise that they hold no secret.
fn explain(output: &Output, reference: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr).to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if any(&["not currently signed in", "not signed in", "no accounts configured", "session expired"]) {
        return "cannot be read: 'op' is not signed in; run 'op signin', or set OP_SERVICE_ACCOUNT_TOKEN"
            .to_owned();
    }
    if any(&["authorization prompt dismissed", "authorization denied", "authorization timeout"]) {
        return "cannot be read: 1Password's prompt was not approved; approve it".to_owned();
    }
    if any(&["isn't a vault", "vault not found"]) {
        return "names a vault that this account does not have".to_owned();
    }
    if any(&["isn't an item", "item not found", "could not find item"]) {
        return "names an item that is not in the vault".to_owned();
    }
    if any(&["does not have a field", "isn't a field", "no such field"]) {
        return "names a field that the item does not have".to_owned();
    }
    let status = match output.status {
        Some(status) => status.to_string(),
        None => "no status".to_owned(),
    };
    format!("cannot be read: 'op' ended with {status}; run this to see why: op read '{reference}'")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::Instant;

    use secrecy::ExposeSecret;

    use super::*;

    /// A directory with an `op` that does this, and the environment to find it.
    fn stand_in(script: &str) -> (tempfile::TempDir, Environment) {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("op");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let path = format!("{}:/usr/bin:/bin", temp.path().display());
        let environment = Environment::from_pairs([
            ("PATH", path.as_str()),
            ("HOME", temp.path().to_str().unwrap()),
            ("OP_SERVICE_ACCOUNT_TOKEN", "token"),
            ("BROKER_DAEMON_SECRET_ACCESS_KEY", "canary"),
        ]);
        (temp, environment)
    }

    async fn run(script: &str, deadline: Duration) -> Result<SecretString, String> {
        let (_temp, environment) = stand_in(script);
        read("op://vault/item/field", &environment, deadline).await.map_err(|error| error.to_string())
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_gets_the_reference_and_none_of_our_environment() {
        let script = r#"printf '%s|' "$@"; env | cut -d= -f1 | sort | tr '\n' ,"#;
        let said = run(script, LONG).await.unwrap();
        let (arguments, names) = said.expose_secret().rsplit_once('|').unwrap();
        assert_eq!(arguments, "read|--no-newline|op://vault/item/field");
        assert!(names.contains("HOME,OP_SERVICE_ACCOUNT_TOKEN,PATH"), "{names}");
        assert!(!names.contains("BROKER"), "{names}");
    }

    #[tokio::test]
    async fn each_failure_says_what_to_do_and_repeats_nothing() {
        for (script, why) in [
            (
                "echo canary; echo '[ERROR] 2026/01/01 00:00:00 You are not currently signed in. Please run \
                 `op signin --help` for instructions' >&2; exit 1",
                "not signed in; run 'op signin'",
            ),
            (
                "echo '[ERROR] 2026/01/01 00:00:00 could not read secret op://vault/item/field: could not get \
                 item vault/item: \"item\" isn'\"'\"'t an item in the \"vault\" vault' >&2; exit 1",
                "names an item that is not in the vault",
            ),
            ("echo canary; echo canary >&2; exit 7", "exit status: 7; run this to see why: op read"),
            ("exit 0", "is empty"),
            ("head -c 70000 /dev/zero | tr '\\0' c; exit 0", "larger than 64 KiB"),
            ("tr '\\0' c </dev/zero", "larger than 64 KiB"),
        ] {
            let error = run(script, LONG).await.err().unwrap();
            assert!(error.starts_with("op://vault/item/field ") && error.contains(why), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[tokio::test]
    async fn without_op_it_says_so() {
        let temp = tempfile::tempdir().unwrap();
        let environment = Environment::from_pairs([("PATH", temp.path().to_str().unwrap())]);
        let error = read("op://vault/item/field", &environment, LONG).await.err().unwrap();
        assert!(error.to_string().contains("there is no 'op' on PATH"), "{error}");
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_with_its_children() {
        let (temp, environment) = stand_in("sleep 60 & echo $! >\"$HOME/child\"; wait");
        let begun = Instant::now();
        let error =
            read("op://vault/item/field", &environment, Duration::from_millis(700)).await.err().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(error.to_string().contains("was not answered by 'op' within 0.7 s"), "{error}");
        let child = std::fs::read_to_string(temp.path().join("child")).unwrap();
        let child = Path::new("/proc").join(child.trim());
        if Path::new("/proc/self").exists() {
            while is_running(&child) {
                assert!(begun.elapsed() < Duration::from_secs(10), "the child of 'op' is still there");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// A zombie that nobody has reaped yet has ended.
    fn is_running(process: &Path) -> bool {
        std::fs::read_to_string(process.join("stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
    }
}
