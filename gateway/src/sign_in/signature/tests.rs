//! Against signatures that another implementation made (eth-account 0.13.7,
//! with a key made for this test and used for nothing else).

use super::*;

const WALLET: &str = "0x5ca822432c1818ab02fc7dc20b1eb938b534df72";
const MESSAGE: &str = "localhost:8090 wants you to sign in with your Ethereum account:\n\
0x5ca822432C1818ab02fC7dC20B1eb938b534df72\n\n\
Start an AgentKeys session. This costs nothing and moves nothing.\n\n\
URI: http://localhost:8090\nVersion: 1\nChain ID: 1\n\
Nonce: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b\n\
Issued At: 2026-09-21T14:13:20Z\nExpiration Time: 2026-09-21T14:23:20Z";
const SIGNATURE: &str = "0xc12498ffe7f081408ef3438e5accbd40cad64e79056788a330dc15667055c441\
6c738d1db152a5a63f89b733c96734934a03a58b4ff638244b5530adff49447a1b";
/// The order of the curve.
const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";

#[test]
fn another_implementations_signature_names_its_wallet() {
    assert_eq!(signer(MESSAGE, SIGNATURE).unwrap().as_str(), WALLET);
    // `v` as 0 or 1 is the same signature.
    let raw = format!("{}00", &SIGNATURE[..130]);
    assert_eq!(signer(MESSAGE, &raw).unwrap().as_str(), WALLET);
    // The length in the prefix counts bytes, not characters.
    let accents = "0x252fb6ba808580a11c3618c741ae8952053dc715c3170ec92c0a56bc084352c0\
79e3170329fabcc221bd3e3e64b0d96840c2c73161af7fd1b317133f7fb3a44b1b";
    assert_eq!(signer("Grüße, 世界", accents).unwrap().as_str(), WALLET);
}

#[test]
fn another_message_or_signature_never_names_that_wallet() {
    for i in 0..MESSAGE.len() {
        let mut bytes = MESSAGE.as_bytes().to_vec();
        bytes[i] ^= 1;
        let altered = String::from_utf8(bytes).unwrap();
        assert_ne!(signer(&altered, SIGNATURE).map(|w| w.to_string()).as_deref(), Ok(WALLET), "byte {i}");
    }
    for i in 2..SIGNATURE.len() {
        let digit = if &SIGNATURE[i..=i] == "5" { "6" } else { "5" };
        let altered = format!("{}{digit}{}", &SIGNATURE[..i], &SIGNATURE[i + 1..]);
        assert_ne!(signer(MESSAGE, &altered).map(|w| w.to_string()).as_deref(), Ok(WALLET), "digit {i}");
    }
}

#[test]
fn one_signature_has_one_text() {
    // The other form of s, with v turned round, proves the same to a careless reader.
    let s = &SIGNATURE[66..130];
    let high = format!("{}{}1c", &SIGNATURE[..66], subtract(ORDER, s));
    assert_eq!(signer(MESSAGE, &high), Err(InvalidSignature::Range));
    let (zero, order) = ("0".repeat(64), ORDER);
    for (r, s) in [(zero.as_str(), zero.as_str()), (order, s), (&SIGNATURE[2..66], order), (zero.as_str(), s)]
    {
        assert_eq!(signer(MESSAGE, &format!("0x{r}{s}1b")), Err(InvalidSignature::Range));
    }
    for v in ["02", "1a", "1d", "1e", "25", "ff"] {
        assert_eq!(signer(MESSAGE, &format!("{}{v}", &SIGNATURE[..130])), Err(InvalidSignature::RecoveryId));
    }
    let long = format!("{SIGNATURE}00");
    for spelling in ["", "0x", &SIGNATURE[2..], &SIGNATURE[..130], &long, &SIGNATURE.replace("0x", "0X")] {
        assert_eq!(signer(MESSAGE, spelling), Err(InvalidSignature::Spelling), "{spelling}");
    }
    assert_eq!(signer(MESSAGE, &format!("0x{}", "é".repeat(65))), Err(InvalidSignature::Spelling));
}

/// `a - b` of two numbers of 64 hexadecimal digits.
fn subtract(a: &str, b: &str) -> String {
    let mut borrow = 0;
    let mut digits: Vec<char> = Vec::new();
    for (x, y) in a.chars().rev().zip(b.chars().rev()) {
        let mut digit = x.to_digit(16).unwrap() as i32 - y.to_digit(16).unwrap() as i32 - borrow;
        borrow = i32::from(digit < 0);
        digit += 16 * borrow;
        digits.push(char::from_digit(digit as u32, 16).unwrap());
    }
    digits.into_iter().rev().collect()
}
