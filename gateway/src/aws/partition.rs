//! AWS's partitions: what differs between them in names and hosts.

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// As in an ARN.
    pub name: &'static str,
    /// What its hosts end in.
    pub dns_suffix: &'static str,
    /// IAM's one endpoint.
    pub iam_host: &'static str,
    /// The region that requests to IAM are signed for.
    pub iam_region: &'static str,
    region_prefix: &'static str,
}

const fn partition(
    name: &'static str,
    region_prefix: &'static str,
    dns_suffix: &'static str,
    iam_host: &'static str,
    iam_region: &'static str,
) -> Partition {
    Partition { name, dns_suffix, iam_host, iam_region, region_prefix }
}

/// The commercial one comes last: it stands for every region that no other names.
const PARTITIONS: [Partition; 6] = [
    partition("aws-cn", "cn-", "amazonaws.com.cn", "iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
    partition("aws-us-gov", "us-gov-", "amazonaws.com", "iam.us-gov.amazonaws.com", "us-gov-west-1"),
    partition("aws-iso", "us-iso-", "c2s.ic.gov", "iam.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
    partition("aws-iso-b", "us-isob-", "sc2s.sgov.gov", "iam.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1"),
    partition("aws-eusc", "eusc-", "amazonaws.eu", "iam.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
    partition("aws", "", "amazonaws.com", "iam.amazonaws.com", "us-east-1"),
];

impl Partition {
    /// The partition that a region lies in.
    pub fn of_region(region: &str) -> Self {
        let found = PARTITIONS.into_iter().find(|partition| region.starts_with(partition.region_prefix));
        found.unwrap_or(PARTITIONS[PARTITIONS.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_name_their_partition() {
        for (region, name) in [
            ("us-east-1", "aws"),
            ("eu-central-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(Partition::of_region(region).name, name, "{region}");
        }
    }
}
