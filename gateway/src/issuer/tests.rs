//! What a verifier makes of our tokens, and of tokens that are not ours. The
//! verifier is jsonwebtoken with ES256 pinned and the served key set.

use agentkeys_core::MintId;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;

struct Rig {
    issuer: Issuer,
    metrics: Arc<Metrics>,
    _dir: tempfile::TempDir,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let url = IssuerUrl::parse("http://localhost:8090").unwrap();
    let settings =
        IssuerSettings { generate_missing: true, ..IssuerSettings::new(url, dir.path().join("keys")) };
    let metrics = Arc::new(Metrics::new().unwrap());
    let (issuer, _) = Issuer::open(&settings, Arc::clone(&metrics), Timestamp::now()).unwrap();
    Rig { issuer, metrics, _dir: dir }
}

fn claims() -> MintClaims {
    MintClaims {
        wallet: "0x52908400098527886e0f7030069857d2e4169ee7".parse().unwrap(),
        audience: "sts.amazonaws.com".to_owned(),
        ttl_seconds: 300,
        session_expires_at: Timestamp::now().plus(3_600),
        mint_id: MintId::generate(),
        source_identity: None,
        now: Timestamp::now(),
    }
}

/// As a careful relying party does it: the key by `kid` from the served set, the
/// algorithm fixed in advance, every registered claim required.
fn verify(issuer: &Issuer, token: &str) -> Result<Value, String> {
    let set: JwkSet = serde_json::from_slice(&issuer.jwks().body).map_err(|e| e.to_string())?;
    let header = jsonwebtoken::decode_header(token).map_err(|e| e.to_string())?;
    let jwk = set.find(header.kid.as_deref().unwrap_or_default()).ok_or("unknown kid")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["sts.amazonaws.com"]);
    validation.set_issuer(&["http://localhost:8090"]);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = 0;
    let key = DecodingKey::from_jwk(jwk).map_err(|e| e.to_string())?;
    jsonwebtoken::decode::<Value>(token, &key, &validation).map(|data| data.claims).map_err(|e| e.to_string())
}

