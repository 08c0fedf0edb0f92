//! Reading the audit: the newest uses and acts that a filter leaves, and records as they lie in the store. No more
//! than a page of it is in memory at a time.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, stream};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::json;

use super::act::Act;
use super::entry::{Decision, Entry, FOLDER, Kind, Phase, Place, Told, Use};
use super::{Audit, AuditError, OUTCOME_WITHIN};

/// Records that are read at a time.
const PAGE: usize = 256;
/// What a use without an outcome shows as its reason.
const NO_OUTCOME: &str = "no outcome was recorded";

/// Which answers: one status, such as `404`, or a class, such as `4xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// This one.
    Is(u16),
    /// Those from a hundred times this to 99 more.
    Class(u16),
}

impl Status {
    fn takes(self, status: Option<u16>) -> bool {
        match self {
            Self::Is(wanted) => status == Some(wanted),
            Self::Class(wanted) => status.is_some_and(|status| status / 100 == wanted),
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no status; write one such as 404, or a class such as 4xx");
        match text.strip_suffix("xx") {
            Some(class) => {
                class.parse().ok().filter(|class| (1..=9).contains(class)).map(Self::Class).ok_or_else(wrong)
            }
            None => text.parse().ok().filter(|status| (100..=999).contains(status)).map(Self::Is).ok_or_else(wrong),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(status) => status.fmt(f),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whom it must concern: done by them, on their behalf, to them, or with or to their accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concerning {
    /// On whose behalf.
    pub member: String,
    /// Their accounts, by id.
    pub accounts: BTreeSet<String>,
}

/// Which uses and acts. All that it says must fit; an empty one takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// With or to this account, by its id.
    pub account: Option<String>,
    /// By this member, or on their behalf.
    pub member: Option<String>,
    /// In this run.
    pub run: Option<String>,
    /// With or to accounts for this app, or to the app.
    pub app: Option<String>,
    /// To this host, with the port where it is not the scheme's own.
    pub host: Option<String>,
    /// With this answer.
    pub status: Option<Status>,
    /// So decided.
    pub decision: Option<Decision>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
    /// What the reader may see.
    pub concerning: Option<Concerning>,
}

impl Filter {
    /// Whether it takes what was told.
    pub fn takes(&self, told: &Told) -> bool {
        let in_time = |at| self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until);
        self.kind.is_none_or(|kind| kind == told.kind())
            && in_time(told.at())
            && match told {
                Told::Use(used) => self.takes_use(used),
                Told::Act(act) => self.takes_act(act),
            }
    }

    fn takes_use(&self, used: &Use) -> bool {
        is(&self.account, used.account.as_deref())
            && is(&self.member, Some(&used.member))
            && is(&self.run, Some(&used.run))
            && is(&self.app, used.app.as_deref())
            && is(&self.host, Some(&used.host))
            && self.status.is_none_or(|wanted| wanted.takes(used.status))
            && self.decision.is_none_or(|wanted| wanted == used.decision)
            && self.concerns(&[Some(&used.member)], used.account.as_ref())
    }

    fn takes_act(&self, act: &Act) -> bool {
        is(&self.account, act.account.as_deref())
            && is(&self.member, act.member.as_deref())
            && is(&self.app, act.app.as_deref())
            && self.decision.is_none_or(|wanted| wanted == act.decision)
            // No act has these.
            && self.run.is_none()
            && self.host.is_none()
            && self.status.is_none()
            && self.concerns(&[act.member.as_ref(), act.about.as_ref()], act.account.as_ref())
    }

    fn concerns(&self, members: &[Option<&String>], account: Option<&String>) -> bool {
        self.concerning.as_ref().is_none_or(|whom| {
            members.contains(&Some(&whom.member)) || account.is_some_and(|account| whom.accounts.contains(account))
        })
    }

    /// What all that it takes lies behind. A record is never written before what it tells of.
    fn starts(&self) -> Option<String> {
        self.since.map(|since| Place::from_time(since.as_millisecond()))
    }

    /// What all that it takes lies before, outcomes included.
    fn ends(&self) -> Option<String> {
        self.until.map(|until| Place::from_time(until.as_millisecond().saturating_add(OUTCOME_WITHIN + 1)))
    }
}

fn is(wanted: &Option<String>, found: Option<&str>) -> bool {
    wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
}

/// Some uses and acts, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What is told.
    pub told: Vec<Told>,
    /// Where the page before them ends, if there may be one.
    pub before: Option<String>,
}

/// Reads the record; one that is damaged is passed over: it must not hide the others.
pub(super) fn read(key: &str, value: &[u8]) -> Option<Entry> {
    serde_json::from_slice(value)
        .inspect_err(|_| tracing::warn!(key, "an audit record can't be read; keyhole audit verify tells more"))
        .ok()
}

pub(super) fn without_outcome(mut used: Use) -> Use {
    used.reason = Some(NO_OUTCOME.to_owned());
    used
}

impl Audit {
    /// The newest `limit` uses and acts that `filter` takes, before the place that another page told if one is
    /// given. An intent and its outcome are one use.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn page(&self, filter: &Filter, before: Option<&str>, limit: usize) -> Result<Page, AuditError> {
        self.page_within(filter, before, limit, usize::MAX).await
    }

