//! The daemon key, and what IAM says of the provider and of each role.

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::row::Row;
use super::{Doctor, trust};
use crate::aws::plan::{PLACEHOLDER, Role};
use crate::exchange::IdentityWatch;
use crate::exchange::wire::{SigningKey, sign_request};

/// What IAM said, or the row that says why it said nothing.
enum Answer {
    Xml(String),
    Refused { code: String, message: String },
}

impl Doctor<'_> {
    pub(super) async fn daemon_key(&mut self, unreadable: Option<String>) -> Row {
        const NAME: &str = "daemon_key";
        if let Some(reason) = unreadable {
            return Row::fail(
                NAME,
                reason,
                "correct aws.daemon_key in broker.yaml, or the variables it names",
            );
        }
        if self.key.load().is_none() {
            return if self.federates() {
                Row::skip(NAME, "web_identity: minting needs no key, and none is configured")
            } else {
                let fix = "set BROKER_DAEMON_ACCESS_KEY_ID and BROKER_DAEMON_SECRET_ACCESS_KEY";
                Row::fail(NAME, "assume_role signs with the daemon key, and there is none", fix)
            };
        }
        let watch =
            IdentityWatch::new(&self.settings.exchange_settings(), self.gate.clone(), self.key.clone());
        match watch.ask().await {
            Ok(caller) => {
                let row = Row::pass(NAME, format!("it is {}", caller.arn));
                let root = caller.arn.ends_with(":root");
                self.caller = Some(caller);
                if root {
                    return Row::fail(
                        NAME,
                        "it is the account's root user",
                        "delete this key and make one for the user agentkeys-daemon: 'aws policies --format cli'",
                    );
                }
                row
            }
            Err(error) => Row::fail(
                NAME,
                error.to_string(),
                "make a new key for the daemon user and give it to the broker; see 'Rotate the AWS key' in docs/operator-runbook.md",
            ),
        }
    }

    pub(super) async fn provider(&self) -> Row {
        const NAME: &str = "provider";
        if !self.federates() {
            return Row::skip(NAME, "assume_role: no OIDC provider is used");
        }
        let arn = self.plan.provider_arn();
        if let Some(row) = self.iam_is_out_of_reach(NAME) {
            return row;
        }
        let form = [("Action", "GetOpenIDConnectProvider"), ("OpenIDConnectProviderArn", &arn)];
        let fix = format!("register it: 'agentkeys-broker-server aws policies --format cli' makes {arn}");
        match self.iam(&form).await {
            Err(reason) => Row::unknown(NAME, reason, "open the way from here to IAM"),
            Ok(Answer::Refused { code, .. }) if code == "NoSuchEntity" => {
                Row::fail(NAME, format!("{arn} is not registered"), fix)
            }
            Ok(Answer::Refused { code, message }) => {
                may_not(NAME, &code, &message, "GetOpenIDConnectProvider")
            }
            Ok(Answer::Xml(xml)) => {
                let url = element(&xml, "Url").unwrap_or_default();
                let url = url.strip_prefix("https://").unwrap_or(&url);
                let clients = element(&xml, "ClientIDList").unwrap_or_default();
                if url != self.plan.provider_name() {
                    Row::fail(NAME, format!("it is registered for {url}"), fix)
                } else if !clients.contains(&format!(">{}<", self.plan.audience)) {
                    Row::fail(
                        NAME,
                        format!("{arn} lacks the client id {}", self.plan.audience),
                        format!(
                            "aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {arn} --client-id {}",
                            self.plan.audience
                        ),
                    )
                } else {
                    Row::pass(NAME, format!("{arn} is registered"))
                }
            }
        }
    }

    pub(super) async fn trust_policies(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for role in &self.plan.roles {
            rows.push(self.trust_policy(role).await);
        }
        rows
    }

    async fn trust_policy(&self, role: &Role) -> Row {
        let name = self.name("trust_policy", role);
        if let Some(row) = self.iam_is_out_of_reach(&name) {
            return row;
        }
        let fix = format!(
            "'agentkeys-broker-server aws policies' prints the trust policy; then: aws iam update-assume-role-policy --role-name {} --policy-document file://trust-policy.json",
            role.name
        );
        match self.iam(&[("Action", "GetRole"), ("RoleName", &role.name)]).await {
            Err(reason) => Row::unknown(name, reason, "open the way from here to IAM"),
            Ok(Answer::Refused { code, .. }) if code == "NoSuchEntity" => Row::fail(
                name,
                format!("the role {} does not exist", role.name),
                "make it: 'agentkeys-broker-server aws policies --format cli'",
            ),
            Ok(Answer::Refused { code, message }) => may_not(&name, &code, &message, "GetRole"),
            Ok(Answer::Xml(xml)) => {
                let document = element(&xml, "AssumeRolePolicyDocument").and_then(|text| policy(&text));
                let Some(document) = document else {
                    return Row::unknown(name, "IAM's answer holds no trust policy", fix);
                };
                let caller = self.caller.as_deref().map(|caller| caller.arn.as_str());
                let problems = trust::problems(&document, &self.plan, caller);
                if problems.is_empty() {
                    Row::pass(name, format!("{} trusts only sessions that name their wallet", role.name))
                } else {
                    Row::fail(name, problems.join("; "), fix)
                }
            }
        }
    }

    fn iam_is_out_of_reach(&self, name: &str) -> Option<Row> {
        if self.key.load().is_none() {
            let fix = "give the doctor a key that may iam:GetRole and iam:GetOpenIDConnectProvider";
            return Some(Row::unknown(name, "there is no key to ask IAM with", fix));
        }
        if self.foreign() && self.options.iam_endpoint.is_none() {
            let why = "aws.sts_endpoint is not AWS, and no --iam-endpoint is named";
            return Some(Row::skip(name, why));
        }
        (self.plan.account == PLACEHOLDER)
            .then(|| Row::unknown(name, "the account is not known", "name it with --account"))
    }

    /// One call to IAM's query API.
    async fn iam(&self, form: &[(&str, &str)]) -> Result<Answer, String> {
        let partition = self.partition();
        let url = match &self.options.iam_endpoint {
            Some(endpoint) => format!("{}/", endpoint.trim_end_matches('/')),
            None => format!("https://{}/", partition.iam_host),
        };
        let mut form = form.to_vec();
        form.push(("Version", "2010-05-08"));
        let body = serde_urlencoded::to_string(&form).map_err(|error| error.to_string())?;
        let mut request = http::Request::post(url)
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .map_err(|error| error.to_string())?;
        let key = self.key.load().ok_or("there is no key to ask IAM with")?;
        sign_request(&mut request, &SigningKey::from(&*key), "iam", partition.iam_region)
            .map_err(|error| error.to_string())?;
        let response = self.wire.send(request).await.map_err(|error| format!("IAM: {error}"))?;
        let xml = String::from_utf8_lossy(response.body()).into_owned();
        if response.status() == StatusCode::OK {
            return Ok(Answer::Xml(xml));
        }
        let code = element(&xml, "Code").unwrap_or_else(|| response.status().to_string());
        Ok(Answer::Refused { code, message: element(&xml, "Message").unwrap_or_default() })
    }
}

