use std::collections::VecDeque;

/// How many lines are kept.
const LINES: usize = 8;

/// How many bytes of a line are kept.
const LENGTH: usize = 300;

/// The last lines of what a program says, whatever and however much it says.
#[derive(Debug, Default)]
pub(super) struct LastLines {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl LastLines {
    /// Takes what comes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.close(),
                _ if self.open.len() < LENGTH => self.open.push(*byte),
                _ => {}
            }
        }
    }

    /// The lines, oldest first.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.close();
        std::mem::take(&mut self.lines).into()
    }

    fn close(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.open))
            .trim()
            .to_owned();
        if line.is_empty() {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_whatever_comes() {
        let mut lines = LastLines::default();
        for part in ["[err", "or] a\r\n\n", "  b", "\nc"] {
            lines.feed(part.as_bytes());
        }
        assert_eq!(lines.take(), ["[error] a", "b", "c"]);
    }

    #[test]
    fn only_the_last_lines_and_the_start_of_long_ones_are_kept() {
        let mut lines = LastLines::default();
        for number in 0..100 {
            lines.feed(format!("{number} {}\n", "x".repeat(10_000)).as_bytes());
        }
        let kept = lines.take();
        assert_eq!(kept.len(), LINES);
        assert!(kept.iter().all(|line| line.len() == LENGTH));
        assert!(kept[0].starts_with("92 "));
    }
}
