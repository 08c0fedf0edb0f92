//! One server of a document: the host and the path that requests start at, with variables
//! as fields where a field can make the host no other vendor's.

use std::collections::BTreeSet;

use url::Url;

use super::draft::Field;
use super::listed::{LONGEST_URL, Listed, MOST_VARIABLES, Piece, Variable, is_placeholder, is_public, pieces};
use super::text;
use crate::apps::{Addresses, HostError, HostTemplate};

/// Labels of a host; what the loader asks of a field in one.
const LABEL: &str = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
/// A whole host.
const HOST: &str = "[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+";
/// Part of a path, and neither `.` nor `..`.
const SEGMENT: &str = "[A-Za-z0-9_~-][A-Za-z0-9._~-]*";
/// Most hosts that variables are written out to.
const MOST_HOSTS: usize = 64;

/// A server that a definition can have.
#[derive(Default)]
pub(super) struct Server {
    pub hosts: Vec<String>,
    pub base_url: String,
    pub fields: Vec<Field>,
    pub remarks: Vec<String>,
}

/// Why a definition cannot have a server.
pub(super) enum No {
    /// It is relative, and nobody said to what.
    Relative,
    /// Plain HTTP, to this host.
    Http(String),
    /// Something else.
    Because(String),
}

impl Listed {
    /// Makes sense of it; `base` is what a relative one is relative to.
    pub fn place(&self, base: Option<&Url>) -> Result<Server, No> {
        if self.url.len() > LONGEST_URL || self.url.matches('{').count() > MOST_VARIABLES {
            return Err(No::Because(format!("{} is too long", text::line(&self.url, 100))));
        }
        let mut maker = Maker { listed: self, server: Server::default(), taken: BTreeSet::new() };
        let (host, path) = maker.parts(base)?;
        let (host, hosts) = maker.host(&host)?;
        let path = maker.path(&path);
        maker.server.base_url = format!("https://{host}{path}");
        maker.server.hosts = hosts;
        Ok(maker.server)
    }
}

struct Maker<'l> {
    listed: &'l Listed,
    server: Server,
    taken: BTreeSet<String>,
}

