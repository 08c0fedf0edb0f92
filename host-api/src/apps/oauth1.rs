//! The `[oauth1]` table: an account's requests are signed by OAuth 1.0a (RFC 5849). A step
//! sends a placeholder of the token where the signature goes; the rest is the host's.

use super::build::Judge;
use super::error::Span;
use super::read::{Reader, Text};
use super::{FieldDef, Place, Template};

/// How an app's requests are signed by OAuth 1.0a.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth1Def {
    /// The field with the client's identifier: plain or host-only.
    pub consumer_key: String,
    /// The host-only field with the client's secret.
    pub consumer_secret: String,
    /// The secret field with the token. Steps are given its placeholder.
    pub token: String,
    /// The host-only field with the token's secret.
    pub token_secret: String,
    /// How the signature is made.
    pub method: OAuth1Method,
}

/// How a signature is made (RFC 5849, section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuth1Method {
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-256: no part of the standard, but some services want it.
    HmacSha256,
    /// Both secrets as they are.
    Plaintext,
}

impl OAuth1Method {
    /// What `oauth_signature_method` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "HMAC-SHA1",
            Self::HmacSha256 => "HMAC-SHA256",
            Self::Plaintext => "PLAINTEXT",
        }
    }
}

impl OAuth1Def {
    /// Where the token's placeholder stands.
    pub(super) fn place(&self) -> Option<Place> {
        let template = Template::parse(&format!("OAuth {{{}}}", self.token)).ok()?;
        Some(Place::Header { name: http::header::AUTHORIZATION, template })
    }

    /// The fields that a signature is made of.
    pub(crate) fn fields(&self) -> [&str; 4] {
        [&self.consumer_key, &self.consumer_secret, &self.token, &self.token_secret]
    }
}

/// The table with nothing judged.
pub(super) struct DraftOAuth1 {
    span: Span,
    consumer_key: Option<Text>,
    consumer_secret: Option<Text>,
    token: Option<Text>,
    token_secret: Option<Text>,
    method: Option<Text>,
}

/// Reads the table.
pub(super) fn read(t: &mut Reader<'_>) -> DraftOAuth1 {
    DraftOAuth1 {
        span: t.span.clone(),
        consumer_key: t.needed("consumer_key"),
        consumer_secret: t.needed("consumer_secret"),
        token: t.needed("token"),
        token_secret: t.needed("token_secret"),
        method: t.text("method"),
    }
}

impl Judge<'_> {
    pub(super) fn oauth1(&mut self, draft: DraftOAuth1, fields: &[FieldDef], other: bool) -> Option<OAuth1Def> {
        if other {
            self.add(&draft.span, "a request is signed in one way", "leave [oauth1] or [sigv4] out");
        }
        for key in [&draft.consumer_secret, &draft.token_secret].into_iter().flatten() {
            if let Some(field) = self.known(&key.value, &key.span, fields)
                && !field.host_only
            {
                let help = format!("give {} secret = true and host_only = true", field.name);
                self.add(&key.span, "a signing key must never be handed to a step", help);
            }
        }
        if let Some(key) = &draft.consumer_key
            && let Some(field) = self.known(&key.value, &key.span, fields)
            && field.has_placeholder()
        {
            let help = "add host_only = true, or leave secret = true out";
            self.add(&key.span, format_args!("steps have no use for a placeholder of {}", field.name), help);
        }
        if let Some(token) = &draft.token
            && let Some(field) = self.known(&token.value, &token.span, fields)
            && !field.has_placeholder()
        {
            let help = "give it secret = true, and leave host_only out";
            self.add(&token.span, format_args!("steps send a placeholder of {}", field.name), help);
        }
        let method = match draft.method.as_ref().map(|method| method.value.as_str()) {
            None | Some("HMAC-SHA1") => OAuth1Method::HmacSha1,
            Some("HMAC-SHA256") => OAuth1Method::HmacSha256,
            Some("PLAINTEXT") => OAuth1Method::Plaintext,
            Some(other) => {
                let span = draft.method.as_ref().map_or(0..0, |method| method.span.clone());
                let help = "use HMAC-SHA1, HMAC-SHA256 or PLAINTEXT";
                self.add(&span, format_args!("'{other}' is not a signature method"), help);
                return None;
            }
        };
        Some(OAuth1Def {
            consumer_key: draft.consumer_key?.value,
            consumer_secret: draft.consumer_secret?.value,
            token: draft.token?.value,
            token_secret: draft.token_secret?.value,
            method,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::apps::check;

    #[test]
    fn every_error_of_oauth1_says_what_to_do() {
        const GOOD: &str = include_str!("../../catalog/x.toml");
        for (from, to, expected) in [
            ("consumer_secret = \"consumer_secret\"", "", "consumer_secret is missing"),
            ("\"consumer_secret\"\n", "\"access_token\"\n", "a signing key must never be handed to a step"),
            ("token = \"access_token\"", "token = \"consumer_key\"", "steps send a placeholder of consumer_key"),
            (
                "consumer_key = \"consumer_key\"",
                "consumer_key = \"access_token\"",
                "steps have no use for a placeholder",
            ),
            ("token = \"access_token\"", "token = \"acces_token\"", "there is no field acces_token"),
            ("[oauth1]", "[oauth1]\nmethod = \"RSA-SHA1\"", "'RSA-SHA1' is not a signature method"),
        ] {
            let (fields, table) = GOOD.split_once("[oauth1]").unwrap();
            let text = format!("{fields}{}", format!("[oauth1]{table}").replacen(from, to, 1));
            let errors = check(&text, "x.toml").unwrap_err();
            assert!(errors.iter().any(|error| error.message.contains(expected)), "{from} → {to}: {errors:#?}");
        }
    }
}
