//! `keyhole config`: the settings, before something runs with them.

use clap::Subcommand;
use serde_json::json;

use super::apps;
use super::error::Result;
use super::serve::told;
use super::settings::{EgressFlags, ServeFlags, Settings};

/// Look at the settings
#[derive(Subcommand, Debug)]
pub enum Config {
    /// Check the configuration file, and what it names: certificates, app definitions, the proxy's credentials, the
    /// secret at the OpenID provider
    ///
    /// A flag wins over a variable, a variable over the file, and the file over the default.
    Check,
}

impl Config {
    /// Does what was asked.
    pub fn run(self, settings: &Settings) -> Result {
        let Self::Check = self;
        // What the file says was judged as it was read.
        settings.egress(&EgressFlags::default())?.check()?;
        settings.served(&ServeFlags::default())?.listen.check().map_err(told)?;
        settings.telemetry()?;
        settings.oidc()?;
        let apps = apps::catalog(settings)?.iter().count();
        let file = settings.config.as_ref().map(|path| path.display().to_string());
        let document = json!({ "ok": true, "config": file, "data_dir": settings.data_dir, "apps": apps });
        settings.out.either(&document, || match &file {
            Some(file) => {
                format!("{file} can be used; with {apps} app definitions, on {}", settings.data_dir.display())
            }
            None => format!("there is no configuration file, so the defaults hold, on {}", settings.data_dir.display()),
        })
    }
}
