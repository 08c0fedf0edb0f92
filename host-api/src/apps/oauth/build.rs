//! A [`DraftOAuth`] judged and made an [`OAuthDef`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::build::Judge;
use super::super::error::Span;
use super::super::read::{At, Text};
use super::super::{Addresses, FieldDef, OkCheck, Template};
use super::read::{DraftAnswer, DraftOAuth, DraftUserInfo};
use super::{
    AnswerField, AnswerMap, ClientAuth, Endpoint, Flow, OAuthDef, OwnClient, Part, REFRESH_MARGIN, REFRESH_TOKEN,
    UserInfo,
};

/// The field that the access token fills if the definition names none.
const ACCESS_TOKEN: &str = "oauth_access_token";

/// Parameters that OAuth itself sets.
const OURS: [&str; 14] = [
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "device_code",
    "grant_type",
    "redirect_uri",
    "refresh_token",
    "response_type",
    "scope",
    "state",
    "token",
];

/// What holds for every endpoint of a definition.
#[derive(Clone, Copy)]
pub(in crate::apps) struct Rules {
    pub addresses: Addresses,
    pub http: bool,
}

impl Judge<'_> {
    pub(in crate::apps) fn oauth(
        &mut self,
        draft: DraftOAuth,
        fields: &[FieldDef],
        addresses: Addresses,
        http: bool,
    ) -> Option<OAuthDef> {
        let rules = Rules { addresses, http };
        let flow = self.flow(draft.flow.as_ref())?;
        let access_token =
            draft.access_token.unwrap_or_else(|| At { value: ACCESS_TOKEN.into(), span: draft.span.clone() });
        if let Some(field) = self.known(&access_token.value, &access_token.span, fields)
            && !field.has_placeholder()
        {
            let help = "give it secret = true, and leave host_only out";
            self.add(&access_token.span, format_args!("{} takes the access token, so it is secret", field.name), help);
        }
        for field in fields.iter().filter(|field| field.name == REFRESH_TOKEN) {
            let span = self.field_spans.get(&field.name).cloned().unwrap_or_default();
            self.add(&span, format_args!("{REFRESH_TOKEN} is kept by keyhole itself"), "leave this field out");
        }
        let answer = self.answer(draft.answer, fields, &access_token.value);
        let supplied = |name: &str| name == access_token.value || answer.fields.contains_key(name);

        let mut endpoint = |url: Option<Text>, what: &str| {
            let url = url?;
            let endpoint = self.endpoint(&url, what, fields, rules)?;
            if let Some(name) = endpoint.fields().find(|name| supplied(name)) {
                let message = format!("{what} needs {name}, which is not known before the token endpoint has answered");
                self.add(&url.span, message, "use a field that the member gives");
            }
            Some((endpoint, url.span))
        };
        let authorization = endpoint(draft.authorization_url, "authorization_url");
        let token = endpoint(draft.token_url.clone(), "token_url");
        let device = endpoint(draft.device_url, "device_url");
        let revocation = endpoint(draft.revocation_url, "revocation_url");
        if draft.token_url.is_none() && flow != Flow::Jwt {
            self.missing("token_url", &draft.span);
        }
        let jwt = match (flow, draft.jwt) {
            (Flow::Jwt, Some(jwt)) => self.jwt(jwt, draft.token_url.is_some(), fields),
            (Flow::Jwt, None) => {
                let help = "add [oauth.jwt] with algorithm, key and lifetime";
                self.add(&draft.span, "flow = \"jwt\" needs to know what the JWT says", help);
                None
            }
            (_, Some(jwt)) => {
                self.add(&jwt.span, "no JWT is made in this flow", "add flow = \"jwt\", or leave [oauth.jwt] out");
                None
            }
            (_, None) => None,
        };
        match flow {
            Flow::Member if authorization.is_none() && device.is_none() && draft.token_url.is_some() => {
                let help = "add authorization_url, device_url, or flow = \"client_credentials\"";
                self.add(&draft.span, "nobody can be asked for a token", help);
            }
            Flow::ClientCredentials | Flow::Jwt => {
                if let Some((_, span)) = authorization.as_ref().or(device.as_ref()) {
                    self.add(span, format_args!("{} asks nobody", flow.name()), "leave this out, or the flow");
                }
            }
            Flow::Member => {}
        }
        let own_client = self.own_client(draft.own_client, &draft.span, fields);
        if own_client.is_none() && flow != Flow::Jwt {
            // The operator's secret would go to whatever host a member names.
            let to_members = [&token, &device, &revocation].into_iter().flatten().filter(|(e, _)| e.is_the_members());
            for (_, span) in to_members {
                let help = "let the account bring its own client: own_client = { id = \"…\", secret = \"…\" }";
                self.add(span, "the operator's client secret would go to a host that a member chooses", help);
            }
        }
        for ((endpoint, span), what) in
            [(&token, "token_url"), (&device, "device_url"), (&revocation, "revocation_url")]
                .into_iter()
                .filter_map(|(endpoint, what)| Some((endpoint.as_ref()?, what)))
        {
            if endpoint.deny("").is_none() {
                let help = "write its path plainly: without '%', ';', empty segments and '*'";
                self.add(span, format_args!("steps could not be kept from {what}"), help);
            }
        }
        if draft.require_iss && draft.issuer.is_none() {
            self.add(&draft.span, "require_iss needs to know the issuer", "add issuer = \"https://…\" (RFC 9207)");
        }
        let userinfo = draft.userinfo.and_then(|userinfo| self.userinfo(userinfo, fields, rules));
        let scope_separator = self.separator(draft.scope_separator);
        for scope in &draft.scopes {
            if scope.value.is_empty() || scope.value.contains([' ', ',', '"', '\\']) {
                self.add(&scope.span, format_args!("'{}' is not one scope", scope.value), "list scopes one by one");
            }
        }
        Some(OAuthDef {
            flow,
            authorization: authorization.map(|(endpoint, _)| endpoint),
            token: token.map(|(endpoint, _)| endpoint),
            jwt,
            device: device.map(|(endpoint, _)| endpoint),
            revocation: revocation.map(|(endpoint, _)| endpoint),
            userinfo,
            issuer: draft.issuer.map(|issuer| issuer.value),
            require_iss: draft.require_iss,
            scopes: draft.scopes.into_iter().map(|scope| scope.value).collect(),
            scope_separator,
            scope_parameter: draft.scope_parameter.map(|parameter| parameter.value),
            pkce: draft.pkce,
            client_auth: self.client_auth(draft.client_auth.as_ref())?,
            own_client,
            authorize_parameters: self.parameters("authorize_parameters", draft.authorize_parameters, fields),
            token_parameters: self.parameters("token_parameters", draft.token_parameters, fields),
            refresh_margin: self.seconds(draft.refresh_margin).unwrap_or(REFRESH_MARGIN),
            expires_in: self.seconds(draft.expires_in),
            access_token: access_token.value,
            answer,
        })
    }

    fn flow(&mut self, flow: Option<&Text>) -> Option<Flow> {
        match flow.map(|flow| flow.value.as_str()) {
            None | Some("member") => Some(Flow::Member),
            Some("client_credentials") => Some(Flow::ClientCredentials),
            Some("jwt") => Some(Flow::Jwt),
            Some(other) => {
                let span = flow.map_or(0..0, |flow| flow.span.clone());
                self.add(&span, format_args!("'{other}' is not a flow"), "use member, client_credentials or jwt");
                None
            }
        }
    }

    fn client_auth(&mut self, auth: Option<&Text>) -> Option<ClientAuth> {
        match auth.map(|auth| auth.value.as_str()) {
            None | Some("basic") => Some(ClientAuth::Basic),
            Some("body") => Some(ClientAuth::Body),
            Some(other) => {
                let span = auth.map_or(0..0, |auth| auth.span.clone());
                self.add(&span, format_args!("'{other}' is not a client authentication"), "use basic or body");
                None
            }
        }
    }

    fn separator(&mut self, separator: Option<Text>) -> String {
        match separator {
            None => " ".to_owned(),
            Some(At { value, span }) => {
                if value.chars().count() != 1 {
                    self.add(&span, "scope_separator is one character", "such as \",\"");
                }
                value
            }
        }
    }

    /// At most ten years, so that no time computed from it overflows.
    fn seconds(&mut self, seconds: Option<At<i64>>) -> Option<Duration> {
        let At { value, span } = seconds?;
        match u64::try_from(value) {
            Ok(value) if value <= 10 * 366 * 86_400 => Some(Duration::from_secs(value)),
            _ => {
                self.add(&span, format_args!("{value} is not a number of seconds"), "use 0 to 316224000");
                None
            }
        }
    }

    fn own_client(
        &mut self,
        draft: Option<(Option<Text>, Option<Text>)>,
        span: &Span,
        fields: &[FieldDef],
    ) -> Option<OwnClient> {
        let (id, secret) = draft?;
        let Some(id) = id else {
            self.missing("id", span);
            return None;
        };
        if let Some(field) = self.known(&id.value, &id.span, fields)
            && field.secret
        {
            self.add(&id.span, "a client's id is no secret", "leave secret = true out of its [[field]]");
        }
        if let Some(secret) = &secret
            && let Some(field) = self.known(&secret.value, &secret.span, fields)
            && !field.host_only
        {
            let help = format!("give {} secret = true and host_only = true", field.name);
            self.add(&secret.span, "a client secret must never be handed to a step", help);
        }
        Some(OwnClient { id: id.value, secret: secret.map(|secret| secret.value) })
    }

    fn parameters(&mut self, what: &str, drafts: Vec<(Text, Text)>, fields: &[FieldDef]) -> Vec<(String, Template)> {
        let mut parameters = Vec::new();
        for (name, value) in drafts {
            if OURS.contains(&name.value.as_str()) {
                self.add(&name.span, format_args!("keyhole sets {} itself", name.value), "leave it out");
            }
            let Some(template) = self.template(&value) else { continue };
            for field in template.fields() {
                if self.known(field, &value.span, fields).is_some_and(|field| field.secret) {
                    self.add(
                        &value.span,
                        format_args!("{what} would show the secret {field}"),
                        "use plain fields alone",
                    );
                }
            }
            parameters.push((name.value, template));
        }
        parameters
    }

    /// A URL whose host no field can change into another's.
    fn endpoint(&mut self, url: &Text, what: &str, fields: &[FieldDef], rules: Rules) -> Option<Endpoint> {
        let template = self.template(url)?;
        let wrong = |judge: &mut Self, message: &str| {
            judge.add(&url.span, format_args!("{what} {message}"), "write it as https://auth.example.com/oauth/token");
            None
        };
        let (scheme, rest) = match url.value.split_once("://") {
            Some((scheme @ ("https" | "http"), rest)) => (scheme, rest),
            _ => return wrong(self, "is no web address"),
        };
        if scheme == "http" && !rules.http {
            return wrong(self, "must begin with https:// unless insecure_http = true");
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        if path.contains('#') {
            return wrong(self, "cannot have a fragment");
        }
        if host.contains('*') {
            return wrong(self, "needs one host, without a '*'");
        }
        let host = self.one_host(&Text { value: host.to_owned(), span: url.span.clone() }, rules.addresses, fields)?;
        // Those in the path, too, are plain and held to something.
        self.plain_only(what, &url.span, &template, fields);
        Some(Endpoint { template, host, http: rules.http })
    }

    fn answer(&mut self, draft: DraftAnswer, fields: &[FieldDef], access_token: &str) -> AnswerMap {
        let mut pointers = |texts: Vec<Text>, default: &str| -> Vec<String> {
            let read: Vec<String> = texts.into_iter().filter_map(|text| self.pointer(Some(text))).collect();
            if read.is_empty() && !default.is_empty() { vec![default.to_owned()] } else { read }
        };
        let mut map = AnswerMap {
            access_token: pointers(draft.access_token, "/access_token"),
            refresh_token: pointers(draft.refresh_token, "/refresh_token"),
            expires_in: pointers(draft.expires_in, "/expires_in"),
            scope: pointers(draft.scope, "/scope"),
            error: pointers(draft.error, "/error"),
            error_description: pointers(draft.error_description, "/error_description"),
            uid: pointers(draft.uid, ""),
            nickname: pointers(draft.nickname, ""),
            ok: None,
            invalid_grant: draft.invalid_grant.into_iter().map(|code| code.value).collect(),
            fields: BTreeMap::new(),
        };
        map.ok = self.ok(draft.ok);
        for field in draft.fields {
            if self.known(&field.name.value, &field.name.span, fields).is_none() {
                continue;
            }
            if field.name.value == access_token {
                let help = "say where it is with access_token = \"/…\"";
                self.add(&field.name.span, format_args!("{access_token} takes the access token"), help);
            }
            let part = match field.part.as_ref().map(|part| part.value.as_str()) {
                None | Some("whole") => Part::Whole,
                Some("host") => Part::Host,
                Some(other) => {
                    let span = field.part.as_ref().map_or(0..0, |part| part.span.clone());
                    self.add(&span, format_args!("'{other}' is not a part of a value"), "use whole or host");
                    continue;
                }
            };
            if let Some(pointer) = self.pointer(field.pointer) {
                map.fields.insert(field.name.value, AnswerField { pointer, part });
            }
        }
        map
    }

    fn ok(&mut self, draft: Option<(Text, Option<serde_json::Value>)>) -> Option<OkCheck> {
        let (pointer, equals) = draft?;
        Some(OkCheck { pointer: self.pointer(Some(pointer))?, equals })
    }

    pub(in crate::apps) fn userinfo(
        &mut self,
        draft: DraftUserInfo,
        fields: &[FieldDef],
        rules: Rules,
    ) -> Option<UserInfo> {
        let Some(url) = draft.url else {
            self.missing("url", &draft.span);
            return None;
        };
        if draft.uid.is_empty() {
            self.add(&draft.span, "userinfo must tell who it is", "add uid = \"/sub\", or where the id stands");
        }
        let method = draft.method.map_or(Some(http::Method::GET), |method| self.method(&method, false));
        Some(UserInfo {
            method: method?,
            url: self.endpoint(&url, "url", fields, rules)?,
            ok: self.ok(draft.ok),
            uid: draft.uid.into_iter().filter_map(|text| self.pointer(Some(text))).collect(),
            nickname: draft.nickname.into_iter().filter_map(|text| self.pointer(Some(text))).collect(),
        })
    }
}
