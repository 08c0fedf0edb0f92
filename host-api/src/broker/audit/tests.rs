//! Claims about the audit, on a real store and with a real vault. Whoever tampers writes the store directly.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::entry::{KEYED, OF_ACT, Place, UNKEYED};
use super::*;
use crate::store::redb::RedbStore;
use crate::store::{Expect, Versioned};
use crate::vault::MasterKeySource;

/// A store on disk with its vault.
struct Home {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
}

impl Home {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir.path()).unwrap());
        let source = MasterKeySource::File(dir.path().join("master.key"));
        let vault = Arc::new(Vault::open(source, &store).await.unwrap_or_else(|error| panic!("{error}")));
        Self { dir, store, vault }
    }

    /// Another process on the same directory.
    async fn again(&self) -> (Arc<dyn Store>, Arc<Vault>) {
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(self.dir.path()).unwrap());
        let source = MasterKeySource::File(self.dir.path().join("master.key"));
        let vault = Arc::new(Vault::open(source, &store).await.unwrap_or_else(|error| panic!("{error}")));
        (store, vault)
    }

    fn audit(&self) -> Audit {
        Audit::new(self.store.clone(), &self.vault, "workspace", AuditMode::Strict)
    }

    async fn all(&self) -> Vec<(String, Vec<u8>)> {
        let all = self.store.scan(FOLDER, None, usize::MAX).await.unwrap();
        all.into_iter().map(|(key, Versioned { value, .. })| (key, value)).collect()
    }

    async fn put(&self, key: &str, value: &[u8]) {
        self.store.write(key, Expect::Any, Some(value.to_vec())).await.unwrap();
    }

    async fn remove(&self, key: &str) {
        self.store.write(key, Expect::Any, None).await.unwrap();
    }

    /// Puts back what was there.
    async fn reset(&self, all: &[(String, Vec<u8>)]) {
        for (key, _) in self.all().await {
            if !all.iter().any(|(wanted, _)| *wanted == key) {
                self.remove(&key).await;
            }
        }
        let now: BTreeMap<_, _> = self.all().await.into_iter().collect();
        for (key, value) in all.iter().filter(|(key, value)| now.get(key) != Some(value)) {
            self.put(key, value).await;
        }
    }

    async fn verify(&self) -> Verified {
        self.audit().verify(Vec::new()).await.unwrap()
    }

    #[track_caller]
    fn whole(verified: &Verified) {
        assert_eq!((verified.wrong, &verified.findings[..]), (0, &[][..]));
    }
}

fn used(id: &str) -> Use {
    Use {
        id: id.to_owned(),
        at: Timestamp::now(),
        run: "run".into(),
        step: "step".into(),
        member: "alice".into(),
        account: Some("acct".into()),
        app: Some("acme".into()),
        method: "GET".into(),
        host: "api.acme.example".into(),
        path: "/v1/me".into(),
        status: None,
        bytes_out: 0,
        bytes_in: 0,
        decision: Decision::Allowed,
        reason: None,
    }
}

/// The request that the record tells of.
fn of(entry: &mut Entry) -> &mut Use {
    match &mut entry.told {
        Told::Use(used) => used,
        Told::Act(act) => panic!("{act:?}"),
    }
}

fn ids(told: Vec<Told>) -> Vec<String> {
    told.into_iter().filter_map(Told::used).map(|used| used.id).collect()
}

async fn one_use(audit: &Audit, id: &str) {
    audit.intent(&used(id)).await.unwrap();
    audit.outcome(&Use { status: Some(200), bytes_in: 7, ..used(id) }).unwrap();
}

/// Two writers after each other, and a third in between, six records each.
async fn history(home: &Home) {
    let (first, second) = (home.audit(), home.audit());
    for number in 0..3 {
        one_use(&first, &format!("first-{number}")).await;
        one_use(&second, &format!("second-{number}")).await;
    }
    first.flush().await.unwrap();
    second.flush().await.unwrap();
    let third = home.audit();
    for number in 0..3 {
        one_use(&third, &format!("third-{number}")).await;
    }
    third.flush().await.unwrap();
}

/// Records as version 1 wrote them: one writer, so many records.
async fn unkeyed(home: &Home, began: i64, count: u64) {
    let writer = Ulid::from_parts(began.unsigned_abs(), 7);
    let mut prev = String::new();
    for seq in 1..=count {
        let mut entry = Entry {
            v: UNKEYED,
            key: None,
            at: None,
            writer: writer.to_string(),
            seq,
            prev,
            seen: Vec::new(),
            phase: Phase::Refusal,
            told: Told::Use(used(&format!("old-{seq}"))),
            hash: String::new(),
        };
        let value = entry.seal(None).unwrap();
        prev = entry.hash;
        home.put(&Place { millis: began + i64::try_from(seq).unwrap(), writer, seq }.key(), &value).await;
    }
}

