//! Values that refer to what came before: `{{ steps.lookup.$return_value.id }}`.
//!
//! The language is minijinja's, with names that begin with `$`. It is strict: a name that is not there is an
//! error, at deploy if the file shows it and else in the run. It can't reach anything but its context.

use std::borrow::Cow;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

/// What a template may begin with.
const ROOTS: [&str; 4] = ["event", "steps", "workflow", "run"];
/// Steps of work that one template may take.
const FUEL: u64 = 50_000;

/// What is wrong with a template, or with what it refers to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

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
            environment().template_from_str(&quoted(text)).map_err(|error| TemplateError(told(&error)))?;
        }
        Ok(Self(text))
    }

    /// Checks that it names only what there will be. `earlier` are the steps before its own.
    pub(super) fn check(&self, earlier: &[&str]) -> Result<(), TemplateError> {
        let environment = environment();
        let quoted = quoted(self.0);
        let Ok(template) = environment.template_from_str(&quoted) else { return Ok(()) };
        for name in template.undeclared_variables(true) {
            let mut parts = name.split('.');
            match (parts.next().unwrap_or_default(), parts.next()) {
                ("steps", Some(step)) if !earlier.contains(&step) => {
                    return Err(TemplateError(format!(
                        "no step before this one is called `{step}`{}",
                        match earlier {
                            [] => "; it is the first".to_owned(),
                            names => format!("; there are {}", names.join(", ")),
                        }
                    )));
                }
                (root, _) if ROOTS.contains(&root) || environment.globals().any(|(name, _)| name == root) => {}
                (root, _) => {
                    return Err(TemplateError(format!(
                        "there is no `{root}`; a template begins with {}",
                        ROOTS.join(", ")
                    )));
                }
            }
        }
        Ok(())
    }
}

/// A context that templates are rendered in.
pub struct Renderer {
    environment: Environment<'static>,
    context: minijinja::Value,
}

impl Renderer {
    /// What `context` holds can be named.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn new(context: &impl Serialize) -> Result<Self, TemplateError> {
        // By its text, since the JSON in it is kept as text.
        let text = serde_json::to_string(context).map_err(|error| TemplateError(error.to_string()))?;
        let context = serde_json::from_str(&text).map_err(|error| TemplateError(error.to_string()))?;
        Ok(Self { environment: environment(), context })
    }

    /// The value of `text`: if it is one expression, of the expression's own type, else a text.
    ///
    /// # Errors
    /// What it names that is not there.
    pub fn text(&self, text: &str) -> Result<Value, TemplateError> {
        if !text.contains("{{") && !text.contains("{%") {
            return Ok(Value::String(text.to_owned()));
        }
        let failed = |error: minijinja::Error| TemplateError(format!("`{text}`: {}", told(&error)));
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
                return Err(TemplateError(format!("`{text}` refers to something that is not there")));
            }
            return serde_json::to_value(&value).map_err(|error| TemplateError(format!("`{text}`: {error}")));
        }
        let rendered = self.environment.render_str(&quoted(text), self.context.clone()).map_err(failed)?;
        Ok(Value::String(rendered))
    }

    /// `value` with every text in it rendered.
    ///
    /// # Errors
    /// What a template names that is not there.
    pub fn value(&self, value: &Value) -> Result<Value, TemplateError> {
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
    pub fn holds(&self, text: &str) -> Result<bool, TemplateError> {
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
    environment
}

/// What stands between the braces, if `text` is one pair of them and nothing else.
fn only_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%")).then(|| inner.trim())
}

/// `.$name` as `["$name"]`: the language knows no names that begin with a `$`. Texts within an expression stay.
fn quoted(text: &str) -> Cow<'_, str> {
    if !text.contains(".$") {
        return Cow::Borrowed(text);
    }
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
        } else if inside && quote.is_none() && matches!(first, '"' | '\'') {
            quote = Some(first);
        } else if inside && quote.is_none() && rest.starts_with(".$") {
            let name = &rest[1..];
            let end = name[1..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(name.len(), |end| end + 1);
            out.push_str("[\"");
            out.push_str(&name[..end]);
            out.push_str("\"]");
            rest = &name[end..];
            continue;
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    Cow::Owned(out)
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
        Renderer::new(&json!({
            "event": {"body": {"email": "a@example.com", "count": 3, "tags": ["x", "y"]}},
            "steps": {"lookup": {"$return_value": {"id": 7}, "name": "n"}},
        }))
        .unwrap()
    }

    #[test]
    fn one_expression_keeps_its_type_and_a_mixture_is_a_text() {
        let renderer = renderer();
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
        let renderer = renderer();
        for text in
            ["{{ event.body.nmae }}", "{{ event.body.nmae.x }}", "Hi {{ steps.lookup.$return }}", "{{ env.HOME }}"]
        {
            assert!(renderer.text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_earlier_step_must_have_the_name() {
        let check = |text: &str, earlier: &[&str]| Template::parse(text).and_then(|template| template.check(earlier));
        assert!(check("{{ steps.a.$return_value.x }}", &["a"]).is_ok());
        assert!(check("{{ steps.b.$return_value.x }}", &["a"]).is_err());
        assert!(check("{{ steps.b }}", &[]).is_err());
        assert!(check("{% for tag in event.body.tags %}{{ tag }}{% endfor %}", &[]).is_ok());
        assert!(check("{{ environment }}", &[]).is_err());
    }

    #[test]
    fn a_template_without_end_is_ended() {
        assert!(
            renderer().text("{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}").is_err()
        );
    }
}
