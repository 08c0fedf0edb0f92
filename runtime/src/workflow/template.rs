//! Values that refer to what came before: `{{ steps.lookup.$return_value.id }}`.
//!
//! The language is minijinja's, with names that begin with `$`. It is strict: a name that is not there is an
//! error, at deploy if the file shows it and else in the run. It can't reach anything but its context.

use std::borrow::Cow;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

use super::render::Counter;

mod names;

/// What a template may begin with.
const ROOTS: [&str; 4] = ["event", "steps", "workflow", "run"];
/// Steps of work that one template may take.
const FUEL: u64 = 50_000;
/// Characters of one expression or statement, texts in quotes aside: each may be a level of what reads it.
const CODE: usize = 600;
/// Statements of one template, for the same reason.
const STATEMENTS: usize = 300;
/// Calls within one another, in minijinja's count.
const DEPTH: usize = 100;

/// What is wrong with a template, or with what it refers to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    message: String,
    fault: Fault,
    at: At,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Template,
    Host,
}

/// Where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Somewhere,
    /// In this line, from 1.
    Line(usize),
    /// Where this stands in its code.
    Name(String),
}

impl TemplateError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), fault: Fault::Template, at: At::Somewhere }
    }

    pub(super) fn of_host(message: impl Into<String>) -> Self {
        Self { fault: Fault::Host, ..Self::new(message) }
    }

    /// The byte of the template at which it is wrong, as far as that is known. `written` is the template as the file has
    /// it, in its quotes.
    pub(super) fn place_in(&self, written: &str) -> usize {
        match &self.at {
            At::Somewhere => 0,
            At::Line(line) => {
                let Some(text) = written.strip_prefix("\"\"\"").or_else(|| written.strip_prefix("'''")) else {
                    return 0;
                };
                // The end of the line of the quotes is no part of the text.
                let begins = text.find('\n').filter(|end| text[..*end].trim().is_empty()).map_or(0, |end| end + 1);
                3 + begins + text[begins..].split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>()
            }
            At::Name(name) => {
                let code = ["{{", "{%"].iter().filter_map(|braces| written.find(braces)).min().unwrap_or(0);
                let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
                let is_it = |at: usize| {
                    !written[..at].ends_with(is_letter) && !written[at + name.len()..].starts_with(is_letter)
                };
                let mut found = written.match_indices(name.as_str()).map(|(at, _)| at).filter(|at| *at >= code);
                found.find(|at| is_it(*at)).unwrap_or(0)
            }
        }
    }

    /// Whether the template could not be worked out here and now, whatever it says.
    pub fn is_host(&self) -> bool {
        self.fault == Fault::Host
    }
}

/// One text of a workflow's file, which may be a template.
pub struct Template<'t>(&'t str);