fn may_not(name: &str, code: &str, message: &str, action: &str) -> Row {
    let told: String = message.chars().take(200).collect();
    Row::unknown(
        name,
        format!("IAM refused to show it ({code}): {told}"),
        format!(
            "allow iam:{action} to the key that the doctor runs with; the broker itself does not need it"
        ),
    )
}

/// The text of the first element of this name, in an answer of AWS's query API.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_owned())
}

/// A policy as IAM sends it: percent-encoded; emulators send it as XML text.
fn policy(text: &str) -> Option<Value> {
    if text.starts_with('%') {
        let fields: Vec<(String, String)> = serde_urlencoded::from_str(&format!("policy={text}")).ok()?;
        return serde_json::from_str(&fields.first()?.1).ok();
    }
    let text = [("&quot;", "\""), ("&#34;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
        .iter()
        .fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character));
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_iam_and_as_emulators_send_it() {
        let wanted = serde_json::json!({ "a": "b c+d" });
        for text in
            ["%7B%22a%22%3A%20%22b%20c%2Bd%22%7D", "{&quot;a&quot;: &quot;b c+d&quot;}", r#"{"a":"b c+d"}"#]
        {
            assert_eq!(policy(text), Some(wanted.clone()), "{text}");
        }
        assert_eq!(element("<A><Code> X </Code></A>", "Code").as_deref(), Some("X"));
        assert_eq!(element("<html>", "Code"), None);
    }
}
