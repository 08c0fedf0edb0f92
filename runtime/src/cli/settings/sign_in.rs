//! `[sign_in]`: how members sign in to the console besides links, tokens and passkeys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyhole_host_api::members::Role;
use keyhole_host_api::oidc::{MemberClaim, OidcSettings, Others};
use keyhole_host_api::vault::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Settings, read_text, variable};
use crate::cli::error::{Error, Result};

/// The variable that holds the client's secret at the OpenID provider.
pub const OIDC_SECRET_VARIABLE: &str = "KEYHOLE_OIDC_CLIENT_SECRET";

/// What the configuration file says.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SignInFile {
    oidc: Option<OidcFile>,
}

/// The OpenID provider, without the client's secret, which is not read before it is needed.
#[derive(Clone, Deserialize)]
#[serde(try_from = "OidcTable")]
struct OidcFile {
    settings: OidcSettings,
    client_secret_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OidcTable {
    issuer: String,
    client_id: String,
    client_secret_file: Option<PathBuf>,
    label: Option<String>,
    scopes: Option<Vec<String>>,
    groups_claim: Option<String>,
    member_claim: Option<Claim>,
    domain: Option<String>,
    #[serde(default)]
    roles: BTreeMap<String, Role>,
    others: Option<OthersFile>,
    #[serde(default)]
    bind_existing: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Claim {
    PreferredUsername,
    Email,
    Sub,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OthersFile {
    Refuse,
    Member,
}

impl TryFrom<OidcTable> for OidcFile {
    type Error = &'static str;

    fn try_from(table: OidcTable) -> std::result::Result<Self, Self::Error> {
        let settings = OidcSettings {
            issuer: table.issuer,
            client_id: table.client_id,
            client_secret: None,
            label: table.label.unwrap_or_else(|| "OpenID Connect".to_owned()),
            scopes: table.scopes.unwrap_or_else(|| ["profile", "email"].map(str::to_owned).into()),
            groups_claim: table.groups_claim.unwrap_or_else(|| "groups".to_owned()),
            member_claim: match table.member_claim {
                None | Some(Claim::PreferredUsername) => MemberClaim::PreferredUsername,
                Some(Claim::Email) => MemberClaim::Email,
                Some(Claim::Sub) => MemberClaim::Subject,
            },
            domain: table.domain,
            roles: table.roles,
            others: match table.others {
                None | Some(OthersFile::Refuse) => Others::Refuse,
                Some(OthersFile::Member) => Others::Member,
            },
            bind_existing: table.bind_existing,
        };
        settings.check()?;
        Ok(Self { settings, client_secret_file: table.client_secret_file })
    }
}

impl SignInFile {
    /// Its paths, which start at the folder of the file.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.oidc.iter_mut().filter_map(|oidc| oidc.client_secret_file.as_mut())
    }
}

impl Settings {
    /// The OpenID provider, if there is one. The client's secret is the variable's, or the file's.
    pub fn oidc(&self) -> Result<Option<OidcSettings>> {
        let Some(file) = &self.sign_in.oidc else { return Ok(None) };
        let secret = match (variable(OIDC_SECRET_VARIABLE)?, &file.client_secret_file) {
            (Some(value), _) => Some(Secret::new(value)),
            (None, Some(path)) => Some(secret(path)?),
            (None, None) => None,
        };
        Ok(Some(OidcSettings { client_secret: secret, ..file.settings.clone() }))
    }
}

/// One line.
fn secret(path: &Path) -> Result<Secret> {
    let text = Zeroizing::new(read_text(path)?);
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(char::is_control) {
        return Err(Error::usage("the file is not one line with the client's secret").at(path.display()));
    }
    Ok(Secret::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::read;

    fn told(table: &str) -> std::result::Result<OidcFile, String> {
        let file = read(Path::new("/etc/k.toml"), &format!("\n[sign_in.oidc]\n{table}\n"));
        file.map(|file| file.sign_in.oidc.expect("it is there")).map_err(|error| format!("{error:?}"))
    }

    const LEAST: &str = "issuer = \"https://id.example.com\"\nclient_id = \"keyhole\"\n";

    #[test]
    fn a_provider_is_read_whole() {
        let read = told(&format!(
            "{LEAST}client_secret_file = \"oidc.secret\"\nroles = {{ staff = \"member\", ops = \"admin\" }}"
        ));
        let read = read.ok().unwrap();
        assert_eq!(read.client_secret_file.as_deref(), Some(Path::new("/etc/oidc.secret")));
        assert_eq!(read.settings.roles["ops"], Role::Admin);
        assert_eq!((read.settings.others, read.settings.bind_existing), (Others::Refuse, false));
    }

    #[test]
    fn what_is_wrong_with_a_provider_is_named_with_its_line() {
        for (table, line, said) in [
            (LEAST.to_owned(), 2, "nobody could sign in"),
            ("issuer = \"https://id.example.com\"".to_owned(), 2, "missing field `client_id`"),
            (format!("{LEAST}roles = {{ staff = \"owner\" }}"), 5, "unknown variant `owner`"),
            (format!("{LEAST}others = \"all\""), 5, "unknown variant `all`"),
            (format!("{LEAST}secret = \"x\""), 5, "unknown field `secret`"),
            (format!("{LEAST}others = \"member\"\nmember_claim = \"email\""), 2, "say the one domain"),
            (format!("{LEAST}others = \"member\"\ndomain = \"example.com\""), 2, "domain keeps nobody out"),
            (LEAST.replace("https", "http") + "others = \"member\"", 2, "issuer is an https URL"),
        ] {
            let error = told(&table).err().unwrap();
            assert!(error.contains(said) && error.contains(&format!("k.toml:{line}:")), "{table}: {error}");
        }
    }
}
