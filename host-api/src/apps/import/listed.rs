//! A server as a document writes it: an address with variables.

use serde_json::Value;

use super::text;

/// Longest address that is looked at, in bytes.
pub(super) const LONGEST_URL: usize = 2048;
/// Longest value of a variable, in bytes: an address may repeat it.
const LONGEST_VALUE: usize = 256;
/// Most variables of a server.
pub(super) const MOST_VARIABLES: usize = 16;
/// Most choices of a variable.
const MOST_CHOICES: usize = 256;

/// A server as a document lists it.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub url: String,
    pub description: String,
    pub variables: Vec<Variable>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Variable {
    pub name: String,
    pub choices: Vec<String>,
    pub default: Option<String>,
    pub description: Option<String>,
}

impl Listed {
    /// An entry of `servers`.
    pub fn read(entry: &Value) -> Option<Self> {
        let text = |value: &Value| match value {
            Value::String(text) if text.len() <= LONGEST_VALUE => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let variables = entry["variables"].as_object().into_iter().flatten().map(|(name, variable)| Variable {
            name: name.clone(),
            choices: variable["enum"].as_array().into_iter().flatten().filter_map(text).take(MOST_CHOICES).collect(),
            default: text(&variable["default"]),
            description: variable["description"].as_str().map(str::to_owned),
        });
        Some(Self {
            url: entry["url"].as_str()?.trim().to_owned(),
            description: entry["description"].as_str().unwrap_or_default().to_owned(),
            variables: variables.collect(),
        })
    }

    /// Whether it seems to be for trying things out.
    pub fn is_for_tests(&self) -> bool {
        let words = text::words(&format!("{} {}", self.url, self.description));
        ["sandbox", "staging", "stage", "test", "testing", "dev", "development", "mock", "demo", "beta", "uat", "qa"]
            .iter()
            .any(|word| words.iter().any(|w| w == word))
    }

    /// The variable `name`; one that is not described may be anything.
    pub fn variable(&self, name: &str) -> Variable {
        let known = self.variables.iter().find(|variable| variable.name == name).cloned();
        known.unwrap_or_else(|| Variable { name: name.to_owned(), ..Variable::default() })
    }
}

/// A piece of a URL with variables.
pub(super) enum Piece {
    Text(String),
    Variable(String),
}

/// `{` and `}` that do not enclose a name are text.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else { break };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Variable(name.trim().to_owned()));
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    pieces
}

/// Whether a text stands for something that the reader has to fill in.
pub(super) fn is_placeholder(text: &str) -> bool {
    const WHOLE: [&str; 8] = ["none", "unknown", "host", "domain", "server", "null", "undefined", "string"];
    const WORDS: [&str; 8] = ["example", "your", "my", "localhost", "hostname", "placeholder", "changeme", "xxx"];
    const THINGS: [&str; 10] =
        ["domain", "subdomain", "host", "server", "company", "tenant", "account", "instance", "site", "organization"];
    let text = text.to_lowercase();
    let stands_for = |word: &str| {
        let mine = word.strip_prefix("your").or_else(|| word.strip_prefix("my"));
        WORDS.contains(&word) || mine.is_some_and(|thing| THINGS.contains(&thing))
    };
    text.is_empty()
        || text.contains(['<', '>', '[', ']', '{', '}', ' ', '*'])
        || WHOLE.contains(&text.as_str())
        || text.split(|c: char| !c.is_alphanumeric()).any(stands_for)
}

/// Whether everyone would mean the same host by it.
pub(super) fn is_public(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    name.contains('.')
        && !is_placeholder(name)
        && !["local", "localhost", "internal", "test", "invalid", "lan", "home", "corp", "localdomain"].contains(&last)
}
