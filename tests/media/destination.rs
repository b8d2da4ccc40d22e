use std::{fs, path::PathBuf};

use super::{
    Child, Place, nginx,
    recording::{length, size},
};

/// A platform that takes streams and records them: nginx-rtmp again.
#[derive(Debug)]
pub struct Destination {
    pub place: Place,
    child: Option<Child>,
}

impl Destination {
    /// Starts one.
    pub async fn start(place: Place) -> anyhow::Result<Self> {
        fs::create_dir_all(recordings(&place))?;
        fs::write(nginx::file(&place), configuration(&place)?)?;
        let child = Some(nginx::launch("a destination", &place, 1935).await?);
        Ok(Self { place, child })
    }

    /// The address at which every key is taken.
    pub fn url(&self) -> String {
        format!("rtmp://{}:1935/open", self.place.host)
    }

    /// The address at which every key is refused.
    pub fn refusing_url(&self) -> String {
        format!("rtmp://{}:1935/closed", self.place.host)
    }

    /// Goes away without a word.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Comes back.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = Some(nginx::launch("a destination", &self.place, 1935).await?);
        Ok(())
    }

    /// Bytes that were recorded so far, of all publishes together.
    pub fn recorded(&self) -> u64 {
        self.recordings().iter().map(size).sum()
    }

    /// Seconds of video that the longest recording has.
    pub async fn seconds(&self) -> anyhow::Result<f64> {
        let mut longest = 0.0;
        for recording in self.recordings() {
            longest = f64::max(longest, length(&recording).await?);
        }
        Ok(longest)
    }

    fn recordings(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(recordings(&self.place));
        let entries = folder.into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

fn recordings(place: &Place) -> PathBuf {
    place.folder.join("recordings")
}

fn configuration(place: &Place) -> anyhow::Result<String> {
    let Place { host, .. } = place;
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
        alone = nginx::ALONE,
        folders = nginx::FOLDERS,
        module = module.display(),
        recordings = recordings(place).display(),
    ))
}
