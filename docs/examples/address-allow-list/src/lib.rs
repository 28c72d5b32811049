//! A filter that lets only some client addresses mint.

use std::sync::Arc;

use agentkeys_core::{Code, Problem};
use agentkeys_filters::{Exchange, Filter, Flow, Registry, RegistryError, async_trait};
use ipnet::IpNet;
use serde::Deserialize;

/// The name in `broker.yaml`.
pub const NAME: &str = "address_allow_list";

/// What stands under the name in `broker.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Networks whose clients pass, as CIDR.
    allow: Vec<IpNet>,
}

/// Lets a request pass whose client lies in one of the networks.
pub struct AddressAllowList {
    allow: Vec<IpNet>,
}

#[async_trait]
impl Filter for AddressAllowList {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Result<Flow, Problem> {
        // An address that is not known is not on the list: closed, not open.
        let listed =
            exchange.peer.source.is_some_and(|source| self.allow.iter().any(|net| net.contains(&source)));
        if listed {
            Ok(Flow::Continue)
        } else {
            Err(Problem::new(Code::Forbidden, "Clients at this address may not mint."))
        }
    }
}

/// Adds the filter to a registry.
pub fn register(registry: Registry) -> Result<Registry, RegistryError> {
    registry.register(NAME, |settings, _services| {
        let settings: Settings = serde_json::from_value(settings.clone())
            .map_err(|error| format!("has wrong settings: {error}"))?;
        Ok(Arc::new(AddressAllowList { allow: settings.allow }))
    })
}

#[cfg(test)]
mod tests {
    use agentkeys_filters::{Chain, Handler, NoBody, Outcome, Response};

    use super::*;

    struct Yes;

    #[async_trait]
    impl Handler for Yes {
        async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
            Response::json(Default::default(), &"let through")
        }
    }

    async fn ask(source: &str) -> Outcome {
        let filter = AddressAllowList { allow: vec!["10.0.0.0/8".parse().unwrap()] };
        let chain = Chain::new(vec![Arc::new(filter)]);
        let mut exchange = Exchange::for_test("/v1/mint-aws-creds", source.parse().unwrap());
        chain.run(&mut exchange, &mut NoBody, &Yes).await
    }

    #[tokio::test]
    async fn a_listed_address_passes_and_another_is_refused() {
        assert!(ask("10.1.2.3").await.is_ok());
        assert_eq!(ask("192.0.2.1").await.unwrap_err().code, Code::Forbidden);
    }

    #[test]
    fn wrong_settings_do_not_start_a_broker() {
        let registry = register(Registry::new()).unwrap();
        assert!(registry.names().contains(&NAME.to_owned()));
        assert!(register(registry).is_err(), "the name is taken");
    }
}