fn ago(hours: i64) -> i64 {
    (Timestamp::now() - SignedDuration::from_hours(hours)).as_millisecond()
}

#[tokio::test]
async fn an_intent_and_its_outcome_are_one_use() {
    for mode in [AuditMode::Strict, AuditMode::Relaxed] {
        let home = Home::new().await;
        let audit = Audit::new(home.store.clone(), &home.vault, "workspace", mode);
        audit.intent(&used("a")).await.unwrap();
        audit.intent(&used("b")).await.unwrap();
        audit.outcome(&Use { status: Some(200), bytes_in: 7, ..used("a") }).unwrap();
        audit.flush().await.unwrap();
        let uses = audit.uses(None).await.unwrap();
        assert_eq!(uses.len(), 2);
        assert_eq!((uses[0].id.as_str(), uses[0].status, uses[0].bytes_in), ("a", Some(200), 7));
        assert_eq!(uses[1].reason.as_deref(), Some("no outcome was recorded"));
        Home::whole(&home.verify().await);
    }
}

#[tokio::test]
async fn each_record_names_the_hash_of_the_one_before() {
    let home = Home::new().await;
    let audit = home.audit();
    for id in ["a", "b", "c"] {
        audit.intent(&used(id)).await.unwrap();
    }
    let entries = audit.entries(None).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
    let (_, key) = audit.keys.current(None).unwrap();
    for pair in entries.windows(2) {
        assert_eq!(pair[1].prev, pair[0].hash);
        assert_eq!(pair[0].clone().hashed(Some(&key)).unwrap(), pair[0].hash);
        assert_ne!(pair[0].clone().hashed(None).unwrap(), pair[0].hash, "whoever has no key can't make it");
    }
}

#[tokio::test]
async fn what_nobody_touched_is_whole_and_so_is_what_an_older_version_wrote() {
    let home = Home::new().await;
    Home::whole(&home.verify().await);
    unkeyed(&home, ago(1), 5).await;
    history(&home).await;
    let verified = home.verify().await;
    Home::whole(&verified);
    assert_eq!((verified.records, verified.unkeyed, verified.writers), (23, 5, 4));
    assert_eq!(verified.heads.len(), 4);
    Home::whole(&home.audit().verify(verified.heads).await.unwrap());
}

#[tokio::test]
async fn any_bit_that_is_turned_and_any_stretch_that_is_taken_out_is_found() {
    let home = Home::new().await;
    history(&home).await;
    let all = home.all().await;
    let mut seed: u32 = 1;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    for round in 0..400 {
        let (key, value) = &all[random(all.len())];
        let mut altered = value.clone();
        let bit = random(altered.len() * 8);
        altered[bit / 8] ^= 1 << (bit % 8);
        home.put(key, &altered).await;
        assert!(
            home.verify().await.wrong > 0,
            "round {round}: bit {bit} of {key}: {}",
            String::from_utf8_lossy(&altered)
        );
        home.put(key, value).await;
    }
    // The third writer saw how far the others were, but nobody saw it.
    for round in 0..100 {
        let from = random(all.len() - 6);
        let to = from + 1 + random(all.len() - 6 - from);
        for (key, _) in &all[from..to] {
            home.remove(key).await;
        }
        let verified = home.verify().await;
        let missing: u64 = verified
            .findings
            .iter()
            .map(|finding| match finding.what {
                What::Missing { records } => records,
                _ => panic!("{finding:?}"),
            })
            .sum();
        assert_eq!(missing, (to - from) as u64, "round {round}: {from}..{to}: {:?}", verified.findings);
        home.reset(&all).await;
    }
    Home::whole(&home.verify().await);
}

