//! The `[oauth.jwt]` table: a JWT that the host makes with an account's key. What it says
//! is fixed in here; a step that could choose a claim could choose whom it speaks for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::build::Judge;
use super::super::error::Span;
use super::super::read::{At, DraftSigning, Reader, Text};
use super::super::{FieldDef, Template};

/// Longest life of a JWT that is made, in seconds. The shortest leaves the minute that it is
/// backdated by, and as much again to use it.
const LIFETIME: std::ops::RangeInclusive<i64> = 120..=86_400;

/// Claims that have keys of their own, or are the host's to set (RFC 7519, section 4.1).
const REGISTERED: [(&str, &str); 7] = [
    ("iss", "issuer"),
    ("sub", "subject"),
    ("aud", "audience"),
    ("exp", "lifetime"),
    ("iat", "lifetime"),
    ("nbf", "lifetime"),
    ("jti", "unique"),
];

/// A JWT (RFC 7519) as a definition fixes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtDef {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// The field that holds the key. Host-only.
    pub key: String,
    /// Which key that is, where the service tells several apart (RFC 7515, section 4.1.4).
    pub key_id: Option<Template>,
    /// The claims: plain fields alone. Those of time are not among them.
    pub claims: Vec<(String, Template)>,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
    /// Whether each has an id of its own (`jti`).
    pub unique: bool,
    /// How it is sent to the token endpoint, if there is one.
    pub send: SendJwt,
}

/// How a JWT is signed (RFC 7518, section 3.1; RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// HMAC with SHA-256.
    Hs256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// What a JWT's header calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Rs256, Self::Es256, Self::Hs256, Self::EdDsa].into_iter().find(|one| one.name() == text)
    }
}

/// How a JWT is sent to the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendJwt {
    /// As the `assertion` of a form (RFC 7523, section 2.1).
    Assertion,
    /// As `Authorization: Bearer`.
    Bearer,
}

/// The table with nothing judged.
#[derive(Default)]
pub(in crate::apps) struct DraftJwt {
    pub span: Span,
    algorithm: Option<Text>,
    key: Option<Text>,
    key_id: Option<Text>,
    issuer: Option<Text>,
    subject: Option<Text>,
    audience: Option<Text>,
    claims: Vec<(Text, Text)>,
    lifetime: Option<At<i64>>,
    unique: bool,
    send: Option<Text>,
}

/// Reads the table.
pub(super) fn read(t: &mut Reader<'_>) -> DraftJwt {
    let mut draft = DraftJwt {
        span: t.span.clone(),
        algorithm: t.needed("algorithm"),
        key: t.needed("key"),
        key_id: t.text("key_id"),
        issuer: t.text("issuer"),
        subject: t.text("subject"),
        audience: t.text("audience"),
        lifetime: t.integer("lifetime"),
        unique: t.flag("unique"),
        send: t.text("send"),
        ..DraftJwt::default()
    };
    t.any("claims", |c| draft.claims = c.all_texts());
    draft
}