/// Whether `value` has a template in it.
pub fn is_template(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{") || text.contains("{%"),
        Value::Array(items) => items.iter().any(is_template),
        Value::Object(members) => members.values().any(is_template),
        _ => false,
    }
}

impl<'t> Template<'t> {
    /// Checks that `text` can be read.
    ///
    /// # Errors
    /// What can't be read of it.
    pub fn parse(text: &'t str) -> Result<Self, TemplateError> {
        if text.contains("{{") || text.contains("{%") {
            short_enough(text)?;
            environment().template_from_str(&quoted(text)).map_err(|error| TemplateError {
                at: error.line().map_or(At::Somewhere, At::Line),
                ..TemplateError::new(told(&error))
            })?;
        }
        Ok(Self(text))
    }

    /// Checks that it names only what there will be. `earlier` are the steps before its own.
    pub(super) fn check(&self, earlier: &[&str]) -> Result<(), TemplateError> {
        names::check(self.0, earlier)
    }
}

/// Checks that a condition is worked out as a whole. What stands beside braces would make a text of it, and nearly every text
/// counts as true.
pub(super) fn check_condition(text: &str) -> Result<(), TemplateError> {
    let code = text.trim();
    let is_expression = code.strip_prefix("{{").is_some_and(|code| measured(code, "}}").is_ok_and(str::is_empty));
    match is_expression || code.contains("{%") {
        true => Ok(()),
        false => {
            Err(TemplateError::new("an `if` is one expression between braces; write if = \"{{ event.body.x > 0 }}\""))
        }
    }
}

/// A context that templates are rendered in.
pub struct Renderer {
    environment: Environment<'static>,
    context: minijinja::Value,
    /// Bytes that templates may still make.
    left: usize,
}

impl Renderer {
    /// What `context` holds can be named. All that it renders may have `most` bytes together.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn new(context: &impl Serialize, most: usize) -> Result<Self, TemplateError> {
        // By its text, since the JSON in it is kept as text.
        let text = serde_json::to_string(context).map_err(|error| TemplateError::new(error.to_string()))?;
        let context = serde_json::from_str(&text).map_err(|error| TemplateError::new(error.to_string()))?;
        Ok(Self { environment: environment(), context, left: most })
    }

    /// The value of `text`: if it is one expression, of the expression's own type, else a text.
    ///
    /// # Errors
    /// What it names that is not there.
    pub fn text(&mut self, text: &str) -> Result<Value, TemplateError> {
        if !text.contains("{{") && !text.contains("{%") {
            return Ok(Value::String(text.to_owned()));
        }
        // One that was deployed by an older version was not measured.
        short_enough(text)?;
        let failed = |error: minijinja::Error| TemplateError::new(format!("`{text}`: {}", told(&error)));
        if let Some(expression) = only_expression(text) {
            let quoted = quoted(text);
            let expression = only_expression(&quoted).unwrap_or(expression);
            let value = self
                .environment
                .compile_expression(expression)
                .map_err(failed)?
                .eval(self.context.clone())
                .map_err(failed)?;
            if value.is_undefined() {
                return Err(TemplateError::new(format!("`{text}` refers to something that is not there")));
            }
            // Before there is another of it.
            Counter::take(&mut self.left, &value)?;
            return serde_json::to_value(&value).map_err(|error| TemplateError::new(format!("`{text}`: {error}")));
        }
        let rendered = self.environment.render_str(&quoted(text), self.context.clone()).map_err(failed)?;
        Counter::take(&mut self.left, &rendered)?;
        Ok(Value::String(rendered))
    }

    /// `value` with every text in it rendered.
    ///
    /// # Errors
    /// What a template names that is not there.
    pub fn value(&mut self, value: &Value) -> Result<Value, TemplateError> {
        Ok(match value {
            Value::String(text) => self.text(text)?,
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(name, member)| Ok((name.clone(), self.value(member)?)))
                    .collect::<Result<_, _>>()?,
            ),
            other => other.clone(),
        })
    }

    /// Whether `text` gives what counts as true: not `false`, 0, nothing, or one of these as a text.
    ///
    /// # Errors
    /// What it names that is not there.
    pub fn holds(&mut self, text: &str) -> Result<bool, TemplateError> {
        Ok(match self.text(text)? {
            Value::Null => false,
            Value::Bool(value) => value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !matches!(text.trim(), "" | "false" | "0" | "none" | "null"),
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
        })
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEPTH);
    environment
}

/// What stands between the braces, if `text` is one pair of them and nothing else.
fn only_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%")).then(|| inner.trim())
}

/// Whether `text` only names values, and computes nothing: `a {{ event.body.items[0].$x }} b`.
pub(super) fn only_names(text: &str) -> bool {
    let mut rest = text;
    if rest.contains("{%") || rest.contains("{#") {
        return false;
    }
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((code, after)) = after.split_once("}}") else { return false };
        let is_name = |part: &str| {
            let (name, indices) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
            let indices = indices.is_none_or(|rest| {
                rest.strip_suffix(']').is_some_and(|digits| {
                    !digits.is_empty() && digits.split("][").all(|digits| digits.bytes().all(|c| c.is_ascii_digit()))
                })
            });
            let bare = name.strip_prefix('$').unwrap_or(name);
            !bare.is_empty() && bare.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') && indices
        };
        if !code.trim().split('.').all(is_name) {
            return false;
        }
        rest = after;
    }
    true
}

