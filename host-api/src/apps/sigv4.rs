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
