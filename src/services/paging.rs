//! Pagination of lists.
//!
//! A page token is the id of the last row of a page, with a MAC over it, the list and the caller. So
//! it cannot be forged or used for another list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost_types::Timestamp;
use uuid::Uuid;

use super::fields::{Fields, read_created};
use crate::{
    auth::Sealer,
    domain::{CreateTimeRange, Invalid, Page},
    error,
};

const MAC_BYTES: usize = 16;

/// The sizes of the pages of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSizes {
    /// The size if a request names none.
    pub default: usize,
    /// The size if a request names a larger one.
    pub max: usize,
}

impl PageSizes {
    /// The sizes of nearly all lists.
    const ROWS: Self = Self {
        default: 50,
        max: 200,
    };

    fn read(self, size: i32) -> Result<usize, Invalid> {
        match usize::try_from(size) {
            Ok(0) => Ok(self.default),
            Ok(size) => Ok(size.min(self.max)),
            Err(_) => Err(Invalid::because("must not be negative")),
        }
    }
}

/// Creates and verifies page tokens.
#[derive(Debug, Clone)]
pub(super) struct PageTokens {
    sealer: Sealer,
}

/// The requested page of a named list.
#[derive(Debug)]
pub(super) struct PageRequest {
    name: String,
    /// The page.
    pub page: Page,
}

impl PageTokens {
    /// Page tokens authenticated with the keys of this sealer.
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer }
    }

    /// Reads `page_size` and `page_token` of a request. `name` identifies the list, its filter and
    /// its caller.
    pub fn read(
        &self,
        fields: &mut Fields,
        name: String,
        size: i32,
        token: &str,
    ) -> Option<PageRequest> {
        self.read_sized(fields, name, PageSizes::ROWS, size, token)
    }

    /// The same, of a list with other page sizes.
    pub fn read_sized(
        &self,
        fields: &mut Fields,
        name: String,
        sizes: PageSizes,
        size: i32,
        token: &str,
    ) -> Option<PageRequest> {
        let size = sizes.read(size);
        let below = match token {
            "" => Ok(Uuid::max()),
            _ => self.open(&name, token).ok_or_else(|| {
                Invalid::because("must be empty, or the next_page_token of the same list")
            }),
        };

        let size = fields.read("page_size", size);
        let below = fields.read("page_token", below);
        let page = Page {
            size: size?,
            below: below?,
        };
        Some(PageRequest { name, page })
    }

    /// Reads the fields of a request that has no others.
    pub fn read_single(&self, name: String, size: i32, token: &str) -> error::Result<PageRequest> {
        Fields::read_all(|fields| self.read(fields, name, size, token))
    }

    /// Reads the fields of a request for a list that is filtered by creation time only.
    pub fn read_created(
        &self,
        name: &str,
        (after, before): (Option<Timestamp>, Option<Timestamp>),
        size: i32,
        token: &str,
    ) -> error::Result<(CreateTimeRange, PageRequest)> {
        Fields::read_all(|fields| {
            let created = read_created(fields, after, before);
            let name = match created {
                Some(created) => format!("{name}{created}"),
                None => name.to_owned(),
            };
            let page = self.read(fields, name, size, token);
            created.zip(page)
        })
    }

    /// The messages of the rows of a page, and the token of the next page.
    pub fn page<T, M: From<T>>(
        &self,
        request: &PageRequest,
        mut rows: Vec<T>,
        id: impl Fn(&T) -> Uuid,
    ) -> (Vec<M>, String) {
        let next_page_token = self.truncate(request, &mut rows, id);
        (rows.into_iter().map(M::from).collect(), next_page_token)
    }

    /// Truncates the rows that were read to the page size. Returns the token of the next page,
    /// empty at the end of the list.
    pub fn truncate<T>(
        &self,
        request: &PageRequest,
        rows: &mut Vec<T>,
        id: impl Fn(&T) -> Uuid,
    ) -> String {
        if rows.len() <= request.page.size {
            return String::new();
        }
        rows.truncate(request.page.size);
        let last = rows.last().map(|last| self.token(&request.name, id(last)));
        last.unwrap_or_default()
    }

    fn token(&self, list: &str, id: Uuid) -> String {
        let mac = self.macs(list, id).next().unwrap_or_default();
        URL_SAFE_NO_PAD.encode([&id.as_bytes()[..], &mac].concat())
    }

    fn open(&self, list: &str, token: &str) -> Option<Uuid> {
        let bytes = URL_SAFE_NO_PAD
            .decode(token.get(..43).filter(|start| *start == token)?)
            .ok()?;
        let (id, mac) = bytes.split_first_chunk::<16>()?;
        let id = Uuid::from_bytes(*id);
        self.macs(list, id)
            .any(|known| known[..] == *mac)
            .then_some(id)
    }

    fn macs(&self, list: &str, id: Uuid) -> impl Iterator<Item = [u8; MAC_BYTES]> + use<'_> {
        let data = [&id.as_bytes()[..], list.as_bytes()].concat();
        self.sealer.digests("page_token", &data).map(|digest| {
            let mut mac = [0; MAC_BYTES];
            mac.copy_from_slice(&digest[..MAC_BYTES]);
            mac
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use zeroize::Zeroizing;

    use super::{Fields, PageTokens};
    use crate::{auth::Sealer, domain::Page};

    fn pages() -> PageTokens {
        PageTokens::new(Sealer::new(&[Zeroizing::new([7; 32])]))
    }

    fn read(list: &str, size: i32, token: &str) -> Option<Page> {
        let request = pages().read(&mut Fields::default(), list.to_owned(), size, token);
        request.map(|request| request.page)
    }

    #[test]
    fn a_token_is_valid_for_its_own_list_only() {
        let id = Uuid::now_v7();
        let token = pages().token("projects/1", id);

        assert_eq!(read("projects/1", 0, &token).unwrap().below, id);
        assert!(read("projects/2", 0, &token).is_none());
    }

    #[test]
    fn modified_tokens_are_rejected() {
        let token = pages().token("list", Uuid::now_v7());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(read("list", 0, &changed).is_none(), "{at}");
        }
        for text in ["x", "é", &format!("{token}A"), &token[1..]] {
            assert!(read("list", 0, text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_page_has_50_rows_by_default_and_at_most_200() {
        for (asked, given) in [(0, 50), (1, 1), (200, 200), (201, 200), (i32::MAX, 200)] {
            assert_eq!(read("list", asked, "").unwrap().size, given);
        }
        assert!(read("list", -1, "").is_none());
    }
}
