//! What is wrong with a role's trust policy. It looks at what each statement
//! allows on its own: a second, looser one beside a good one undoes it.

use serde_json::Value;

use crate::aws::plan::Plan;
use crate::exchange::ExchangeMode;
use crate::issuer::WALLET_TAG;

/// Everything that is wrong; `caller` is the daemon key's own ARN.
pub(super) fn problems(document: &Value, plan: &Plan, caller: Option<&str>) -> Vec<String> {
    let web = plan.mode == ExchangeMode::WebIdentity;
    let assume = if web { "sts:AssumeRoleWithWebIdentity" } else { "sts:AssumeRole" };
    let allows: Vec<&Value> = listed(&document["Statement"])
        .into_iter()
        .filter(|statement| statement["Effect"] == "Allow")
        .collect();
    let mut found = Vec::new();
    if allows.iter().any(|statement| is_anybody(&statement["Principal"])) {
        found.push("it trusts everybody".to_owned());
    }
    let ours: Vec<&&Value> = allows
        .iter()
        .filter(
            |statement| if web { federates(statement, plan) } else { names_caller(statement, plan, caller) },
        )
        .collect();
    if ours.is_empty() {
        let whom =
            if web { plan.provider_arn() } else { caller.map_or_else(|| plan.user_arn(), str::to_owned) };
        found.push(format!("it does not trust {whom}"));
        return found;
    }
    let assuming: Vec<&&&Value> = ours.iter().filter(|statement| allows_action(statement, assume)).collect();
    if assuming.is_empty() {
        found.push(format!("it does not allow {assume}"));
    }
    if !ours.iter().any(|statement| allows_action(statement, "sts:TagSession")) {
        found.push("it does not allow sts:TagSession, without which no wallet reaches IAM".to_owned());
    }
    if plan.source_identity && !ours.iter().any(|statement| allows_action(statement, "sts:SetSourceIdentity"))
    {
        found.push("it does not allow sts:SetSourceIdentity, and aws.source_identity is on".to_owned());
    }
    let tag = format!("aws:RequestTag/{WALLET_TAG}");
    if !assuming.iter().all(|statement| has(statement, "Null", &tag, "false")) {
        found.push(format!(
            "it lets in sessions that name no wallet: the condition Null {{\"{tag}\": \"false\"}} is missing"
        ));
    }
    let audience = format!("{}:aud", plan.provider_name());
    if web && !assuming.iter().all(|statement| has(statement, "StringEquals", &audience, &plan.audience)) {
        found.push(format!("it does not demand {audience} = {}", plan.audience));
    }
    found
}

fn federates(statement: &Value, plan: &Plan) -> bool {
    listed(&statement["Principal"]["Federated"]).iter().any(|arn| **arn == plan.provider_arn())
}

/// By name, or through the whole account, which hands the choice to the user's policy.
fn names_caller(statement: &Value, plan: &Plan, caller: Option<&str>) -> bool {
    let user = plan.user_arn();
    let root = format!("arn:{}:iam::{}:root", plan.partition, plan.account);
    let ours = [caller.unwrap_or(&user), &root, &plan.account];
    listed(&statement["Principal"]["AWS"])
        .iter()
        .any(|arn| arn.as_str().is_some_and(|arn| ours.contains(&arn)))
}

fn is_anybody(principal: &Value) -> bool {
    *principal == "*" || listed(&principal["AWS"]).iter().any(|named| **named == "*")
}

fn allows_action(statement: &Value, action: &str) -> bool {
    listed(&statement["Action"]).iter().filter_map(|named| named.as_str()).any(|named| {
        named == "*" || named.eq_ignore_ascii_case("sts:*") || named.eq_ignore_ascii_case(action)
    })
}

/// Condition keys are compared without case, as IAM does.
fn has(statement: &Value, operator: &str, key: &str, wanted: &str) -> bool {
    let Some(conditions) = statement["Condition"][operator].as_object() else { return false };
    conditions.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key)).any(|(_, values)| {
        let values = listed(values);
        !values.is_empty()
            && values.iter().all(|value| match value {
                Value::Bool(flag) => flag.to_string() == wanted,
                value => value.as_str() == Some(wanted),
            })
    })
}

fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Documents;
    use crate::aws::tests::settings;

    fn plan(text: &str) -> Plan {
        Plan::new(&settings(text), Some("123456789012")).unwrap()
    }

    const WEB: &str = "issuer: https://b.example\naws: { exchange: web_identity, source_identity: wallet }\n\
        sessions: { enrolment: closed }\n";
    const ROLE: &str = "aws: { exchange: assume_role }\n";

    fn changed(text: &str, change: impl FnOnce(&mut Value)) -> String {
        let plan = plan(text);
        let mut document = Documents::of(&plan).trust.body;
        change(&mut document);
        problems(&document, &plan, None).join("; ")
    }

    #[test]
    fn what_aws_policies_prints_is_what_the_doctor_wants() {
        assert_eq!(changed(WEB, |_| ()), "");
        assert_eq!(changed(ROLE, |_| ()), "");
    }

    #[test]
    fn each_missing_part_is_named() {
        let without = |action: &'static str| {
            move |document: &mut Value| {
                let actions = document["Statement"][0]["Action"].as_array_mut().unwrap();
                actions.retain(|named| named != action);
            }
        };
        assert!(changed(WEB, without("sts:TagSession")).contains("sts:TagSession"));
        assert!(changed(WEB, without("sts:SetSourceIdentity")).contains("sts:SetSourceIdentity"));
        assert!(changed(ROLE, without("sts:AssumeRole")).contains("does not allow sts:AssumeRole"));
        let missing = changed(ROLE, |document| document["Statement"][0]["Condition"] = Value::Null);
        assert!(missing.contains("name no wallet"), "{missing}");
        let other = changed(WEB, |document| {
            document["Statement"][0]["Condition"]["StringEquals"] =
                serde_json::json!({ "b.example:aud": "x" });
        });
        assert!(other.contains("b.example:aud"), "{other}");
        let nobody = changed(WEB, |document| document["Statement"][0]["Principal"] = serde_json::json!({}));
        assert!(nobody.contains("does not trust"), "{nobody}");
    }

    #[test]
    fn the_operator_that_is_true_of_a_missing_tag_does_not_pass_for_null() {
        let trap = changed(ROLE, |document| {
            document["Statement"][0]["Condition"] =
                serde_json::json!({ "StringNotEquals": { "aws:RequestTag/agentkeys_user_wallet": "" } });
        });
        assert!(trap.contains("name no wallet"), "{trap}");
    }

    #[test]
    fn a_looser_statement_beside_a_good_one_is_noticed() {
        let loose = changed(ROLE, |document| {
            let mut second = document["Statement"][0].clone();
            second.as_object_mut().unwrap().remove("Condition");
            document["Statement"].as_array_mut().unwrap().push(second);
        });
        assert!(loose.contains("name no wallet"), "{loose}");
        let open = changed(ROLE, |document| {
            let more = serde_json::json!({ "Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole" });
            document["Statement"].as_array_mut().unwrap().push(more);
        });
        assert!(open.contains("everybody"), "{open}");
    }
}
