//! Claims about whole definitions.

use super::*;

const GOOD: &str = r#"keyhole = 1
name = "acme"
title = "Acme"
base_url = "https://{sub}.acme.example.com/v1/"
hosts = ["{sub}.acme.example.com", "up.acme.example.com"]
deny = [{ method = "POST", path = "/v1/keys/**", reason = "gives out keys" }]

[[field]]
name = "sub"
pattern = "[a-z0-9-]+"

[[field]]
name = "key"
secret = true
prefixes = ["ak_"]

[[field]]
name = "hook"
secret = true
host_only = true
optional = true

[[place]]
header = "X-Key"
template = "{key}"

[[place]]
query = "key"
template = "{key}"
alternative = true

[headers]
X-Version = "1"

[test]
path = "me"
ok = { pointer = "/ok", equals = true }

[signing.hook]
key = "hook"
hash = "sha1"
encoding = "base64"
"#;

/// The errors of [`GOOD`] with `from` replaced, as `line:column: message`.
fn errors(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    match check(&GOOD.replacen(from, to, 1), "acme.toml") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(|e| format!("{}:{}: {} ({})", e.line, e.column, e.message, e.help)).collect(),
    }
}

#[test]
fn a_good_definition_is_read_in_full() {
    let app = check(GOOD, "acme.toml").unwrap();
    let plain = BTreeMap::from([("sub".to_owned(), "x".to_owned())]);
    assert_eq!(app.base_url(&plain).unwrap().unwrap().as_str(), "https://x.acme.example.com/v1/");
    assert_eq!(app.test_url(&plain).unwrap().unwrap().as_str(), "https://x.acme.example.com/v1/me");
    assert_eq!((app.places.len(), app.alternatives.len(), app.all_places().count()), (1, 1, 2));
    assert_eq!(app.headers[0].0.as_str(), "x-version");
    assert_eq!(app.signing["hook"], Signing { key: "hook".into(), hash: Hash::Sha1, encoding: Encoding::Base64 });
    assert!(app.field("key").unwrap().has_placeholder());
    assert!(!app.field("hook").unwrap().has_placeholder());
    assert_eq!(app.test.unwrap().status, [200]);
}

