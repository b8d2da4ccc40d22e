use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::proto::v1::StreamStats;

/// What a reader of the media of a stream has measured.
pub(super) trait MeasuresMedia: Send + Sync {
    /// The measurements now; zero and empty where there are none.
    fn stats(&self) -> StreamStats;
}

/// The measurements of the streams that this edge reads, by stream and connection. Cheap to
/// clone: clones share one state.
#[derive(Clone, Default)]
pub(super) struct MediaMeters {
    meters: Arc<Mutex<Meters>>,
}

type Meters = HashMap<(String, String), Weak<dyn MeasuresMedia>>;

impl MediaMeters {
    /// Adds a reader of the media of a connection, until it is dropped, or added for another one.
    pub(super) fn add(
        &self,
        stream_id: &str,
        connection_id: &str,
        meter: &Arc<impl MeasuresMedia + 'static>,
    ) {
        let meter: Arc<dyn MeasuresMedia> = Arc::clone(meter) as _;
        let meter = Arc::downgrade(&meter);
        let mut meters = self.meters.lock();
        meters.retain(|_, other| other.strong_count() > 0 && !other.ptr_eq(&meter));
        meters.insert((stream_id.to_owned(), connection_id.to_owned()), meter);
    }

    /// The statistics of a connection from its media server, completed by those of its media.
    /// Where both measure a value, that of the media counts.
    pub(super) fn complete(
        &self,
        stream_id: &str,
        connection_id: &str,
        stats: Option<StreamStats>,
    ) -> Option<StreamStats> {
        let key = (stream_id.to_owned(), connection_id.to_owned());
        let meter = self.meters.lock().get(&key).and_then(Weak::upgrade);
        match meter {
            None => stats,
            Some(meter) => completed(stats, meter.stats()),
        }
    }
}

/// Statistics of a media server, completed by those of the media. Without both, a report without
/// statistics says that media flows.
fn completed(server: Option<StreamStats>, media: StreamStats) -> Option<StreamStats> {
    let Some(server) = server else {
        return Some(media).filter(|media| media.bytes_received > 0);
    };
    let number = |media: i32, server: i32| if media > 0 { media } else { server };
    let text = |media: String, server: String| if media.is_empty() { server } else { media };
    Some(StreamStats {
        bytes_received: server.bytes_received,
        bitrate_bps: match media.bitrate_bps {
            0 => server.bitrate_bps,
            measured => measured,
        },
        width: number(media.width, server.width),
        height: number(media.height, server.height),
        fps: if media.fps > 0.0 {
            media.fps
        } else {
            server.fps
        },
        video_codec: text(media.video_codec, server.video_codec),
        audio_codec: text(media.audio_codec, server.audio_codec),
        keyframe_interval: media.keyframe_interval.or(server.keyframe_interval),
        audio_channels: number(media.audio_channels, server.audio_channels),
        audio_sample_rate: number(media.audio_sample_rate, server.audio_sample_rate),
        has_audio: media.has_audio.or(server.has_audio),
        timestamp_jumps: number(media.timestamp_jumps, server.timestamp_jumps),
    })
}

impl std::fmt::Debug for MediaMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.meters.lock().len();
        f.debug_tuple("MediaMeters").field(&count).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(StreamStats);

    impl MeasuresMedia for Fixed {
        fn stats(&self) -> StreamStats {
            self.0.clone()
        }
    }

    #[test]
    fn measurements_of_the_media_complete_those_of_the_server_while_they_are_made() {
        let (meters, server) = (
            MediaMeters::default(),
            StreamStats {
                bytes_received: 9,
                bitrate_bps: 1,
                width: 640,
                audio_codec: "aac".to_owned(),
                ..StreamStats::default()
            },
        );
        let media = Arc::new(Fixed(StreamStats {
            bytes_received: 5,
            bitrate_bps: 2,
            fps: 30.0,
            has_audio: Some(true),
            ..StreamStats::default()
        }));
        meters.add("s", "c", &media);
        let completed = meters.complete("s", "c", Some(server.clone())).unwrap();
        assert_eq!((completed.bytes_received, completed.bitrate_bps), (9, 2));
        assert_eq!((completed.width, completed.fps), (640, 30.0));
        assert_eq!(
            (&*completed.audio_codec, completed.has_audio),
            ("aac", Some(true))
        );
        assert_eq!(meters.complete("s", "c", None).unwrap().bytes_received, 5);

        assert_eq!(
            meters.complete("s", "d", Some(server.clone())),
            Some(server.clone())
        );
        // The next publisher of the name, whose media comes to the same reader.
        meters.add("s", "d", &media);
        assert_eq!(meters.complete("s", "c", None), None);
        assert_eq!(meters.complete("s", "d", None).unwrap().bytes_received, 5);
        drop(media);
        assert_eq!(
            meters.complete("s", "d", Some(server.clone())),
            Some(server)
        );
    }
}
