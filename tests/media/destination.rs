use std::{fs, path::PathBuf};

use super::{
    Child, Sandbox, nginx,
    recording::{assert_continuous, length, size},
};

/// A platform that receives streams and records them: another nginx-rtmp.
#[derive(Debug)]
pub struct Destination {
    pub sandbox: Sandbox,
    child: Option<Child>,
}

impl Destination {
    /// Starts one.
    pub async fn start(sandbox: Sandbox) -> anyhow::Result<Self> {
        fs::create_dir_all(recordings(&sandbox))?;
        fs::write(nginx::file(&sandbox), configuration(&sandbox)?)?;
        let child = Some(nginx::launch("a destination", &sandbox, 1935).await?);
        Ok(Self { sandbox, child })
    }

    /// The URL that accepts every key.
    pub fn url(&self) -> String {
        format!("rtmp://{}:1935/open", self.sandbox.host)
    }

    /// The URL that accepts every key and records nothing.
    pub fn unrecorded_url(&self) -> String {
        format!("rtmp://{}:1935/unrecorded", self.sandbox.host)
    }

    /// The URL of an application whose name has two parts and a query. It accepts every key.
    pub fn instance_url(&self) -> String {
        format!("rtmp://{}:1935/app/inst?user=a&pass=b", self.sandbox.host)
    }

    /// Whether a stream with this name was recorded, in the application of [`Self::instance_url`]
    /// or in the one of [`Self::url`].
    pub fn has_recorded(&self, name: &str, is_instance: bool) -> bool {
        let recordings = self.recordings().into_iter();
        let mut files = recordings.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        files.any(|file| {
            decoded(&file).starts_with(name) && file.ends_with(".inst.flv") == is_instance
        })
    }

    /// The URL that refuses every key.
    pub fn refusing_url(&self) -> String {
        format!("rtmp://{}:1935/closed", self.sandbox.host)
    }

    /// Kills it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = Some(nginx::launch("a destination", &self.sandbox, 1935).await?);
        Ok(())
    }

    /// Number of recorded bytes of all publishes.
    pub fn recorded(&self) -> u64 {
        self.recordings().iter().map(size).sum()
    }

    /// Number of times that a stream was published.
    pub fn publishes(&self) -> usize {
        self.recordings().len()
    }

    /// Duration of the longest recording, in seconds.
    pub async fn seconds(&self) -> anyhow::Result<f64> {
        let mut longest = 0.0;
        for recording in self.recordings() {
            longest = f64::max(longest, length(&recording).await?);
        }
        Ok(longest)
    }

    /// An error unless each recording can be decoded, and its timestamps increase in every track.
    pub async fn assert_continuous(&self) -> anyhow::Result<()> {
        for recording in self.recordings() {
            assert_continuous(&recording).await?;
        }
        Ok(())
    }

    /// The recordings, oldest first.
    pub fn recordings(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(recordings(&self.sandbox));
        let entries = folder.into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }
}

/// The name of a file in which nginx percent-encodes the name of the stream.
fn decoded(file: &str) -> String {
    let pairs = url::form_urlencoded::parse(file.as_bytes());
    let pairs = pairs.map(|(name, value)| match value.is_empty() {
        true => name.into_owned(),
        false => format!("{name}={value}"),
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn recordings(sandbox: &Sandbox) -> PathBuf {
    sandbox.folder.join("recordings")
}

fn configuration(sandbox: &Sandbox) -> anyhow::Result<String> {
    let Sandbox { host, .. } = sandbox;
    let module = nginx::module()?;
    Ok(format!(
        "{alone}
        load_module {module};
        events {{ worker_connections 256; }}
        rtmp {{
            access_log off;
            server {{
                listen {host}:1935;
                application open {{
                    live on;
                    record all;
                    record_path {recordings};
                    record_unique on;
                }}
                application app/inst {{
                    live on;
                    record all;
                    record_path {recordings};
                    record_unique on;
                    record_suffix .inst.flv;
                }}
                application unrecorded {{
                    live on;
                }}
                application closed {{
                    live on;
                    on_publish http://{host}:8080/refusal;
                }}
            }}
        }}
        http {{
            {folders}
            access_log off;
            server {{ listen {host}:8080; location / {{ return 403; }} }}
        }}",
        alone = nginx::SINGLE_PROCESS,
        folders = nginx::TEMP_PATHS,
        module = module.display(),
        recordings = recordings(sandbox).display(),
    ))
}
