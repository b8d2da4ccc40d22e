//! Progress of long work, drawn on standard error if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::sleep;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// A count of what is done, of work whose amount is not known. It disappears when it is finished
/// or dropped.
pub(super) fn counter(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg}: {human_pos}"));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// Sleeps, and shows how much of the time is left.
pub(super) async fn countdown(what: &str, duration: Duration) {
    let seconds = duration.as_secs();
    let bar = ProgressBar::new(seconds).with_style(style("{msg} {wide_bar} {pos}/{len} s"));
    bar.set_message(what.to_owned());
    for _ in 0..seconds {
        sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
    bar.finish_and_clear();
    sleep(duration - Duration::from_secs(seconds)).await;
}

/// The templates above are valid; the default would only look different.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
