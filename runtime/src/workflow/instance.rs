//! Which processes run workflows, and which of them are gone, so that another takes over what they had.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use keyhole_host_api::broker::Own;
use keyhole_host_api::store::records::{Record, Records};
use keyhole_host_api::store::{Expect, Store, StoreError};
use serde::{Deserialize, Serialize};
use url::Url;

/// How often a process says that it is there.
pub(super) const BEAT: std::time::Duration = std::time::Duration::from_secs(5);
/// A process of another machine that was silent for so long is gone.
const SILENT: SignedDuration = SignedDuration::from_secs(30);

/// A process that runs workflows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Instance {
    /// The machine, since it was started.
    boot: String,
    pid: u32,
    /// When the process began, as the kernel counts it: a pid is used again.
    began: String,
    /// When it last said that it is there.
    beat: Timestamp,
    /// Where it is reached, if it serves.
    #[serde(default)]
    own: Own,
    /// Where browsers find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_url: Option<Url>,
    /// The runs of which it broke off a step, when it left in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut: Option<BTreeSet<String>>,
}

/// Processes that are gone, and the runs of which each broke off a step, if it could say so.
pub(super) type Gone = HashMap<String, Option<BTreeSet<String>>>;

impl Record for Instance {
    const FOLDER: &'static str = "instances";
    const VERSION: u32 = 1;
}

/// The processes on one store.
pub(super) struct Instances {
    records: Records<Instance>,
    /// This one's id.
    pub id: String,
    boot: String,
    served: OnceLock<(Own, Url)>,
}

impl Instances {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // In another container, the same pid is another process.
        let pids = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = match boot.trim() {
            "" => String::new(),
            boot => format!("{boot} {}", pids.display()),
        };
        Self { records: Records::new(store), id: ulid::Ulid::generate().to_string(), boot, served: OnceLock::new() }
    }

    /// From now on says where it is reached, too.
    pub fn reached_at(&self, own: Own, public_url: Url) {
        let _ = self.served.set((own, public_url));
    }

    /// Where browsers find a process that is there.
    pub async fn public_url(&self) -> Result<Option<Url>, StoreError> {
        let all = self.records.all().await?.into_iter();
        let mut there = all.filter(|(_, instance, _)| self.is_there(instance));
        Ok(there.find_map(|(_, instance, _)| instance.public_url))
    }

    /// Where the processes that are there are reached.
    pub async fn reached(&self) -> Result<Own, StoreError> {
        let mut all = Own::default();
        for (_, instance, _) in self.records.all().await? {
            if self.is_there(&instance) {
                all.add(instance.own);
            }
        }
        Ok(all)
    }

    /// Says that this process is there.
    pub async fn beat(&self) -> Result<(), StoreError> {
        let pid = std::process::id();
        let here = Instance {
            boot: self.boot.clone(),
            pid,
            began: began(pid).unwrap_or_default(),
            beat: Timestamp::now(),
            own: self.served.get().map(|(own, _)| own.clone()).unwrap_or_default(),
            public_url: self.served.get().map(|(_, url)| url.clone()),
            cut: None,
        };
        self.records.put(&self.id, Expect::Any, &here).await.map(drop)
    }

    /// Says that this process takes nothing more, so that others take over what it has. They forget it then. `cut` are
    /// the runs of which it broke off a step.
    pub async fn leave(&self, cut: BTreeSet<String>) -> Result<(), StoreError> {
        let left = self.records.update(&self.id, |here| {
            (here.beat, here.began) = (Timestamp::UNIX_EPOCH, "left".to_owned());
            here.cut = Some(cut.clone());
        });
        left.await.map(drop)
    }

    /// The processes that are there, and those that are gone.
    pub async fn all(&self) -> Result<(Vec<String>, Gone), StoreError> {
        let all = self.records.all().await?;
        let (there, gone): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(id, instance, _)| *id == self.id || self.is_there(instance));
        let gone = gone.into_iter().map(|(id, instance, _)| (id, instance.cut)).collect();
        Ok((there.into_iter().map(|(id, ..)| id).collect(), gone))
    }

    /// Forgets one that is gone, and that nothing belongs to any more.
    pub async fn forget(&self, id: &str) -> Result<(), StoreError> {
        self.records.delete(id, Expect::Any).await
    }

    fn is_there(&self, instance: &Instance) -> bool {
        if instance.boot == self.boot && !self.boot.is_empty() {
            return began(instance.pid).is_some_and(|began| began == instance.began);
        }
        Timestamp::now().duration_since(instance.beat) < SILENT
    }
}

/// When the process began: the 22nd field of its line in /proc, counted behind its name (proc_pid_stat(5)).
fn began(pid: u32) -> Option<String> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    // One that has ended is listed until its parent asks for it.
    let ended = matches!(fields.next(), Some("Z" | "X"));
    fields.nth(18).filter(|_| !ended).map(str::to_owned)
}
