//! The `[oauth]` table as a [`DraftOAuth`]: the right keys with the right types.

use super::super::error::Span;
use super::super::read::{At, Reader, Text};
use super::jwt::{self, DraftJwt};

/// The table with nothing judged.
#[derive(Default)]
pub(in crate::apps) struct DraftOAuth {
    pub span: Span,
    pub flow: Option<Text>,
    pub authorization_url: Option<Text>,
    pub token_url: Option<Text>,
    pub device_url: Option<Text>,
    pub revocation_url: Option<Text>,
    pub userinfo: Option<DraftUserInfo>,
    pub issuer: Option<Text>,
    pub require_iss: bool,
    pub scopes: Vec<Text>,
    pub scope_separator: Option<Text>,
    pub scope_parameter: Option<Text>,
    pub pkce: bool,
    pub client_auth: Option<Text>,
    pub jwt: Option<DraftJwt>,
    pub own_client: Option<(Option<Text>, Option<Text>)>,
    pub access_token: Option<Text>,
    pub authorize_parameters: Vec<(Text, Text)>,
    pub token_parameters: Vec<(Text, Text)>,
    pub answer: DraftAnswer,
    pub refresh_margin: Option<At<i64>>,
    pub expires_in: Option<At<i64>>,
}

#[derive(Default)]
pub(in crate::apps) struct DraftAnswer {
    pub access_token: Vec<Text>,
    pub refresh_token: Vec<Text>,
    pub expires_in: Vec<Text>,
    pub scope: Vec<Text>,
    pub ok: Option<(Text, Option<serde_json::Value>)>,
    pub error: Vec<Text>,
    pub error_description: Vec<Text>,
    pub invalid_grant: Vec<Text>,
    pub uid: Vec<Text>,
    pub nickname: Vec<Text>,
    pub fields: Vec<DraftAnswerField>,
}

pub(in crate::apps) struct DraftAnswerField {
    pub name: Text,
    pub pointer: Option<Text>,
    pub part: Option<Text>,
}

#[derive(Default)]
pub(in crate::apps) struct DraftUserInfo {
    pub span: Span,
    pub method: Option<Text>,
    pub url: Option<Text>,
    pub ok: Option<(Text, Option<serde_json::Value>)>,
    pub uid: Vec<Text>,
    pub nickname: Vec<Text>,
}

/// Reads the table.
pub(in crate::apps) fn oauth(t: &mut Reader<'_>) -> DraftOAuth {
    let mut draft = DraftOAuth {
        span: t.span.clone(),
        flow: t.text("flow"),
        authorization_url: t.text("authorization_url"),
        token_url: t.text("token_url"),
        device_url: t.text("device_url"),
        revocation_url: t.text("revocation_url"),
        issuer: t.text("issuer"),
        require_iss: t.flag("require_iss"),
        scopes: t.texts("scopes"),
        scope_separator: t.text("scope_separator"),
        scope_parameter: t.text("scope_parameter"),
        pkce: t.flag_or("pkce", true),
        client_auth: t.text("client_auth"),
        access_token: t.text("access_token"),
        refresh_margin: t.integer("refresh_margin"),
        expires_in: t.integer("expires_in"),
        ..DraftOAuth::default()
    };
    t.one("jwt", |j| draft.jwt = Some(jwt::read(j)));
    t.one("own_client", |o| draft.own_client = Some((o.text("id"), o.text("secret"))));
    t.any("authorize_parameters", |p| draft.authorize_parameters = p.all_texts());
    t.any("token_parameters", |p| draft.token_parameters = p.all_texts());
    t.one("answer", |a| draft.answer = answer(a));
    t.one("userinfo", |u| draft.userinfo = Some(userinfo(u)));
    draft
}

/// Reads a request that tells whose an account is.
pub(in crate::apps) fn userinfo(t: &mut Reader<'_>) -> DraftUserInfo {
    DraftUserInfo {
        span: t.span.clone(),
        method: t.text("method"),
        url: t.text("url"),
        ok: t.ok("ok"),
        uid: t.text_or_texts("uid"),
        nickname: t.text_or_texts("nickname"),
    }
}

fn answer(t: &mut Reader<'_>) -> DraftAnswer {
    let mut fields = Vec::new();
    t.any("fields", |f| {
        fields = f.all_texts_or(
            |name, pointer| DraftAnswerField { name, pointer: Some(pointer), part: None },
            |name, t| DraftAnswerField { name, pointer: t.needed("pointer"), part: t.text("part") },
            "{ pointer = \"/instance_url\", part = \"host\" }",
        );
    });
    DraftAnswer {
        access_token: t.text_or_texts("access_token"),
        refresh_token: t.text_or_texts("refresh_token"),
        expires_in: t.text_or_texts("expires_in"),
        scope: t.text_or_texts("scope"),
        ok: t.ok("ok"),
        error: t.text_or_texts("error"),
        error_description: t.text_or_texts("error_description"),
        invalid_grant: t.text_or_texts("invalid_grant"),
        uid: t.text_or_texts("uid"),
        nickname: t.text_or_texts("nickname"),
        fields,
    }
}
