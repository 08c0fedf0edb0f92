//! Whether a definition keeps to itself: its base URL and test request within its hosts,
//! and not among what it denies.

use std::collections::BTreeMap;

use super::build::Judge;
use super::error::Span;
use super::{App, BaseUrlError};

impl Judge<'_> {
    /// The base URL and the test request must be within the hosts and outside the deny
    /// list, whatever an account's fields are.
    pub(super) fn reach(&mut self, app: &App, base_span: &Span, test_span: &Span) {
        if app.base_url.is_none() {
            if app.test.is_some() {
                self.add(test_span, "a test request needs a base_url to be joined to", "add base_url");
            }
            return;
        }
        if !self.problems.is_empty() {
            return;
        }
        for plain in samples(app) {
            let url = match app.base_url(&plain) {
                Ok(Some(url)) => url,
                Ok(None) => return,
                Err(BaseUrlError::Elsewhere(_)) => {
                    let help = match app.insecure_http {
                        true => "add its host (and port, where it has one) to hosts",
                        false => {
                            "add its host (and port) to hosts; it must begin with https:// unless insecure_http = true"
                        }
                    };
                    return self.add(base_span, "base_url is not within hosts", help);
                }
                Err(error) => return self.add(base_span, format_args!("base_url: {error}"), ""),
            };
            if !url.path().ends_with('/') || url.query().is_some() || url.fragment().is_some() {
                let help = "so that paths can be joined to it, and without a query";
                return self.add(base_span, "base_url must end with '/'", help);
            }
            match app.test_url(&plain) {
                None => {}
                Some(Err(error)) => return self.add(test_span, error, "give a path relative to base_url"),
                Some(Ok(url)) => {
                    if let Some(deny) = app.test.as_ref().and_then(|test| app.denied(&test.method, &url)) {
                        let message = format!("the test request is denied by the rule {}", deny.path);
                        return self.add(test_span, message, "test with another request, or narrow the rule");
                    }
                }
            }
        }
    }
}

/// Accounts to try a definition with: each choice of each field, and a word that could
/// stand in a host for those that may be anything.
fn samples(app: &App) -> Vec<BTreeMap<String, String>> {
    let whole: BTreeMap<&str, &str> = app
        .hosts
        .iter()
        .filter_map(|host| Some((host.whole()?, if host.is_of_url() { "https://a.invalid" } else { "a.invalid" })))
        .collect();
    let mut samples = vec![BTreeMap::new()];
    for field in app.fields.iter().filter(|field| !field.secret) {
        let stand_in = whole.get(field.name.as_str()).copied().unwrap_or("a1");
        let values = if field.choices.is_empty() { vec![stand_in.to_owned()] } else { field.choices.clone() };
        samples = samples
            .iter()
            .flat_map(|sample| {
                values.iter().map(|value| {
                    let mut sample: BTreeMap<String, String> = sample.clone();
                    sample.insert(field.name.clone(), value.clone());
                    sample
                })
            })
            .take(256)
            .collect();
    }
    samples
}
