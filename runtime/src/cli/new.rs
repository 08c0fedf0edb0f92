//! `keyhole apps new`: drafts a definition of what a person says, by asking or by flags.
//!
//! What is drafted passes the check of every definition before a byte of it is written.

use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use keyhole_host_api::apps::import::{self, Draft};
use keyhole_host_api::apps::{Addresses, AppError, CustomApp, HostTemplate, Template};
use serde_json::json;

use super::custom::CustomFlags;
use super::error::{Context as _, Error, Result};
use super::import::{is_there, write_new};
use super::output::{self, style};
use super::settings::Settings;

/// Draft the definition of an app that the catalog lacks
///
/// On a terminal it asks for what it needs. Otherwise flags say it, or a JSON document does (--stdin). Each {name} in a
/// place is a field, which steps find as $auth.name; it is a secret unless --plain names it or a host is made of it:
///   keyhole apps new acme_crm --host api.acme.example --header 'Authorization: Bearer {api_key}'
///   keyhole apps new acme_wiki --host '{subdomain}.acme.example' --basic '{email}:{api_token}' --plain email
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct New {
    /// The app's name, as steps have it: app: "acme_crm"
    app: String,

    #[command(flatten)]
    flags: CustomFlags,

    /// A field that is no secret, such as a user name
    #[arg(long, value_name = "NAME")]
    plain: Vec<String>,

    /// It takes no account: it helps with texts, or needs no key
    #[arg(long, conflicts_with_all = ["header", "basic", "query", "segment", "json_body", "form", "plain", "stdin"])]
    no_account: bool,

    /// Read it as JSON from standard input: {"title", "hosts", "base_url", "fields": [{"name", "secret"}], "places":
    /// [{"header": {"name", "template"}}], "headers": {}}
    #[arg(long)]
    stdin: bool,

    /// Write it to this new file, or into this folder as APP.toml; "-" is standard output [default: into the folder of
    /// --apps; else standard output]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    out: Option<PathBuf>,
}

/// Most bytes of a document that describes an app.
const DOCUMENT: u64 = 1 << 20;

impl New {
    /// Drafts it, and writes or prints the draft.
    pub fn run(self, settings: &Settings) -> Result {
        // Before anybody is asked.
        let path = self.path(settings)?;
        let app = match (self.stdin, self.flags.is_empty()) {
            _ if self.no_account => CustomApp {
                title: self.flags.title.clone().unwrap_or_default(),
                hosts: self.flags.host.clone(),
                base_url: self.flags.base_url.clone(),
                fields: Vec::new(),
                places: Vec::new(),
                headers: Default::default(),
            },
            (true, true) if self.plain.is_empty() => read()?,
            (true, _) => {
                return Err(Error::usage("--stdin says all of the app, so no other flag may")
                    .help("put it into the document, or leave --stdin out"));
            }
            (false, false) => self.by_flags(&self.flags, &self.plain)?,
            (false, true) if std::io::stdin().is_terminal() => {
                let asked = asked(&self.app)?;
                self.by_flags(&asked, &[&self.plain[..], &asked_plain(&asked)?].concat())?
            }
            (false, true) => {
                return Err(Error::usage(
                    "nothing says where the app's credentials go, and there is no terminal to ask on",
                )
                .help(
                    "add --host and --header, --query, --basic or another place (keyhole apps new --help), or --stdin",
                ));
            }
        };
        let draft = import::said(&self.app, &app).map_err(wrong)?;
        if !draft.usable && !self.no_account {
            return Err(Error::usage("nothing says where the app's credentials go").help(
                "add --header 'Authorization: Bearer {api_key}', --query, --basic, --segment, --json-body or --form",
            ));
        }
        self.put(&draft, path.as_deref(), settings)
    }

    fn by_flags(&self, flags: &CustomFlags, plain: &[String]) -> Result<CustomApp> {
        flags.definition(&[plain, &in_hosts(flags)].concat())
    }

    fn put(&self, draft: &Draft, path: Option<&Path>, settings: &Settings) -> Result {
        let (out, name) = (settings.out, &draft.name);
        let Some(path) = path else {
            out.either(&json!({"name": name, "definition": draft.definition}), || draft.definition.clone())?;
            out.note(format!("next: keep it as {name}.toml, then\n  keyhole apps add {name}.toml"));
            return Ok(());
        };
        write_new(path, draft.definition.as_bytes())?;
        out.either(&json!({"path": path, "name": name}), || {
            let bold = style::BOLD;
            format!("{bold}{}{bold:#}  defines the app {name}", path.display())
        })?;
        let known = settings.remote.is_none() && path.parent() == settings.apps.as_deref();
        out.note(match known {
            true if self.no_account => format!("steps use {name} without an account"),
            true => format!("next: keyhole accounts connect {name}"),
            false => format!("next: keyhole apps add {}", path.display()),
        });
        Ok(())
    }