/// Refuses code that is too deep for what reads it: a chain of operators is a level each, of a stack that ends the whole
/// process when it is full.
fn short_enough(text: &str) -> Result<(), TemplateError> {
    let (mut rest, mut statements) = (text, 0);
    while let Some(at) = rest.find('{') {
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("{#") {
            rest = comment.split_once("#}").map_or("", |(_, after)| after);
            continue;
        }
        let end = match rest.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => {
                rest = &rest[1..];
                continue;
            }
        };
        let code = &rest[2..];
        rest = measured(code, end)?;
        if end == "%}" {
            // What it leaves alone can't be told from code without reading it.
            if code.trim_start_matches(['-', '+']).trim_start().starts_with("raw") {
                return Err(TemplateError::new("there is no `raw`; write {{ '{{' }} for braces".to_owned()));
            }
            statements += 1;
        }
        if statements > STATEMENTS {
            return Err(TemplateError::new(format!(
                "a template may have {STATEMENTS} statements; let a step work it out"
            )));
        }
    }
    Ok(())
}

/// What follows the code that `end` ends, unless that is too long. The same brackets and quotes as the language's own
/// reader sees: where they don't match, that one stops.
fn measured<'t>(code: &'t str, end: &str) -> Result<&'t str, TemplateError> {
    let (mut quote, mut escaped, mut braces, mut letters) = (None, false, 0, 0);
    for (at, letter) in code.char_indices() {
        match (quote, letter) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(mark), _) if letter == mark => quote = None,
            (Some(_), _) => {}
            (None, _) if braces == 0 && code[at..].starts_with(end) => return Ok(&code[at + end.len()..]),
            (None, '"' | '\'') => quote = Some(letter),
            (None, _) => {
                braces = match letter {
                    '{' => braces + 1,
                    '}' => braces - 1_i32,
                    _ => braces,
                };
                letters += 1;
            }
        }
        if letters > CODE {
            return Err(TemplateError::new(format!(
                "an expression may have {CODE} characters, texts in quotes aside; take it apart, or let a step work it out"
            )));
        }
    }
    Ok("")
}

/// `.$name` as `["$name"]`: the language knows no names that begin with a `$`.
fn quoted(text: &str) -> Cow<'_, str> {
    if !text.contains(".$") {
        return Cow::Borrowed(text);
    }
    Cow::Owned(rewritten(text, |code, out| {
        let name = dollar_name(code)?;
        out.push_str("[\"");
        out.push_str(name);
        out.push_str("\"]");
        Some(1 + name.len())
    }))
}

/// The name with a `$` that `code` reads of the value before it.
fn dollar_name(code: &str) -> Option<&str> {
    let name = code.strip_prefix('.').filter(|name| name.starts_with('$'))?;
    let end = name[1..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(name.len(), |end| end + 1);
    Some(&name[..end])
}

/// `text` with its code changed. `change` is asked at each character of it outside of quotes; it appends what takes the place
/// of so many bytes. What stands outside of code stays.
fn rewritten(text: &str, change: impl Fn(&str, &mut String) -> Option<usize>) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut inside, mut quote) = (false, None);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if !inside && (rest.starts_with("{{") || rest.starts_with("{%")) {
            inside = true;
        } else if inside && quote.is_none() && (rest.starts_with("}}") || rest.starts_with("%}")) {
            inside = false;
        } else if inside && quote == Some(first) {
            quote = None;
        } else if inside
            && quote.is_none()
            && let Some(done) = change(rest, &mut out)
        {
            rest = &rest[done..];
            continue;
        } else if inside && quote.is_none() && matches!(first, '"' | '\'') {
            quote = Some(first);
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out
}

