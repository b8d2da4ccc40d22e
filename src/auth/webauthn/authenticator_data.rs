use ciborium::Value;

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

/// The length of the id of an authenticator's model, which is not used.
const AAGUID_LENGTH: usize = 16;

/// The longest id of a credential, in bytes.
const MAX_CREDENTIAL_ID_LENGTH: usize = 1023;

/// What an authenticator signs (WebAuthn Level 3 section 6.1).
#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    pub rp_id_hash: [u8; 32],
    pub sign_count: u32,
    /// The new credential, in a registration.
    pub credential: Option<AttestedCredential<'a>>,
    flags: u8,
}

/// A new credential (section 6.5.1).
#[derive(Debug)]
pub(super) struct AttestedCredential<'a> {
    pub id: &'a [u8],
    /// The public key as a COSE_Key (RFC 9052 section 7).
    pub public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Parses all of the bytes; `None` if they are malformed.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (rp_id_hash, rest) = bytes.split_first_chunk()?;
        let ([flags], rest) = rest.split_first_chunk()?;
        let (sign_count, mut rest) = rest.split_first_chunk()?;
        let mut credential = None;
        if flags & HAS_CREDENTIAL != 0 {
            let (parsed, behind) = AttestedCredential::parse(rest)?;
            (credential, rest) = (Some(parsed), behind);
        }
        if flags & HAS_EXTENSIONS != 0 {
            rest = split_item(rest)?.1;
        }
        // Only what can be backed up is backed up.
        let is_consistent = flags & BACKED_UP == 0 || flags & BACKUP_ELIGIBLE != 0;
        (rest.is_empty() && is_consistent).then_some(Self {
            rp_id_hash: *rp_id_hash,
            sign_count: u32::from_be_bytes(*sign_count),
            credential,
            flags: *flags,
        })
    }

    /// Whether the user was there, and has proved it with a PIN or biometrics.
    pub fn has_verified_user(&self) -> bool {
        let both = USER_PRESENT | USER_VERIFIED;
        self.flags & both == both
    }

    /// Whether the credential can be synchronised to other devices.
    pub fn is_backup_eligible(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }

    /// Whether the credential is synchronised to other devices.
    pub fn is_backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }
}

impl<'a> AttestedCredential<'a> {
    /// Parses the beginning of the bytes; returns the rest.
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (_, rest) = bytes.split_at_checked(AAGUID_LENGTH)?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (id, rest) = rest.split_at_checked(length)?;
        let (public_key, rest) = split_item(rest)?;
        (1..=MAX_CREDENTIAL_ID_LENGTH)
            .contains(&length)
            .then_some((Self { id, public_key }, rest))
    }
}

/// Splits off the first CBOR item.
fn split_item(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    let _: Value = ciborium::from_reader(&mut rest).ok()?;
    bytes.split_at_checked(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::AuthenticatorData;

    /// The data of relying party 7…7, with these flags and this end.
    fn data(flags: u8, end: &[u8]) -> Vec<u8> {
        [&[7; 32][..], &[flags], &[0, 0, 1, 2], end].concat()
    }

    /// An id of two bytes and a key, an empty CBOR map.
    fn credential() -> Vec<u8> {
        [&[0; 16][..], &[0, 2], &[0xaa, 0xbb], &[0xa0]].concat()
    }

    #[test]
    fn the_parts_are_those_of_the_specification() {
        let bytes = data(0b1101_1101, &[credential(), vec![0xa1, 1, 2]].concat());
        let parsed = AuthenticatorData::parse(&bytes).unwrap();
        assert_eq!(parsed.rp_id_hash, [7; 32]);
        assert_eq!(parsed.sign_count, 0x102);
        assert!(parsed.has_verified_user() && parsed.is_backup_eligible());
        assert!(parsed.is_backed_up());
        let credential = parsed.credential.unwrap();
        assert_eq!(credential.id, [0xaa, 0xbb]);
        assert_eq!(credential.public_key, [0xa0]);

        let bytes = data(0b0000_0001, &[]);
        let parsed = AuthenticatorData::parse(&bytes).unwrap();
        assert!(parsed.credential.is_none() && !parsed.has_verified_user());
        assert!(!parsed.is_backup_eligible() && !parsed.is_backed_up());
    }

    #[test]
    fn malformed_data_are_refused() {
        for bytes in [
            vec![],
            vec![0; 36],
            // Bytes behind the end, and extensions that are missing or no CBOR.
            data(0, &[0]),
            data(0b1000_0000, &[]),
            data(0b1000_0000, &[0xff]),
            // A credential that is missing, or ends early, or has no id.
            data(0b0100_0000, &[]),
            data(0b0100_0000, &credential()[..19]),
            data(0b0100_0000, &credential()[..20]),
            data(0b0100_0000, &[&[0; 16][..], &[0, 0], &[0xa0]].concat()),
            // Backed up, but not eligible for it.
            data(0b0001_0101, &[]),
        ] {
            assert!(AuthenticatorData::parse(&bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn an_id_may_have_up_to_1023_bytes() {
        for (length, is_valid) in [(1, true), (1023, true), (1024, false)] {
            let size = u16::try_from(length).unwrap().to_be_bytes();
            let end = [&[0; 16][..], &size, &vec![1; length], &[0xa0]].concat();
            let parsed = AuthenticatorData::parse(&data(0b0100_0000, &end)).is_some();
            assert_eq!(parsed, is_valid, "{length}");
        }
    }
}
