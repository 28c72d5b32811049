//! An STS that answers well or badly, as scripted: real HTTP over loopback, one
//! request per connection. The strict double that verifies tokens is in `harness/`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use agentkeys_core::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const SECRET: &str = "fixture-secret-access-key";
pub const TOKEN: &str = "fixture-token";
pub const REQUEST_ID: &str = "0d1c2b3a-0000-4000-8000-000000000001";

/// What is done with one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A good answer.
    None,
    /// A good answer to GetCallerIdentity.
    Identity,
    /// Read the request and say nothing.
    Hang,
    /// Read the request and close.
    Reset,
    /// Promise more than is sent.
    Truncated,
    /// This status and body.
    Body(u16, String),
    /// An error document: status, code, message.
    Error(u16, &'static str, &'static str),
    /// A good answer, but without Credentials.
    NoCredentials,
    /// With empty ones.
    EmptyCredentials,
    /// For a role of another account.
    OtherAccount,
    /// For another subject.
    OtherSubject,
    /// Without AssumedRoleUser.
    NoArn,
    /// That ends in so many seconds.
    Expires(i64),
    /// With this access key id.
    AccessKeyId(&'static str),
    /// A good answer with so many bytes of white space before its end.
    Padded(usize),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub raw: String,
}

impl Seen {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<String> {
        self.raw.split("\r\n\r\n").next()?.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// A form field's value.
    pub fn form(&self, name: &str) -> Option<String> {
        let body = self.raw.split_once("\r\n\r\n")?.1;
        body.split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, v)| decode(v))
    }
}

/// The server; it ends with the value.
pub struct FaultSts {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl FaultSts {
    /// Plays the faults in order, and is good afterwards.
    pub async fn start(faults: Vec<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(VecDeque::from(faults)));
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&log), Arc::clone(&script)));
            }
        });
        Self { port, seen, task }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for FaultSts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, log: Arc<Mutex<Vec<Seen>>>, script: Arc<Mutex<VecDeque<Fault>>>) {
    let Some(raw) = read_request(&mut socket).await else { return };
    let seen = Seen { raw };
    log.lock().unwrap().push(seen.clone());
    let fault = script.lock().unwrap().pop_front().unwrap_or(Fault::None);
    let (status, body) = match &fault {
        Fault::Hang => {
            // Held open until the client goes.
            let _ = socket.read(&mut [0; 1]).await;
            return;
        }
        Fault::Reset => return,
        Fault::Truncated => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n<Assume").await;
            return;
        }
        Fault::Body(status, body) => (*status, body.clone()),
        Fault::Error(status, code, message) => (
            *status,
            format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>{message}</Message></Error><RequestId>{REQUEST_ID}</RequestId></ErrorResponse>"
            ),
        ),
        Fault::Identity => (
            200,
            format!(
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
                 <Arn>arn:aws:iam::123456789012:user/agentkeys-daemon</Arn><UserId>AIDAEXAMPLE</UserId>\
                 <Account>123456789012</Account></GetCallerIdentityResult>\
                 <ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
            ),
        ),
        good => (200, good_answer(&seen, good)),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: text/xml\r\nx-amzn-requestid: {REQUEST_ID}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    // The client may have seen enough and gone.
    let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
}

fn good_answer(seen: &Seen, fault: &Fault) -> String {
    let action = seen.form("Action").unwrap_or_default();
    let account = if matches!(fault, Fault::OtherAccount) { "999999999999" } else { "123456789012" };
    let role = seen.form("RoleArn").unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    let session = seen.form("RoleSessionName").unwrap_or_default();
    let (id, secret, token) = match fault {
        Fault::EmptyCredentials => ("", "", ""),
        Fault::AccessKeyId(id) => (*id, SECRET, TOKEN),
        _ => ("ASIAFAULTTEST1", SECRET, TOKEN),
    };
    let asked: i64 = seen.form("DurationSeconds").and_then(|text| text.parse().ok()).unwrap_or(3_600);
    let ends = Timestamp::from_unix(
        Timestamp::now().unix() + if let Fault::Expires(seconds) = fault { *seconds } else { asked },
    );
    let credentials = match fault {
        Fault::NoCredentials => String::new(),
        _ => format!(
            "<Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
             <SessionToken>{token}</SessionToken><Expiration>{ends}</Expiration></Credentials>"
        ),
    };
    let user = match fault {
        Fault::NoArn => String::new(),
        _ => format!(
            "<AssumedRoleUser><Arn>arn:aws:sts::{account}:assumed-role/{role}/{session}</Arn>\
             <AssumedRoleId>AROAEXAMPLE:{session}</AssumedRoleId></AssumedRoleUser>"
        ),
    };
    let subject = match fault {
        Fault::OtherSubject => {
            "<SubjectFromWebIdentityToken>agentkeys:agent:0x0</SubjectFromWebIdentityToken>"
        }
        _ => "",
    };
    let padding = if let Fault::Padded(count) = fault { " ".repeat(*count) } else { String::new() };
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{subject}{user}{credentials}\
         <PackedPolicySize>12</PackedPolicySize></{action}Result>\
         <ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata>{padding}</{action}Response>"
    )
}

async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut chunk = [0; 4_096];
        match socket.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex: String = [rest.next(), rest.next()].into_iter().flatten().map(char::from).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap()
}
