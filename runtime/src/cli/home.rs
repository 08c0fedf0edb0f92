//! A data directory, opened: what nearly every command works on.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use keyhole::engine::CodeCacheConfig;
use keyhole::server::Api;
use keyhole::server::drafting::Drafts;
use keyhole::workflow::history::History;
use keyhole::workflow::render::{RenderWorker, Renderers};
use keyhole::workflow::{
    AddedProps, Components, Files, RUNS_PER_EVENT, Runner, STEP_MEMORY, SystemClock, Work, Workflows, reached,
    served_at,
};
use keyhole_host_api::accounts::{Accounts, Summary};
use keyhole_host_api::apps::Catalog;
use keyhole_host_api::broker::{Broker, Egress};
use keyhole_host_api::data::DataStores;
use keyhole_host_api::members::{MemberId, Members};
use keyhole_host_api::store::Store;
use keyhole_host_api::store::redb::{FILE_NAME, RedbStore};
use keyhole_host_api::vault::Vault;
use keyhole_host_api::workspace;

use super::error::{Context as _, Error, Result};
use super::settings::{AsMember, Durability, Settings};
use super::{DRAFT, RENDER};

/// The store, and what is kept in it.
pub struct Home {
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// Where credentials lie sealed.
    pub vault: Arc<Vault>,
    /// Every app definition.
    pub catalog: Arc<Catalog>,
    /// Who shares the workspace.
    pub members: Members,
    /// What they connected.
    pub accounts: Arc<Accounts>,
}

impl Home {
    /// Whether there is a store in `dir`.
    pub fn exists(dir: &Path) -> bool {
        dir.join(FILE_NAME).exists()
    }

    /// Opens the data directory, making what is missing.
    pub async fn open(settings: &Settings) -> Result<Self> {
        if let Some(remote) = &settings.remote {
            return Err(Error::usage("this command works on a data directory, and the settings lead to a server")
                .at(&remote.url)
                .help("unset KEYHOLE_URL, and leave --url out"));
        }
        let catalog = super::apps::catalog(settings)?;
        Self::open_with(settings, catalog).await
    }

    /// Opens the data directory with these app definitions.
    pub async fn open_with(settings: &Settings, catalog: Arc<Catalog>) -> Result<Self> {
        let dir = &settings.data_dir;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .doing("the data directory can't be made")
            .at(dir.display())
            .help("name another with --data-dir DIR")?;
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(dir)?);
        let vault = Arc::new(Vault::open(settings.master_key.clone(), &store).await?);
        let workspace = workspace::id(&store).await?;
        let members = Members::new(store.clone());
        let accounts = Arc::new(Accounts::new(store.clone(), vault.clone(), catalog.clone(), workspace));
        Ok(Self { store, vault, catalog, members, accounts })
    }

    /// On whose behalf a command is: the member named by flag, variable or configuration
    /// file, or the only one that there is.
    pub async fn member(&self, named: &AsMember, settings: &Settings) -> Result<MemberId> {
        let members = self.members.list().await?;
        let Some(name) = named.member.as_ref().or(settings.member.as_ref()) else {
            return match members.as_slice() {
                [] => Err(Error::usage("there is no member yet").help("add one: keyhole members add NAME")),
                [only] => Ok(only.id.clone()),
                several => {
                    let names: Vec<&str> = several.iter().map(|member| member.id.as_str()).collect();
                    Err(Error::usage("there are several members, so say on whose behalf")
                        .help(format!("add --as MEMBER, one of {}; or set KEYHOLE_MEMBER", names.join(", "))))
                }
            };
        };
        match members.iter().find(|member| member.id.as_str() == name) {
            Some(member) => Ok(member.id.clone()),
            None => Err(Error::usage(format!("there is no member '{name}'"))
                .help("keyhole members list shows them; keyhole members add NAME adds one")),
        }
    }

    /// The account that `member` means by an id or a nickname.
    pub async fn account(&self, member: &MemberId, named: &str) -> Result<Summary> {
        Ok(self.accounts.find(member, named).await?)
    }

    /// The one way out, with the operator's word on where it leads.
    pub async fn broker(&self, mut egress: Egress) -> Result<Arc<Broker>> {
        egress.own.add(reached(&self.store).await?);
        Ok(Arc::new(Broker::new(self.store.clone(), self.accounts.clone(), self.catalog.clone(), egress)))
    }

    /// The API on this data directory. `public_url` is where browsers reach it, if they can.
    pub async fn api(&self, settings: &Settings, egress: Egress, public_url: Option<url::Url>) -> Result<Arc<Api>> {
        let serves = public_url.is_some();
        // A process that does not serve tells of one that does.
        let public_url = match public_url {
            None => served_at(&self.store).await?,
            known => known,
        };
        let broker = self.broker(egress).await?;
        let cache = self.code_cache(settings);
        let make = move || super::run::engine_with(Some(cache.clone()), None);
        let components = Components::new(self.store.clone(), make);
        let data = DataStores::new(self.store.clone());
        data.set_most(settings.store_size);
        let work = Arc::new(Work {
            components,
            broker: broker.clone(),
            accounts: self.accounts.clone(),
            data,
            files: Files::new(self.store.clone()),
            renderers: Renderers::by(RenderWorker { program: "/proc/self/exe".into(), args: vec![RENDER.into()] }),
            added: AddedProps::default(),
            public_url: public_url.clone(),
        });
        work.components.set_most_memory(settings.runs.most_memory.unwrap_or(STEP_MEMORY));
        let workflows = Arc::new(Workflows::new(self.store.clone(), work));
        let history = match settings.runs.durability {
            // One that accepts an event and ends has nothing to gain.
            Durability::Relaxed if serves => History::behind(self.store.clone()),
            _ => History::new(self.store.clone()),
        };
        let runner = Runner::new(self.store.clone(), history, workflows.clone(), Arc::new(SystemClock));
        runner.set_most_started(settings.runs.most_per_event.unwrap_or(RUNS_PER_EVENT));
        let (members, accounts) = (self.members.clone(), self.accounts.clone());
        let drafts = Drafts::by("/proc/self/exe".into(), vec![DRAFT.into()]);
        Ok(Api::new(&self.store, members, accounts, broker, workflows, runner, drafts, public_url))
    }

    /// Where compiled code is kept, and what authenticates it.
    pub fn code_cache(&self, settings: &Settings) -> CodeCacheConfig {
        CodeCacheConfig::new(settings.data_dir.join("code"), self.vault.derive_key("code-cache"))
    }
}
