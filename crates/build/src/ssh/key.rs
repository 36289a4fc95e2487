//! Private keys: OpenSSH's own format (PROTOCOL.key), PKCS #8, PKCS #1 and SEC 1, each without a passphrase.

use base64::Engine;
use ring::rand::SystemRandom;
use ring::rsa::{self, KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};

use super::wire::{Fields, Malformed, put_number, put_string};

/// Flags of a request to sign.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// A key pair.
pub struct Key {
    /// The public key as SSH writes it (RFC 4253 §6.6).
    pub public: Vec<u8>,
    secret: Secret,
}

enum Secret {
    Ed25519(Ed25519KeyPair),
    Ecdsa(&'static Curve, EcdsaKeyPair),
    Rsa(rsa::KeyPair),
}

struct Curve {
    /// RFC 5656's name of the curve.
    name: &'static str,
    /// The object identifier, as DER has it.
    oid: &'static [u8],
    algorithm: &'static EcdsaSigningAlgorithm,
    /// Bytes of a number.
    width: usize,
}

static CURVES: [Curve; 2] = [
    Curve {
        name: "nistp256",
        oid: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING,
        width: 32,
    },
    Curve {
        name: "nistp384",
        oid: &[0x2b, 0x81, 0x04, 0x00, 0x22],
        algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING,
        width: 48,
    },
];

/// Reads a file with a private key.
///
/// # Errors
/// Why it is none that can be used.
pub fn parse(text: &str) -> Result<Key, String> {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let none = || "it has no private key".to_owned();
    let (_, rest) = text.split_once(BEGIN).ok_or_else(none)?;
    let (label, rest) = rest.split_once(DASHES).ok_or_else(none)?;
    let (body, _) = rest.split_once("-----END ").ok_or_else(none)?;
    if label.contains("ENCRYPTED") || body.contains("ENCRYPTED") {
        return Err(passphrase());
    }
    let body: String = body.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(body)
        .map_err(|_| "the key is not base64".to_owned())?;
    let broken = |Malformed| "the key is damaged".to_owned();
    match label {
        "OPENSSH PRIVATE KEY" => open_ssh(&bytes).map_err(broken)?,
        "RSA PRIVATE KEY" => rsa::KeyPair::from_der(&bytes).map(Key::rsa).map_err(rejected),
        "EC PRIVATE KEY" => sec1(&bytes).map_err(broken)?,
        "PRIVATE KEY" => pkcs8(&bytes),
        other => Err(format!("a key of kind {other:?} is not known")),
    }
}

fn passphrase() -> String {
    "the key is protected by a passphrase; add it to an ssh-agent and forward that".to_owned()
}

fn rejected(error: impl std::fmt::Display) -> String {
    format!("the key cannot be used: {error}")
}

fn unsupported(kind: &str) -> String {
    format!("keys of kind {kind} are not known here; add it to an ssh-agent and forward that")
}

impl Key {
    fn ed25519(pair: Ed25519KeyPair) -> Key {
        let mut public = Vec::new();
        put_string(&mut public, b"ssh-ed25519");
        put_string(&mut public, pair.public_key().as_ref());
        Key { public, secret: Secret::Ed25519(pair) }
    }

    fn ecdsa(curve: &'static Curve, pair: EcdsaKeyPair) -> Key {
        let mut public = Vec::new();
        put_string(&mut public, format!("ecdsa-sha2-{}", curve.name).as_bytes());
        put_string(&mut public, curve.name.as_bytes());
        put_string(&mut public, pair.public_key().as_ref());
        Key { public, secret: Secret::Ecdsa(curve, pair) }
    }

    fn rsa(pair: rsa::KeyPair) -> Key {
        let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let mut public = Vec::new();
        put_string(&mut public, b"ssh-rsa");
        put_number(&mut public, &parts.e);
        put_number(&mut public, &parts.n);
        Key { public, secret: Secret::Rsa(pair) }
    }

    /// A signature as SSH writes it; none with SHA-1, which nobody trusts any more.
    pub fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let mut out = Vec::new();
        match &self.secret {
            Secret::Ed25519(pair) => {
                put_string(&mut out, b"ssh-ed25519");
                put_string(&mut out, pair.sign(data).as_ref());
            }
            Secret::Ecdsa(curve, pair) => {
                let signature = pair.sign(&random, data).ok()?;
                let (r, s) = signature.as_ref().split_at_checked(curve.width)?;
                let mut numbers = Vec::new();
                put_number(&mut numbers, r);
                put_number(&mut numbers, s);
                put_string(&mut out, format!("ecdsa-sha2-{}", curve.name).as_bytes());
                put_string(&mut out, &numbers);
            }
            Secret::Rsa(pair) => {
                let (name, padding): (&[u8], &dyn ring::signature::RsaEncoding) =
                    if flags & RSA_SHA2_512 != 0 {
                        (b"rsa-sha2-512", &RSA_PKCS1_SHA512)
                    } else if flags & RSA_SHA2_256 != 0 {
                        (b"rsa-sha2-256", &RSA_PKCS1_SHA256)
                    } else {
                        return None;
                    };
                let mut signature = vec![0; pair.public_key().modulus_len()];
                pair.sign(padding, &random, data, &mut signature).ok()?;
                put_string(&mut out, name);
                put_string(&mut out, &signature);
            }
        }
        Some(out)
    }
}

