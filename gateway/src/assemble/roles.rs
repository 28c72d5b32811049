//! Roles, their session policies, and where a wallet's data lies.

use std::collections::BTreeMap;

use agentkeys_core::RoleAlias;
use anyhow::Context;

use crate::config::{Settings, settings};
use crate::deployment::{Auto, Deployment};
use crate::exchange::{PrefixTemplate, RoleArn, SessionPolicy};

pub(crate) fn deployment(settings: &Settings) -> anyhow::Result<Deployment> {
    let roles = settings
        .roles
        .iter()
        .map(|(alias, role)| {
            let arn = match &role.arn {
                settings::RoleArn::Auto => Auto::Auto,
                settings::RoleArn::Given(arn) => {
                    Auto::Given(arn.parse::<RoleArn>().with_context(|| format!("roles.{alias}.arn"))?)
                }
            };
            Ok((alias.clone(), arn))
        })
        .collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let environment = &settings.environment;
    Ok(Deployment::new(
        settings.aws.region.clone(),
        roles,
        environment.bucket.clone().map_or(Auto::Auto, Auto::Given),
        PrefixTemplate::parse(&environment.prefix).context("environment.prefix")?,
        environment.mail_domain.clone(),
        environment.s3_endpoint.as_ref().map(|url| url.as_str().to_owned()),
    ))
}

pub(crate) fn policies(settings: &Settings) -> anyhow::Result<BTreeMap<RoleAlias, SessionPolicy>> {
    settings
        .roles
        .iter()
        .map(|(alias, role)| {
            let policy = match &role.session_policy {
                settings::SessionPolicy::Default => SessionPolicy::built_in(),
                settings::SessionPolicy::Template(path) => {
                    let read = |path: &std::path::Path| {
                        std::fs::read_to_string(path).with_context(|| path.display().to_string())
                    };
                    let read_only = role.session_policy_read_only.as_deref().map(read).transpose()?;
                    SessionPolicy::from_templates(&read(path)?, read_only.as_deref())
                        .with_context(|| format!("roles.{alias}.session_policy, {}", path.display()))?
                }
            };
            Ok((alias.clone(), policy))
        })
        .collect()
}