#[tokio::test]
async fn each_kind_of_tampering_is_named_with_its_writer_and_its_record() {
    let home = Home::new().await;
    history(&home).await;
    let all = home.all().await;
    // The second record of the first writer.
    let first: Entry = serde_json::from_slice(&all[0].1).unwrap();
    let (key, value) = all
        .iter()
        .find(|(_, value)| {
            let entry: Entry = serde_json::from_slice(value).unwrap();
            entry.writer == first.writer && entry.seq == 2
        })
        .unwrap();
    let place = Place::parse(key).unwrap();
    let entry: Entry = serde_json::from_slice(value).unwrap();
    let altered = |change: &dyn Fn(&mut Entry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        serde_json::to_vec(&entry).unwrap()
    };
    let made_up = |hash_key: Option<&HashKey>, v: u32, key: Option<String>| {
        let mut entry = Entry { v, key, ..entry.clone() };
        of(&mut entry).host = "elsewhere.example".into();
        entry.seal(hash_key).unwrap()
    };
    let stranger = HashKey::new([7; 32]);
    let text = String::from_utf8(value.clone()).unwrap();
    let changes: Vec<(Vec<u8>, What)> = vec![
        (altered(&|entry| of(entry).status = Some(404)), What::Changed),
        (altered(&|entry| of(entry).member = "bob".into()), What::Changed),
        (altered(&|entry| entry.hash = "0".repeat(64)), What::Changed),
        (altered(&|entry| entry.prev = "0".repeat(64)), What::Changed),
        (text.replace("{\"v\":2,", "{\"v\":2,\"more\":1,").into_bytes(), What::Changed),
        (text.replace("{\"v\":2,", "{ \"v\":2,").into_bytes(), What::Changed),
        (made_up(Some(&stranger), 2, entry.key.clone()), What::Changed),
        (made_up(None, 2, entry.key.clone()), What::Changed),
        (made_up(None, 1, entry.key.clone()), What::Changed),
        (made_up(None, 1, None), What::Changed),
        (text.replace("{\"v\":2,", "{\"v\":3,").into_bytes(), What::Changed),
        (text.replace("{\"v\":2,", "{\"v\":4,").into_bytes(), What::Newer { format: 4 }),
        (b"{\"v\":4}".to_vec(), What::Newer { format: 4 }),
        (b"".to_vec(), What::Unreadable),
        (b"\xff\xfe".to_vec(), What::Unreadable),
        (
            altered(&|entry| entry.key = Some("00112233aabbccdd".into())),
            What::NoKey { key: "00112233aabbccdd".into(), records: 1 },
        ),
    ];
    for (change, what) in changes {
        home.put(key, &change).await;
        let verified = home.verify().await;
        let shown = String::from_utf8_lossy(&change).into_owned();
        let found = verified.findings.iter().find(|found| found.what == what);
        let found = found.unwrap_or_else(|| panic!("{what:?}: {:?} of {shown}", verified.findings));
        assert_eq!((found.writer.as_deref(), found.seq), (Some(&*first.writer), Some(2)), "{shown}");
        assert_eq!(found.at, Some(place.at()));
        assert!(!found.to_string().is_empty());
    }
    home.put(key, value).await;

    // In another place: at another time, and twice.
    let later = Place { millis: place.millis + 5_000, ..place }.key();
    home.remove(key).await;
    home.put(&later, value).await;
    assert!(home.verify().await.findings.iter().any(|found| found.what == What::Moved));
    home.put(key, value).await;
    assert!(home.verify().await.findings.iter().any(|found| found.what == What::Duplicate));
    home.remove(&later).await;
    // As another writer's, and where no record can be.
    let strangers = Place { writer: Ulid::from_parts(1, 1), seq: 1, ..place }.key();
    home.put(&strangers, value).await;
    assert!(home.verify().await.findings.iter().any(|found| found.what == What::Moved));
    home.remove(&strangers).await;
    home.put("audit/nowhere", value).await;
    assert!(home.verify().await.findings.iter().any(|found| found.what == What::Unreadable));
    home.remove("audit/nowhere").await;
    Home::whole(&home.verify().await);
}

#[tokio::test]
async fn a_history_that_was_made_up_without_the_key_is_found() {
    let home = Home::new().await;
    history(&home).await;
    // One more writer in the format that has no key, which is younger than the others.
    unkeyed(&home, Timestamp::now().as_millisecond() + 1, 3).await;
    let verified = home.verify().await;
    assert_eq!(verified.findings.iter().map(|found| found.what.clone()).collect::<Vec<_>>(), [What::Unkeyed]);
    // All of it rewritten: it says how many have no key, and the heads that somebody kept are gone.
    let heads = verified.heads.into_iter().filter(|head| head.seq == 6).collect::<Vec<_>>();
    home.reset(&[]).await;
    unkeyed(&home, ago(1), 18).await;
    let verified = home.verify().await;
    assert_eq!((verified.records, verified.unkeyed), (18, 18));
    let verified = home.audit().verify(heads).await.unwrap();
    assert_eq!(verified.wrong, 3, "{:?}", verified.findings);
    assert!(verified.findings.iter().all(|found| found.what == What::Missing { records: 6 }));
}