/// What minijinja says, without the name that it has for the text.
fn told(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn renderer() -> Renderer {
        Renderer::new(
            &json!({
                "event": {"body": {"email": "a@example.com", "count": 3, "tags": ["x", "y"]}},
                "steps": {"lookup": {"$return_value": {"id": 7}, "name": "n"}},
            }),
            10_000,
        )
        .unwrap()
    }

    #[test]
    fn one_expression_keeps_its_type_and_a_mixture_is_a_text() {
        let mut renderer = renderer();
        assert_eq!(renderer.text("{{ event.body.count }}").unwrap(), json!(3));
        assert_eq!(renderer.text("{{ event.body }}").unwrap()["tags"], json!(["x", "y"]));
        assert_eq!(renderer.text("{{ steps.lookup.$return_value.id }}").unwrap(), json!(7));
        assert_eq!(renderer.text("id {{ steps.lookup.$return_value.id }}!").unwrap(), json!("id 7!"));
        assert_eq!(renderer.text("{{ 'a.$b' }}").unwrap(), json!("a.$b"));
        assert_eq!(renderer.text("costs .$5").unwrap(), json!("costs .$5"));
        assert_eq!(renderer.text("{{ event.body.email | upper }}").unwrap(), json!("A@EXAMPLE.COM"));
        assert_eq!(
            renderer.value(&json!({"a": ["{{ event.body.count }}"], "b": 1})).unwrap(),
            json!({"a": [3], "b": 1})
        );
        assert!(renderer.holds("{{ event.body.count > 2 }}").unwrap());
        assert!(!renderer.holds("{{ event.body.count > 3 }}").unwrap());
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let mut renderer = renderer();
        for text in
            ["{{ event.body.nmae }}", "{{ event.body.nmae.x }}", "Hi {{ steps.lookup.$return }}", "{{ env.HOME }}"]
        {
            assert!(renderer.text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounded_what_would_make_too_much_is_refused_before_it_is_made() {
        for text in [
            "{{ 'x' * 1000000000 }}",
            "{{ [event] * 90000000 }}",
            "{{ range(1000000000) }}",
            "{{ '%1000000000d' | format(1) }}",
            "{{ 'x' | indent(1000000000) }}",
            "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
            "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
            "{% for a in range(10000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
        ] {
            assert!(renderer().text(text).is_err(), "{text}");
        }
        // Each fits, and all of them together do not.
        let mut renderer = renderer();
        let word = json!(vec!["{{ 'x' * 900 }}"; 12]);
        assert!(renderer.value(&word).unwrap_err().to_string().contains("make more than"));
    }

    #[test]
    fn bounded_what_is_too_deep_for_its_reader_is_refused_before_it_is_read() {
        let n = 100_000;
        for deep in [
            format!("{{{{ {}true }}}}", "not ".repeat(n)),
            format!("{{{{ {}1 }}}}", "-".repeat(n)),
            format!("{{{{ 1{} }}}}", "+1".repeat(n)),
            format!("{{{{ event{} }}}}", ".a".repeat(n)),
            format!("{{{{ 1{} }}}}", "|abs".repeat(n)),
            format!("{{{{ {} 1 }}}}", "1 if 1 else ".repeat(n)),
            format!("{{{{ event{} }}}}", "[0]".repeat(n)),
            format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(n)),
        ] {
            for hidden in
                ["", "{# {{ ' #}", "{{ {'a': {}} }}", "{{ '}}' }}", "{{ '\\'' }}", "{% raw %}{{ '{% endraw %}", "{ {"]
            {
                let deep = format!("{hidden}{deep}");
                assert!(Template::parse(&deep).is_err());
                assert!(renderer().text(&deep).is_err());
            }
        }
        // A long text is no code.
        let long = format!("{{ {}{{{{ '{}' }}}}", "x".repeat(9_000), "y".repeat(900));
        assert!(Template::parse(&long).is_ok());
    }

    #[test]
    fn what_only_names_values_is_told_from_what_computes() {
        for names in ["x", "{{ event.body.a_1[0][12].$x }}", "a {{event}} b {{ steps.a.$return_value }}", "costs } 5"] {
            assert!(only_names(names), "{names}");
        }
        for computes in [
            "{{ a + b }}",
            "{{ [a] }}",
            "{{ a | b }}",
            "{{ a() }}",
            "{{ a[b] }}",
            "{{ a['b'] }}",
            "{{ a.b[] }}",
            "{{ not a }}",
            "{% if a %}{% endif %}",
            "{{ a",
            "{{ }}",
            "{{ a, b }}",
            "{{ a.b == c }}",
            "{{ -a }}",
            "{# a #}",
            "{{ a[1:2] }}",
        ] {
            assert!(!only_names(computes), "{computes}");
        }
    }

    #[test]
    fn a_template_without_end_is_ended() {
        assert!(
            renderer().text("{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}").is_err()
        );
    }
}