/// A key, or why it cannot be used; the outer error is a file that does not hold together.
type Found = Result<Result<Key, String>, Malformed>;

fn open_ssh(bytes: &[u8]) -> Found {
    let mut fields = Fields(bytes.strip_prefix(b"openssh-key-v1\0").ok_or(Malformed)?);
    let cipher = fields.string()?;
    if cipher != b"none" {
        return Ok(Err(passphrase()));
    }
    let (_kdf, _options) = (fields.string()?, fields.string()?);
    if fields.u32()? != 1 {
        return Err(Malformed);
    }
    let _public = fields.string()?;
    let mut fields = Fields(fields.string()?);
    if fields.u32()? != fields.u32()? {
        return Err(Malformed);
    }
    let kind = fields.string()?;
    let key = match kind {
        b"ssh-ed25519" => {
            let (public, both) = (fields.string()?, fields.string()?);
            let seed = both.get(..32).ok_or(Malformed)?;
            Ed25519KeyPair::from_seed_and_public_key(seed, public)
                .map(Key::ed25519)
                .map_err(rejected)
        }
        b"ssh-rsa" => {
            let (n, e, d) = (fields.number()?, fields.number()?, fields.number()?);
            let (q_inverse, p, q) = (fields.number()?, fields.number()?, fields.number()?);
            let (d_p, d_q) = (remainder(d, &less_one(p)), remainder(d, &less_one(q)));
            let public_key = PublicKeyComponents { n, e };
            let parts = KeyPairComponents {
                public_key,
                d,
                p,
                q,
                dP: d_p.as_slice(),
                dQ: d_q.as_slice(),
                qInv: q_inverse,
            };
            rsa::KeyPair::from_components(&parts).map(Key::rsa).map_err(rejected)
        }
        _ => {
            let name = kind.strip_prefix(b"ecdsa-sha2-").unwrap_or_default();
            let Some(curve) = CURVES.iter().find(|curve| curve.name.as_bytes() == name) else {
                return Ok(Err(unsupported(&String::from_utf8_lossy(kind))));
            };
            let (_curve, public, secret) = (fields.string()?, fields.string()?, fields.number()?);
            ecdsa(curve, secret, public)
        }
    };
    Ok(key)
}

fn ecdsa(curve: &'static Curve, secret: &[u8], public: &[u8]) -> Result<Key, String> {
    // Leading zeros are not written everywhere.
    let mut padded = vec![0; curve.width.saturating_sub(secret.len())];
    padded.extend_from_slice(secret);
    let random = SystemRandom::new();
    let pair =
        EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm, &padded, public, &random);
    pair.map(|pair| Key::ecdsa(curve, pair)).map_err(rejected)
}

fn pkcs8(bytes: &[u8]) -> Result<Key, String> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Ok(Key::ed25519(pair));
    }
    let random = SystemRandom::new();
    for curve in &CURVES {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve.algorithm, bytes, &random) {
            return Ok(Key::ecdsa(curve, pair));
        }
    }
    rsa::KeyPair::from_pkcs8(bytes).map(Key::rsa).map_err(rejected)
}

/// `ECPrivateKey` (RFC 5915), with its curve and public key.
fn sec1(bytes: &[u8]) -> Found {
    const SEQUENCE: u8 = 0x30;
    const OCTETS: u8 = 0x04;
    const CURVE: u8 = 0xa0;
    const PUBLIC: u8 = 0xa1;
    let mut outer = Fields(bytes);
    let mut fields = Fields(der(&mut outer, SEQUENCE)?);
    let _version = der(&mut fields, 0x02)?;
    let secret = der(&mut fields, OCTETS)?;
    let mut named = Fields(der(&mut fields, CURVE)?);
    let oid = der(&mut named, 0x06)?;
    let mut public = Fields(der(&mut fields, PUBLIC)?);
    // A bit string begins with the number of unused bits.
    let public = der(&mut public, 0x03)?.strip_prefix(&[0]).ok_or(Malformed)?;
    match CURVES.iter().find(|curve| curve.oid == oid) {
        Some(curve) => Ok(ecdsa(curve, secret, public)),
        None => Ok(Err(unsupported("ecdsa on another curve"))),
    }
}

/// The content of the next value, which has this tag (X.690 §8.1).
fn der<'a>(fields: &mut Fields<'a>, tag: u8) -> Result<&'a [u8], Malformed> {
    if fields.take(1)? != [tag] {
        return Err(Malformed);
    }
    let len = match fields.take(1)? {
        [short @ 0..=127] => usize::from(*short),
        [long] => {
            let bytes = fields.take(usize::from(long & 0x7f).min(9))?;
            bytes.iter().try_fold(0usize, |len, byte| {
                len.checked_mul(256).map(|len| len + usize::from(*byte)).ok_or(Malformed)
            })?
        }
        _ => return Err(Malformed),
    };
    fields.take(len)
}