#[tokio::test]
async fn a_cut_tail_shows_by_what_others_saw_and_by_heads_that_were_kept() {
    let home = Home::new().await;
    let (first, second) = (home.audit(), home.audit());
    for number in 0..3 {
        one_use(&first, &format!("{number}")).await;
    }
    first.flush().await.unwrap();
    let heads = home.verify().await.heads;
    let tail = home.all().await.pop().unwrap();
    home.remove(&tail.0).await;
    Home::whole(&home.verify().await);
    let verified = first.verify(heads.clone()).await.unwrap();
    assert_eq!(verified.findings[0].what, What::Missing { records: 1 }, "somebody kept the heads");
    home.put(&tail.0, &tail.1).await;

    one_use(&second, "after").await;
    second.flush().await.unwrap();
    Home::whole(&first.verify(heads).await.unwrap());
    home.remove(&tail.0).await;
    let verified = home.verify().await;
    assert_eq!((verified.findings[0].what.clone(), verified.findings[0].seq), (What::Missing { records: 1 }, Some(6)));
    // All that a writer wrote is a tail, too.
    let entries = first.entries(None).await.unwrap();
    for (key, value) in home.all().await {
        if serde_json::from_slice::<Entry>(&value).unwrap().writer == entries[0].writer {
            home.remove(&key).await;
        }
    }
    assert_eq!(home.verify().await.findings[0].what, What::Missing { records: 6 });
}

#[tokio::test]
async fn what_retention_removed_is_told_from_a_cut() {
    let home = Home::new().await;
    // A writer that is long gone, one that goes on, and one of an older version.
    unkeyed(&home, ago(100), 4).await;
    let (gone, lives) = (home.audit(), home.audit());
    gone.chain().writer = Ulid::from_parts(ago(90).unsigned_abs(), 1);
    gone.chain().millis = ago(90);
    {
        // It wrote while its clock was that of then: a day has not gone by for it.
        let mut chain = lives.chain();
        chain.writer = Ulid::from_parts(ago(20).unsigned_abs(), 2);
        chain.millis = ago(20);
    }
    put_at(&home, &gone, ago(90), 3).await;
    put_at(&home, &lives, ago(20), 3).await;
    let cut = Timestamp::now();
    tokio::time::sleep(Duration::from_millis(3)).await;
    one_use(&lives, "later").await;
    lives.flush().await.unwrap();
    Home::whole(&home.verify().await);
    let before = home.all().await;

    assert!(matches!(
        lives.prune(Timestamp::now() + SignedDuration::from_mins(1), "a", 1).await,
        Err(AuditError::Future)
    ));
    let pruned = lives.prune(cut, "alice", usize::MAX).await.unwrap();
    assert_eq!(pruned, Pruned { removed: 10, kept: 0, more: false });
    let verified = home.verify().await;
    Home::whole(&verified);
    assert_eq!(verified.records, 2);
    assert_eq!(lives.prune(cut, "alice", usize::MAX).await.unwrap(), Pruned::default());
    let mut marks = home.store.scan(MARKS, None, 100).await.unwrap();
    assert_eq!(marks.len(), 3, "the horizon, the one that lives, and the old one, of which nobody knows");

    // Put back, as from a backup, they are no finding, and are removed the next time.
    home.reset(&before).await;
    Home::whole(&home.verify().await);
    assert_eq!(lives.prune(cut, "alice", usize::MAX).await.unwrap().removed, 10);
    // A cut beyond what retention removed is one.
    let rest = home.all().await;
    home.remove(&rest[0].0).await;
    let verified = home.verify().await;
    assert_eq!((verified.findings[0].what.clone(), verified.findings[0].seq), (What::Missing { records: 1 }, Some(4)));
    // It can't be covered up by a mark.
    let (mark, found) = marks.remove(1);
    let text = String::from_utf8(found.value).unwrap();
    assert!(text.contains("\"seq\":3"), "{text}");
    home.put(&mark, text.replace("\"seq\":3", "\"seq\":4").as_bytes()).await;
    let verified = home.verify().await;
    assert!(verified.findings.iter().any(|found| found.what == What::Mark), "{:?}", verified.findings);
    assert!(verified.findings.iter().any(|found| matches!(found.what, What::Missing { .. })));
}

/// So many records of `audit`'s writer as if it were that time.
async fn put_at(home: &Home, audit: &Audit, millis: i64, count: u64) {
    let (id, key) = audit.keys.current(None).unwrap();
    for _ in 0..count {
        let (place, value) = {
            let mut chain = audit.chain();
            let place = Place { millis, writer: chain.writer, seq: chain.seq + 1 };
            let mut entry = Entry {
                v: KEYED,
                key: Some(id.clone()),
                at: Some(place.at()),
                writer: place.writer.to_string(),
                seq: place.seq,
                prev: chain.prev.clone(),
                seen: Vec::new(),
                phase: Phase::Refusal,
                told: Told::Use(Use { at: place.at(), ..used("then") }),
                hash: String::new(),
            };
            let value = entry.seal(Some(&key)).unwrap();
            (chain.seq, chain.prev) = (place.seq, entry.hash);
            (place, value)
        };
        home.put(&place.key(), &value).await;
    }
}

