//! What the flags say of a service that has no definition: its hosts, and where its secrets go.

use clap::{Args, Command};
use keyhole_host_api::apps::{CUSTOM, CustomApp, CustomPlace, Encoded, Template};
use serde::Serialize;

use super::error::{Error, Result};
use super::output::{self, style};
use super::secrets::Values;

/// What a service without a definition is like.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "For a service without a definition")]
pub struct CustomFlags {
    /// A host that the secrets may go to; *.example.com for all below
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,

    /// A header of each request, such as 'Authorization: Bearer {token}'
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,

    /// User name and password of HTTP Basic, such as '{user}:{password}'
    #[arg(long, value_name = "USER:PASSWORD")]
    pub basic: Option<String>,

    /// A query parameter of each request, such as 'key={key}'
    #[arg(long, value_name = "NAME=VALUE")]
    pub query: Vec<String>,

    /// A part of the path of each request by its number from 1, such as '1=bot{token}'
    #[arg(long, value_name = "NUMBER=VALUE")]
    pub segment: Vec<String>,

    /// A value in the JSON body of each request by its pointer, such as '/api_key={key}'
    #[arg(long, value_name = "POINTER=VALUE")]
    pub json_body: Vec<String>,

    /// A field in the form body of each request, such as 'api_key={key}'
    #[arg(long, value_name = "NAME=VALUE")]
    pub form: Vec<String>,

    /// Where requests start, such as https://api.example.com/v1/
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,

    /// What to call the service
    #[arg(long)]
    pub title: Option<String>,
}

impl CustomFlags {
    /// The first flag that is given.
    fn first(&self) -> Option<&'static str> {
        let given = [
            ("--host", !self.host.is_empty()),
            ("--header", !self.header.is_empty()),
            ("--basic", self.basic.is_some()),
            ("--query", !self.query.is_empty()),
            ("--base-url", self.base_url.is_some()),
            ("--segment", !self.segment.is_empty()),
            ("--json-body", !self.json_body.is_empty()),
            ("--form", !self.form.is_empty()),
            ("--title", self.title.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// Refuses them for an app that has a definition.
    pub fn must_be_empty(&self, app: &str) -> Result {
        match self.first() {
            Some(flag) => Err(Error::usage(format!("{flag} is for the app {CUSTOM}; {app} has a definition"))
                .help(format!("keyhole apps show {app}"))),
            None => Ok(()),
        }
    }

    /// The definition that the flags make. The fields in `plain` are no secrets, all others are.
    pub fn definition(&self, plain: &[String]) -> Result<CustomApp> {
        if self.host.is_empty() {
            return Err(Error::usage("no host is named that the secrets may go to").help("add --host api.example.com"));
        }
        let template = |text: &str, flag: &str| match Template::parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(Error::usage(error.to_string()).at(flag)),
        };
        let pair = |text: &str, flag: &str| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), template(value, flag)?)),
            None => Err(Error::usage(format!("a {flag} is not of the form NAME=VALUE"))),
        };
        let mut places = Vec::new();
        for header in &self.header {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Error::usage("a --header is not of the form 'NAME: VALUE'"));
            };
            let value = value.trim();
            let template = match Encoded::parse(value) {
                Some(Ok(_)) => value.to_owned(),
                _ => template(value, "--header")?,
            };
            places.push(CustomPlace::Header { name: name.trim().to_owned(), template });
        }
        if let Some(basic) = &self.basic {
            let (username, password) = basic.split_once(':').unwrap_or((basic, ""));
            let (username, password) = (template(username, "--basic")?, template(password, "--basic")?);
            places.push(CustomPlace::Basic { username, password });
        }
        for query in &self.query {
            let (name, template) = pair(query, "--query")?;
            places.push(CustomPlace::Query { name, template });
        }
        for segment in &self.segment {
            let (number, template) = pair(segment, "--segment")?;
            let wrong = |_| Error::usage("a --segment begins with its number, from 1: '1=bot{token}'");
            places.push(CustomPlace::Segment { index: number.parse().map_err(wrong)?, template });
        }
        for json in &self.json_body {
            let (pointer, template) = pair(json, "--json-body")?;
            places.push(CustomPlace::Json { pointer, template });
        }
        for form in &self.form {
            let (name, template) = pair(form, "--form")?;
            places.push(CustomPlace::Form { name, template });
        }
        let title = self.title.clone().unwrap_or_default();
        let app = CustomApp::gather(title, self.host.clone(), places, plain);
        Ok(CustomApp { base_url: self.base_url.clone(), ..app })
    }
}

/// What there is to show of the app [`CUSTOM`], which has no definition.
#[derive(Serialize)]
pub struct About {
    name: &'static str,
    title: &'static str,
    what: String,
    options: Vec<Named>,
}

/// An option of `keyhole accounts connect custom`.
#[derive(Serialize)]
struct Named {
    /// Which part of a definition it names.
    names: &'static str,
    option: String,
    help: String,
}

impl About {
    /// As the options themselves say it.
    pub fn custom() -> Self {
        let options = Values::augment_args(CustomFlags::augment_args(Command::new(CUSTOM)));
        let named = options.get_arguments().filter_map(|argument| {
            let long = argument.get_long()?;
            let value = argument.get_action().takes_values().then(|| argument.get_value_names()).flatten();
            Some(Named {
                names: match long {
                    "host" => "hosts",
                    "base-url" => "base URL",
                    "title" => "title",
                    "field" | "secret-file" | "key-file" | "stdin" => "fields",
                    _ => "places",
                },
                option: value.map_or_else(|| format!("--{long}"), |value| format!("--{long} <{}>", value.join(" "))),
                help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
            })
        });
        Self {
            name: CUSTOM,
            title: "A service that has no definition",
            what: format!(
                "Each account brings its own definition, which is held to the rules of every other.\n\
                 You give it as you connect the account, with keyhole accounts connect {CUSTOM} and these options.\n\
                 Each {{name}} in a place is a field: a secret one, unless --field gives its value."
            ),
            options: named.collect(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let bold = style::BOLD;
        let mut table = output::table(&["names", "option", "what it is"]);
        for Named { names, option, help } in &self.options {
            table.add_row([*names, option.as_str(), help.as_str()]);
        }
        let example = format!(
            "keyhole accounts connect {CUSTOM} --host api.example.com --header 'Authorization: Bearer {{token}}'"
        );
        format!(
            "{bold}{}{bold:#}  {}\n\n{}\n\n{}\n\n{example}",
            self.name,
            self.title,
            self.what,
            output::table_text(&mut table)
        )
    }
}
