//! The ceiling that goes with each exchange: what the credential may reach even if
//! the role's own policy is broader. It is always sent.
//!
//! Values enter JSON strings after parsing and never text before it, and only
//! values that mean nothing to IAM enter at all: no wildcard, no variable.

use agentkeys_core::Wallet;
use serde_json::{Value, json};

use super::policy_template::{self, Template};
use super::prefix::{PrefixTemplate, is_bucket};
use super::role_arn::RoleArn;

/// The most that STS takes, in characters.
pub const MAX_POLICY_CHARS: usize = 2048;

/// A role's ceiling: built in, or a template that the operator wrote.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    /// The wallet's prefix of the bucket.
    BuiltIn,
    /// A JSON file. A broker cannot know which actions of another service write,
    /// so a read-only mint needs a template of its own and is refused without one.
    Template { full: Template, read_only: Option<Template> },
}

/// What a policy is rendered from.
#[derive(Clone, Debug)]
pub struct PolicyValues<'a> {
    /// Whose credential it is.
    pub wallet: &'a Wallet,
    /// The bucket.
    pub bucket: &'a str,
    /// Where the wallet's data lies in it.
    pub prefix: &'a PrefixTemplate,
    /// The role, for its partition.
    pub role: &'a RoleArn,
}

/// A policy cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The template is not JSON.
    #[error("the session policy is not JSON: {0}")]
    NotJson(String),
    /// The template is not a policy that could keep wallets apart.
    #[error("the session policy {0}")]
    Shape(String),
    /// The template names something that the broker does not know.
    #[error(
        "the session policy holds {0}; known are ${{wallet}}, ${{bucket}}, ${{prefix}}, ${{partition}} and IAM's own variables, such as ${{aws:PrincipalTag/name}}"
    )]
    UnknownPlaceholder(String),
    /// A value would be read by IAM as a wildcard or variable.
    #[error("the value of {0} holds a character that IAM reads as a wildcard or variable")]
    UnsafeValue(&'static str),
    /// There is no template for read-only mints.
    #[error(
        "a role with a session policy of its own needs session_policy_read_only as well before it can mint read-only credentials"
    )]
    NoReadOnlyTemplate,
    /// It is longer than STS takes.
    #[error("the session policy is {0} characters long for a wallet; AWS takes {MAX_POLICY_CHARS}")]
    TooLong(usize),
}

impl SessionPolicy {
    /// The built-in ceiling: list, read and write (or only read) under the wallet's prefix.
    pub fn built_in() -> Self {
        Self { shape: Shape::BuiltIn }
    }

    /// From templates, as read from the files that the operator named.
    pub fn from_templates(full: &str, read_only: Option<&str>) -> Result<Self, PolicyError> {
        let full = Template::parse(full)?;
        let read_only = read_only.map(Template::parse).transpose()?;
        Ok(Self { shape: Shape::Template { full, read_only } })
    }