/// An odd number less one; most significant byte first.
fn less_one(number: &[u8]) -> Vec<u8> {
    let mut less = number.to_vec();
    if let Some(last) = less.last_mut() {
        *last &= 0xfe;
    }
    less
}

/// The remainder of a division, which OpenSSH's format leaves to its reader; most significant byte first. It is done once, when a
/// file is read.
fn remainder(number: &[u8], by: &[u8]) -> Vec<u8> {
    // One byte more, for what a shift carries out.
    let by = [&[0], by].concat();
    let mut rest = vec![0u8; by.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            let next = *byte >> 7;
            *byte = *byte << 1 | carry;
            carry = next;
        }
        if rest >= by {
            let mut borrow = 0;
            for (byte, less) in rest.iter_mut().zip(&by).rev() {
                let (value, first) = byte.overflowing_sub(*less);
                let (value, second) = value.overflowing_sub(borrow);
                *byte = value;
                borrow = u8::from(first || second);
            }
        }
    }
    let zeros = rest.iter().take_while(|byte| **byte == 0).count();
    rest.split_off(zeros)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::path::PathBuf;

    use base64::Engine;
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents,
        UnparsedPublicKey, VerificationAlgorithm,
    };

    use super::{RSA_SHA2_256, RSA_SHA2_512, parse, remainder};
    use crate::ssh::wire::Fields;

    fn folder() -> PathBuf {
        std::env::current_dir().unwrap().join("../../fixtures/ssh")
    }

    /// Whether a signature as SSH writes it is one of `data`.
    fn verifies(public: &[u8], data: &[u8], signature: &[u8]) -> bool {
        let (mut key, mut signature) = (Fields(public), Fields(signature));
        let kind = key.string().unwrap();
        let (name, signed) = (signature.string().unwrap(), signature.string().unwrap());
        let check = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8], signed: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(data, signed).is_ok()
        };
        match kind {
            b"ssh-ed25519" => check(&ED25519, key.string().unwrap(), signed),
            b"ssh-rsa" => {
                let (e, n) = (key.number().unwrap(), key.number().unwrap());
                let algorithm = match name {
                    b"rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                    b"rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                    _ => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(algorithm, data, signed).is_ok()
            }
            _ => {
                assert_eq!(kind, name);
                let (curve, point) = (key.string().unwrap(), key.string().unwrap());
                let mut numbers = Fields(signed);
                let width = if curve == b"nistp256" { 32 } else { 48 };
                let mut fixed = Vec::new();
                for _ in 0..2 {
                    let number = numbers.number().unwrap();
                    fixed.resize(fixed.len() + width - number.len(), 0);
                    fixed.extend_from_slice(number);
                }
                let algorithm: &'static dyn VerificationAlgorithm =
                    if width == 32 { &ECDSA_P256_SHA256_FIXED } else { &ECDSA_P384_SHA384_FIXED };
                check(algorithm, point, &fixed) && !check(&ECDSA_P256_SHA256_ASN1, point, &fixed)
            }
        }
    }

    #[test]
    fn keys_of_every_form_sign() {
        let mut tried = 0;
        for entry in std::fs::read_dir(folder()).unwrap() {
            let path = entry.unwrap().path();
            let public = path.with_extension("pub");
            if path == public || !public.exists() {
                continue;
            }
            let key = parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let line = std::fs::read_to_string(public).unwrap();
            let known = line.split_whitespace().nth(1).unwrap();
            let known = base64::engine::general_purpose::STANDARD.decode(known).unwrap();
            assert_eq!(key.public, known, "{}", path.display());
            for flags in [RSA_SHA2_256, RSA_SHA2_512] {
                let signature = key.sign(b"data", flags).unwrap();
                assert!(verifies(&key.public, b"data", &signature), "{}", path.display());
                assert!(!verifies(&key.public, b"date", &signature), "{}", path.display());
            }
            tried += 1;
        }
        assert_eq!(tried, 8);
        let protected = std::fs::read_to_string(folder().join("protected")).unwrap();
        assert!(parse(&protected).err().unwrap().contains("passphrase"));
    }

    #[test]
    fn remainders_are_those_of_integers() {
        for (number, by) in [(1_000_003u32, 997u32), (7, 9), (0xffff_ffff, 0x1_0000), (81, 9)] {
            let got = remainder(&number.to_be_bytes(), &by.to_be_bytes());
            let got = got.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
            assert_eq!(got, number % by);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let protected = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        for (text, reason) in [
            ("", "no private key"),
            ("ssh-ed25519 AAAA someone", "no private key"),
            ("-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----\n", "base64"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END -----\n", "damaged"),
            ("-----BEGIN EC PRIVATE KEY-----\nMIL/////\n-----END -----\n", "damaged"),
            (protected, "passphrase"),
        ] {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