    /// Where the draft goes, if that is no file yet.
    fn path(&self, settings: &Settings) -> Result<Option<PathBuf>> {
        let file = || format!("{}.toml", self.app);
        let path = match &self.out {
            Some(path) if path == Path::new("-") => return Ok(None),
            Some(path) if path.is_dir() => path.join(file()),
            Some(path) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                return Err(Error::usage("there is no such folder")
                    .at(path.display())
                    .help("make it first, with mkdir"));
            }
            Some(path) => path.clone(),
            None => {
                let catalog = super::apps::catalog(settings)?;
                if catalog.get(&self.app).is_some() {
                    return Err(Error::usage(format!("there is an app {} already", self.app))
                        .help(format!("keyhole apps show {}; or name a file with --out", self.app)));
                }
                match &settings.apps {
                    Some(folder) if settings.remote.is_none() => folder.join(file()),
                    _ => return Ok(None),
                }
            }
        };
        if path.exists() { Err(is_there(&path)) } else { Ok(Some(path)) }
    }
}

/// What standard input says of the app.
fn read() -> Result<CustomApp> {
    let mut text = String::new();
    std::io::stdin().lock().take(DOCUMENT).read_to_string(&mut text).doing("standard input can't be read")?;
    serde_json::from_str(&text).map_err(|error| {
        Error::usage(format!("this does not describe an app: {error}"))
            .at("standard input")
            .help("keyhole apps new --help shows its form")
    })
}

/// The fields that hosts and the base URL are made of. No secret may be there.
fn in_hosts(flags: &CustomFlags) -> Vec<String> {
    let hosts = flags.host.iter().filter_map(|host| HostTemplate::parse(host, Addresses::Refused).ok());
    let base_url = flags.base_url.as_deref().and_then(|url| Template::parse(url).ok());
    let of_hosts = hosts.flat_map(|host| host.fields().map(str::to_owned).collect::<Vec<_>>());
    of_hosts.chain(base_url.iter().flat_map(Template::fields).map(str::to_owned)).collect()
}

/// Asks at the terminal, and gives the flags that would have said the same.
fn asked(app: &str) -> Result<CustomFlags> {
    let mut flags = CustomFlags {
        title: Some(line(&format!("What people call {app} [made from its name]: "))?).filter(|title| !title.is_empty()),
        ..CustomFlags::default()
    };
    while flags.host.is_empty() {
        let hosts =
            line("Its hosts, such as api.example.com or {subdomain}.example.com; several with blanks between: ")?;
        flags.host = hosts.split_whitespace().map(str::to_owned).collect();
    }
    output::stderr_line(
        "Where do its credentials go? A {name} in what you write is a field: steps find it as $auth.name.",
    );
    loop {
        match line("header, basic, query, path, json or form [no more]: ")?.as_str() {
            "header" => flags.header.push(line("The header, such as Authorization: Bearer {api_key}: ")?),
            "basic" => flags.basic = Some(line("User and password, such as {username}:{password}: ")?),
            "query" => flags.query.push(line("The parameter, such as key={api_key}: ")?),
            "path" => flags.segment.push(line("The part of the path, from 1, such as 1=bot{token}: ")?),
            "json" => flags.json_body.push(line("The JSON pointer into the body, such as /api_key={api_key}: ")?),
            "form" => flags.form.push(line("The form's field, such as api_key={api_key}: ")?),
            "" if flags.definition(&[])?.places.is_empty() => output::stderr_line("Say one, at least."),
            "" => return Ok(flags),
            _ => output::stderr_line("Write one of these words, or nothing."),
        }
    }
}

/// Asks which of the fields are no secrets.
fn asked_plain(flags: &CustomFlags) -> Result<Vec<String>> {
    let fields = flags.definition(&in_hosts(flags))?.fields;
    let secret: Vec<String> = fields.into_iter().filter(|field| field.secret).map(|field| field.name).collect();
    let plain = line(&format!("Which of {} are no secrets, as a user name is [none]: ", secret.join(", ")))?;
    Ok(plain.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// What a person types.
fn line(prompt: &str) -> Result<String> {
    eprint!("{prompt}");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).doing("the terminal can't be read")?;
    if read == 0 {
        return Err(Error::usage("the answers ended before all was asked").help("nothing was written; begin again"));
    }
    Ok(line.trim().to_owned())
}

/// What the loader refused. Its place would be in a text that nobody wrote.
fn wrong(errors: Vec<AppError>) -> Error {
    Error::several(errors.into_iter().map(|error| {
        let said = Error::usage(error.message);
        if error.help.is_empty() { said } else { said.help(error.help) }
    }))
}
