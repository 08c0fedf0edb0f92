//! The `[sigv4]` table: an account's requests are signed by AWS Signature Version 4, so
//! its keys stand in no place. Which service is signed for at which host is fixed in here.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::build::Judge;
use super::error::Span;
use super::oauth::{DraftUserInfo, Rules, UserInfo, userinfo};
use super::read::{Reader, Text};
use super::{FieldDef, HostError, HostTemplate, Template};

/// How an app's requests are signed by AWS Signature Version 4.
#[derive(Clone, Debug)]
pub struct SigV4Def {
    /// The secret field with the access key's id. A step's SDK is given its placeholder.
    pub access_key_id: String,
    /// The secret field with the secret access key. A step's SDK is given its placeholder.
    pub secret_access_key: String,
    /// The secret field with the session token, which is sent as `x-amz-security-token`.
    pub session_token: Option<String>,
    /// The region that is signed for.
    pub region: Template,
    /// The services that are signed for, by the name that a signature has, and where each is.
    pub services: BTreeMap<String, Vec<HostTemplate>>,
    /// The host's own request that tells whose the keys are, and the service that it is signed for: no
    /// step's to call.
    pub identity: Option<(String, UserInfo)>,
}

impl SigV4Def {
    /// The fields that an SDK is given placeholders of.
    pub(super) fn placed(&self) -> impl Iterator<Item = &str> {
        let keys = [self.access_key_id.as_str(), self.secret_access_key.as_str()];
        keys.into_iter().chain(self.session_token.as_deref())
    }

