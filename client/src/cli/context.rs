//! What every command starts from: settings, the store, and the way out.

use agentkeys_core::BearerToken;

use super::failure::Failure;
use super::output::Output;
use crate::broker::Broker;
use crate::identity::Identity;
use crate::sessions::{self, Keeper, Kept, SessionRecord, Store};
use crate::settings::{BrokerUrl, Flags, Settings, Variables};
use crate::wallet_key::WalletKey;

/// One invocation.
pub struct Context<'a> {
    /// The settings.
    pub settings: Settings,
    /// What this machine keeps.
    pub store: Store,
    /// Where facts and notes go.
    pub output: Output,
    /// The environment.
    pub variables: Variables<'a>,
}

impl<'a> Context<'a> {
    /// Resolves the settings.
    pub fn new(flags: &Flags, json: bool, variables: Variables<'a>) -> Result<Self, Failure> {
        let settings = Settings::resolve(flags, variables)?;
        let store = Store::open(&settings);
        Ok(Self { settings, store, output: Output::new(json, variables), variables })
    }

    /// The one session that is meant.
    pub fn session(&self) -> Result<SessionRecord, Failure> {
        Ok(sessions::choose(&self.store, &self.settings)?)
    }

    /// A client of this broker, without a session.
    pub fn broker_at(&self, url: &BrokerUrl) -> Result<Broker, Failure> {
        Ok(Broker::new(url, &self.settings)?)
    }

    /// The one session that is meant, and its broker, speaking for it.
    pub fn broker(&self) -> Result<(SessionRecord, Broker), Failure> {
        let record = self.session()?;
        let token = self.store.token(&record)?;
        let broker = self.broker_at(&record.broker_url)?.with_token(token.into_secret());
        Ok((record, broker))
    }

    /// Keeps a session and says where it went, if that is not the keychain.
    pub fn keep(&self, record: SessionRecord, token: &BearerToken) -> Result<(), Failure> {
        let known = self.in_files_already()?;
        let kept = self.store.keep(record, token)?;
        self.say_fallback(&kept, known);
        Ok(())
    }

    /// Keeps a wallet key, likewise.
    pub fn keep_wallet(&self, identity: &Identity, key: &WalletKey) -> Result<(), Failure> {
        let known = self.in_files_already()?;
        let kept = self.store.keep_wallet(identity, &key.wallet(), &key.to_secret())?;
        self.say_fallback(&kept, known);
        Ok(())
    }

    fn in_files_already(&self) -> Result<bool, Failure> {
        let sessions = self.store.sessions()?;
        let wallets = self.store.wallets()?;
        let mut keepers = sessions.iter().map(|one| one.kept_in).chain(wallets.iter().map(|one| one.kept_in));
        Ok(keepers.any(|keeper| keeper == Keeper::File))
    }

    /// Says, once in a home, that secrets are in files because there is no keychain.
    fn say_fallback(&self, kept: &Kept, known: bool) {
        if let Some(reason) = kept.fallback.as_ref().filter(|_| !known) {
            self.output.note(&format!(
                "Note: {reason}, so the secret is kept in a file that only you can read, under {}. \
                 AGENTKEYS_SESSION_STORE=file chooses this without asking the keychain.",
                self.settings.home.value.display()
            ));
        }
    }
}
