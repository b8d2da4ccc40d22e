//! The log in files. A new one begins with each hour or day, and old ones are deleted.
//!
//! `tracing-appender` 0.2 is not used, because it deletes every file with the prefix of the
//! log: `sluice.log` would delete the files of `sluice-edge.log` beside it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use rustix::fs::{Access, access};

use crate::domain::{Time, now};

/// A log file.
#[derive(Debug, Clone)]
pub struct LogFile {
    /// The path; a rotated file has its date before the extension.
    pub path: PathBuf,
    /// The date in the name of a rotated file, for example `%Y-%m-%d`, in UTC. A new date
    /// begins a new file. `None` means one file without a date.
    pub date_format: Option<&'static str>,
    /// Maximum number of rotated files.
    pub max_files: usize,
}

/// Appends to the file of the current date.
#[derive(Debug)]
pub(super) struct LogFileWriter {
    settings: LogFile,
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Checks that the current file can be opened, and creates nothing. Returns its path.
    pub fn check(&self) -> anyhow::Result<PathBuf> {
        self.path.file_name().context("the path has no file name")?;
        let path = self.path_at(now());
        let shown = || path.display().to_string();
        match OpenOptions::new().append(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                access(self.directory(), Access::WRITE_OK | Access::EXEC_OK).with_context(shown)?;
            }
            opened => drop(opened.with_context(shown)?),
        }
        Ok(path)
    }

    /// Opens the current file in its directory, which must exist.
    pub(super) fn open(&self) -> anyhow::Result<LogFileWriter> {
        self.path.file_name().context("the path has no file name")?;
        let path = self.path_at(now());
        let file = append_to(&path).with_context(|| path.display().to_string())?;
        let writer = LogFileWriter {
            settings: self.clone(),
            path,
            file,
        };
        writer.settings.delete_old();
        Ok(writer)
    }

    fn directory(&self) -> &Path {
        let parent = self.path.parent().filter(|parent| *parent != Path::new(""));
        parent.unwrap_or(Path::new("."))
    }

    fn path_at(&self, time: Time) -> PathBuf {
        let Some(format) = self.date_format else {
            return self.path.clone();
        };
        let (start, end) = self.name_around_date();
        let date = time.format(format);
        self.path.with_file_name(format!("{start}{date}{end}"))
    }

    /// What stands before and after the date in the name of a rotated file.
    fn name_around_date(&self) -> (String, String) {
        let stem = self.path.file_stem().unwrap_or_default();
        let extension = self.path.extension().map(|text| text.to_string_lossy());
        let end = extension.map(|extension| format!(".{extension}"));
        let start = format!("{}.", stem.to_string_lossy());
        (start, end.unwrap_or_default())
    }

    /// Deletes the oldest files above the maximum. A file that cannot be deleted stays.
    fn delete_old(&self) {
        let mut rotated = self.rotated();
        rotated.sort_unstable();
        let excess = rotated.len().saturating_sub(self.max_files);
        for name in &rotated[..excess] {
            let _ = fs::remove_file(self.path.with_file_name(name));
        }
    }

    /// The names of all rotated files of this log. Only the date differs, so that their
    /// order is that of their dates.
    fn rotated(&self) -> Vec<String> {
        let Some(format) = self.date_format else {
            return Vec::new();
        };
        let (start, end) = self.name_around_date();
        let shape = shape(&now().format(format).to_string());
        let is_rotated = |name: &String| {
            let date = name.strip_prefix(&start);
            let date = date.and_then(|rest| rest.strip_suffix(&end));
            date.is_some_and(|date| self::shape(date) == shape)
        };
        let entries = fs::read_dir(self.directory());
        let entries = entries.into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(is_rotated).collect()
    }
}

/// A date with a 0 for each digit.
fn shape(date: &str) -> String {
    let zero = |letter: char| if letter.is_ascii_digit() { '0' } else { letter };
    date.chars().map(zero).collect()
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl LogFileWriter {
    /// Continues in the file of this time. If that cannot be opened, the log stays in the
    /// file before.
    fn rotate(&mut self, time: Time) {
        let path = self.settings.path_at(time);
        if path != self.path
            && let Ok(file) = append_to(&path)
        {
            (self.path, self.file) = (path, file);
            self.settings.delete_old();
        }
    }
}

impl Write for LogFileWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.rotate(now());
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, path::Path};

    use chrono::TimeDelta;
    use tempfile::TempDir;

    use super::LogFile;
    use crate::domain::Time;

    fn time(hour: i64) -> Time {
        Time::from_timestamp(1_767_225_600, 0).unwrap() + TimeDelta::hours(hour)
    }

    fn log_file(folder: &Path, date_format: Option<&'static str>) -> LogFile {
        LogFile {
            path: folder.join("sluice.log"),
            date_format,
            max_files: 2,
        }
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_new_date_begins_a_new_file_and_the_oldest_is_deleted() {
        let folder = TempDir::new().unwrap();
        let log = log_file(folder.path(), Some("%Y-%m-%d-%H"));
        let mut writer = log.open().unwrap();
        for hour in 0..3 {
            writer.rotate(time(hour));
            writer.file.write_all(b"a line\n").unwrap();
            writer.rotate(time(hour));
            writer.file.write_all(b"another\n").unwrap();
        }

        let written = |hour: i64| {
            let file = folder.path().join(format!("sluice.2026-01-01-0{hour}.log"));
            fs::read_to_string(file)
        };
        assert!(written(0).is_err());
        // The file of today is the newest one.
        assert!(written(1).is_err());
        assert_eq!(written(2).unwrap(), "a line\nanother\n");
        assert_eq!(files(folder.path()).len(), 2);
    }

    #[test]
    fn only_rotated_files_of_this_log_are_deleted() {
        let folder = TempDir::new().unwrap();
        let others = [
            "other.2026-01-01.log",
            "sluice-edge.2026-01-01.log",
            "sluice.2026-01-01-01.log",
            "sluice.2026-01-01.log.gz",
            "sluice.first-of-may.log",
            "sluice.log",
        ];
        let own = ["sluice.2026-01-01.log", "sluice.2026-01-02.log"];
        for name in others.iter().chain(&own) {
            fs::write(folder.path().join(name), "").unwrap();
        }

        let writer = log_file(folder.path(), Some("%Y-%m-%d")).open().unwrap();

        let current = writer.path.file_name().unwrap().to_str().unwrap();
        let mut expected = others.to_vec();
        expected.extend([own[1], current]);
        expected.sort_unstable();
        assert_eq!(files(folder.path()), expected);
    }

    #[test]
    fn a_log_without_rotation_is_one_file_that_is_continued() {
        let folder = TempDir::new().unwrap();
        for _ in 0..2 {
            let mut writer = log_file(folder.path(), None).open().unwrap();
            writer.write_all(b"a line\n").unwrap();
        }
        assert_eq!(files(folder.path()), ["sluice.log"]);
        let text = fs::read_to_string(folder.path().join("sluice.log")).unwrap();
        assert_eq!(text, "a line\na line\n");
    }
}