impl Maker<'_> {
    /// Host, with a port, and path, both with variables.
    fn parts(&mut self, base: Option<&Url>) -> Result<(String, String), No> {
        let mut url = self.listed.url.clone();
        if let Some(rest) = url.strip_prefix("//") {
            url = format!("https://{rest}");
        }
        // A path that stands in a variable, its '/' included.
        for variable in &self.listed.variables {
            if let Some(path) =
                variable.default.as_deref().filter(|default| default.starts_with('/') && !default.contains('{'))
            {
                url = url.replace(&format!("{{{}}}", variable.name), path);
            }
        }
        // A variable that holds a whole address, or the beginning of one.
        if let Some((name, rest)) = url.strip_prefix('{').and_then(|url| url.split_once('}'))
            && !rest.starts_with("://")
        {
            let variable = self.listed.variable(name);
            match variable.default.as_deref() {
                Some(default) if default.starts_with('/') => url = format!("{default}{rest}"),
                Some(default) if default.contains("://") && !is_placeholder(default) => {
                    self.server.remarks.push(format!(
                        "the document lets the address be chosen ({name}); this is the one that it begins with."
                    ));
                    url = format!("{}{rest}", default.trim_end_matches('/'));
                }
                _ => url = format!("https://{url}"),
            }
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return self.relative(&url, base);
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = (rest[..end].to_owned(), rest[end..].to_owned());
        let scheme = match scheme.strip_prefix('{').and_then(|scheme| scheme.strip_suffix('}')) {
            Some(name) => {
                let variable = self.listed.variable(name);
                let https = variable.choices.is_empty() || variable.choices.iter().any(|choice| choice == "https");
                if https { "https".to_owned() } else { variable.choices[0].to_lowercase() }
            }
            None => scheme.to_lowercase(),
        };
        match scheme.as_str() {
            "https" => {}
            "http" => return Err(No::Http(text::line(&host, 100))),
            _ => return Err(No::Because(format!("{} is not HTTPS", text::line(&url, 100)))),
        }
        if host.contains('@') {
            return Err(No::Because(format!("{} has a user name in it", text::line(&url, 100))));
        }
        Ok((host, path))
    }

    fn relative(&mut self, url: &str, base: Option<&Url>) -> Result<(String, String), No> {
        let joined = base.and_then(|base| base.join(url).ok()).ok_or(No::Relative)?;
        let host = joined.host_str().ok_or(No::Relative)?;
        let host = joined.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        match joined.scheme() {
            "https" => {
                self.server.remarks.push(format!("the document gives it relative to where it was published, {host}."));
                Ok((host, joined.path().replace("%7B", "{").replace("%7D", "}")))
            }
            _ => Err(No::Http(host)),
        }
    }

    /// The host of the base URL, and all that requests may go to.
    fn host(&mut self, text: &str) -> Result<(String, Vec<String>), No> {
        let (name, port) = self.port(text);
        let pieces = pieces(&name);
        if let [Piece::Variable(variable)] = &pieces[..] {
            return self.whole_host(&self.listed.variable(variable), &port);
        }
        let began = (self.server.fields.clone(), self.server.remarks.clone(), self.taken.clone());
        let first = match self.labels(text, &pieces, &port, false) {
            Ok(hosts) => return Ok(hosts),
            Err(no) => no,
        };
        // With what the document has for them in the place of variables that may be anything.
        (self.server.fields, self.server.remarks, self.taken) = began;
        self.labels(text, &pieces, &port, true).map_err(|_| first)
    }

    /// A host with text in it. `fixed`: without fields that may be anything, beyond the first label.
    fn labels(&mut self, text: &str, pieces: &[Piece], port: &str, fixed: bool) -> Result<(String, Vec<String>), No> {
        let mut template = String::new();
        // The same with all that choices lead to.
        let mut written_out = vec![String::new()];
        for (index, piece) in pieces.iter().enumerate() {
            let variable = match piece {
                Piece::Text(text) => {
                    template.push_str(text);
                    written_out = each(&written_out, std::slice::from_ref(text));
                    continue;
                }
                Piece::Variable(name) => self.listed.variable(name),
            };
            let whole_label = (index == 0 || matches!(&pieces[index - 1], Piece::Text(text) if text.ends_with('.')))
                && matches!(pieces.get(index + 1), Some(Piece::Text(text)) if text.starts_with('.'));
            let is_label =
                |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let mut choices = variable.choices.clone();
            choices.dedup();
            let default = variable.default.clone().filter(|default| !is_placeholder(default) || !choices.is_empty());
            let (here, written) = if choices.len() == 1 {
                (choices[0].clone(), choices)
            } else if !choices.is_empty() && choices.iter().all(is_label) {
                (format!("{{{}}}", self.chosen(&variable, choices.clone())), choices)
            } else if choices.is_empty() && whole_label && (index == 0 || !fixed) {
                let field = format!("{{{}}}", self.free(&variable, LABEL, "part of the host"));
                (field.clone(), vec![field])
            } else if let Some(default) = default {
                let (name, shown) = (text::line(&variable.name, 60), text::line(&default, 60));
                self.server.remarks.push(format!("{name} is '{shown}' here; the service knows other values for it."));
                (default.clone(), if choices.is_empty() { vec![default] } else { choices })
            } else {
                let name = text::line(&variable.name, 60);
                return Err(No::Because(format!("in {} '{name}' may be anything", text::line(text, 100))));
            };
            template.push_str(&here);
            written_out = each(&written_out, &written);
        }
        template.push_str(port);
        written_out.iter_mut().for_each(|host| host.push_str(port));
        let is_template = template.contains('{');
        let zone = template.rsplit('}').next().unwrap_or_default();
        let known = if is_template { zone } else { &template };
        // What a field ends has no end of its own: the loader judges it below.
        let open = is_template && zone.is_empty();
        if !open && !is_public(known) {
            return Err(No::Because(format!("{} is no public host", text::line(&template, 100))));
        }
        let refused = |host: &String| HostTemplate::parse(host, Addresses::Refused).err();
        let wrong = |error: HostError| No::Because(text::line(&error.to_string(), 200));
        if is_template {
            // Each choice is a host for itself: one of them may be a public suffix.
            if let Some(error) = written_out.iter().find_map(refused) {
                return Err(wrong(error));
            }
            // `intellifi.{tld}` could be anyone's; `intellifi.nl` and `intellifi.cloud` are not.
            let hosts = if refused(&template).is_none() { vec![template.clone()] } else { written_out };
            return Ok((template, hosts));
        }
        if let Some(error) = refused(&template) {
            return Err(wrong(error));
        }
        let mut hosts = vec![template.clone()];
        hosts.extend(written_out.into_iter().filter(|host| *host != template && refused(host).is_none()));
        Ok((template, hosts))
    }

    fn port(&mut self, text: &str) -> (String, String) {
        let Some((name, port)) = text.rsplit_once(':') else { return (text.to_owned(), String::new()) };
        let port = match port.strip_prefix('{').and_then(|port| port.strip_suffix('}')) {
            Some(variable) => {
                let variable = self.listed.variable(variable);
                let port = variable.default.or(variable.choices.first().cloned()).unwrap_or_default();
                if !port.is_empty() && port != "443" {
                    self.server.remarks.push(format!("the port may be another than {}.", text::line(&port, 10)));
                }
                port
            }
            None if port.contains('}') => return (text.to_owned(), String::new()),
            None => port.to_owned(),
        };
        let port = if port.is_empty() || port == "443" { String::new() } else { format!(":{port}") };
        (name.to_owned(), port)
    }

    fn whole_host(&mut self, variable: &Variable, port: &str) -> Result<(String, Vec<String>), No> {
        let name = text::line(&variable.name, 60);
        let fits =
            |host: &str| is_public(host) && HostTemplate::parse(&format!("{host}{port}"), Addresses::Refused).is_ok();
        let choices: Vec<String> = variable.choices.iter().filter(|choice| fits(choice)).cloned().collect();
        if choices.len() > 1 {
            let field = self.chosen(variable, choices.clone());
            return Ok((format!("{{{field}}}{port}"), choices.iter().map(|host| format!("{host}{port}")).collect()));
        }
        let default = choices.first().or(variable.default.as_ref()).filter(|host| fits(host));
        if let Some(default) = default {
            self.server
                .remarks
                .push(format!("the document lets the host be chosen ({name}); this is the one that it begins with."));
            return Ok((format!("{default}{port}"), vec![format!("{default}{port}")]));
        }
        let what = "the whole host, so a member's credential goes to where the member says";
        let field = self.free(variable, HOST, what);
        if let Some(field) = self.server.fields.iter_mut().find(|own| own.name == field) {
            field.label = format!("{} (a host name)", text::label(&field.name));
        }
        let host = format!("{{{field}}}{port}");
        match HostTemplate::parse(&host, Addresses::Refused) {
            Ok(_) => Ok((host.clone(), vec![host])),
            Err(error) => Err(No::Because(text::line(&error.to_string(), 200))),
        }
    }

    /// The path, with '/' at both ends.
    fn path(&mut self, text: &str) -> String {
        let text = text.split(['?', '#']).next().unwrap_or_default();
        let mut path = String::new();
        for piece in pieces(text) {
            let variable = match piece {
                Piece::Text(text) => {
                    path.push_str(&text.replace('{', "%7B").replace('}', "%7D"));
                    continue;
                }
                Piece::Variable(name) => self.listed.variable(&name),
            };
            let default = variable.default.clone().filter(|default| default.is_empty() || !is_placeholder(default));
            match default {
                _ if variable.choices.len() > 1 => {
                    let field = self.chosen(&variable, variable.choices.clone());
                    path.push_str(&format!("{{{field}}}"));
                }
                _ if variable.choices.len() == 1 => path.push_str(&plain(&variable.choices[0])),
                Some(default) => path.push_str(&plain(&default)),
                None => {
                    let words = text::words(&variable.name);
                    if words
                        .iter()
                        .any(|word| ["key", "apikey", "token", "secret", "password"].contains(&word.as_str()))
                    {
                        let name = text::line(&variable.name, 60);
                        self.server.remarks.push(format!(
                            "the path goes on with {name}, which looks like a credential: it needs a place with segment = …."
                        ));
                        break;
                    }
                    let field = self.free(&variable, SEGMENT, "part of the path");
                    path.push_str(&format!("{{{field}}}"));
                }
            }
        }
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        if segments.is_empty() { "/".to_owned() } else { format!("/{}/", segments.join("/")) }
    }

    /// A field for a variable with choices. One of them is taken if the member says nothing.
    fn chosen(&mut self, variable: &Variable, choices: Vec<String>) -> String {
        let default = variable.default.clone().filter(|default| choices.contains(default));
        self.field(variable, Field { choices, default, ..Field::default() })
    }

    /// A field for a variable without choices. Without a default: another tenant's would be
    /// sent a member's credential.
    fn free(&mut self, variable: &Variable, pattern: &'static str, what: &str) -> String {
        let remarks = vec![format!("this is {what}; if there are only some values, name them: choices = [\"…\"].")];
        self.field(variable, Field { pattern: Some(pattern), remarks, ..Field::default() })
    }

    fn field(&mut self, variable: &Variable, field: Field) -> String {
        if let Some(same) = self
            .server
            .fields
            .iter()
            .find(|field| field.name == text::field_name(&variable.name, "variable", &BTreeSet::new()))
        {
            return same.name.clone();
        }
        let name = text::field_name(&variable.name, "variable", &self.taken);
        self.taken.insert(name.clone());
        let help = variable.description.as_deref().map(|help| text::line(help, 200)).filter(|help| !help.is_empty());
        self.server.fields.push(Field { label: text::label(&name), name: name.clone(), help, ..field });
        name
    }
}

/// A value as part of a path, without what would end it.
fn plain(value: &str) -> String {
    value.replace('{', "%7B").replace('}', "%7D").replace('?', "%3F").replace('#', "%23")
}

fn each(hosts: &[String], choices: &[String]) -> Vec<String> {
    let all = hosts.iter().flat_map(|host| choices.iter().map(move |choice| format!("{host}{choice}")));
    all.take(MOST_HOSTS).collect()
}
