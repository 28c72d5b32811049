//! An STS that stays away, and more callers than it is asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkeys_broker_server::exchange::{ExchangeError, ExchangeMode::AssumeRole, IdentityWatch};
use agentkeys_core::{Code, Problem};

use crate::fault_sts::Fault;
use crate::rig::{rig, rig_with};

#[tokio::test]
async fn an_sts_that_stays_away_is_not_asked_for_a_while() {
    let rig = rig_with(AssumeRole, vec![Fault::Reset; 3], |settings| {
        settings.max_attempts = 1;
        settings.breaker_failures = 3;
        settings.breaker_open = Duration::from_millis(500);
    })
    .await;
    for _ in 0..3 {
        assert_eq!(rig.problem().await.code, Code::StsUnavailable);
    }
    assert!(rig.metric("agentkeys_broker_sts_breaker_state 2"));
    let problem = rig.problem().await;
    assert_eq!((problem.code, problem.retry_after), (Code::StsUnavailable, Some(Duration::from_secs(1))));
    assert_eq!(rig.sts.seen().len(), 3, "the fourth did not reach it");

    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = rig.exchange().await {
        assert!(matches!(error, ExchangeError::BreakerOpen(_)), "{error}");
        assert!(Instant::now() < deadline, "it never closed");
        tokio::task::yield_now().await;
    }
    assert!(rig.metric("agentkeys_broker_sts_breaker_state 0"));
}

#[tokio::test]
async fn refusals_never_open_the_breaker() {
    let rig = rig_with(AssumeRole, vec![Fault::Error(403, "AccessDenied", "x"); 30], |settings| {
        settings.breaker_failures = 2;
    })
    .await;
    for _ in 0..20 {
        assert_eq!(rig.problem().await.code, Code::StsRefused);
    }
    assert_eq!(rig.sts.seen().len(), 20);
}

#[tokio::test]
async fn more_at_one_time_than_allowed_is_turned_away_after_a_bounded_wait() {
    let rig = rig_with(AssumeRole, vec![Fault::Hang; 9], |settings| {
        settings.in_flight = 1;
        settings.in_flight_wait = Duration::from_millis(50);
        settings.max_attempts = 1;
        settings.connect_timeout = Duration::from_secs(1);
        settings.attempt_timeout = Duration::from_secs(1);
    })
    .await;
    let (first, second) = tokio::join!(rig.exchange(), rig.exchange());
    let codes = [Problem::from(first.unwrap_err()).code, Problem::from(second.unwrap_err()).code];
    assert!(codes.contains(&Code::Overloaded) && codes.contains(&Code::StsUnavailable), "{codes:?}");
    assert_eq!(rig.sts.seen().len(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_frees_its_place() {
    let rig = rig_with(AssumeRole, vec![Fault::Hang, Fault::None], |settings| settings.in_flight = 1).await;
    {
        let mut asking = Box::pin(rig.exchange());
        while rig.sts.seen().is_empty() {
            tokio::select! {
                done = &mut asking => panic!("{done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(rig.metric("agentkeys_broker_sts_calls_in_flight 1"));
    }
    rig.exchange().await.unwrap();
    assert!(rig.metric("agentkeys_broker_sts_calls_in_flight 0"));
}

#[tokio::test]
async fn the_identity_is_asked_until_it_is_known() {
    let refused = Fault::Error(403, "InvalidClientTokenId", "x");
    let rig = rig(AssumeRole, vec![refused, Fault::Reset, Fault::Identity]).await;
    let watch = IdentityWatch::new(&rig.settings, Arc::clone(&rig.gate), rig.key.clone());
    assert_eq!(watch.identity(), None);
    assert!(watch.ask().await.is_err());
    assert!(watch.last_error().unwrap().contains("InvalidClientTokenId"));
    let identity = watch.learn(Duration::from_millis(1), Duration::from_millis(2)).await;
    assert_eq!((identity.account.as_str(), identity.partition.as_str()), ("123456789012", "aws"));
    assert_eq!(watch.identity(), Some(identity));
    assert_eq!(watch.last_error(), None);
    assert_eq!(rig.sts.seen().len(), 3);
    assert!(rig.metric(r#"agentkeys_broker_sts_calls_total{operation="GetCallerIdentity",outcome="ok"} 1"#));
}
