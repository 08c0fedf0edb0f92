//! Whether the audit is as it was written. Every record is read once, in the order of the store, and little
//! more than each writer's last is in memory.
//!
//! What this proves, and what it can't, is in ARCHITECTURE.md; keep that true.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::entry::{Entry, FOLDER, Head, KEYED, OF_ACT, Place, UNKEYED};
use super::keep::Marks;
use super::keys::Found;
use super::{Audit, AuditError};

/// Records that are read at a time.
const PAGE: usize = 256;
/// Findings that are listed; all are counted.
const LISTED: usize = 1000;
/// Heads that are listed: of those that wrote last.
const HEADS: usize = 1000;

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// Its content is not what its hash says, or what follows stands on something else.
    Changed,
    /// It is not there, nor are those up to so many records.
    Missing {
        /// How many in a row.
        records: u64,
    },
    /// There is another with its count.
    Duplicate,
    /// It is not where it was written.
    Moved,
    /// It is no record.
    Unreadable,
    /// It has a format that this version does not know.
    Newer {
        /// The format.
        format: u32,
    },
    /// It was hashed with a key that is not at hand, and so were others.
    NoKey {
        /// Id of the master key.
        key: String,
        /// How many.
        records: u64,
    },
    /// It has no key, and is younger than records that have.
    Unkeyed,
    /// Retention did not write this mark.
    Mark,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The record's writer, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// Its count within that writer's chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it was written; of what is missing, when what follows or tells of it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What is wrong.
    #[serde(flatten)]
    pub what: What,
    /// Its key in the store, or which line it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Changed => f.write_str("changed: it is not what was written"),
            What::Missing { records: 1 } => f.write_str("missing"),
            What::Missing { records } => write!(f, "missing, with {} before it", records - 1),
            What::Duplicate => f.write_str("there twice, or in another order than it was written"),
            What::Moved => f.write_str("moved: it was written at another time or by another writer"),
            What::Unreadable => f.write_str("unreadable"),
            What::Newer { format } => {
                write!(f, "of format {format}, which a newer version of Keyhole writes; verify it with that")
            }
            What::NoKey { key, records } => write!(
                f,
                "the first of {records} that can't be verified: the master key {key} is not at hand; put it back where \
                 keys come from"
            ),
            What::Unkeyed => f.write_str(
                "without a key, as older versions of Keyhole wrote it, though newer had begun: unless an older one ran \
                 then, it was made up",
            ),
            What::Mark => f.write_str("a mark of the retention that was not made by it"),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Records that were read.
    pub records: u64,
    /// Those that have no key: whoever could write the store could have made them.
    pub unkeyed: u64,
    /// Writers that they are of.
    pub writers: u64,
    /// How many things are wrong.
    pub wrong: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// The newest record of each writer, of those that wrote last: kept elsewhere, they show
    /// later that it is still there.
    pub heads: Vec<Head>,
}

#[derive(Clone, Copy)]
struct Writer {
    keyed: bool,
    seq: u64,
    millis: i64,
    /// `None` if the last record was not good: what it was is not known then.
    hash: Option<blake3::Hash>,
}

/// A stretch of a chain that was not met.
struct Gap {
    writer: Ulid,
    from: u64,
    to: u64,
    /// The hash that the last of them must have had.
    prev: String,
    /// When what follows was written.
    at: Timestamp,
}

/// Takes records one by one, each writer's in their order, and judges at the end.
pub struct Verifier {
    keys: Found,
    report: Verified,
    writers: HashMap<Ulid, Writer>,
    gaps: Vec<Gap>,
    /// Records that must be there, and were not met yet.
    wanted: HashMap<(Ulid, u64), (Head, Option<bool>)>,
    no_key: BTreeMap<String, (Finding, u64)>,
    met_keyed: bool,
    lines: u64,
}

impl Verifier {
    fn new(keys: Found, heads: Vec<Head>) -> Self {
        let wanted =
            heads.into_iter().filter_map(|head| Some(((head.writer.parse().ok()?, head.seq), (head, None)))).collect();
        Self {
            keys,
            report: Verified::default(),
            writers: HashMap::new(),
            gaps: Vec::new(),
            wanted,
            no_key: BTreeMap::new(),
            met_keyed: false,
            lines: 0,
        }
    }

    /// The next line of an export.
    ///
    /// # Errors
    /// Whatever the store says when it is asked for a key.
    pub async fn line(&mut self, line: &[u8]) -> Result<(), AuditError> {
        self.lines += 1;
        let place = format!("line {}", self.lines);
        let written = serde_json::from_slice::<Entry>(line).ok().and_then(|entry| {
            let millis = entry.at.unwrap_or(entry.told.at()).as_millisecond();
            Some(Place { millis, writer: entry.writer.parse().ok()?, seq: entry.seq })
        });
        self.take(&place, written, line).await
    }