    /// Whether `service` of an account with these plain fields is at `url`. Not at all if it is none
    /// that is signed for.
    ///
    /// # Errors
    /// If a host can't be made from the fields.
    pub fn serves(&self, service: &str, url: &Url, plain: &BTreeMap<String, String>) -> Result<bool, HostError> {
        for host in self.services.get(service).into_iter().flatten() {
            if host.resolve(plain)?.matches_url(url) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The table with nothing judged.
#[derive(Default)]
pub(super) struct DraftSigV4 {
    span: Span,
    access_key_id: Option<Text>,
    secret_access_key: Option<Text>,
    session_token: Option<Text>,
    region: Option<Text>,
    services: Vec<(Text, Vec<Text>)>,
    identity: Option<(Option<Text>, DraftUserInfo)>,
}

/// Reads the table.
pub(super) fn read(t: &mut Reader<'_>) -> DraftSigV4 {
    let mut draft = DraftSigV4 {
        span: t.span.clone(),
        access_key_id: t.needed("access_key_id"),
        secret_access_key: t.needed("secret_access_key"),
        session_token: t.text("session_token"),
        region: t.needed("region"),
        ..DraftSigV4::default()
    };
    t.one("identity", |i| draft.identity = Some((i.needed("service"), userinfo(i))));
    t.any("services", |services| draft.services = services.all_lists());
    draft
}

impl Judge<'_> {
    pub(super) fn sigv4(&mut self, draft: DraftSigV4, fields: &[FieldDef], rules: Rules) -> Option<SigV4Def> {
        let mut named = BTreeSet::new();
        for key in [&draft.access_key_id, &draft.secret_access_key, &draft.session_token].into_iter().flatten() {
            if let Some(field) = self.known(&key.value, &key.span, fields)
                && !field.has_placeholder()
            {
                let help = "give it secret = true, and leave host_only out";
                self.add(&key.span, format_args!("an SDK signs with a placeholder of {}", field.name), help);
            }
            if !named.insert(&key.value) {
                self.add(&key.span, format_args!("{} is named twice", key.value), "each key has a field of its own");
            }
        }
        let region = draft.region.and_then(|text| {
            let template = self.template(&text)?;
            self.plain_only("region", &text.span, &template, fields);
            Some(template)
        });
        if draft.services.is_empty() {
            let help =
                "add [sigv4.services] with s3 = [\"s3.{region}.amazonaws.com\"]: leave out those that give out keys";
            self.add(&draft.span, "no service is signed for", help);
        }
        let mut services = BTreeMap::new();
        for (name, hosts) in draft.services {
            let hosts = hosts.iter().filter_map(|host| {
                let parsed = HostTemplate::parse_signed(&host.value, rules.addresses);
                self.host_of(host, parsed, fields)
            });
            let hosts: Vec<HostTemplate> = hosts.collect();
            if hosts.is_empty() {
                self.add(&name.span, format_args!("{} has no host", name.value), "list where the service is");
            }
            services.insert(name.value, hosts);
        }
        let identity = draft
            .identity
            .and_then(|(service, request)| Some((service?.value, self.userinfo(request, fields, rules)?)));
        Some(SigV4Def {
            access_key_id: draft.access_key_id?.value,
            secret_access_key: draft.secret_access_key?.value,
            session_token: draft.session_token.map(|token| token.value),
            region: region?,
            services,
            identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use url::Url;

    use crate::apps::check;

    const GOOD: &str = r#"keyhole = 1
name = "cloud"
title = "Cloud"
[[field]]
name = "region"
pattern = "[a-z0-9-]+"
[[field]]
name = "id"
secret = true
[[field]]
name = "secret"
secret = true
[[field]]
name = "pem"
secret = true
host_only = true
[sigv4]
access_key_id = "id"
secret_access_key = "secret"
region = "{region}"
[sigv4.services]
s3 = ["s3.{region}.amazonaws.com", "*.s3.{region}.amazonaws.com"]
"#;

    #[test]
    fn every_error_of_sigv4_says_what_to_do() {
        assert!(check(GOOD, "cloud.toml").is_ok());
        for (from, to, expected) in [
            ("access_key_id = \"id\"", "", "access_key_id is missing"),
            ("access_key_id = \"id\"", "access_key_id = \"pem\"", "an SDK signs with a placeholder of pem"),
            ("access_key_id = \"id\"", "access_key_id = \"secret\"", "secret is named twice"),
            ("access_key_id = \"id\"", "access_key_id = \"ip\"", "there is no field ip"),
            ("region = \"{region}\"", "region = \"{id}\"", "region would show the secret id"),
            ("s3.{region}", "s3.{id}", "a host would show the secret id"),
            ("[\"s3.{region}.amazonaws.com\", \"*.s3.{region}.amazonaws.com\"]", "[]", "s3 has no host"),
            ("[\"s3.{region}.amazonaws.com\", \"*.s3.{region}.amazonaws.com\"]", "\"x\"", "not a list of strings"),
            ("[sigv4.services]", "[test]\npath = \"x\"\n[sigv4.services]", "a test request would not be signed"),
            (
                "[sigv4]",
                "[[place]]\nheader = \"x-key\"\ntemplate = \"{secret}\"\n[sigv4]",
                "secret makes signatures, so it has no place in a request",
            ),
        ] {
            let errors = check(&GOOD.replacen(from, to, 1), "cloud.toml").unwrap_err();
            assert!(errors.iter().any(|error| error.message.contains(expected)), "{from} → {to}: {errors:#?}");
        }
    }

    /// `s3.eu-west-3.amazonaws.com` is a public suffix, where anyone can have a host.
    #[test]
    fn bound_a_service_is_at_its_own_hosts_public_suffixes_included() {
        let app = check(GOOD, "cloud.toml").unwrap();
        let def = app.sigv4.as_ref().unwrap();
        let plain = BTreeMap::from([("region".to_owned(), "eu-west-3".to_owned())]);
        for (service, url, expected) in [
            ("s3", "https://s3.eu-west-3.amazonaws.com/", true),
            ("s3", "https://b.s3.eu-west-3.amazonaws.com/", true),
            ("s3", "https://s3.us-east-1.amazonaws.com/", false),
            ("s3", "https://s3.eu-west-3.amazonaws.com.evil.example/", false),
            ("s3", "https://s3.eu-west-3.amazonaws.com:444/", false),
            ("sts", "https://s3.eu-west-3.amazonaws.com/", false),
        ] {
            assert_eq!(def.serves(service, &Url::parse(url).unwrap(), &plain), Ok(expected), "{service} {url}");
        }
        let smuggled = BTreeMap::from([("region".to_owned(), "a.evil.example/".to_owned())]);
        assert!(def.serves("s3", &Url::parse("https://s3.a.evil.example/").unwrap(), &smuggled).is_err());
    }
}