#[test]
fn every_error_names_its_line_and_column_and_what_to_do() {
    let table = [
        ("name = \"acme\"", "name = \"Acme!\"", "2:8: 'Acme!' cannot be an app's name"),
        ("name = \"acme\"", "name = \"custom\"", "2:8: 'custom' is the app that members define"),
        ("name = \"acme\"", "name = 3", "2:8: name is an integer, not a string"),
        ("keyhole = 1", "keyhole = 2", "1:11: this definition has format 2; this version of keyhole reads format 1"),
        ("keyhole = 1", "", "1:1: the format of the definition is missing"),
        ("title = ", "titel = ", "3:1: there is no key titel here (did you mean title?)"),
        ("header = \"X-Key\"", "haeder = \"X-Key\"", "24:1: there is no key haeder here (did you mean header?)"),
        ("hosts = [\"{sub}", "hosts = [\"{sup}", "5:10: there is no field sup (did you mean sub?)"),
        ("\"up.acme.example.com\"", "\"*.com\"", "5:36: '*.com' is a public suffix"),
        ("\"up.acme.example.com\"", "\"10.0.0.1\"", "5:36: '10.0.0.1' is an IP address"),
        ("pattern = \"[a-z0-9-]+\"", "pattern = \".+\"", "5:10: sub is part of a host, so its pattern must admit"),
        ("pattern = \"[a-z0-9-]+\"", "", "5:10: sub is part of a host, so its pattern must admit"),
        ("pattern = \"[a-z0-9-]+\"", "pattern = \"[a-z\"", "10:11: pattern: error: unclosed character class"),
        ("pattern = \"[a-z0-9-]+\"", "secret = true", "5:10: a host would show the secret sub"),
        ("prefixes = [\"ak_\"]", "prefixes = [\"a b\"]", "15:13: 'a b' cannot be a prefix"),
        ("X-Key", "Host", "24:10: the header host is the broker's to set"),
        ("template = \"{key}\"", "template = \"{hook}\"", "23:1: hook is host_only, so it has no place"),
        ("template = \"{key}\"", "template = \"{key\"", "25:12: a '{' is never closed"),
        ("template = \"{key}\"", "template = \"x\"", "23:1: no secret stands in this place"),
        ("query = \"key\"", "", "27:1: a place is one of header, query, basic, segment, json, form and multipart"),
        ("X-Version = \"1\"", "X-Version = \"{key}\"", "33:13: headers would show the secret key"),
        ("path = \"/v1/keys/**\"", "path = \"v1\"", "6:35: 'v1' is not a path pattern"),
        ("path = \"/v1/keys/**\"", "path = \"/v1/*\"", ""),
        (
            "method = \"POST\", path = \"/v1/keys/**\"",
            "path = \"/v1/*\"",
            "36:8: the test request is denied by the rule /v1/*",
        ),
        (
            "path = \"me\"",
            "path = \"https://evil.example/\"",
            "36:8: the URL https://evil.example/ with this account's",
        ),
        ("path = \"me\"", "path = \"//evil.example/\"", "36:8: the URL //evil.example/ with this account's"),
        ("base_url = \"https:", "base_url = \"http:", "4:12: base_url is not within hosts"),
        ("{sub}.acme.example.com/v1/", "acme.example.com/v1/", "4:12: base_url is not within hosts"),
        ("{sub}.acme.example.com/v1/", "{sub}.acme.example.com/v1", "4:12: base_url must end with '/'"),
        ("pointer = \"/ok\"", "pointer = \"ok\"", "37:18: 'ok' is not a JSON pointer"),
        ("host_only = true\n", "host_only = false\n", "40:7: a signing key must never be handed to a step"),
        ("hash = \"sha1\"", "hash = \"md5\"", "41:8: 'md5' is not a hash"),
        ("[test]", "[test", "35:6: this is not TOML"),
    ];
    let mut wrong = Vec::new();
    for (from, to, expected) in table {
        let found = errors(from, to);
        let fits = if expected.is_empty() { found.is_empty() } else { found.iter().any(|e| e.starts_with(expected)) };
        if !fits {
            wrong.push(format!("{from} → {to}\n  wanted: {expected}\n  found: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let text = GOOD.replace("name = \"acme\"", "name = \"A\"").replace("title", "titel").replace("X-Key", "Host");
    let errors = check(&text, "acme.toml").unwrap_err();
    let lines: Vec<usize> = errors.iter().map(|e| e.line).collect();
    for line in [2, 3, 24] {
        assert!(lines.contains(&line), "{errors:#?}");
    }
    assert!(lines.is_sorted());
    assert!(errors[1].to_string().starts_with("acme.toml:"), "{}", errors[1]);
}

#[test]
fn nothing_that_is_fed_to_check_makes_it_panic() {
    for cut in 0..GOOD.len() {
        let _ = check(&GOOD[..cut], "cut");
        let _ = check(&GOOD[cut..], "cut");
    }
    for odd in [
        "",
        "\u{feff}",
        "keyhole = 99999999999999999999",
        "keyhole = 1\nfield = 1\nplace = {}\ndeny = [1]\nheaders = 1\ntest = []",
    ] {
        assert!(check(odd, "odd").is_err());
    }
}

#[test]
fn a_path_field_stays_within_its_segment() {
    let text = GOOD
        .replace("example.com/v1/\"", "example.com/v1/{id}/\"")
        .replace("[[place]]\nheader", "[[field]]\nname = \"id\"\npattern = \".+\"\n[[place]]\nheader");
    let app = check(&text, "acme.toml").unwrap();
    let with = |id: &str| {
        let plain = BTreeMap::from([("sub".to_owned(), "x".to_owned()), ("id".to_owned(), id.to_owned())]);
        app.base_url(&plain).map(|url| url.unwrap().path().to_owned())
    };
    assert_eq!(with("a/../b?c#d").unwrap(), "/v1/a%2F..%2Fb%3Fc%23d/");
    assert_eq!(with("ü").unwrap(), "/v1/%C3%BC/");
}

#[test]
fn a_request_template_takes_the_first_complete_place_of_each_header() {
    let text = GOOD.replace(
        "[headers]",
        "[[place]]\nbasic = { username = \"u\", password = \"{a}\" }\n[[place]]\nheader = \"Authorization\"\ntemplate = \"Bearer {b}\"\n\
         [[field]]\nname = \"a\"\nsecret = true\noptional = true\n[[field]]\nname = \"b\"\nsecret = true\noptional = true\n[headers]",
    );
    let app = check(&text, "acme.toml").unwrap();
    let kinds = |has: &[&str]| -> Vec<String> {
        app.request_places(|field| has.contains(&field))
            .into_iter()
            .map(|place| match place {
                Place::Header { name, .. } => name.to_string(),
                Place::Basic { .. } => "basic".to_owned(),
                Place::Query { name, .. } => format!("?{name}"),
                other => panic!("{other:?} is no part of a request template"),
            })
            .collect()
    };
    assert_eq!(kinds(&["key", "a", "b"]), ["x-key", "basic"]);
    assert_eq!(kinds(&["key", "b"]), ["x-key", "authorization"]);
    assert_eq!(kinds(&["key"]), ["x-key"]);
}

fn custom() -> CustomApp {
    serde_json::from_value(serde_json::json!({
        "hosts": ["api.acme.example.com"],
        "base_url": "https://api.acme.example.com/",
        "fields": [{ "name": "key", "secret": true }, { "name": "id" }],
        "places": [{ "header": { "name": "X-Key", "template": "{key}" } }, { "query": { "name": "k", "template": "{key}" } }],
        "headers": { "X-Id": "{id}" },
    }))
    .unwrap()
}

#[test]
fn a_custom_app_is_an_app() {
    let app = custom().app().unwrap();
    assert_eq!((app.name.as_str(), app.source.clone()), (CUSTOM, Source::Account));
    assert!(!app.insecure_http && !app.allow_ip);
    assert_eq!(app.places.len(), 2);
    let basic = CustomPlace::Basic { username: "{key}".into(), password: String::new() };
    CustomApp { places: vec![basic], ..custom() }.app().unwrap();
}

#[test]
fn what_is_wrong_with_a_custom_app_is_told_of_its_part() {
    let header = |name: &str, template: &str| CustomPlace::Header { name: name.into(), template: template.into() };
    let places = vec![header("Authorization", "Bearer {key"), header("X-Team", "{team}"), header("Bad Name", "plain")];
    let plain = ["team".to_owned(), "1bad".to_owned()];
    let app = CustomApp::gather("Acme".into(), vec!["127.0.0.1".into()], places, &plain);
    assert_eq!(app.headers.keys().collect::<Vec<_>>(), ["Bad Name", "X-Team"]);
    let app = CustomApp { base_url: Some("https://{".into()), ..app };
    let parts: Vec<_> = app.checked().unwrap_err().into_iter().filter_map(|(part, _)| part).collect();
    let name = CustomPart::Header("Bad Name".into());
    for part in [CustomPart::Host(0), CustomPart::BaseUrl, CustomPart::Place(0), CustomPart::Field(1), name] {
        assert!(parts.contains(&part), "{part:?} of {parts:?}");
    }
    let places = vec![
        header("Authorization", "Bearer {key}"),
        header("X-Team", "{team}"),
        CustomPlace::Basic { username: "{team}".into(), password: "{key}".into() },
        CustomPlace::Query { name: "key".into(), template: "{key}".into() },
        CustomPlace::Segment { index: 1, template: "bot{key}".into() },
        CustomPlace::Json { pointer: "/key".into(), template: "{key}".into() },
        CustomPlace::Form { name: "key".into(), template: "{key}".into() },
    ];
    let right = CustomApp::gather("Acme".into(), vec!["api.example.com".into()], places, &["team".into()]);
    let built = right.checked().unwrap();
    let fields: Vec<_> = built.fields.iter().map(|field| (field.name.as_str(), field.secret)).collect();
    assert_eq!(fields, [("key", true), ("team", false)]);
    let elsewhere = CustomApp { base_url: Some("https://evil.example/".into()), ..right };
    assert_eq!(elsewhere.checked().unwrap_err().first().unwrap().0, Some(CustomPart::BaseUrl));
}

#[test]
fn bounded_a_custom_app_has_so_many_parts_and_no_more() {
    let hosts = |count: usize| (0..count).map(|number| format!("h{number}.example.com")).collect::<Vec<_>>();
    let most = CustomApp { hosts: hosts(CustomApp::MOST), base_url: None, ..custom() };
    most.app().unwrap();
    let named = |number: usize| CustomField { name: format!("f{number}"), secret: false };
    for many in [
        CustomApp { hosts: hosts(100_000), ..most.clone() },
        CustomApp { fields: (0..100_000).map(named).collect(), ..most.clone() },
        CustomApp { places: vec![most.places[0].clone(); 100_000], ..most.clone() },
        CustomApp {
            headers: (0..100_000).map(|number| (format!("X-{number}"), "{id}".into())).collect(),
            ..most.clone()
        },
    ] {
        let CustomError(lines) = many.app().unwrap_err();
        assert!(matches!(lines.as_slice(), [line] if line.contains("at most 32")), "{lines:?}");
    }
}

#[test]
fn a_custom_app_is_held_to_the_rules_of_every_definition() {
    for host in ["*.com", "github.io", "127.0.0.1", "0x7f.1", "a.b/c", "u@a.b", "[::1]", "a.b.", ""] {
        let error = CustomApp { hosts: vec![host.into()], base_url: None, ..custom() }.app();
        assert!(error.is_err(), "{host}");
    }
    let bad = [
        CustomApp { hosts: vec![], ..custom() },
        CustomApp { base_url: Some("http://api.acme.example.com/".into()), ..custom() },
        CustomApp { base_url: Some("https://evil.example/".into()), ..custom() },
        CustomApp { base_url: Some("https://u:p@api.acme.example.com/".into()), ..custom() },
        CustomApp { places: vec![], ..custom() },
        CustomApp { hosts: vec!["{id}.acme.example.com".into()], base_url: None, ..custom() },
        CustomApp { headers: BTreeMap::from([("X-Key".into(), "{key}".into())]), ..custom() },
        CustomApp { headers: BTreeMap::from([("Host".into(), "evil.example".into())]), ..custom() },
    ];
    for app in bad {
        assert!(app.app().is_err(), "{app:?}");
    }
    let error = CustomApp { hosts: vec!["*.com".into()], ..custom() }.app().unwrap_err().to_string();
    assert!(error.contains("'*.com' is a public suffix"), "{error}");
}

/// [`GOOD`] with every key of `[oauth]`, from line 44 on.
const OAUTH: &str = r#"
[oauth]
authorization_url = "https://{sub}.acme.example.com/oauth/authorize"
token_url = "https://{sub}.acme.example.com/oauth/token"
device_url = "https://acme.example.com/device?v=1"
revocation_url = "https://up.acme.example.com/oauth/revoke"
issuer = "https://acme.example.com"
require_iss = true
scopes = ["a", "b"]
scope_separator = ","
scope_parameter = "user_scope"
pkce = false
client_auth = "body"
access_token = "key"
refresh_margin = 30
expires_in = 7200
authorize_parameters = { audience = "{sub}" }
token_parameters = { resource = "x" }
answer = { access_token = "/t", ok = { pointer = "/ok" }, fields = { team = "/team/id" } }

[oauth.userinfo]
url = "https://acme.example.com/me"
uid = "/sub"

[[field]]
name = "team"
optional = true
"#;

fn oauth_errors(from: &str, to: &str) -> Vec<String> {
    let text = format!("{GOOD}{OAUTH}");
    assert!(text.contains(from), "{from}");
    match check(&text.replacen(from, to, 1), "acme.toml") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(|e| format!("{}:{}: {} ({})", e.line, e.column, e.message, e.help)).collect(),
    }
}

#[test]
fn how_accounts_are_connected_is_read_in_full() {
    let app = check(&format!("{GOOD}{OAUTH}"), "acme.toml").unwrap();
    let oauth = app.oauth.as_ref().unwrap();
    let plain = BTreeMap::from([("sub".to_owned(), "x".to_owned())]);
    assert_eq!(oauth.token.as_ref().unwrap().url(&plain).unwrap().as_str(), "https://x.acme.example.com/oauth/token");
    assert_eq!(oauth.device.as_ref().unwrap().url(&plain).unwrap().as_str(), "https://acme.example.com/device?v=1");
    assert_eq!((oauth.flow, oauth.pkce, oauth.client_auth), (Flow::Member, false, ClientAuth::Body));
    assert_eq!((oauth.refresh_margin.as_secs(), oauth.expires_in.unwrap().as_secs()), (30, 7200));
    assert_eq!((oauth.scopes.join(&oauth.scope_separator), oauth.access_token.as_str()), ("a,b".to_owned(), "key"));
    assert_eq!(
        (oauth.answer.access_token.join(""), oauth.answer.scope.join("")),
        ("/t".to_owned(), "/scope".to_owned())
    );
    assert!(oauth.supplies("key") && oauth.supplies("team") && !oauth.supplies("sub"));
    // Whoever wrote it need not think of it: steps get no token and end none.
    for path in ["token", "revoke"] {
        let url = format!("https://up.acme.example.com/oauth/{path}").parse().unwrap();
        assert!(app.denied(&Method::POST, &url).is_some(), "{path}");
    }
    let smuggled = BTreeMap::from([("sub".to_owned(), "evil.example/".to_owned())]);
    assert!(oauth.token.as_ref().unwrap().url(&smuggled).is_err());

    let minimal = format!(
        "{GOOD}\n[oauth]\ntoken_url = \"https://a.example.com/t\"\nflow = \"client_credentials\"\naccess_token = \"key\"\n"
    );
    let oauth = check(&minimal, "acme.toml").unwrap().oauth.unwrap();
    assert_eq!((oauth.pkce, oauth.refresh_margin, oauth.client_auth), (true, REFRESH_MARGIN, ClientAuth::Basic));
    assert_eq!(oauth.answer.refresh_token, ["/refresh_token"]);
}

#[test]
fn every_error_in_oauth_names_its_line_and_column() {
    let table = [
        ("token_url = \"https:", "token_url = \"http:", "46:13: token_url must begin with https://"),
        (
            "token_url = \"https://{sub}",
            "token_url = \"https://{sup}",
            "46:13: there is no field sup (did you mean sub?)",
        ),
        ("token_url = \"https://{sub}", "token_url = \"https://{key}", "46:13: a host would show the secret key"),
        ("token_url = \"https://{sub}.acme", "token_url = \"https://*.acme", "46:13: token_url needs one host"),
        (
            "token_url = \"https://{sub}.acme.example.com",
            "token_url = \"https://{sub}.com",
            "46:13: '{sub}.com' is a public suffix",
        ),
        (
            "token_url = \"https://{sub}.acme.example.com",
            "token_url = \"https://10.0.0.1",
            "46:13: '10.0.0.1' is an IP address",
        ),
        (
            "token_url = \"https://{sub}.acme.example.com",
            "token_url = \"https://u:p@acme.example.com",
            "46:13: 'u:p@acme.example.com' ",
        ),
        ("token_url = \"https://{sub}.acme.example.com/oauth/token\"", "", "44:1: token_url is missing"),
        ("oauth/token\"", "oauth/{team}\"", "46:13: token_url needs team, which"),
        ("oauth/token\"", "oauth//token\"", "46:13: steps could not be kept from token_url"),
        ("token_url", "tokenurl", "46:1: there is no key tokenurl here (did you mean token_url?)"),
        ("/device?v=1", "/device#x", "47:14: device_url cannot have a fragment"),
        ("issuer = \"https://acme.example.com\"\n", "", "44:1: require_iss needs to know the issuer"),
        ("scopes = [\"a\"", "scopes = [\"a b\"", "51:11: 'a b' is not one scope"),
        ("scope_separator = \",\"", "scope_separator = \", \"", "52:19: scope_separator is one character"),
        ("pkce = false", "pkce = \"no\"", "54:8: pkce is a string, not true or false"),
        ("client_auth = \"body\"", "client_auth = \"jwt\"", "55:15: 'jwt' is not a client authentication"),
        ("access_token = \"key\"", "access_token = \"sub\"", "56:16: sub takes the access token, so it is secret"),
        ("access_token = \"key\"", "access_token = \"hook\"", "56:16: hook takes the access token, so it is secret"),
        ("refresh_margin = 30", "refresh_margin = -1", "57:18: -1 is not a number of seconds"),
        ("audience", "state", "59:26: keyhole sets state itself"),
        ("audience = \"{sub}\"", "audience = \"{key}\"", "59:37: authorize_parameters would show the secret key"),
        ("access_token = \"/t\"", "access_token = \"t\"", "61:27: 't' is not a JSON pointer"),
        ("team = \"/team/id\"", "tema = \"/team/id\"", "61:70: there is no field tema (did you mean team?)"),
        ("team = \"/team/id\"", "team = 3", "61:77: team is an integer, not a string or a table"),
        (
            "team = \"/team/id\"",
            "team = { pointer = \"/t\", part = \"all\" }",
            "61:102: 'all' is not a part of a value",
        ),
        ("uid = \"/sub\"", "", "63:1: userinfo must tell who it is"),
        ("name = \"team\"", "name = \"oauth_refresh_token\"", "68:8: oauth_refresh_token is kept by keyhole itself"),
        ("[oauth]", "[oauth]\nflow = \"password\"", "45:8: 'password' is not a flow"),
        ("[oauth]", "[oauth]\nflow = \"client_credentials\"", "46:21: client_credentials asks nobody"),
        ("[oauth]", "[oauth]\nown_client = { id = \"sub\", secret = \"key\" }", "45:37: a client secret must never"),
        ("[oauth]", "[oauth]\nown_client = { id = \"key\" }", "45:21: a client's id is no secret"),
        (
            "https://{sub}.acme.example.com/oauth/token",
            "https://{sub}/oauth/token",
            "46:13: the operator's client secret",
        ),
    ];
    let mut wrong = Vec::new();
    for (from, to, expected) in table {
        let found = oauth_errors(from, to);
        if !found.iter().any(|e| e.starts_with(expected)) {
            wrong.push(format!("{from} → {to}\n  wanted: {expected}\n  found: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_operators_secret_goes_to_no_host_that_a_member_chooses() {
    let text = |own: &str| {
        format!(
            "{GOOD}\n[[field]]\nname = \"host\"\npattern = '[a-z.]+'\n[oauth]\naccess_token = \"key\"\n{own}authorization_url = \"https://{{host}}/a\"\ntoken_url = \"https://{{host}}/t\"\n"
        )
    };
    let errors = check(&text(""), "acme.toml").unwrap_err();
    assert!(errors.iter().any(|e| e.line == 50 && e.message.contains("a host that a member chooses")), "{errors:?}");
    let own = text("own_client = { id = \"sub\", secret = \"hook\" }\n");
    assert!(check(&own, "acme.toml").is_ok());
}

#[test]
fn the_host_of_a_url_needs_no_pattern_and_no_operators_secret_goes_there() {
    let text = |hosts: &str, more: &str| {
        format!(
            "keyhole = 1\nname = \"crm\"\ntitle = \"CRM\"\nhosts = [\"{hosts}\"]\n[[field]]\nname = \"instance_url\"\n\
             [[field]]\nname = \"oauth_access_token\"\nsecret = true\n[[place]]\nheader = \"Authorization\"\n\
             template = \"Bearer {{oauth_access_token}}\"\n{more}"
        )
    };
    let app = check(&text("{instance_url.host}", ""), "crm.toml").unwrap();
    let hosts = |url: &str| app.hosts_for(&BTreeMap::from([("instance_url".to_owned(), url.to_owned())]));
    assert_eq!(hosts("https://acme.example.org/x").unwrap()[0].to_string(), "acme.example.org");
    assert!(hosts("https://herokuapp.com").is_err() && hosts("acme.example.org").is_err());
    // As it is in a host, so the whole name has to be held.
    assert!(check(&text("{instance_url}", ""), "crm.toml").is_err());
    let oauth =
        |url: &str| format!("[oauth]\nauthorization_url = \"https://id.example.org/a\"\ntoken_url = \"{url}\"\n");
    for url in ["https://{instance_url.host}/token", "{instance_url}/token", "https://{instance_url}/token"] {
        assert!(check(&text("{instance_url.host}", &oauth(url)), "crm.toml").is_err(), "{url}");
    }
    check(&text("{instance_url.host}", &oauth("https://id.example.org/t")), "crm.toml").unwrap();
}

#[test]
fn an_alias_is_a_name_that_nothing_else_has() {
    let with = |aliases: &str| {
        check(&GOOD.replace("name = \"key\"", &format!("name = \"key\"\naliases = {aliases}")), "acme.toml")
    };
    assert_eq!(with("[\"apiKey\", \"Secret\"]").unwrap().field("key").unwrap().aliases, ["apiKey", "Secret"]);
    for wrong in ["[\"key\"]", "[\"a\", \"a\"]", "[\"a-b\"]", "\"a\""] {
        assert!(with(wrong).is_err(), "{wrong}");
    }
}