    async fn take(&mut self, key: &str, place: Option<Place>, value: &[u8]) -> Result<(), AuditError> {
        self.report.records += 1;
        let entry = serde_json::from_slice::<Entry>(value).ok();
        let Some(place) = place else {
            self.find(None, What::Unreadable, key);
            return Ok(());
        };
        let Some(mut entry) = entry else {
            // It may say what format it has.
            #[derive(Deserialize)]
            struct Format {
                v: u32,
            }
            match serde_json::from_slice::<Format>(value) {
                Ok(Format { v }) if v > OF_ACT => self.find(Some(place), What::Newer { format: v }, key),
                _ => self.find(Some(place), What::Unreadable, key),
            }
            self.follow(place, None, None, key);
            return Ok(());
        };
        let is_keyed = matches!(entry.v, KEYED | OF_ACT);
        let is_unkeyed = entry.v == UNKEYED;
        self.report.unkeyed += u64::from(is_unkeyed);
        let mut genuine = false;
        match self.judge(&mut entry, value).await? {
            Err(What::NoKey { key: id, .. }) => {
                let finding = finding(Some(place), What::NoKey { key: id.clone(), records: 0 }, key);
                self.no_key.entry(id).or_insert((finding, 0)).1 += 1;
                // As good as it can be known.
                genuine = true;
            }
            Err(what) => self.find(Some(place), what, key),
            Ok(()) if entry.writer != place.writer.to_string() || entry.seq != place.seq => {
                self.find(Some(place), What::Moved, key);
            }
            Ok(()) if entry.at.is_some_and(|at| at.as_millisecond() != place.millis) => {
                self.find(Some(place), What::Moved, key);
                genuine = true;
            }
            Ok(()) => genuine = true,
        }
        if self.met_keyed && is_unkeyed && !self.writers.contains_key(&place.writer) {
            self.find(Some(place), What::Unkeyed, key);
        }
        self.met_keyed |= is_keyed;
        let hash = blake3::Hash::from_hex(&entry.hash).ok().filter(|_| genuine);
        self.follow(place, hash, genuine.then_some(&entry), key);
        if genuine {
            if let Some((head, met)) = self.wanted.get_mut(&(place.writer, place.seq)) {
                *met = Some(head.hash == entry.hash);
            }
            // Without a key, anyone could have written what it says.
            for head in entry.seen.into_iter().filter(|_| is_keyed) {
                self.want(head);
            }
        }
        Ok(())
    }

    /// Whether the content is what the hash says.
    async fn judge(&mut self, entry: &mut Entry, value: &[u8]) -> Result<Result<(), What>, AuditError> {
        let key = match (entry.v, entry.key.clone()) {
            (UNKEYED, None) => None,
            (KEYED | OF_ACT, Some(id)) => match self.keys.get(&id).await? {
                Some(key) => Some(key),
                None => return Ok(Err(What::NoKey { key: id, records: 0 })),
            },
            (UNKEYED | KEYED | OF_ACT, _) => return Ok(Err(What::Changed)),
            (format, _) => return Ok(Err(What::Newer { format })),
        };
        // The hash covers what is understood; nothing else may be in it.
        let genuine = entry.hashed(key)? == entry.hash && serde_json::to_vec(entry)? == value;
        Ok(genuine.then_some(()).ok_or(What::Changed))
    }

    /// Holds the record against the one before it.
    fn follow(&mut self, place: Place, hash: Option<blake3::Hash>, entry: Option<&Entry>, key: &str) {
        let before = self.writers.get(&place.writer).copied();
        let expected = before.map_or(1, |before| before.seq + 1);
        if place.seq < expected {
            return self.find(Some(place), What::Duplicate, key);
        }
        let keyed = entry.map_or_else(|| before.is_none_or(|before| before.keyed), |entry| entry.v != UNKEYED);
        if place.seq > expected {
            let prev = entry.map(|entry| entry.prev.clone()).unwrap_or_default();
            let gap = Gap { writer: place.writer, from: expected, to: place.seq - 1, prev, at: place.at() };
            self.gaps.push(gap);
        } else if let Some(entry) = entry {
            let prev = match before {
                Some(before) => before.hash.map(|hash| hash.to_hex().to_string()),
                None => Some(String::new()),
            };
            // One chain has one format: the other could be made up without a key.
            if prev.is_some_and(|prev| prev != entry.prev) || before.is_some_and(|before| before.keyed != keyed) {
                self.find(Some(place), What::Changed, key);
            }
        }
        self.writers.insert(place.writer, Writer { keyed, seq: place.seq, millis: place.millis, hash });
    }

    /// Notes that the record must be there.
    fn want(&mut self, head: Head) {
        let Ok(id) = head.writer.parse() else { return };
        match self.writers.get(&id) {
            Some(writer) if writer.seq == head.seq => {
                let is_there = writer.hash.is_none_or(|hash| hash.to_hex().as_str() == head.hash);
                if !is_there {
                    self.wanted.insert((id, head.seq), (head, Some(false)));
                }
            }
            // Its chain went on from it.
            Some(writer) if writer.seq > head.seq => {}
            _ => drop(self.wanted.entry((id, head.seq)).or_insert((head, None))),
        }
    }