#[tokio::test]
async fn retention_is_whole_wherever_it_is_broken_off_and_keeps_what_is_under_way() {
    let home = Home::new().await;
    let audits: Vec<Audit> = (0..4).map(|_| home.audit()).collect();
    for number in 0..1200 {
        one_use(&audits[number % 4], &number.to_string()).await;
    }
    // Under way: its outcome may come still.
    audits[1].intent(&used("under way")).await.unwrap();
    one_use(&audits[1], "after it").await;
    audits[1].flush().await.unwrap();
    let mut pruned = Pruned { more: true, ..Pruned::default() };
    let mut removed = 0;
    while pruned.more {
        pruned = audits[0].prune(Timestamp::now(), "retention", 1).await.unwrap();
        removed += pruned.removed;
        Home::whole(&home.verify().await);
        one_use(&audits[2], "meanwhile").await;
    }
    assert_eq!(pruned.kept, 3, "the intent, and what stands on it");
    assert!(removed >= 2400, "{removed}");
    audits[1].outcome(&Use { status: Some(204), ..used("under way") }).unwrap();
    audits[1].flush().await.unwrap();
    let uses = audits[0].uses(None).await.unwrap();
    assert!(uses.iter().any(|used| used.id == "under way" && used.status == Some(204)));
    Home::whole(&home.verify().await);
}

#[tokio::test]
async fn records_verify_after_the_master_key_was_exchanged_and_forgotten() {
    let home = Home::new().await;
    let old = home.audit();
    one_use(&old, "before").await;
    old.flush().await.unwrap();
    let rotation = home.vault.rotate().await.unwrap_or_else(|error| panic!("{error}"));
    let mut report = crate::vault::Report::default();
    Keys::new(&home.vault, "workspace").keep(&mut report).await.unwrap();
    // The chain that was begun goes on with the new key.
    one_use(&old, "after").await;
    old.flush().await.unwrap();
    let again = home.vault.rotate().await.unwrap_or_else(|error| panic!("{error}"));
    Keys::new(&home.vault, "workspace").keep(&mut report).await.unwrap();
    for id in [rotation.from, again.from] {
        home.vault.forget_key(&id).await.unwrap_or_else(|error| panic!("{error}"));
    }
    Keys::new(&home.vault, "workspace").check(&mut report).await.unwrap();
    assert_eq!(report.damaged, []);
    // In a process that never had the old ones.
    let (store, vault) = home.again().await;
    let verified = Audit::new(store.clone(), &vault, "workspace", AuditMode::Strict).verify(Vec::new()).await.unwrap();
    assert_eq!((verified.wrong, verified.records), (0, 4), "{:?}", verified.findings);
    // Without what was kept of them it is said which key is missing.
    for (key, _) in store.scan(SAVED_KEYS, None, 10).await.unwrap() {
        home.remove(&key).await;
    }
    let verified = Audit::new(store, &vault, "workspace", AuditMode::Strict).verify(Vec::new()).await.unwrap();
    assert_eq!(verified.wrong, 2);
    assert!(verified.findings.iter().all(|found| matches!(found.what, What::NoKey { records: 2, .. })));
}

#[tokio::test]
async fn a_day_later_another_writer_takes_over_and_tells_where_the_one_before_ended() {
    let home = Home::new().await;
    let audit = home.audit();
    // It began a day ago, but for a second.
    let began = ago(24) + 1_000;
    audit.chain().writer = Ulid::from_parts(began.unsigned_abs(), 1);
    one_use(&audit, "a").await;
    while Timestamp::now().as_millisecond() - began < WRITER_LIVES {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    one_use(&audit, "b").await;
    audit.flush().await.unwrap();
    let entries = audit.entries(None).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 1, 2]);
    assert_eq!(entries[2].seen.len(), 1);
    assert_eq!((&entries[2].seen[0].writer, entries[2].seen[0].seq), (&entries[1].writer, 2));
    Home::whole(&home.verify().await);
    let tail = home.all().await.remove(1);
    home.remove(&tail.0).await;
    assert_eq!(home.verify().await.findings[0].what, What::Missing { records: 1 });
}