impl Judge<'_> {
    pub(super) fn jwt(&mut self, draft: DraftJwt, exchanged: bool, fields: &[FieldDef]) -> Option<JwtDef> {
        let algorithm = draft.algorithm.and_then(|text| {
            let known = Algorithm::parse(&text.value);
            if known.is_none() {
                let help = "use RS256, ES256, HS256 or EdDSA";
                self.add(&text.span, format_args!("'{}' is not an algorithm", text.value), help);
            }
            known
        });
        if let Some(key) = &draft.key
            && let Some(field) = self.known(&key.value, &key.span, fields)
            && !field.host_only
        {
            let help = format!("give {} secret = true and host_only = true", field.name);
            self.add(&key.span, "a signing key must never be handed to a step", help);
        }
        let mut claims = Vec::new();
        for (name, value) in [("iss", draft.issuer), ("sub", draft.subject), ("aud", draft.audience)] {
            claims.extend(value.and_then(|value| Some((name.to_owned(), self.claim(&value, fields)?))));
        }
        let mut named = BTreeSet::new();
        for (name, value) in draft.claims {
            if let Some((_, key)) = REGISTERED.iter().find(|(claim, _)| *claim == name.value) {
                self.add(&name.span, format_args!("{} is no further claim", name.value), format!("use {key} for it"));
            }
            if named.insert(name.value.clone()) {
                claims.extend(self.claim(&value, fields).map(|template| (name.value, template)));
            }
        }
        let lifetime = match draft.lifetime {
            Some(At { value, .. }) if LIFETIME.contains(&value) => Duration::from_secs(value.unsigned_abs()),
            Some(At { value, span }) => {
                let help = format!("use {} to {}", LIFETIME.start(), LIFETIME.end());
                self.add(&span, format_args!("{value} is not the life of a JWT in seconds"), help);
                return None;
            }
            None => {
                let help = "add lifetime = 600: the seconds that the service lets one live";
                self.add(&draft.span, "lifetime is missing", help);
                return None;
            }
        };
        let send = match draft.send.as_ref().map(|send| send.value.as_str()) {
            None | Some("assertion") => SendJwt::Assertion,
            Some("bearer") => SendJwt::Bearer,
            Some(other) => {
                let span = draft.send.as_ref().map_or(0..0, |send| send.span.clone());
                self.add(&span, format_args!("'{other}' is no way to send a JWT"), "use assertion or bearer");
                return None;
            }
        };
        if let (Some(send), false) = (&draft.send, exchanged) {
            let help = "leave it out, or add the token_url that gives a token for it";
            self.add(&send.span, "this JWT is the access token itself", help);
        }
        Some(JwtDef {
            algorithm: algorithm?,
            key: draft.key?.value,
            key_id: draft.key_id.and_then(|id| self.claim(&id, fields)),
            claims,
            lifetime,
            unique: draft.unique,
            send,
        })
    }

    /// A template over plain fields that every account has.
    fn claim(&mut self, text: &Text, fields: &[FieldDef]) -> Option<Template> {
        let template = self.template(text)?;
        for name in template.fields() {
            let Some(field) = self.known(name, &text.span, fields) else { continue };
            if field.secret {
                self.add(&text.span, format_args!("a JWT would show the secret {name}"), "use plain fields alone");
            } else if field.optional && field.default.is_none() {
                let help = format!("give {name} a default, or make it needed");
                self.add(&text.span, format_args!("a JWT needs {name}, which is optional"), help);
            }
        }
        Some(template)
    }

    /// With an HMAC under the key of a JWT, a step would make its own.
    pub(in crate::apps) fn no_hmac_under(&mut self, key: &str, signing: &[DraftSigning]) {
        for draft in signing {
            if let Some(named) = draft.key.as_ref().filter(|named| named.value == key) {
                let help = "sign with another field";
                self.add(&named.span, format_args!("{key} makes JWTs, so no step may have HMACs under it"), help);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::apps::{AppError, check};

    const GOOD: &str = r#"keyhole = 1
name = "acme"
title = "Acme"
hosts = ["acme.example.com"]
[[field]]
name = "client"
[[field]]
name = "team"
optional = true
[[field]]
name = "pem"
secret = true
host_only = true
lines = true
[[field]]
name = "token"
secret = true
[[place]]
header = "Authorization"
template = "Bearer {token}"
[oauth]
flow = "jwt"
access_token = "token"
[oauth.jwt]
algorithm = "RS256"
key = "pem"
issuer = "{client}"
lifetime = 600
"#;

    fn told(error: &AppError) -> String {
        format!("{} ({})", error.message, error.help)
    }

    #[test]
    fn every_error_of_a_jwt_names_its_line_and_what_to_do() {
        assert!(check(GOOD, "acme.toml").is_ok());
        for (from, to, line, expected) in [
            ("RS256", "RS512", 25, "'RS512' is not an algorithm (use RS256"),
            ("RS256", "none", 25, "'none' is not an algorithm"),
            ("key = \"pem\"", "", 24, "key is missing"),
            ("key = \"pem\"", "key = \"token\"", 26, "a signing key must never be handed to a step"),
            ("key = \"pem\"", "key = \"pme\"", 26, "there is no field pme (did you mean pem?)"),
            ("{client}", "{token}", 27, "a JWT would show the secret token"),
            ("{client}", "{pem}", 27, "a JWT would show the secret pem"),
            ("{client}", "{team}", 27, "a JWT needs team, which is optional"),
            ("lifetime = 600", "lifetime = 90", 28, "90 is not the life of a JWT in seconds (use 120 to 86400"),
            ("lifetime = 600", "lifetime = 999999", 28, "999999 is not the life"),
            ("lifetime = 600", "", 24, "lifetime is missing"),
            ("lifetime = 600", "lifetime = 600\nsend = \"bearer\"", 29, "this JWT is the access token itself"),
            ("lifetime = 600", "lifetime = 600\nsend = \"cookie\"", 29, "'cookie' is no way to send a JWT"),
            ("lifetime = 600", "lifetime = 600\nclaims = { sub = \"x\" }", 29, "sub is no further claim (use subject"),
            ("lifetime = 600", "lifetime = 600\nclaims = { exp = \"9\" }", 29, "exp is no further claim (use lifetime"),
            (
                "flow = \"jwt\"",
                "flow = \"client_credentials\"\ntoken_url = \"https://a.example/t\"",
                25,
                "no JWT is made",
            ),
            ("[oauth.jwt]", "[signing.any]", 21, "flow = \"jwt\" needs to know what the JWT says"),
            ("host_only = true\n", "", 10, "lines is for keys that steps never send"),
        ] {
            let errors = check(&GOOD.replacen(from, to, 1), "acme.toml").unwrap_err();
            let found = errors.iter().any(|error| error.line == line && told(error).contains(expected));
            assert!(found, "{from} → {to}: wanted {line}: {expected}, found {errors:#?}");
        }
    }

    /// The attack E2: with an HMAC under the key, a step would sign claims of its own.
    #[test]
    fn bound_e2_no_step_has_hmacs_under_the_key_of_a_jwt() {
        let text = GOOD.replace("RS256", "HS256") + "[signing.hook]\nkey = \"pem\"\n";
        let errors = check(&text, "acme.toml").unwrap_err();
        assert!(told(&errors[0]).contains("pem makes JWTs, so no step may have HMACs under it"), "{errors:#?}");
    }
}
