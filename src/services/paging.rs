//! Pages of lists.
//!
//! A page token is the id of the last row shown and a MAC over it, the list and
//! the caller: it cannot be forged, nor used for another list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use super::fields::Fields;
use crate::{
    auth::Sealer,
    domain::{Invalid, Page},
    error::Result,
};

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 200;
const MAC: usize = 16;

/// Makes and reads page tokens.
#[derive(Debug, Clone)]
pub(super) struct Pages {
    sealer: Sealer,
}

/// A page of a list with a name.
#[derive(Debug)]
pub(super) struct PageOf {
    name: String,
    /// Which part of it.
    pub page: Page,
}

impl Pages {
    /// Page tokens under the keys of this sealer.
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer }
    }

    /// Reads `page_size` and `page_token` of a request for a list, whose `name`
    /// tells this list, its filter and its caller from any other.
    pub fn read(
        &self,
        fields: &mut Fields,
        name: String,
        size: i32,
        token: &str,
    ) -> Option<PageOf> {
        let size = match usize::try_from(size) {
            Ok(0) => Ok(DEFAULT_SIZE),
            Ok(size) => Ok(size.min(MAX_SIZE)),
            Err(_) => Err(Invalid::because("must not be negative")),
        };
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
        Some(PageOf { name, page })
    }

    /// The same, for a request that has no other fields.
    pub fn read_alone(&self, name: String, size: i32, token: &str) -> Result<PageOf> {
        let mut fields = Fields::default();
        let page = self.read(&mut fields, name, size, token);
        page.ok_or_else(|| fields.refuse())
    }

    /// Cuts what was read for a page to its size; gives the token of the next
    /// page, or an empty one at the end.
    pub fn cut<T>(&self, of: &PageOf, rows: &mut Vec<T>, id: impl Fn(&T) -> Uuid) -> String {
        if rows.len() <= of.page.size {
            return String::new();
        }
        rows.truncate(of.page.size);
        let last = rows.last().map(|last| self.token(&of.name, id(last)));
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

    fn macs(&self, list: &str, id: Uuid) -> impl Iterator<Item = [u8; MAC]> + use<'_> {
        let data = [&id.as_bytes()[..], list.as_bytes()].concat();
        self.sealer.digests("page_token", &data).map(|digest| {
            let mut mac = [0; MAC];
            mac.copy_from_slice(&digest[..MAC]);
            mac
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use zeroize::Zeroizing;

    use super::{Fields, Pages};
    use crate::auth::Sealer;

    fn pages() -> Pages {
        Pages::new(Sealer::new(&[Zeroizing::new([7; 32])]))
    }

    #[test]
    fn a_token_leads_to_the_next_page_of_its_own_list_only() {
        let id = Uuid::now_v7();
        let token = pages().token("projects/1", id);

        let page = pages()
            .read(&mut Fields::default(), "projects/1".to_owned(), 0, &token)
            .unwrap();
        assert_eq!(page.page.below, id);
        assert!(
            pages()
                .read(&mut Fields::default(), "projects/2".to_owned(), 0, &token)
                .is_none()
        );
    }

    #[test]
    fn no_changed_token_is_taken() {
        let token = pages().token("list", Uuid::now_v7());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(
                pages()
                    .read(&mut Fields::default(), "list".to_owned(), 0, &changed)
                    .is_none(),
                "{at}"
            );
        }
        for text in ["x", "é", &format!("{token}A"), &token[1..]] {
            assert!(
                pages()
                    .read(&mut Fields::default(), "list".to_owned(), 0, text)
                    .is_none(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_page_has_50_rows_unless_asked_and_never_more_than_200() {
        for (asked, given) in [(0, 50), (1, 1), (200, 200), (201, 200), (i32::MAX, 200)] {
            let page = pages()
                .read(&mut Fields::default(), "list".to_owned(), asked, "")
                .unwrap();
            assert_eq!(page.page.size, given);
        }
        assert!(
            pages()
                .read(&mut Fields::default(), "list".to_owned(), -1, "")
                .is_none()
        );
    }
}
