//! `keyhole audit --follow`.

use std::io::Write as _;
use std::pin::pin;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use keyhole::server::model::{AuditFilter, Audited};

use super::super::client::Client;
use super::super::error::{Error, Result, written};
use super::super::output::{self, style};
use super::super::settings::Settings;
use super::Line;

/// Prints uses and acts as they come, until someone asks the program to stop.
pub(super) async fn follow(client: &Client, settings: &Settings, query: &AuditFilter) -> Result {
    let out = settings.out;
    let mut interrupt = pin!(crate::cli::interrupt());
    let mut pieces = tokio::select! {
        pieces = client.download(&["audit", "follow"], query) => pieces?,
        () = &mut interrupt => return Ok(()),
    };
    out.note("following the audit; Ctrl-C ends it");
    if !out.json {
        let [when, member, app, outcome, what, reason] = ["WHEN", "MEMBER", "APP", "OUTCOME", "WHAT", "REASON"];
        let header = format!("{when:19}  {member:12}  {app:12}  {outcome:9}  {what:40}  {reason}");
        out.line(format!("{}{header}{:#}", style::DIM, style::DIM))?;
    }
    let mut events = Events::default();
    loop {
        let piece = tokio::select! {
            piece = pieces.next() => piece,
            () = &mut interrupt => return Ok(()),
        };
        let Some(piece) = piece else {
            return Err(Error::new("nothing more is told: the server stopped, or the token is not valid any more")
                .help("start it again once the server is there"));
        };
        for told in events.take(&piece?)? {
            if out.json {
                written(writeln!(anstream::stdout().lock(), "{}", serde_json::to_string(&told)?))?;
            } else {
                out.line(row(&told))?;
            }
        }
    }
}

fn row(told: &Audited) -> String {
    let Line { at, member, app, what, outcome, reason, .. } = Line::of(told);
    let (member, what) = (output::one_line(member, 40), output::one_line(&what, 120));
    let (when, reason) = (output::local(at), output::one_line(reason, 200));
    format!("{when:19}  {member:12}  {app:12}  {outcome:9}  {what:40}  {reason}").trim_end().to_owned()
}

/// Reads server-sent events (WHATWG HTML, section 9.2) as this server writes them: one line of data each,
/// and comments between them.
#[derive(Default)]
struct Events {
    rest: BytesMut,
}

impl Events {
    fn take(&mut self, piece: &[u8]) -> Result<Vec<Audited>> {
        self.rest.extend_from_slice(piece);
        let mut all = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line = self.rest.split_to(end + 1);
            if let Some(data) = line.strip_prefix(b"data:") {
                all.push(serde_json::from_slice(data)?);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let used = r#"{"kind":"request","id":"a","at":"2026-03-01T08:00:00Z","run":"r","step":"s","member":"alice","method":"GET","host":"h","path":"/","decision":"allowed"}"#;
        let text = format!(":\n\ndata: {used}\n\n:\n\ndata: {used}\n\n");
        for size in 1..text.len() {
            let mut events = Events::default();
            let read: usize = text.as_bytes().chunks(size).map(|piece| events.take(piece).unwrap().len()).sum();
            assert_eq!(read, 2, "{size}");
        }
    }
}
