//! The Ed25519 keys (RFC 8032) that sign checkpoints.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::hash::{hex, is_digit, unhex};

/// The public half of a key, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey(Box<str>);

/// A private key, and the seed that is its written form.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl PublicKey {
    pub fn parse(text: &str) -> Option<Self> {
        let is_key = text.len() == 64 && text.bytes().all(is_digit);
        is_key.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `signature`, in hexadecimal, is this key's for `bytes`.
    pub fn verifies(&self, bytes: &[u8], signature: &str) -> bool {
        let (Some(key), Some(signature)) = (unhex(&self.0), unhex(signature)) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, key)
            .verify(bytes, &signature)
            .is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// The kernel gives no random numbers.
    pub fn generate() -> io::Result<Self> {
        let mut seed = [0; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| io::Error::other("the kernel gives no random numbers"))?;
        Self::of(seed)
    }

    /// Parses the output of [`Self::text`]. Returns none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let seed = <[u8; 32]>::try_from(unhex(text.trim())?).ok()?;
        Self::of(seed).ok()
    }

    fn of(seed: [u8; 32]) -> io::Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(Self { seed, pair })
    }

    pub fn public(&self) -> PublicKey {
        let text = hex::<64>(self.pair.public_key().as_ref());
        PublicKey(String::from_utf8_lossy(&text).into())
    }

    /// The seed in hexadecimal.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&hex::<64>(&self.seed)).into_owned()
    }

    /// The signature over `bytes`, in hexadecimal.
    pub fn sign(&self, bytes: &[u8]) -> String {
        let signature = hex::<128>(self.pair.sign(bytes).as_ref());
        String::from_utf8_lossy(&signature).into_owned()
    }
}

impl Drop for SigningKey {
    /// Erases the seed as far as safe code can: `black_box` keeps the compiler from leaving the
    /// write out.
    fn drop(&mut self) {
        self.seed = [0; 32];
        std::hint::black_box(&self.seed);
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey")
            .field(&self.public().as_str())
            .finish()
    }
}
