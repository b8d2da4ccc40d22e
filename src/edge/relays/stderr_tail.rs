use std::collections::VecDeque;

const MAX_LINES: usize = 8;
const MAX_LINE_BYTES: usize = 300;

/// The last lines of a process's stderr, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct StderrTail {
    lines: VecDeque<String>,
    open_line: Vec<u8>,
}

impl StderrTail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                _ if self.open_line.len() < MAX_LINE_BYTES => self.open_line.push(*byte),
                _ => {}
            }
        }
    }

    /// Takes the lines, oldest first.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.end_line();
        std::mem::take(&mut self.lines).into()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.open_line))
            .trim()
            .to_owned();
        if line.is_empty() {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_assembled_from_any_chunks() {
        let mut lines = StderrTail::default();
        for part in ["[err", "or] a\r\n\n", "  b", "\nc"] {
            lines.push(part.as_bytes());
        }
        assert_eq!(lines.take(), ["[error] a", "b", "c"]);
    }

    #[test]
    fn the_last_lines_and_the_start_of_long_ones_are_kept() {
        let mut lines = StderrTail::default();
        for number in 0..100 {
            lines.push(format!("{number} {}\n", "x".repeat(10_000)).as_bytes());
        }
        let kept = lines.take();
        assert_eq!(kept.len(), MAX_LINES);
        assert!(kept.iter().all(|line| line.len() == MAX_LINE_BYTES));
        assert!(kept[0].starts_with("92 "));
    }
}
