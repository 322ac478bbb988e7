//! Stories on the terminal.

use std::env;
use std::fmt::{self, Write as _};
use std::io::{IsTerminal, stdout};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::line::Line;
use crate::story::{Crumb, Stories, Story};

/// The stories that changed are printed when no story has changed for this long.
const QUIET: Duration = Duration::from_millis(700);

/// Prints every story that changes, for as long as the shop is open.
pub(crate) async fn follow(stories: Arc<Stories>) {
    let (mut untold, mut news) = stories.follow();
    loop {
        let next = if untold.is_empty() {
            Ok(news.recv().await)
        } else {
            timeout(QUIET, news.recv()).await
        };
        match next {
            Ok(Ok(story)) => {
                untold.retain(|earlier| earlier.id != story.id);
                untold.push(story);
            }
            Ok(Err(RecvError::Lagged(_))) => {}
            Ok(Err(RecvError::Closed)) => return,
            Err(_) => untold.drain(..).for_each(|story| print!("{}", timeline(&story))),
        }
    }
}

/// Returns a story as text, from its first step to its last.
pub(crate) fn timeline(story: &Story) -> String {
    let ink = Ink { on: stdout().is_terminal() && env::var_os("NO_COLOR").is_none() };
    let lines = story.lines();
    let width = lines.iter().map(|line| line.service().chars().count()).max().unwrap_or(0);
    let mut text = format!("\n{}\n", ink.bold(&format!("Story {}", story.id)));
    text.push_str(&traces(story, &ink));
    for line in lines {
        // Writing to a String cannot fail.
        let _ = write_line(&mut text, line, width, &ink);
    }
    if story.left_out > 0 {
        let _ = writeln!(text, "  and {} more", story.left_out);
    }
    text
}

/// Returns the trace of a story, with its full ID: a terminal cannot unfold a short one. More than one
/// trace is an error.
fn traces(story: &Story, ink: &Ink) -> String {
    match story.traces().as_slice() {
        [] => String::new(),
        [one] => format!("  {}\n", ink.faint(&format!("trace {}", one.id))),
        several => {
            let head = ink.red(&format!("✗ {} traces, and not one:", several.len()));
            let traces: Vec<_> = several.iter().map(ToString::to_string).collect();
            format!("  {head}\n    {}\n", traces.join("\n    "))
        }
    }
}

fn write_line(text: &mut String, line: Line<'_>, width: usize, ink: &Ink) -> fmt::Result {
    let start = format!("{}  {:width$}", clock(line.time()), line.service());
    let entry = match line {
        Line::Crumb(_, Crumb { category, text: message, .. }) => {
            let step = format!("{start}    {category}: {message}");
            return writeln!(text, "  {}", ink.faint(&step));
        }
        Line::Begin(_, measured) => {
            return writeln!(text, "  {start}  · {} begins", measured.subject);
        }
        Line::Entry(entry) => entry,
    };
    if entry.is_error() {
        writeln!(text, "  {start}  {}", ink.red(&format!("✗ {}", entry.title)))?;
    } else if entry.measured.is_some() {
        writeln!(text, "  {start}  · {}", entry.title)?;
    } else {
        writeln!(text, "  {start}  · {} ({} {})", entry.title, entry.level, entry.kind)?;
    }
    let indent = " ".repeat(width + 18);
    for cause in &entry.causes {
        writeln!(text, "{indent}because of {cause}")?;
    }
    if let Some(note) = &entry.note {
        writeln!(text, "{indent}{note}")?;
    }
    if let Some(place) = &entry.place {
        writeln!(text, "{indent}{}", ink.faint(&format!("in {place}")))?;
    }
    Ok(())
}

/// Returns the time of day in UTC: the standard library knows no other time zone.
fn clock(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() % (24 * 60 * 60);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", since.subsec_millis())
}

/// Colour, where it is wanted.
struct Ink {
    on: bool,
}

impl Ink {
    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn faint(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
