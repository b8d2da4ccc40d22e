use ciborium::Value;

use crate::auth::verifying_key::VerifyingKey;

/// The algorithms that are accepted, in the order of preference: ES256, EdDSA, RS256 (RFC 9053,
/// RFC 8812). WebAuthn Level 3 section 5.4 recommends these.
pub(super) const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];

const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

// The labels of the parameters (RFC 9052 section 7.1, RFC 9053 section 7, RFC 8230 section 4).
const KEY_TYPE: i64 = 1;
const ALGORITHM: i64 = 3;
const CURVE: i64 = -1;
const X: i64 = -2;
const Y: i64 = -3;
const MODULUS: i64 = -1;
const EXPONENT: i64 = -2;

/// Parses a COSE_Key of an accepted algorithm.
pub(super) fn parse(bytes: &[u8]) -> Option<VerifyingKey> {
    let Value::Map(parameters) = ciborium::from_reader(bytes).ok()? else {
        return None;
    };
    let find = |label: i64| {
        let mut parameters = parameters.iter();
        let found = parameters.find(|(key, _)| *key == Value::from(label));
        found.map(|(_, value)| value)
    };
    let number = |label| i64::try_from(find(label)?.as_integer()?).ok();
    let octets = |label| find(label)?.as_bytes().cloned();
    match (number(KEY_TYPE)?, number(ALGORITHM)?) {
        (2, ES256) if number(CURVE) == Some(1) => VerifyingKey::p256(octets(X)?, octets(Y)?),
        (1, EDDSA) if number(CURVE) == Some(6) => VerifyingKey::ed25519(octets(X)?),
        (3, RS256) => VerifyingKey::rsa(octets(MODULUS)?, octets(EXPONENT)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ciborium::Value;

    use super::parse;
    use crate::auth::verifying_key::VerifyingKey;

    fn key(parameters: &[(i64, Value)]) -> Vec<u8> {
        let parameters = parameters.iter().cloned();
        let parameters = parameters.map(|(label, value)| (Value::from(label), value));
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Map(parameters.collect()), &mut bytes).unwrap();
        bytes
    }

    fn octets(length: usize) -> Value {
        Value::Bytes(vec![0x81; length])
    }

    fn p256(algorithm: i64, curve: i64, length: usize) -> Vec<u8> {
        key(&[
            (1, 2.into()),
            (3, algorithm.into()),
            (-1, curve.into()),
            (-2, octets(length)),
            (-3, octets(length)),
        ])
    }

    #[test]
    fn keys_of_accepted_algorithms_are_parsed() {
        assert!(matches!(
            parse(&p256(-7, 1, 32)),
            Some(VerifyingKey::P256(_))
        ));
        let ed25519 = key(&[
            (1, 1.into()),
            (3, (-8).into()),
            (-1, 6.into()),
            (-2, octets(32)),
        ]);
        assert!(matches!(parse(&ed25519), Some(VerifyingKey::Ed25519(_))));
        let rsa = key(&[
            (1, 3.into()),
            (3, (-257).into()),
            (-1, octets(256)),
            (-2, Value::Bytes(vec![1, 0, 1])),
        ]);
        assert!(matches!(parse(&rsa), Some(VerifyingKey::Rsa(_))));
    }

    #[test]
    fn other_keys_are_refused() {
        for bytes in [
            vec![],
            vec![0xa0],
            vec![0x80],
            vec![0xff],
            // ES384, P-384, a coordinate that is too short, and a key without its coordinates.
            p256(-35, 1, 32),
            p256(-7, 2, 32),
            p256(-7, 1, 31),
            key(&[(1, 2.into()), (3, (-7).into()), (-1, 1.into())]),
            // The types of one algorithm with another one.
            key(&[
                (1, 1.into()),
                (3, (-7).into()),
                (-1, 6.into()),
                (-2, octets(32)),
            ]),
            // RSA of 1024 bits.
            key(&[
                (1, 3.into()),
                (3, (-257).into()),
                (-1, octets(128)),
                (-2, Value::Bytes(vec![1, 0, 1])),
            ]),
        ] {
            assert!(parse(&bytes).is_none(), "{bytes:?}");
        }
    }

    /// Deeply nested and endless items must cost neither the stack nor the memory.
    #[test]
    fn hostile_cbor_is_refused() {
        let nested = vec![0x81; 16 * 1024];
        let huge = [0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let long = [0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        for bytes in [&nested[..], &huge, &long] {
            assert!(parse(bytes).is_none());
        }
    }
}
