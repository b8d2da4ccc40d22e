//! Passwords that are known from data breaches, in a local file: nothing is sent to anybody.
//!
//! The file is that of Have I Been Pwned's "Pwned Passwords": a line `HASH:COUNT` for each password,
//! where `HASH` is the SHA-1 in upper-case hexadecimal digits, ordered by hash. It has tens of
//! gigabytes, so it is searched where it is: each step of a binary search reads 128 bytes, about 30
//! steps in all, on a hashing thread.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use ring::digest;

use crate::{domain::Password, random::hex};

/// The digits of a SHA-1.
const HASH_DIGITS: usize = 40;

/// Longer than a line: the digits, a colon, the digits of the count and the end of the line.
const MAX_LINE: u64 = 128;

/// A file of breached passwords.
#[derive(Debug)]
pub struct BreachedPasswords {
    file: File,
    path: PathBuf,
    length: u64,
}

impl BreachedPasswords {
    /// Opens a file, and checks its first and its last line. It must not change afterwards; another
    /// file may take its name, and is used from the next start on.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let length = file.metadata()?.len();
        let opened = Self {
            file,
            path: path.to_owned(),
            length,
        };
        let first = opened.hash_at(0);
        let last = opened.line_start(length.saturating_sub(2));
        let last = last.and_then(|start| opened.hash_at(start));
        let shape = || {
            format!(
                "{} must have lines such as 000000005AD76BD555C1D6D771DE417A4B87E4B4:10, ordered by \
                 their SHA-1",
                path.display()
            )
        };
        let (first, last) = (first.with_context(shape)?, last.with_context(shape)?);
        ensure!(first <= last, shape());
        Ok(opened)
    }

    /// Whether the file has a password.
    pub fn contains(&self, password: &Password) -> anyhow::Result<bool> {
        let text = password.expose().as_bytes();
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text);
        let hash = hex(hash.as_ref()).to_uppercase();
        self.contains_hash(hash.as_bytes())
            .with_context(|| format!("cannot search {}", self.path.display()))
    }

    /// Searches the lines that start from `begin` and before `end`, both starts of lines.
    fn contains_hash(&self, hash: &[u8]) -> io::Result<bool> {
        let (mut begin, mut end) = (0, self.length);
        while begin < end {
            let line = self.line_start(begin + (end - begin) / 2)?;
            match hash.cmp(&self.hash_at(line)?[..]) {
                std::cmp::Ordering::Equal => return Ok(true),
                std::cmp::Ordering::Less => end = line,
                std::cmp::Ordering::Greater => begin = self.next_line(line)?,
            }
        }
        Ok(false)
    }

    /// The start of the line that a position is in.
    fn line_start(&self, position: u64) -> io::Result<u64> {
        let from = position.saturating_sub(MAX_LINE);
        let before = self.read(from, position - from)?;
        match before.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => Ok(from + end as u64 + 1),
            None if from == 0 => Ok(0),
            None => Err(malformed(position)),
        }
    }

    /// The start of the line after the one that starts at a position.
    fn next_line(&self, line: u64) -> io::Result<u64> {
        let text = self.read(line, MAX_LINE)?;
        match text.iter().position(|byte| *byte == b'\n') {
            Some(end) => Ok(line + end as u64 + 1),
            None if line + MAX_LINE >= self.length => Ok(self.length),
            None => Err(malformed(line)),
        }
    }

    /// The hash of the line that starts at a position.
    fn hash_at(&self, line: u64) -> io::Result<[u8; HASH_DIGITS]> {
        let text = self.read(line, HASH_DIGITS as u64 + 1)?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
        match text.split_first_chunk() {
            Some((hash, b":")) if hash.iter().all(is_digit) => Ok(*hash),
            _ => Err(malformed(line)),
        }
    }

    /// At most `length` bytes from a position; fewer at the end of the file.
    fn read(&self, position: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.length.saturating_sub(position));
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(bytes)
    }
}

fn malformed(position: u64) -> io::Error {
    let text = format!("the line at byte {position} is malformed");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::BreachedPasswords;
    use crate::random::{hex, sha256};

    /// Hashes of as many made-up passwords, ordered.
    fn hashes(count: usize) -> Vec<String> {
        let hash = |number| hex(&sha256(&format!("password {number}"))[..20]).to_uppercase();
        let mut hashes: Vec<_> = (0..count).map(hash).collect();
        hashes.sort();
        hashes
    }

    fn open(text: &str) -> anyhow::Result<BreachedPasswords> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("breached");
        fs::write(&file, text).unwrap();
        BreachedPasswords::open(&file)
    }

    fn contains(file: &BreachedPasswords, hash: &str) -> bool {
        file.contains_hash(hash.as_bytes()).unwrap()
    }

    #[test]
    fn every_line_is_found_and_nothing_else() {
        for (count, line_end, last_end) in [(1, "\n", ""), (2, "\r\n", "\r\n"), (1000, "\r\n", "")]
        {
            let hashes = hashes(count);
            let lines = hashes.iter().enumerate();
            let lines: Vec<_> = lines
                .map(|(number, hash)| format!("{hash}:{}", number * number * 1000 + 1))
                .collect();
            let file = open(&(lines.join(line_end) + last_end)).unwrap();
            for hash in &hashes {
                assert!(contains(&file, hash), "{hash} of {count}");
                let mut other = hash.clone();
                other.replace_range(39.., if hash.ends_with('0') { "1" } else { "0" });
                assert!(!contains(&file, &other), "{other} of {count}");
            }
            for other in ["0".repeat(40), "F".repeat(40)] {
                assert!(!contains(&file, &other), "{other} of {count}");
            }
        }
    }

    #[test]
    fn a_file_of_another_format_is_refused_with_an_example() {
        let [first, last] = hashes(2).try_into().unwrap();
        for text in [
            String::new(),
            "hunter2\n".to_owned(),
            format!("{}:1\n", first.to_lowercase()),
            format!("{last}:1\n{first}:1\n"),
            format!("{first}:1\n{last}\n"),
            // The other hash of the same source.
            format!("{}:1\n", &first[..32]),
        ] {
            let error = open(&text).unwrap_err();
            assert!(
                error.to_string().contains("must have lines such as"),
                "{text}: {error}"
            );
        }
    }
}
