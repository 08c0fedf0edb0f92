//! The master key, and the store as a whole.

use jiff::Timestamp;
use keyhole_host_api::upkeep::Rotated;
use keyhole_host_api::upkeep::backup::Restored;
use keyhole_host_api::vault::Report;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A master key, by its id. The key can't be computed from that.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MasterKey {
    /// The id.
    pub key: String,
}

/// That a master key was forgotten.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ForgottenKey {
    /// Its id.
    pub forgotten: String,
}

/// How many records need a master key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyUse {
    /// The key's id.
    pub key: String,
    /// How many.
    pub records: u64,
}

/// A record that does not open.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DamageView {
    /// Its key in the store, such as `accounts/01J…`.
    pub record: String,
    /// Why, and what to do.
    pub reason: String,
}

/// What was found when everything sealed was opened.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VaultReport {
    /// Id of the master key that seals.
    pub seals: String,
    /// Which keys are needed.
    pub keys: Vec<KeyUse>,
    /// Records that opened.
    pub opened: u64,
    /// Those that did not.
    pub damaged: Vec<DamageView>,
}

impl VaultReport {
    /// What `report` tells, `seals` being the key that seals.
    pub fn new(seals: String, report: Report) -> Self {
        let keys = report.keys.into_iter().map(|(key, records)| KeyUse { key, records: records as u64 }).collect();
        let view =
            |damage: keyhole_host_api::vault::Damage| DamageView { record: damage.record, reason: damage.reason };
        Self { seals, keys, opened: report.opened as u64, damaged: report.damaged.into_iter().map(view).collect() }
    }
}

/// What a rotation did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RotatedView {
    /// Id of the master key that sealed before.
    pub from: String,
    /// Id of the one that seals now.
    pub to: String,
    /// What became of the records.
    pub report: VaultReport,
}

impl From<Rotated> for RotatedView {
    fn from(rotated: Rotated) -> Self {
        let report = VaultReport::new(rotated.rotation.to.clone(), rotated.report);
        Self { from: rotated.rotation.from, to: rotated.rotation.to, report }
    }
}

/// How to put a backup back.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RestoreQuery {
    /// Whether members and accounts that are there may be replaced.
    #[serde(default)]
    #[param(default = false)]
    pub replace: bool,
}

/// What was put back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RestoredView {
    /// When the backup was begun.
    #[schema(value_type = String, format = DateTime)]
    pub made: Timestamp,
    /// The workspace that it is of.
    pub workspace: String,
    /// How many records it had.
    pub records: u64,
}

impl From<Restored> for RestoredView {
    fn from(restored: Restored) -> Self {
        let head = restored.head;
        Self { made: head.made, workspace: head.workspace, records: restored.records as u64 }
    }
}