#[tokio::test]
async fn an_export_verifies_and_what_was_changed_in_it_is_found() {
    use futures_util::TryStreamExt as _;
    let home = Home::new().await;
    history(&home).await;
    let audit = home.audit();
    let export = |filter: Filter| async { audit.export(filter).try_collect::<Vec<_>>().await.unwrap().concat() };
    let verify = |export: Vec<u8>| {
        let mut verifier = home.audit().verifier();
        async move {
            for line in export.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                verifier.line(line).await.unwrap();
            }
            verifier.end_of_export()
        }
    };
    let all = export(Filter::default()).await;
    let lines: Vec<&[u8]> = all.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 19);
    assert_eq!(
        lines[..18].iter().map(|line| line.to_vec()).collect::<Vec<_>>(),
        home.all().await.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    );
    let verified = verify(all.clone()).await;
    assert_eq!((verified.records, verified.writers, verified.wrong), (18, 3, 0), "{:?}", verified.findings);
    // It may begin and end anywhere.
    for (from, to) in [(5, 18), (0, 7), (3, 14)] {
        assert_eq!(verify(lines[from..to].join(&b'\n')).await.wrong, 0, "{from}..{to}");
    }
    // What is missing shows between two others of its writer's.
    let third = |line: &&[u8]| serde_json::from_slice::<Entry>(line).unwrap().seq == 3;
    let at = lines.iter().position(third).unwrap();
    let without = [&lines[..at], &lines[at + 1..18]].concat().join(&b'\n');
    assert_eq!(verify(without).await.wrong, 1);
    let changed = String::from_utf8(all).unwrap().replacen("/v1/me", "/v1/us", 1);
    assert_eq!(verify(changed.into_bytes()).await.wrong, 1);
    // What can't be read is there all the same.
    home.put("audit/nowhere", b"\xff\n").await;
    let all = String::from_utf8(export(Filter::default()).await).unwrap();
    assert_eq!(all.lines().last().unwrap(), r#"{"base64":"/wo=","unreadable":"audit/nowhere"}"#);
    let only = Filter { status: Some("2xx".parse().unwrap()), ..Filter::default() };
    home.remove("audit/nowhere").await;
    assert_eq!(String::from_utf8(export(only).await).unwrap().lines().count(), 9);
}

