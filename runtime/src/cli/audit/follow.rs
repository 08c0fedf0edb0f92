//! `keyhole audit --follow`.

use std::io::Write as _;
use std::pin::pin;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use keyhole::server::model::AuditFilter;
use keyhole_host_api::broker::audit::Use;

use super::super::client::Client;
use super::super::error::{Error, Result, written};
use super::super::output::{self, style};
use super::super::settings::Settings;
use super::{answer, request};

/// Prints uses as they come, until someone asks the program to stop.
pub(super) async fn follow(client: &Client, settings: &Settings, query: &AuditFilter) -> Result {
    let out = settings.out;
    let mut interrupt = pin!(crate::cli::interrupt());
    let mut pieces = tokio::select! {
        pieces = client.download(&["audit", "follow"], query) => pieces?,
        () = &mut interrupt => return Ok(()),
    };
    out.note("following the audit; Ctrl-C ends it");
    if !out.json {
        let [when, member, app, answer, request, reason] = ["WHEN", "MEMBER", "APP", "ANSWER", "REQUEST", "REASON"];
        let header = format!("{when:19}  {member:12}  {app:12}  {answer:9}  {request:40}  {reason}");
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
        for used in events.take(&piece?)? {
            if out.json {
                written(writeln!(anstream::stdout().lock(), "{}", serde_json::to_string(&used)?))?;
            } else {
                out.line(row(&used))?;
            }
        }
    }
}

fn row(used: &Use) -> String {
    let (answer, _) = answer(used.decision, used.status);
    let (member, app) = (output::one_line(&used.member, 40), used.app.as_deref().unwrap_or("–"));
    let request = output::one_line(&request(used), 120);
    let reason = output::one_line(used.reason.as_deref().unwrap_or(""), 200);
    let when = output::local(used.at);
    format!("{when:19}  {member:12}  {app:12}  {answer:9}  {request:40}  {reason}").trim_end().to_owned()
}

/// Reads server-sent events (WHATWG HTML, section 9.2) as this server writes them: one line of data each,
/// and comments between them.
#[derive(Default)]
struct Events {
    rest: BytesMut,
}

impl Events {
    fn take(&mut self, piece: &[u8]) -> Result<Vec<Use>> {
        self.rest.extend_from_slice(piece);
        let mut uses = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line = self.rest.split_to(end + 1);
            if let Some(data) = line.strip_prefix(b"data:") {
                uses.push(serde_json::from_slice(data)?);
            }
        }
        Ok(uses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let used = r#"{"id":"a","at":"2026-03-01T08:00:00Z","run":"r","step":"s","member":"alice","method":"GET","host":"h","path":"/","decision":"allowed"}"#;
        let text = format!(":\n\ndata: {used}\n\n:\n\ndata: {used}\n\n");
        for size in 1..text.len() {
            let mut events = Events::default();
            let read: usize = text.as_bytes().chunks(size).map(|piece| events.take(piece).unwrap().len()).sum();
            assert_eq!(read, 2, "{size}");
        }
    }
}
