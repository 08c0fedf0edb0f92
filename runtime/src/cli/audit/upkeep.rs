//! `keyhole audit verify`, `export` and `prune`.

use std::path::Path;

use futures_util::stream;
use jiff::Timestamp;
use keyhole::server::model::{AuditFilter, PruneAudit, VerifyAudit};
use keyhole_host_api::broker::audit::{Head, Pruned, Verified};
use reqwest::Method;
use serde_json::json;

use super::super::backup::{pieces_of, taken, write, write_new};
use super::super::client::Client;
use super::super::error::{Error, Result};
use super::super::output::{self, style};
use super::super::settings::{Settings, read_text};

/// Verifies the store.
pub(super) async fn verify(
    client: &Client,
    settings: &Settings,
    heads: Option<&Path>,
    save_heads: Option<&Path>,
) -> Result {
    if let Some(path) = save_heads.filter(|path| path.exists()) {
        return Err(taken(path));
    }
    let heads: Vec<Head> = match heads {
        None => Vec::new(),
        Some(path) => {
            read_text(path)?.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>().map_err(
                |error| Error::usage(format!("it is not what --save-heads writes: {error}")).at(path.display()),
            )?
        }
    };
    let verified: Verified = client.send(Method::POST, None, &["audit", "verify"], &VerifyAudit { heads }).await?;
    if let Some(path) = save_heads {
        let lines = verified.heads.iter().map(|head| Ok(format!("{}\n", serde_json::to_string(head)?).into()));
        write_new(stream::iter(lines.collect::<Vec<_>>()), path, "the heads").await?;
    }
    tell(settings, &verified)
}

/// Verifies an export.
pub(super) async fn verify_file(client: &Client, settings: &Settings, path: &Path) -> Result {
    let pieces = stream::iter(pieces_of(path, "the export")?);
    let verified: Verified = client.upload(&["audit", "verify", "export"], &(), pieces).await?;
    tell(settings, &verified)
}

fn tell(settings: &Settings, verified: &Verified) -> Result {
    settings.out.either(verified, || text(verified))?;
    if verified.wrong == 0 { Ok(()) } else { Err(Error::said()) }
}

fn text(verified: &Verified) -> String {
    let Verified { records, unkeyed, writers, wrong, findings, .. } = verified;
    let mut text = format!("{records} records of {writers} writers");
    if *unkeyed > 0 {
        text += &format!(
            "\n{}{unkeyed} of them are of an older version and have no key: whoever could write the store could have made \
             them{:#}",
            style::WARN,
            style::WARN
        );
    }
    if *wrong == 0 {
        return text + &format!("\n{}all are as they were written, and none is missing{:#}", style::GOOD, style::GOOD);
    }
    let mut table = output::table(&["when", "writer", "record", "what is wrong"]);
    for finding in findings {
        let place = || finding.place.as_deref().map(|place| output::one_line(place, 80)).unwrap_or_default();
        table.add_row([
            finding.at.map(output::local).unwrap_or_default(),
            finding.writer.as_deref().map_or_else(place, |writer| output::one_line(writer, 40)),
            finding.seq.map(|seq| seq.to_string()).unwrap_or_default(),
            finding.to_string(),
        ]);
    }
    let shown = findings.len();
    text += &format!("\n{}{wrong} things are wrong{:#}", style::BAD, style::BAD);
    if (shown as u64) < *wrong {
        text += &format!(", of which the first {shown} are");
    }
    text + "\n" + &output::table_text(&mut table)
}

/// Writes JSON lines.
pub(super) async fn export(client: &Client, settings: &Settings, query: &AuditFilter, output: Option<&Path>) -> Result {
    if let Some(path) = output.filter(|path| path.exists()) {
        return Err(taken(path));
    }
    let pieces = client.download(&["audit", "export"], query).await?;
    let Some(path) = output else {
        return write(pieces, &mut std::io::stdout().lock(), "the export").await.map(drop);
    };
    let bytes = write_new(pieces, path, "the export").await?;
    settings.out.either(&json!({"file": path, "bytes": bytes}), || {
        format!("wrote {} ({})", path.display(), output::size(bytes))
    })
}

/// Removes what is old.
pub(super) async fn prune(client: &Client, settings: &Settings, before: Timestamp, yes: bool) -> Result {
    if !yes {
        return Err(Error::usage(format!("all that was recorded before {} would be removed", output::local(before)))
            .help("export it first if it is to be kept: keyhole audit export --until …; then add --yes"));
    }
    let mut all = Pruned::default();
    loop {
        let pruned: Pruned = client.send(Method::POST, None, &["audit", "prune"], &PruneAudit { before }).await?;
        all = Pruned { removed: all.removed + pruned.removed, ..pruned };
        if !pruned.more {
            break;
        }
        settings.out.note(format!("{} removed so far", all.removed));
    }
    settings.out.either(&all, || {
        let mut text = format!("removed {} records", all.removed);
        if all.kept > 0 {
            text +=
                &format!("; {} are older and stay: their requests may be under way, or they can't be read", all.kept);
        }
        text
    })
}