    /// As [`Audit::page`], of no more than `looks` records, whether or not `filter` takes them: where that ends
    /// it, the page before it begins there.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn page_within(
        &self,
        filter: &Filter,
        before: Option<&str>,
        limit: usize,
        looks: usize,
    ) -> Result<Page, AuditError> {
        let before = before.map(|before| format!("{FOLDER}{before}"));
        let from = filter.starts();
        // Backwards, so an outcome comes before its intent, also one that is on another page.
        let mut last = match before.as_deref().and_then(Place::parse) {
            Some(place) => Some(Place::from_time(place.millis.saturating_add(OUTCOME_WITHIN + 1))),
            None => before.clone(),
        };
        if let Some(to) = filter.ends() {
            last = Some(last.map_or(to.clone(), |last| last.min(to)));
        }
        let mut outcomes: HashMap<String, Use> = HashMap::new();
        let mut all = Vec::new();
        let mut ended = limit == 0;
        let (mut at, mut looked, mut past) = (None, 0, None);
        while !ended {
            let page = self.store.scan_back(FOLDER, last.as_deref(), PAGE).await?;
            ended = page.len() < PAGE;
            for (key, found) in page {
                if from.as_ref().is_some_and(|from| key < *from) {
                    ended = true;
                    break;
                }
                last = Some(key);
                let Some(key) = &last else { break };
                // Those behind the place were looked at before, for another page.
                if before.as_ref().is_none_or(|before| key < before) {
                    if looked == looks {
                        // This one is the next page's first.
                        at = past.take();
                        ended = true;
                        break;
                    }
                    looked += 1;
                    past = key.strip_prefix(FOLDER).map(str::to_owned);
                }
                let Some(Entry { phase, told, .. }) = read(key, &found.value) else { continue };
                let told = match (phase, told) {
                    (Phase::Outcome, Told::Use(used)) => {
                        outcomes.insert(used.id.clone(), used);
                        continue;
                    }
                    (Phase::Intent, Told::Use(used)) => {
                        Told::Use(outcomes.remove(&used.id).unwrap_or_else(|| without_outcome(used)))
                    }
                    (_, told) => told,
                };
                if before.as_ref().is_some_and(|before| key >= before) || !filter.takes(&told) {
                    continue;
                }
                all.push(told);
                if all.len() == limit {
                    at = key.strip_prefix(FOLDER).map(str::to_owned);
                    ended = true;
                    break;
                }
            }
        }
        if at.is_none() && limit > 0 {
            // Their intents are no longer kept.
            let mut rest: Vec<Use> = outcomes.into_values().collect();
            rest.sort_by(|one, other| (other.at, &other.id).cmp(&(one.at, &one.id)));
            let rest = rest.into_iter().map(Told::Use).filter(|told| filter.takes(told));
            all.extend(rest.take(limit - all.len()));
        }
        all.reverse();
        Ok(Page { told: all, before: at })
    }

    /// Every use since then, oldest first.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn uses(&self, since: Option<Timestamp>) -> Result<Vec<Use>, AuditError> {
        let filter = Filter { kind: Some(Kind::Request), since, ..Filter::default() };
        Ok(self.page(&filter, None, usize::MAX).await?.told.into_iter().filter_map(Told::used).collect())
    }

    /// Every entry from `since` on, oldest first.
    ///
    /// # Errors
    /// [`AuditError::Format`] if one can't be read; whatever the store says.
    pub async fn entries(&self, since: Option<Timestamp>) -> Result<Vec<Entry>, AuditError> {
        let mut after = since.map(|at| Place::from_time(at.as_millisecond()));
        let mut entries = Vec::new();
        loop {
            let page = self.store.scan(FOLDER, after.as_deref(), 1000).await?;
            let Some((last, _)) = page.last() else { return Ok(entries) };
            after = Some(last.clone());
            for (_, record) in page {
                entries.push(serde_json::from_slice(&record.value)?);
            }
        }
    }

    /// The records of what `filter` takes, each as it lies in the store and on a line of its own, oldest
    /// first, some lines at a time. One that can't be read is there as base64, with its key.
    pub fn export(&self, filter: Filter) -> impl Stream<Item = Result<Bytes, AuditError>> + Send + use<> {
        let (store, after, to) = (self.store.clone(), filter.starts(), filter.ends());
        let whole = filter == Filter::default();
        stream::try_unfold((after, false), move |(mut after, ended)| {
            let (store, filter, to) = (store.clone(), filter.clone(), to.clone());
            async move {
                if ended {
                    return Ok(None);
                }
                let page = store.scan(FOLDER, after.as_deref(), PAGE).await?;
                let mut ended = page.len() < PAGE;
                let mut lines = Vec::new();
                for (key, found) in page {
                    if to.as_ref().is_some_and(|to| key >= *to) {
                        ended = true;
                        break;
                    }
                    let read = serde_json::from_slice::<Entry>(&found.value);
                    // Of what is unreadable nobody knows whether it is asked for.
                    if let Ok(entry) = &read
                        && !whole
                        && !filter.takes(&entry.told)
                    {
                        after = Some(key);
                        continue;
                    }
                    if read.is_ok() && !found.value.contains(&b'\n') {
                        lines.extend_from_slice(&found.value);
                    } else {
                        let unreadable = json!({"unreadable": key, "base64": STANDARD.encode(&found.value)});
                        lines.extend_from_slice(unreadable.to_string().as_bytes());
                    }
                    lines.push(b'\n');
                    after = Some(key);
                }
                Ok(Some((Bytes::from(lines), (after, ended))))
            }
        })
    }
}