    fn find(&mut self, place: Option<Place>, what: What, key: &str) {
        self.push(finding(place, what, key));
    }

    fn push(&mut self, finding: Finding) {
        self.report.wrong += 1;
        if self.report.findings.len() < LISTED {
            self.report.findings.push(finding);
        }
    }

    /// Judges what is not there: `marks` tell what retention removed. Without them it is an export, which may
    /// begin and end anywhere.
    fn end(mut self, marks: Option<&Marks>) -> Verified {
        for gap in std::mem::take(&mut self.gaps) {
            let Gap { writer, mut from, to, prev, at } = gap;
            match marks {
                None if from == 1 => continue,
                None => {}
                Some(marks) if marks.removed_at(at) => continue,
                Some(marks) => {
                    if let Some(mark) = marks.writers.get(&writer) {
                        // The first that was not removed stands on the last that was.
                        if mark.seq > to || (mark.seq == to && (prev.is_empty() || mark.last == prev)) {
                            continue;
                        }
                        from = from.max(mark.seq.min(to - 1) + 1);
                    }
                }
            }
            let what = What::Missing { records: to - from + 1 };
            let (writer, at) = (Some(writer.to_string()), Some(at));
            self.push(Finding { writer, seq: Some(to), at, what, place: None });
        }
        let mut wanted: Vec<_> = std::mem::take(&mut self.wanted).into_iter().collect();
        wanted.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
        let mut told = HashSet::new();
        for ((writer, seq), (head, met)) in wanted {
            let reached = self.writers.get(&writer).map_or(0, |reached| reached.seq);
            let removed = marks.is_none_or(|marks| {
                marks.removed_at(head.at) || marks.writers.get(&writer).is_some_and(|mark| mark.seq >= seq)
            });
            let what = match met {
                Some(true) => continue,
                Some(false) => What::Changed,
                // A damaged one in its place, or a gap, is a finding by itself.
                None if removed || reached >= seq => continue,
                // The last that anybody saw; those before it are among what it counts.
                None if !told.insert(writer) => continue,
                None => What::Missing { records: seq - reached },
            };
            let at = Some(head.at);
            self.push(Finding { writer: Some(head.writer), seq: Some(seq), at, what, place: None });
        }
        for (mut finding, count) in std::mem::take(&mut self.no_key).into_values() {
            if let What::NoKey { records, .. } = &mut finding.what {
                *records = count;
            }
            self.push(finding);
        }
        for key in marks.map(|marks| &marks.forged[..]).unwrap_or_default() {
            self.find(None, What::Mark, key);
        }
        self.report
            .findings
            .sort_by(|one, other| (one.at, &one.writer, one.seq).cmp(&(other.at, &other.writer, other.seq)));
        self.report.writers = self.writers.len() as u64;
        let mut newest: Vec<_> = self.writers.into_iter().collect();
        newest.sort_by_key(|(id, writer)| std::cmp::Reverse((writer.millis, *id)));
        let head = |(id, writer): (Ulid, Writer)| {
            let (hash, at) = (writer.hash?.to_hex().to_string(), super::at(writer.millis));
            Some(Head { writer: id.to_string(), seq: writer.seq, at, hash })
        };
        self.report.heads = newest.into_iter().take(HEADS).filter_map(head).collect();
        self.report
    }

    /// What was found in the lines of an export.
    pub fn end_of_export(self) -> Verified {
        self.end(None)
    }
}

fn finding(place: Option<Place>, what: What, key: &str) -> Finding {
    Finding {
        writer: place.map(|place| place.writer.to_string()),
        seq: place.map(|place| place.seq),
        at: place.map(|place| place.at()),
        what,
        place: Some(key.to_owned()),
    }
}

impl Audit {
    /// Reads every record that is there now, and says whether it is as it was written, and whether it
    /// is all that was. `heads` are those that an earlier call gave: they must be there still.
    ///
    /// # Errors
    /// Whatever the store says. That something is wrong is no error.
    pub async fn verify(&self, heads: Vec<Head>) -> Result<Verified, AuditError> {
        let mut verifier = Verifier::new(Found::new(self.keys.clone()), heads);
        // What others write meanwhile would be met in another order than they wrote it.
        let now = self.store.revision().await?;
        let mut after = None;
        loop {
            let page = self.store.scan(FOLDER, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, found) in page.iter().filter(|(_, found)| found.revision <= now) {
                verifier.take(key, Place::parse(key), &found.value).await?;
            }
            tokio::task::yield_now().await;
        }
        // After the records: what was removed meanwhile has its mark by now.
        let marks = Marks::read(&*self.store, &mut verifier.keys).await?;
        Ok(verifier.end(Some(&marks)))
    }

    /// What takes the lines of an export.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(Found::new(self.keys.clone()), Vec::new())
    }
}
