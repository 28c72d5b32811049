//! Can a credential of one wallet write where another's data lies? Asked of S3
//! itself, with wallets that are nobody's.

use agentkeys_core::Wallet;
use aws_lc_rs::rand;

use super::Doctor;
use super::exchange::Mint;
use super::row::Row;
use super::s3::Write;
use crate::aws::plan::Role;

const OBJECT: &str = "agentkeys-doctor";

impl Doctor<'_> {
    pub(super) async fn exchange_and_isolation(&self, mint: &Mint, role: &Role) -> [Row; 3] {
        let [exchange, isolation, role_isolation] =
            ["exchange", "isolation", "role_isolation"].map(|check| self.name(check, role));
        let (Ok(mine), Ok(theirs)) = (nobody(), nobody()) else {
            let row = |name| Row::unknown(name, "the system gives no random numbers", "try again");
            return [row(exchange), row(isolation), row(role_isolation)];
        };
        let minted = match self.credentials(mint, role, &mine, false).await {
            Ok(minted) => minted,
            Err(error) => {
                let fix = "see the rows above; on a new role or key try again in a minute, since IAM needs that long";
                let why = "there is no credential to try";
                return [
                    Row::fail(exchange, format!("{error:#}"), fix),
                    Row::skip(isolation, why),
                    Row::skip(role_isolation, why),
                ];
            }
        };
        let exchange = Row::pass(exchange, format!("{} was assumed until {}", role.arn, minted.expiration));
        if let Some(why) = self.s3_is_out_of_reach() {
            return [exchange, Row::skip(isolation, why), Row::skip(role_isolation, why)];
        }
        let key = |wallet: &Wallet| {
            format!("{}{OBJECT}", self.settings.environment.prefix.replace("${wallet}", wallet.as_str()))
        };
        let mut left = Vec::new();
        let own = self.write(&minted, &key(&mine), &mut left).await;
        let foreign = self.write(&minted, &key(&theirs), &mut left).await;
        let isolation = judge(isolation, &own, &foreign, "roles.*.session_policy in broker.yaml");
        let isolation = note(isolation, &left);
        // Under a ceiling as wide as the bucket only the role's own policy is left.
        let role_isolation = match self.credentials(mint, role, &mine, true).await {
            Err(error) => Row::unknown(role_isolation, format!("{error:#}"), "see the rows above"),
            Ok(wide) => {
                let mut left = Vec::new();
                let own = self.write(&wide, &key(&mine), &mut left).await;
                let foreign = self.write(&wide, &key(&theirs), &mut left).await;
                let where_ = format!("the policies of the role {} and of the bucket", role.name);
                note(judge(role_isolation, &own, &foreign, &where_), &left)
            }
        };
        [exchange, isolation, role_isolation]
    }
}

fn judge(name: String, own: &Write, foreign: &Write, policies: &str) -> Row {
    let printed = "'agentkeys-broker-server aws policies' prints what keeps wallets apart";
    match (own, foreign) {
        (_, Write::Done) => Row::fail(
            name,
            "a credential of one wallet wrote under another wallet's prefix",
            format!("stop minting, and narrow {policies}: {printed}"),
        ),
        (Write::Done, Write::Denied) => {
            Row::pass(name, "its own prefix is written, another wallet's is denied")
        }
        (Write::Denied, Write::Denied) => Row::fail(
            name,
            "a credential may not even write under its own wallet's prefix",
            format!("widen {policies}: {printed}"),
        ),
        (Write::Other(reason), _) | (_, Write::Other(reason)) => Row::fail(
            name,
            reason.clone(),
            "make the bucket, in aws.region, and see that environment.bucket names it",
        ),
    }
}

/// Tells of objects that the credential could write and not remove.
fn note(mut row: Row, left: &[String]) -> Row {
    if left.is_empty() {
        return row;
    }
    let remove = format!("remove the test objects that are left: {}", left.join(", "));
    row.fix = Some(row.fix.map_or_else(|| remove.clone(), |fix| format!("{fix}; {remove}")));
    row
}

/// A wallet whose key nobody holds.
fn nobody() -> Result<Wallet, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 20];
    rand::fill(&mut bytes)?;
    Ok(Wallet::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::doctor::Status;

    #[test]
    fn a_foreign_write_fails_whatever_else_is_right() {
        let judge = |own, foreign| judge("isolation".to_owned(), &own, &foreign, "x").status;
        assert_eq!(judge(Write::Done, Write::Denied), Status::Pass);
        assert_eq!(judge(Write::Done, Write::Done), Status::Fail);
        assert_eq!(judge(Write::Denied, Write::Done), Status::Fail);
        assert_eq!(judge(Write::Denied, Write::Denied), Status::Fail);
        assert_eq!(judge(Write::Done, Write::Other("NoSuchBucket".into())), Status::Fail);
    }
}
