use std::{collections::BTreeMap, fs, path::Path};

/// The files of a crate with their texts.
pub struct Source {
    texts: BTreeMap<String, String>,
}

impl Source {
    /// Reads all Rust files below a folder of this package.
    pub fn read(folder: &str) -> Self {
        let mut texts = BTreeMap::new();
        let mut open = vec![Path::new(folder).to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    texts.insert(path.to_str().unwrap().to_owned(), text);
                }
            }
        }
        Self { texts }
    }

    /// A crate of these files.
    pub fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        Self {
            texts: files.into(),
        }
    }

    /// The paths of the files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// The text of a file that exists.
    pub fn text(&self, file: &str) -> &str {
        &self.texts[file]
    }

    /// The file of a module, if there is one: `["auth", "token"]` is `src/auth/token.rs`.
    pub fn file_of(&self, module: &[String]) -> Option<&str> {
        if module.is_empty() {
            return self
                .texts
                .get_key_value("src/lib.rs")
                .map(|(file, _)| &**file);
        }
        let path = format!("src/{}", module.join("/"));
        let candidates = [format!("{path}.rs"), format!("{path}/mod.rs")];
        let found = candidates
            .iter()
            .find_map(|file| self.texts.get_key_value(file));
        found.map(|(file, _)| &**file)
    }

    /// The module of a file: `["auth"]` of `src/auth/mod.rs`.
    pub fn module_of(file: &str) -> Vec<String> {
        let path = file.trim_start_matches("src/").trim_end_matches(".rs");
        let path = path.trim_end_matches("/mod");
        match path {
            "lib" | "main" => Vec::new(),
            path => path.split('/').map(str::to_owned).collect(),
        }
    }
}