    /// Can every mint of this role have its policy? Asked at start. All wallets are
    /// of one length, so one stands for all.
    pub fn check(&self, bucket: &str, prefix: &PrefixTemplate, role: &RoleArn) -> Result<(), PolicyError> {
        let wallet = Wallet::from_bytes([0xff; 20]);
        let values = PolicyValues { wallet: &wallet, bucket, prefix, role };
        self.render(&values, false)?;
        match self.render(&values, true) {
            Ok(_) | Err(PolicyError::NoReadOnlyTemplate) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The policy of one mint, compact.
    pub fn render(&self, values: &PolicyValues<'_>, read_only: bool) -> Result<String, PolicyError> {
        if !is_bucket(values.bucket) {
            return Err(PolicyError::UnsafeValue("bucket"));
        }
        let prefix = values.prefix.of(values.wallet);
        let partition = values.role.partition();
        let document = match &self.shape {
            Shape::BuiltIn => built_in(partition, values.bucket, &prefix, read_only),
            Shape::Template { full, read_only: narrow } => {
                let template = match (read_only, narrow) {
                    (false, _) => full,
                    (true, Some(narrow)) => narrow,
                    (true, None) => return Err(PolicyError::NoReadOnlyTemplate),
                };
                template.fill(&[
                    (policy_template::WALLET, values.wallet.as_str()),
                    (policy_template::BUCKET, values.bucket),
                    (policy_template::PREFIX, &prefix),
                    (policy_template::PARTITION, partition),
                ])?
            }
        };
        let text = document.to_string();
        match text.chars().count() {
            length if length > MAX_POLICY_CHARS => Err(PolicyError::TooLong(length)),
            _ => Ok(text),
        }
    }
}

/// `s3:prefix` stands in a statement of its own: with `GetObject` in it AWS calls
/// the document malformed, and StringEquals would shut out sub-prefixes.
fn built_in(partition: &str, bucket: &str, prefix: &str, read_only: bool) -> Value {
    let actions: &[&str] =
        if read_only { &["s3:GetObject"] } else { &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"] };
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": format!("arn:{partition}:s3:::{bucket}"),
                "Condition": { "StringLike": { "s3:prefix": [prefix, format!("{prefix}*")] } }
            },
            {
                "Effect": "Allow",
                "Action": actions,
                "Resource": format!("arn:{partition}:s3:::{bucket}/{prefix}*")
            }
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKET: &str = "agentkeys-mail-123456789012";
    const PREFIX: &str = "bots/0x52908400098527886e0f7030069857d2e4169ee7/";

    fn render(policy: &SessionPolicy, role: &str, read_only: bool) -> Result<String, PolicyError> {
        let wallet: Wallet = "0x52908400098527886E0F7030069857D2E4169EE7".parse().unwrap();
        let prefix = PrefixTemplate::parse("bots/${wallet}/").unwrap();
        let role = role.parse().unwrap();
        policy.render(
            &PolicyValues { wallet: &wallet, bucket: BUCKET, prefix: &prefix, role: &role },
            read_only,
        )
    }

    const ROLE: &str = "arn:aws:iam::123456789012:role/agentkeys-agent";

    #[test]
    fn the_built_in_ceiling_is_the_wallets_prefix_and_nothing_else() {
        let text = render(&SessionPolicy::built_in(), ROLE, false).unwrap();
        assert!(!text.contains([' ', '\n']), "compact: {text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["Version"], "2012-10-17");
        assert_eq!(json["Statement"][0]["Action"], "s3:ListBucket");
        assert_eq!(json["Statement"][0]["Resource"], format!("arn:aws:s3:::{BUCKET}"));
        assert_eq!(
            json["Statement"][0]["Condition"],
            json!({"StringLike": {"s3:prefix": [PREFIX, format!("{PREFIX}*")]}})
        );
        assert_eq!(
            json["Statement"][1]["Action"],
            json!(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])
        );
        assert_eq!(json["Statement"][1]["Resource"], format!("arn:aws:s3:::{BUCKET}/{PREFIX}*"));
        assert_eq!(json["Statement"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn read_only_neither_writes_nor_deletes_and_the_partition_follows_the_role() {
        let role = "arn:aws-us-gov:iam::123456789012:role/agentkeys-agent";
        let text = render(&SessionPolicy::built_in(), role, true).unwrap();
        assert!(!text.contains("Put") && !text.contains("Delete"), "{text}");
        assert!(text.contains("arn:aws-us-gov:s3:::agentkeys-mail"), "{text}");
        assert!(!text.contains("arn:aws:"), "{text}");
    }

    const TEMPLATE: &str = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:${partition}:s3:::${bucket}/${prefix}*"},
        {"Effect": "Allow", "Action": "s3:GetObject",
         "Resource": "arn:aws:s3:::shared/${wallet}/*",
         "Condition": {"StringEquals": {"aws:PrincipalTag/agentkeys_user_wallet": "${aws:PrincipalTag/agentkeys_user_wallet}"}}}]}"#;

    #[test]
    fn a_template_is_filled_in_and_iams_own_variables_stay() {
        let policy = SessionPolicy::from_templates(TEMPLATE, None).unwrap();
        let json: Value = serde_json::from_str(&render(&policy, ROLE, false).unwrap()).unwrap();
        assert_eq!(json["Statement"][0]["Resource"], format!("arn:aws:s3:::{BUCKET}/{PREFIX}*"));
        let shared = "arn:aws:s3:::shared/0x52908400098527886e0f7030069857d2e4169ee7/*";
        assert_eq!(json["Statement"][1]["Resource"], shared);
        assert_eq!(
            json["Statement"][1]["Condition"]["StringEquals"]["aws:PrincipalTag/agentkeys_user_wallet"],
            "${aws:PrincipalTag/agentkeys_user_wallet}"
        );
    }

    #[test]
    fn a_read_only_mint_of_a_template_role_needs_a_template_of_its_own() {
        let one = SessionPolicy::from_templates(TEMPLATE, None).unwrap();
        assert_eq!(render(&one, ROLE, true), Err(PolicyError::NoReadOnlyTemplate));
        let two = SessionPolicy::from_templates(TEMPLATE, Some(TEMPLATE)).unwrap();
        assert!(render(&two, ROLE, true).is_ok());
    }

    #[test]
    fn a_policy_that_aws_would_refuse_for_its_length_is_refused_at_start() {
        let long = TEMPLATE.replace("shared/", &format!("{}/", "a".repeat(2_000)));
        let policy = SessionPolicy::from_templates(&long, None).unwrap();
        let prefix = PrefixTemplate::parse("bots/${wallet}/").unwrap();
        let checked = policy.check(BUCKET, &prefix, &ROLE.parse().unwrap());
        assert!(matches!(checked, Err(PolicyError::TooLong(length)) if length > 2_048), "{checked:?}");
        SessionPolicy::built_in().check(BUCKET, &prefix, &ROLE.parse().unwrap()).unwrap();
    }

    #[test]
    fn a_bucket_that_widens_the_policy_is_refused() {
        let wallet = Wallet::from_bytes([1; 20]);
        let prefix = PrefixTemplate::parse("bots/${wallet}/").unwrap();
        let role = ROLE.parse().unwrap();
        for bucket in ["*", "a*b", "${aws:username}", "a\",\"b", "a?b"] {
            let values = PolicyValues { wallet: &wallet, bucket, prefix: &prefix, role: &role };
            let rendered = SessionPolicy::built_in().render(&values, false);
            assert_eq!(rendered, Err(PolicyError::UnsafeValue("bucket")), "{bucket}");
        }
    }
}
