//! A draft made of what a person says of an app: its hosts, its fields, and where the secrets go.

use super::Draft;
use super::draft::{Field, Place, Sketch};
use super::text::label;
use crate::apps::{Addresses, AppError, CustomApp, HostTemplate, Template};

/// Drafts the app `name`. Fields that hosts and the base URL are made of need not be listed, and get a pattern that
/// keeps them from naming another host.
///
/// # Errors
/// All that is wrong with what was said, as the loader sees it.
pub fn said(name: &str, app: &CustomApp) -> Result<Draft, Vec<AppError>> {
    let field = |name: &str, secret| Field { name: name.to_owned(), label: label(name), secret, ..Field::default() };
    let mut fields: Vec<Field> = app.fields.iter().map(|said| field(&said.name, said.secret)).collect();
    let hosts = app.hosts.iter().filter_map(|host| HostTemplate::parse(host, Addresses::Refused).ok());
    let mut held: Vec<(String, &'static str)> = Vec::new();
    for host in hosts {
        let pattern = match host.whole() {
            Some(_) if host.is_of_url() => "https://[^@]+",
            Some(_) => "[a-z0-9.-]+",
            None => "[a-z0-9][a-z0-9-]*",
        };
        held.extend(host.fields().map(|name| (name.to_owned(), pattern)));
    }
    let base_url = app.base_url.as_deref().and_then(|url| Template::parse(url).ok());
    held.extend(base_url.iter().flat_map(Template::fields).map(|name| (name.to_owned(), "[A-Za-z0-9._-]+")));
    for (name, pattern) in held {
        if !fields.iter().any(|field| field.name == name) {
            fields.push(field(&name, false));
        }
        let plain = fields.iter_mut().filter(|field| field.name == name && !field.secret);
        plain.for_each(|field| field.pattern = field.pattern.or(Some(pattern)));
    }
    let sketch = Sketch {
        name: name.to_owned(),
        title: if app.title.is_empty() { label(name) } else { app.title.clone() },
        base_url: app.base_url.clone(),
        hosts: app.hosts.clone(),
        fields,
        places: app.places.iter().map(|place| Place { kind: place.clone(), remarks: Vec::new() }).collect(),
        headers: app.headers.clone(),
        said: true,
        ..Sketch::default()
    };
    sketch.checked()
}
