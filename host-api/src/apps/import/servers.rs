//! The servers of a document: which of them requests start at, and the hosts of them all.

use serde_json::Value;
use url::Url;

use super::ImportError;
use super::draft::Field;
use super::listed::{LONGEST_URL, Listed};
use super::openapi::operations;
use super::server::{No, Server};
use super::text::line;
use crate::apps::{Addresses, HostTemplate};

/// Most servers that are looked at, and most hosts that a draft has.
const MOST: usize = 100;

/// Where a service is.
#[derive(Default)]
pub(super) struct Servers {
    pub base_url: String,
    pub hosts: Vec<String>,
    pub fields: Vec<Field>,
    /// What to check, by the key that it is about.
    pub remarks: Vec<(&'static str, String)>,
}

/// Finds the servers that a definition can have: the one at `base_url`, or the document's, which is
/// itself `from` there.
pub(super) fn servers(document: &Value, base_url: Option<&Url>, from: Option<&Url>) -> Result<Servers, ImportError> {
    if let Some(url) = base_url {
        return said(url);
    }
    let (main, further) = listed(document, from);
    let mut found = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    let mut http = None;
    let mut relative = false;
    let candidates = main.iter().map(|server| (server, true)).chain(further.iter().map(|server| (server, false)));
    for (server, is_main) in candidates.take(MOST) {
        match server.place(from) {
            Ok(placed) => found.push((placed, server, is_main)),
            Err(No::Relative) => relative = true,
            Err(No::Http(host)) => _ = http.get_or_insert(host),
            Err(No::Because(reason)) if !reasons.contains(&reason) => reasons.push(reason),
            Err(No::Because(_)) => {}
        }
    }
    if relative {
        reasons.push("its servers are relative to where it was published".to_owned());
    }
    // One for trying things out is taken only if there is no other.
    let real = |(_, server, is_main): &(Server, &Listed, bool)| (!*is_main, server.is_for_tests());
    found.sort_by_key(real);
    let mut found = found.into_iter().map(|(placed, ..)| placed);
    let Some(base) = found.next() else {
        return Err(match http {
            Some(host) if reasons.is_empty() => ImportError::OnlyHttp(host),
            _ => ImportError::NoServer(reasons.into_iter().take(3).collect()),
        });
    };
    let mut servers = Servers { base_url: base.base_url, hosts: base.hosts, fields: base.fields, remarks: Vec::new() };
    servers.remarks.extend(base.remarks.into_iter().map(|remark| ("base_url", remark)));
    let mut others = Vec::new();
    for server in found {
        servers.add(server, &mut others);
    }
    if !others.is_empty() {
        let named: Vec<String> = others.iter().take(5).map(|url| line(url, 100)).collect();
        let more = if others.len() > 5 { format!(" and {} more", others.len() - 5) } else { String::new() };
        let text = format!("the document has other servers, too: {}{more}.", named.join(", "));
        servers.remarks.push(("base_url", text));
    }
    if servers.hosts.len() > 1 {
        let text = "credentials may go to each of these; leave out those that steps have no use for.";
        servers.remarks.push(("hosts", text.to_owned()));
    }
    Ok(servers)
}

impl Servers {
    /// Adds the hosts of a further server, if its fields are there already.
    fn add(&mut self, server: Server, others: &mut Vec<String>) {
        let known =
            |field: &Field| self.fields.iter().any(|own| own.name == field.name && own.choices == field.choices);
        if server.base_url == self.base_url {
            return;
        }
        if !others.contains(&server.base_url) {
            others.push(server.base_url.clone());
        }
        let taken = |host: &&String| {
            let template = HostTemplate::parse(host, Addresses::Refused);
            template.is_ok_and(|template| {
                let in_host = |field: &&Field| template.fields().any(|name| name == field.name);
                server.fields.iter().filter(in_host).all(known)
            })
        };
        let new: Vec<String> =
            server.hosts.iter().filter(taken).filter(|host| !self.hosts.contains(host)).cloned().collect();
        let room = MOST.saturating_sub(self.hosts.len());
        self.hosts.extend(new.into_iter().take(room));
    }
}

/// The one that the operator gives.
fn said(url: &Url) -> Result<Servers, ImportError> {
    let wrong = |reason: String| ImportError::BaseUrl { url: url.to_string(), reason };
    if url.scheme() != "https" {
        return Err(wrong("it is not https".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a user name, a query or a fragment".to_owned()));
    }
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HostTemplate::parse(&host, Addresses::Refused).map_err(|error| wrong(error.to_string()))?;
    let slash = if url.path().ends_with('/') { "" } else { "/" };
    Ok(Servers { base_url: format!("{url}{slash}"), hosts: vec![host], ..Servers::default() })
}

/// Those of the document as a whole, and those that some operations have for themselves.
fn listed(document: &Value, from: Option<&Url>) -> (Vec<Listed>, Vec<Listed>) {
    if document.get("swagger").is_some() {
        return (swagger(document, from), Vec::new());
    }
    let read = |servers: &Value| -> Vec<Listed> {
        servers.as_array().into_iter().flatten().filter_map(Listed::read).collect()
    };
    let mut main = read(&document["servers"]);
    let mut further = Vec::new();
    for path in document["paths"].as_object().into_iter().flat_map(|paths| paths.values()) {
        further.extend(read(&path["servers"]));
        further.extend(operations(path).flat_map(|(_, operation)| read(&operation["servers"])));
        if further.len() > MOST {
            break;
        }
    }
    if main.is_empty() && further.is_empty() {
        // What OpenAPI 3 says is meant (4.8.1.1, "servers").
        main.push(Listed { url: "/".to_owned(), ..Listed::default() });
    }
    (main, further)
}

/// Swagger 2 has one host, one path, and schemes.
fn swagger(document: &Value, from: Option<&Url>) -> Vec<Listed> {
    let path = document["basePath"].as_str().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let Some(host) = document["host"].as_str().filter(|host| !host.trim().is_empty()) else {
        return vec![Listed { url: path, ..Listed::default() }];
    };
    // Each scheme would repeat them.
    if host.len() + path.len() > LONGEST_URL {
        return Vec::new();
    }
    let schemes = document["schemes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let schemes: Vec<&str> = schemes.filter(|scheme| scheme.len() <= LONGEST_URL).take(MOST).collect();
    let schemes = match (schemes.is_empty(), from) {
        // The scheme that the document came by is meant.
        (true, Some(from)) => vec![from.scheme()],
        (true, None) => vec!["https"],
        (false, _) => schemes,
    };
    schemes
        .iter()
        .map(|scheme| Listed { url: format!("{scheme}://{}{path}", host.trim()), ..Listed::default() })
        .collect()
}