fn forge(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn sign_with_ours(issuer: &Issuer, message: &[u8]) -> Vec<u8> {
    let ring = issuer.keyring.ring();
    let signer = Arc::clone(ring.signer());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(signer.sign(message)).unwrap()
}

fn good_claims() -> Value {
    let now = Timestamp::now().unix();
    json!({"iss": "http://localhost:8090", "sub": "x:y", "aud": "sts.amazonaws.com",
           "iat": now, "nbf": now, "exp": now + 300})
}

#[tokio::test]
async fn a_token_verifies_against_the_served_key_set() {
    let rig = rig();
    let asked = claims();
    let jwt = rig.issuer.mint(asked.clone()).await.unwrap();
    let header = jsonwebtoken::decode_header(jwt.token.expose_secret()).unwrap();
    assert_eq!((header.typ.as_deref(), header.alg), (Some("JWT"), Algorithm::ES256));
    assert_eq!(header.kid.as_deref(), Some(jwt.kid.as_str()));
    let seen = verify(&rig.issuer, jwt.token.expose_secret()).unwrap();
    assert_eq!(seen["jti"], asked.mint_id.to_string());
    assert_eq!(seen["exp"], json!(jwt.expires_at.unix()));
    assert_eq!(
        seen["https://aws.amazon.com/tags"]["principal_tags"]["agentkeys_user_wallet"],
        json!([asked.wallet])
    );
    assert_eq!(rig.metrics.signatures.get(), 1);
    assert!(!format!("{jwt:?}").contains("eyJ"), "a token is not printed");
}

#[tokio::test]
async fn tokens_verify_through_a_rotation_until_the_old_key_leaves() {
    let rig = rig();
    let before = rig.issuer.mint(claims()).await.unwrap();
    rig.issuer.rotate_key(Timestamp::now(), true).unwrap();
    let after = rig.issuer.mint(claims()).await.unwrap();
    assert_ne!(before.kid, after.kid);
    for jwt in [&before, &after] {
        verify(&rig.issuer, jwt.token.expose_secret()).unwrap();
    }
    rig.issuer.retire_key(&before.kid, true, Timestamp::now()).unwrap();
    assert_eq!(verify(&rig.issuer, before.token.expose_secret()), Err("unknown kid".to_owned()));
    verify(&rig.issuer, after.token.expose_secret()).unwrap();
}

#[test]
fn other_algorithms_under_our_key_id_are_refused() {
    let rig = rig();
    let kid = rig.issuer.current_kid();
    let public = rig.issuer.jwks().body;
    for alg in ["none", "None", "HS256", "RS256", "ES384"] {
        let header = json!({"alg": alg, "typ": "JWT", "kid": kid});
        // HS256 keyed with what is public, as the classic confusion does; the rest with our own key.
        let token = forge(&header, &good_claims(), |message| {
            if alg == "HS256" {
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
                aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
            } else {
                sign_with_ours(&rig.issuer, message)
            }
        });
        assert!(verify(&rig.issuer, &token).is_err(), "{alg}");
    }
    let unsigned = forge(&json!({"alg": "none", "kid": kid}), &good_claims(), |_| Vec::new());
    assert!(verify(&rig.issuer, &unsigned).is_err());
    let ours =
        forge(&json!({"alg": "ES256", "kid": kid}), &good_claims(), |m| sign_with_ours(&rig.issuer, m));
    verify(&rig.issuer, &ours).unwrap();
}

#[test]
fn a_signature_of_zeros_or_of_another_key_is_refused() {
    let rig = rig();
    let header = json!({"alg": "ES256", "kid": rig.issuer.current_kid()});
    let other = key::SigningKey::generate().unwrap().pair().unwrap();
    let random = aws_lc_rs::rand::SystemRandom::new();
    for signature in
        [vec![0; 64], vec![0; 63], Vec::new(), other.sign(&random, b"else").unwrap().as_ref().to_vec()]
    {
        let token = forge(&header, &good_claims(), |_| signature);
        assert!(verify(&rig.issuer, &token).is_err());
    }
}

#[test]
fn times_must_be_there_be_numbers_and_be_now() {
    let rig = rig();
    let header = json!({"alg": "ES256", "kid": rig.issuer.current_kid()});
    let now = Timestamp::now().unix();
    let changed = |member: &str, value: Option<Value>| {
        let mut claims = good_claims();
        match value {
            Some(value) => claims[member] = value,
            None => drop(claims.as_object_mut().unwrap().remove(member)),
        }
        forge(&header, &claims, |message| sign_with_ours(&rig.issuer, message))
    };
    for (member, value) in [
        ("exp", Some(json!((now + 300).to_string()))),
        ("exp", Some(json!("9999"))),
        ("exp", Some(json!(now - 1))),
        ("exp", Some(json!(null))),
        ("exp", None),
        ("nbf", Some(json!(now + 301))),
        ("nbf", Some(json!("0"))),
        ("nbf", None),
        ("aud", Some(json!("someone-else"))),
        ("iss", Some(json!("http://localhost:8090/"))),
    ] {
        let token = changed(member, value.clone());
        assert!(verify(&rig.issuer, &token).is_err(), "{member} {value:?}");
    }
}

#[tokio::test]
async fn a_signer_that_fails_or_lies_yields_no_token() {
    struct Broken(key::PublicJwk, Result<Vec<u8>, &'static str>);
    #[async_trait::async_trait]
    impl signer::Signer for Broken {
        fn public_jwk(&self) -> &key::PublicJwk {
            &self.0
        }
        async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, signer::SignerError> {
            self.1.clone().map_err(|text| signer::SignerError(text.to_owned()))
        }
    }
    let metrics = Arc::new(Metrics::new().unwrap());
    for answer in [Err("throttled"), Ok(Vec::new()), Ok(vec![0; 64]), Ok(vec![1; 72])] {
        let public = key::SigningKey::generate().unwrap().public_jwk().unwrap();
        let now = Timestamp::now();
        let ring = Keyring::elsewhere("KMS", Arc::new(Broken(public, answer)), Vec::new(), now).unwrap();
        let url = IssuerUrl::parse("http://localhost:8090").unwrap();
        let issuer = Issuer::new(url, ring, Arc::clone(&metrics), now).unwrap();
        assert!(matches!(issuer.mint(claims()).await, Err(IssuerError::Sign { .. })));
        assert!(matches!(issuer.generate_key(now), Err(KeyError::ReadOnly { .. })));
    }
    assert_eq!(metrics.signatures.get(), 0);
}

#[test]
fn the_age_of_the_keys_is_measured() {
    let rig = rig();
    let later = Timestamp::now().plus(29 * 86_400);
    rig.issuer.tick(later).unwrap();
    let text = rig.metrics.render().unwrap();
    assert!(text.contains("agentkeys_broker_signing_key_age_seconds{state=\"next\"} 0"), "{text}");
    assert!(text.contains("agentkeys_broker_signing_key_age_seconds{state=\"current\"} 25"), "{text}");
}

#[test]
fn settings_that_would_break_caches_open_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let url = IssuerUrl::parse("http://localhost:8090").unwrap();
    let good = IssuerSettings { generate_missing: true, ..IssuerSettings::new(url, dir.path().join("keys")) };
    let hasty = IssuerSettings { publish_before: Duration::from_secs(10), ..good.clone() };
    let metrics = Arc::new(Metrics::new().unwrap());
    let said = Issuer::open(&hasty, Arc::clone(&metrics), Timestamp::now()).err().unwrap().to_string();
    assert!(said.contains("signing_key.publish_before"), "{said}");
    assert!(!hasty.directory.exists());
}

#[tokio::test]
async fn the_background_task_rotates_by_the_clock_it_is_given() {
    let Rig { issuer, metrics: _metrics, _dir } = rig();
    let first = issuer.current_kid();
    let issuer = Arc::new(issuer);
    // A day passes with each look at the clock.
    let (start, days) = (Timestamp::now(), std::sync::atomic::AtomicU64::new(0));
    let clock: Clock =
        Arc::new(move || start.plus(86_400 * days.fetch_add(1, std::sync::atomic::Ordering::SeqCst)));
    let task = tokio::spawn(keep_rotating(Arc::clone(&issuer), clock, Duration::from_millis(1)));
    let rotated = async {
        while issuer.current_kid() == first {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), rotated).await.unwrap();
    task.abort();
}