#[tokio::test]
async fn pages_together_are_the_whole_and_filters_hold_on_each() {
    let home = Home::new().await;
    let audit = home.audit();
    let mut expected = Vec::new();
    for number in 0..300_u16 {
        let id = format!("{number:03}");
        let of = Use {
            status: Some(if number % 3 == 0 { 404 } else { 200 }),
            member: if number % 2 == 0 { "alice" } else { "bob" }.into(),
            account: Some(format!("acct-{}", number % 5)),
            host: format!("h{}.example", number % 7),
            ..used(&id)
        };
        match number % 11 {
            0 => audit.refusal(&Use { decision: Decision::Refused, status: None, ..of }).unwrap(),
            // Its outcome comes after some others.
            _ => {
                audit.intent(&Use { status: None, ..of.clone() }).await.unwrap();
                expected.push(of);
                if expected.len() > 4 {
                    audit.outcome(&expected.remove(0)).unwrap();
                }
            }
        }
    }
    for of in expected {
        audit.outcome(&of).unwrap();
    }
    audit.flush().await.unwrap();
    let whole = audit.uses(None).await.unwrap();
    assert_eq!(
        whole.iter().map(|used| used.id.clone()).collect::<Vec<_>>(),
        (0..300).map(|number| format!("{number:03}")).collect::<Vec<_>>()
    );
    assert!(whole.iter().all(|used| used.status.is_some() || used.decision == Decision::Refused));
    let filters = [
        Filter::default(),
        Filter { member: Some("bob".into()), ..Filter::default() },
        Filter { account: Some("acct-3".into()), decision: Some(Decision::Allowed), ..Filter::default() },
        Filter { status: Some("404".parse().unwrap()), host: Some("h3.example".into()), ..Filter::default() },
        Filter { status: Some("2xx".parse().unwrap()), app: Some("acme".into()), ..Filter::default() },
        Filter { run: Some("another".into()), ..Filter::default() },
        Filter { since: Some(whole[100].at), until: Some(whole[200].at), ..Filter::default() },
        Filter {
            concerning: Some(Concerning { member: "bob".into(), accounts: ["acct-0".to_owned()].into() }),
            ..Filter::default()
        },
    ];
    for filter in filters {
        let wanted: Vec<Told> = whole.iter().cloned().map(Told::Use).filter(|told| filter.takes(told)).collect();
        let all = usize::MAX;
        for (limit, looks) in [(1, all), (7, all), (100, all), (1000, all), (1000, 5), (7, 40)] {
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let page = audit.page_within(&filter, before.as_deref(), limit, looks).await.unwrap();
                assert!(page.told.len() <= limit);
                found = [page.told, found].concat();
                before = page.before;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(found, wanted, "{limit} of {filter:?} in {looks} looks");
        }
    }
    for wrong in ["", "x", "99", "1000", "0xx", "10xx", "xx", "4XX"] {
        assert!(wrong.parse::<Status>().is_err(), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_follows_is_told_each_use_of_every_process_once() {
    let home = Home::new().await;
    let audit = Arc::new(home.audit());
    one_use(&audit, "long before").await;
    audit.flush().await.unwrap();
    let mut follower = audit.follow().await.unwrap();
    assert_eq!(follower.poll().await.unwrap(), []);
    let mut others = Vec::new();
    for _ in 0..3 {
        let (store, vault) = home.again().await;
        others.push(Arc::new(Audit::new(store, &vault, "workspace", AuditMode::Strict)));
    }
    others.push(audit.clone());
    let tasks: Vec<_> = others
        .iter()
        .enumerate()
        .flat_map(|(process, audit)| (0..4).map(move |task| (process, task, audit.clone())))
        .map(|(process, task, audit)| {
            tokio::spawn(async move {
                for number in 0..100 {
                    let id = format!("{process}-{task}-{number}");
                    match number % 4 {
                        0 => audit.refusal(&used(&id)).unwrap(),
                        _ => one_use(&audit, &id).await,
                    }
                }
                audit.flush().await.unwrap();
            })
        })
        .collect();
    let mut told = Vec::new();
    while told.len() < 1600 {
        told.extend(ids(follower.poll().await.unwrap()));
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(follower.poll().await.unwrap(), []);
    let mut once = told.clone();
    once.sort();
    once.dedup();
    assert_eq!((once.len(), told.len()), (1600, 1600));
    assert!(!once.contains(&"long before".to_owned()));
    Home::whole(&home.verify().await);
}

#[tokio::test]
async fn what_the_disk_took_late_is_told_once_and_in_its_order() {
    let home = Home::new().await;
    let audit = home.audit();
    one_use(&audit, "before").await;
    audit.flush().await.unwrap();
    let mut follower = audit.follow().await.unwrap();
    // Written a minute ago, and there only now, with what came after.
    for number in 0..3 {
        audit.refusal(&used(&number.to_string())).unwrap();
    }
    audit.flush().await.unwrap();
    let mut all = home.all().await;
    let late = all.split_off(2);
    let (last, late) = late.split_last().unwrap();
    for (key, _) in late {
        home.remove(key).await;
    }
    home.remove(&last.0).await;
    assert_eq!(follower.poll().await.unwrap(), []);
    for (key, value) in late {
        home.put(key, value).await;
    }
    // As if rounds did not look so far behind any more.
    follower.skip_to_now();
    assert_eq!(follower.poll().await.unwrap(), []);
    let place = Place::parse(&last.0).unwrap();
    home.put(&Place { millis: place.millis + 60_000, ..place }.key(), &last.1).await;
    follower.skip_to_now();
    let told = ids(follower.poll().await.unwrap());
    assert_eq!(told, ["0", "1", "2"]);
}

#[tokio::test]
async fn an_act_is_on_disk_before_it_is_answered_in_one_chain_with_what_was_used() {
    let home = Home::new().await;
    let audit = home.audit();
    let mut follower = audit.follow().await.unwrap();
    one_use(&audit, "before").await;
    let from = Some("192.0.2.7".parse().unwrap());
    let added = Act::done("members_add").member("root").by("token k1").about("alice").detail("member").from(from);
    audit.act(added.clone()).await.unwrap();
    // Read by another process, and without waiting for anything.
    let (store, vault) = home.again().await;
    let other = Audit::new(store, &vault, "workspace", AuditMode::Strict);
    let all = other.page(&Filter::default(), None, 10).await.unwrap().told;
    assert_eq!(all.last(), Some(&Told::Act(added.clone())));
    one_use(&audit, "after").await;
    audit.flush().await.unwrap();
    let entries = audit.entries(None).await.unwrap();
    let formats: Vec<u32> = entries.iter().map(|entry| entry.v).collect();
    assert_eq!(formats, [KEYED, KEYED, OF_ACT, KEYED, KEYED], "what tells of requests is written as it was before");
    Home::whole(&home.verify().await);

    // It is told to who follows, and by its kind.
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(follower.poll().await.unwrap());
    }
    assert!(told.contains(&Told::Act(added.clone())));
    let kind = |kind| Filter { kind: Some(kind), ..Filter::default() };
    assert_eq!(audit.page(&kind(Kind::Act), None, 10).await.unwrap().told, [Told::Act(added.clone())]);
    assert_eq!(ids(audit.page(&kind(Kind::Request), None, 10).await.unwrap().told), ["before", "after"]);
    assert_eq!(ids(told), ["before", "after"]);

    // Whoever changes it, or takes it away, is found out.
    let (key, value) = home.all().await.swap_remove(2);
    let text = String::from_utf8(value.clone()).unwrap();
    assert!(text.contains("\"act\":\"members_add\""), "{text}");
    for change in [text.replace("\"alice\"", "\"mallory\""), text.replace("{\"v\":3,", "{\"v\":2,")] {
        home.put(&key, change.as_bytes()).await;
        assert!(home.verify().await.findings.iter().any(|found| found.what == What::Changed), "{change}");
    }
    home.remove(&key).await;
    assert_eq!(home.verify().await.findings[0].what, What::Missing { records: 1 });
    home.put(&key, &value).await;
    Home::whole(&home.verify().await);
}

#[tokio::test]
async fn an_act_concerns_who_did_it_who_it_was_done_to_and_whose_account_it_was_done_to() {
    let home = Home::new().await;
    let audit = home.audit();
    audit.act(Act::done("sign_in").member("alice").by("passkey")).await.unwrap();
    audit.act(Act::done("members_add").member("root").about("bob")).await.unwrap();
    audit.act(Act::done("accounts_access").member("root").account("a1", "acme").detail("workspace")).await.unwrap();
    audit.act(Act::refused("sign_in", "the link is not valid").by("link")).await.unwrap();
    let acts = async |filter: Filter| -> Vec<String> {
        let told = audit.page(&filter, None, 10).await.unwrap().told;
        let act = |told| match told {
            Told::Act(act) => act.act,
            Told::Use(used) => panic!("{used:?}"),
        };
        told.into_iter().map(act).collect()
    };
    let concerning = |member: &str, accounts: &[&str]| Filter {
        concerning: Some(Concerning {
            member: member.into(),
            accounts: accounts.iter().map(ToString::to_string).collect(),
        }),
        ..Filter::default()
    };
    let none = Filter::default;
    assert_eq!(acts(concerning("alice", &["a1"])).await, ["sign_in", "accounts_access"]);
    assert_eq!(acts(concerning("bob", &[])).await, ["members_add"]);
    assert_eq!(acts(concerning("mallory", &["a2"])).await, [""; 0]);
    assert_eq!(acts(Filter { decision: Some(Decision::Refused), ..none() }).await, ["sign_in"]);
    assert_eq!(
        acts(Filter { member: Some("root".into()), app: Some("acme".into()), ..none() }).await,
        ["accounts_access"]
    );
    // What only requests have, no act has.
    for filter in [
        Filter { run: Some("r".into()), ..none() },
        Filter { host: Some(String::new()), ..none() },
        Filter { status: Some(Status::Class(2)), ..none() },
    ] {
        assert_eq!(acts(filter).await, [""; 0]);
    }
}

/// Figures, not claims: `cargo test --release -p keyhole-host-api --lib audit -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "prints figures"]
async fn figures_of_a_million_records() {
    let home = Home::new().await;
    let audit = home.audit();
    let million = 500_000;
    for number in 0..million {
        let id = format!("{number}");
        audit.chained(Phase::Intent, Told::Use(used(&id)), |key, value| home.store.write_soon(key, value)).unwrap();
        audit.outcome(&Use { status: Some(200), ..used(&id) }).unwrap();
        if number % 5_000 == 0 {
            audit.flush().await.unwrap();
        }
    }
    audit.flush().await.unwrap();
    let half = audit.page(&Filter::default(), None, million / 2).await.unwrap().told[0].at();
    for (what, filter) in [
        ("the newest 100", Filter::default()),
        ("100 before the middle", Filter { until: Some(half), ..Filter::default() }),
        ("100 of nobody", Filter { member: Some("nobody".into()), ..Filter::default() }),
    ] {
        let mut took = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            audit.page(&filter, None, 100).await.unwrap();
            took.push(began.elapsed());
        }
        took.sort();
        println!("{what}: {:?} (median)", took[2]);
    }
    let began = Instant::now();
    let verified = audit.verify(Vec::new()).await.unwrap();
    println!("verify: {} records in {:?}", verified.records, began.elapsed());
    let began = Instant::now();
    let follower = audit.follow().await.unwrap();
    println!("begin to follow: {:?}", began.elapsed());
    drop(follower);
    let began = Instant::now();
    let mut export = std::pin::pin!(audit.export(Filter::default()));
    let mut bytes = 0;
    while let Some(piece) = futures_util::StreamExt::next(&mut export).await {
        bytes += piece.unwrap().len();
    }
    println!("export: {bytes} bytes in {:?}", began.elapsed());
    let began = Instant::now();
    let pruned = audit.prune(half, "figures", usize::MAX).await.unwrap();
    println!("prune: {pruned:?} in {:?}", began.elapsed());
    assert_eq!(audit.verify(Vec::new()).await.unwrap().wrong, 0);
}
