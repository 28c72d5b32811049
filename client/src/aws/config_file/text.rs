//! The editing itself, on the text alone.

const BEGIN: &str = "# BEGIN agentkeys";
const END: &str = "# END agentkeys";

/// Keys by which a profile says where its credentials come from.
const SOURCES: &[&str] = &[
    "credential_process",
    "aws_access_key_id",
    "aws_secret_access_key",
    "role_arn",
    "source_profile",
    "credential_source",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "login_session",
];

/// What a profile gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The profile.
    pub profile: String,
    /// The command.
    pub credential_process: String,
    /// The region, written where the profile has none.
    pub region: Option<String>,
    /// Where S3 is, if not at AWS; written where the profile does not say it.
    pub s3_endpoint: Option<String>,
}

/// Keys by which a profile says where its services are.
const ENDPOINTS: &[&str] = &["services", "endpoint_url"];

/// Why the file is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The profile has a source of credentials already.
    #[error("the profile {profile} already has {key}, and an SDK would choose between the two silently")]
    Taken {
        /// The profile.
        profile: String,
        /// The key.
        key: String,
    },
    /// A marker has no partner.
    #[error("the lines that this program added were changed: a '{0}' has no partner")]
    BrokenMarkers(&'static str),
    /// A name that a config file cannot hold.
    #[error("{0:?} cannot stand in a config file")]
    Unwritable(String),
}

/// The text with the entry in it; exactly one, however often it is added.
pub fn add(text: &str, entry: &Entry) -> Result<String, ConfigError> {
    for value in [Some(&entry.profile), Some(&entry.credential_process), entry.region.as_ref()] {
        if let Some(value) = value
            && (value.trim().is_empty() || value.chars().any(|c| c.is_control() || "[]".contains(c)))
        {
            return Err(ConfigError::Unwritable(value.clone()));
        }
    }
    if let Some(url) = &entry.s3_endpoint
        && url.chars().any(|c| c.is_control() || c.is_whitespace())
    {
        return Err(ConfigError::Unwritable(url.clone()));
    }
    let text = remove(text, &entry.profile)?;
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let header = header(&entry.profile);
    let mut body = vec![format!("credential_process = {}", entry.credential_process)];

    let Some(section) = section(&text, &entry.profile) else {
        body.extend(entry.region.iter().map(|region| format!("region = {region}")));
        body.insert(0, header);
        if let Some(url) = &entry.s3_endpoint {
            let (pointer, services) = services(&entry.profile, url);
            body.push(pointer);
            body.extend(services);
        }
        return Ok(append(text, &entry.profile, &body, newline));
    };
    if let Some(key) = section.keys.iter().find(|key| SOURCES.contains(&key.as_str())) {
        return Err(ConfigError::Taken { profile: entry.profile.clone(), key: key.clone() });
    }
    if !section.keys.iter().any(|key| key == "region") {
        body.extend(entry.region.iter().map(|region| format!("region = {region}")));
    }
    // A section of its own, so that no other service than S3 is sent there.
    let services = match &entry.s3_endpoint {
        Some(url) if !section.keys.iter().any(|key| ENDPOINTS.contains(&key.as_str())) => {
            let (pointer, services) = services(&entry.profile, url);
            body.push(pointer);
            services
        }
        _ => Vec::new(),
    };
    let (before, after) = text.split_at(section.body);
    let bare = !before.ends_with('\n');
    let lead = if bare { newline } else { "" };
    let block = block(&entry.profile, bare, &body, newline);
    let text = format!("{before}{lead}{block}{after}");
    Ok(if services.is_empty() { text } else { append(text, &entry.profile, &services, newline) })
}

/// A block at the end. A last line without an end gets one; the marker remembers that.
fn append(text: String, profile: &str, body: &[String], newline: &str) -> String {
    let bare = !text.is_empty() && !text.ends_with('\n');
    let lead = if bare { newline } else { "" };
    format!("{text}{lead}{}", block(profile, bare, body, newline))
}

/// The profile's line, and the section that it points to.
fn services(profile: &str, url: &str) -> (String, Vec<String>) {
    let name = format!("agentkeys-{profile}");
    let section = vec![format!("[services {name}]"), "s3 =".to_owned(), format!("  endpoint_url = {url}")];
    (format!("services = {name}"), section)
}

/// The text without what [`add`] put there for this profile.
pub fn remove(text: &str, profile: &str) -> Result<String, ConfigError> {
    let mut kept = String::with_capacity(text.len());
    let mut inside = false;
    let mut line_end_added = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\r', '\n']);
        if inside {
            inside = bare != end(profile);
        } else if bare == begin(profile, false) || bare == begin(profile, true) {
            inside = true;
            // Of two blocks in a row the first has the line end.
            line_end_added |= bare == begin(profile, true);
        } else if bare == end(profile) {
            return Err(ConfigError::BrokenMarkers(END));
        } else {
            kept.push_str(line);
            // What follows needs the line end that was added.
            line_end_added = false;
        }
    }
    if inside {
        return Err(ConfigError::BrokenMarkers(BEGIN));
    }
    if line_end_added {
        let end = kept.strip_suffix('\n').unwrap_or(&kept);
        kept.truncate(end.strip_suffix('\r').unwrap_or(end).len());
    }
    Ok(kept)
}

fn begin(profile: &str, newline_added: bool) -> String {
    let note = if newline_added { " (line end added)" } else { "" };
    format!("{BEGIN} profile {profile}{note}: written by `agentkeys aws configure`, removed by --undo")
}

fn end(profile: &str) -> String {
    format!("{END} profile {profile}")
}

fn block(profile: &str, newline_added: bool, body: &[String], newline: &str) -> String {
    let mut lines = vec![begin(profile, newline_added)];
    lines.extend_from_slice(body);
    lines.push(end(profile));
    lines.iter().map(|line| format!("{line}{newline}")).collect()
}

fn header(profile: &str) -> String {
    if profile == "default" { "[default]".to_owned() } else { format!("[profile {profile}]") }
}

struct Section {
    /// Where the line after its header begins.
    body: usize,
    /// Its keys, in lower case.
    keys: Vec<String>,
}

fn section(text: &str, profile: &str) -> Option<Section> {
    let mut found: Option<Section> = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        offset += line.len();
        // A key's line is not indented; an indented one belongs to the key above it.
        let trimmed = line.trim();
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            if found.is_some() {
                break;
            }
            let name = name.trim();
            let name = name.strip_prefix("profile").map_or(name, |rest| match rest.trim_start() {
                bare if bare.len() < rest.len() => bare.trim_matches(['"', '\'']),
                _ => name,
            });
            if name == profile {
                found = Some(Section { body: offset, keys: Vec::new() });
            }
        } else if let Some(section) = &mut found
            && !trimmed.starts_with(['#', ';'])
            && !line.starts_with([' ', '\t'])
            && let Some((key, _)) = trimmed.split_once('=')
        {
            section.keys.push(key.trim().to_lowercase());
        }
    }
    found
}
